"""A corpus in shards: which utterances each run extracts into a cache of its own, that :mod:`.joining` makes one of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emoprobe.errors import UserError

#: Shards of one corpus: a join has all of them open at once, and many systems let a process open 1,024 files.
MOST_SHARDS = 500


@dataclass(frozen=True)
class Shard:
    """Every so many-th utterance of a corpus.

    Attributes
    ----------
    number : int
        Which shard, from 1.
    count : int
        Of how many.

    Examples
    --------
    >>> [list(Shard(number, 3).rows(8)) for number in (1, 2, 3)]
    [[0, 3, 6], [1, 4, 7], [2, 5]]
    >>> Shard.parsed("2/3") == Shard(2, 3), str(Shard(2, 3))
    (True, '2/3')
    """

    number: int
    count: int

    @classmethod
    def parsed(cls, text: str) -> Shard:
        """The shard that ``K/N`` names.

        Raises
        ------
        UserError
            If it is no such text, K is not from 1 to N, or N is above :data:`MOST_SHARDS`.
        """
        numbers = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if numbers is None:
            raise UserError(f"--shard {text}: give K/N, such as 2/8 for the second of eight shards")
        number, count = int(numbers[1]), int(numbers[2])
        if count < 1 or count > MOST_SHARDS:
            raise UserError(f"--shard {text}: a corpus has 1 to {MOST_SHARDS} shards, and not {count}")
        if not 1 <= number <= count:
            raise UserError(f"--shard {text}: shards are counted from 1; give 1/{count} to {count}/{count}")
        return cls(number, count)

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Shard | None:
        """What the provenance of a cache says; None of one that holds a whole corpus."""
        told = provenance.get("shard")
        return None if told is None else cls(told["number"], told["count"])

    def rows(self, utterances: int) -> range:
        """The rows of a corpus of so many utterances that are in this shard, in their order."""
        return range(self.number - 1, utterances, self.count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def whole_corpus(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """What provenance says of the corpus: of the whole one, also where the cache holds a shard of it."""
    shard = provenance.get("shard")
    return provenance["corpus"] if shard is None else shard["corpus"]
