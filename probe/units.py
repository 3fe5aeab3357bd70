"""Who belongs together: speakers, and the groups (a session, a dialogue, a film) in which they talk to each other.

Two speakers of one dialogue answer each other, so their labels go together: in IEMOCAP the partner's mean valence in a
dialogue predicts one's own at a CCC of 0.55. A fold therefore keeps speakers and groups whole, and an interval
resamples the larger of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.extract.corpora.cells import NOBODY, identifier

if TYPE_CHECKING:
    import pandas as pd

#: Corpora whose readers name groups: a cache that has none was extracted by a version that knew of none.
GROUPED = frozenset({"iemocap"})

#: What can be resampled.
SPEAKER, GROUP = "speaker", "group"


@dataclass(frozen=True)
class Units:
    """Who belongs together in a corpus.

    Attributes
    ----------
    speakers : ndarray of int, shape (utterances,)
        Number of the speaker; each row of an unknown speaker is a speaker of its own.
    groups : ndarray of int, shape (utterances,)
        Number of the group; -1 is unknown.
    whole : ndarray of int, shape (utterances,)
        Number of the set that shares neither speaker nor group with any other: what no fold may split.
    resampled : ndarray of int, shape (utterances,)
        Number of what an interval draws. The same sets, where each has one group or one speaker; else the kind that
        has fewer names, each on average larger, of those that name most rows, and the other kind where a row lacks it.
    unit : str
        What that is for most rows: `SPEAKER` or `GROUP`; see :func:`unit_of`.
    names : list of str
        Name of the group that a row is drawn with; "" where it is drawn with its speaker, or alone.
    unknown : ndarray of bool, shape (utterances,)
        Whose speaker is unknown.
    """

    speakers: np.ndarray
    groups: np.ndarray
    whole: np.ndarray
    resampled: np.ndarray
    unit: str
    names: list[str]
    unknown: np.ndarray

    @classmethod
    def of(cls, speakers: Sequence[str], groups: Sequence[str] | None = None) -> Units:
        """Units of a corpus.

        Parameters
        ----------
        speakers : sequence of str, shape (utterances,)
            "" and "unknown" are nobody.
        groups : sequence of str, shape (utterances,), optional
            "" is unknown.
        """
        speaker = speaker_groups(speakers)
        unknown = np.array([is_unknown(name) for name in speakers], dtype=bool)
        group_names = [""] * len(speaker) if groups is None else [str(name).strip() for name in groups]
        group = _group_numbers(group_names)
        known = group >= 0
        if not known.any():
            return cls(speaker, group, speaker, speaker, SPEAKER, [""] * len(speaker), unknown)
        whole = _joined(speaker, group)
        if _crossed(whole, speaker, group):
            by_group = known if _by_groups(speaker, group, ~unknown) else known & unknown
            drawn = _in_order(np.where(by_group, group, group.max() + 1 + speaker))
        else:
            by_group = np.full(len(speaker), _most_within(speaker[known], group[known]) > 1)
            drawn = whole
        first: dict[int, str] = {}
        for row in np.flatnonzero(known & by_group):
            first.setdefault(int(drawn[row]), group_names[row])
        names = [
            first.get(int(number), "") if of_group else "" for number, of_group in zip(drawn, by_group, strict=True)
        ]
        return cls(speaker, group, whole, drawn, unit_of(names), names, unknown)

    @property
    def voices(self) -> np.ndarray:
        """Number of the speaker, all rows of unknown speaker sharing one: what labels are permuted within.

        Shape (utterances,). The same as `speakers` where every speaker is known.
        """
        numbers = self.speakers.copy()
        numbers[self.unknown] = numbers.max(initial=0) + 1
        return numbers

    @property
    def grouped(self) -> bool:
        """Whether the corpus names any group."""
        return bool((self.groups >= 0).any())

    def told(self, rows: np.ndarray) -> list[str]:
        """What is to be said of the groups of the rows that take part, with counts.

        Parameters
        ----------
        rows : ndarray of int

        Returns
        -------
        list of str
            Sentences; none where the corpus names no group.
        """
        speaker, group = self.speakers[rows], self.groups[rows]
        known = group >= 0
        if not known.any():
            return []
        n_groups, n_whole = len(np.unique(group[known])), len(np.unique(self.whole[rows]))
        said = []
        if not known.all():
            said.append(f"{int((~known).sum())} of {len(rows)} utterances have no group: their speaker stands for it")
        several = _in_several(speaker[known], group[known])
        if several:
            are = "speaker is" if several == 1 else "speakers are"
            said.append(
                f"{several} {are} in more than one group: groups that share a speaker stay together, which leaves "
                f"{n_whole} sets of the {n_groups} groups"
            )
        words = f"intervals resample {self.unit}s"
        if _crossed(self.whole[rows], speaker, group):
            other = SPEAKER if self.unit == GROUP else GROUP
            words += f", and are too narrow as far as one {other} in several {self.unit}s makes them alike"
        return [*said, words]


def speaker_groups(speakers: Sequence[str]) -> np.ndarray:
    """Number the speakers; every row of an unknown one ("" or "unknown") becomes a group of its own.

    Parameters
    ----------
    speakers : sequence of str, shape (utterances,)

    Returns
    -------
    ndarray of int, shape (utterances,)
        0 to groups - 1, in the order of first appearance.
    """
    names: dict[int | str, int] = {}
    groups = np.empty(len(speakers), dtype=np.int64)
    for row, speaker in enumerate(speakers):
        key = row if is_unknown(speaker) else identifier(str(speaker).strip())
        groups[row] = names.setdefault(key, len(names))
    return groups


def is_unknown(speaker: object) -> bool:
    """Whether a cell of the speaker column names nobody."""
    return not isinstance(speaker, str) or speaker.strip().casefold() in NOBODY


def count_speakers(speakers: Sequence[str]) -> tuple[int, int]:
    """How many speakers have a name, and how many utterances are of none."""
    named = {identifier(speaker.strip()) for speaker in speakers if not is_unknown(speaker)}
    return len(named), sum(map(is_unknown, speakers))


def unit_names(ids: Sequence[str], speakers: Sequence[str], groups: Sequence[str], *, before: str = "") -> list[str]:
    """Name of what each prediction is drawn with: its group, else its speaker, else the utterance itself.

    Parameters
    ----------
    ids, speakers : sequence of str, shape (rows,)
    groups : sequence of str, shape (rows,)
        The column `group` of the predictions: "" where the row is drawn with its speaker.
    before : str
        What to write before a speaker's name.
    """
    return [
        f"group {group}" if group else f"utterance {name}" if is_unknown(speaker) else f"{before}{speaker.strip()}"
        for name, speaker, group in zip(ids, speakers, groups, strict=True)
    ]


def with_groups(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with the column `group`, which is empty in a table that does not have it."""
    return predictions if "group" in predictions else predictions.assign(group="")


def unit_of(groups: Sequence[str]) -> str:
    """What most rows are drawn with: `GROUP` or `SPEAKER`, the one rule for the corpus and for each table.

    Parameters
    ----------
    groups : sequence of str, shape (rows,)
        `Units.names` of some rows, or the column `group` of their predictions.
    """
    return GROUP if 2 * sum(map(bool, groups)) > len(groups) else SPEAKER


def _group_numbers(groups: Sequence[str]) -> np.ndarray:
    names: dict[str, int] = {}
    keys = [identifier(name) for name in groups]
    return np.array([names.setdefault(key, len(names)) if key else -1 for key in keys], dtype=np.int64)


def _joined(speaker: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Number the sets of rows that are connected by speakers and groups, in the order of first appearance."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    known = group >= 0
    speakers, groups = int(speaker.max()) + 1, int(group.max()) + 1
    edges = (np.ones(int(known.sum())), (speaker[known], speakers + group[known]))
    graph = sparse.coo_matrix(edges, shape=(speakers + groups, speakers + groups))
    return _in_order(connected_components(graph, directed=False)[1][speaker])


def _in_order(numbers: np.ndarray) -> np.ndarray:
    """The same numbering from 0 on, in the order of first appearance."""
    _, first, member = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[member]


def _by_groups(speaker: np.ndarray, group: np.ndarray, named: np.ndarray) -> bool:
    """Whether groups are drawn, not speakers: of those that name most rows the kind that has fewer names."""
    known = group >= 0
    if min(known.mean(), named.mean()) > 0.5:
        return len(np.unique(group[known])) <= len(np.unique(speaker[named]))
    return bool(known.sum() > named.sum())


def _most_within(inner: np.ndarray, outer: np.ndarray) -> int:
    """Most different numbers of `inner` that one number of `outer` goes with."""
    pairs = np.unique(np.stack([outer, inner]), axis=1)
    return int(np.unique(pairs[0], return_counts=True)[1].max())


def _in_several(speaker: np.ndarray, group: np.ndarray) -> int:
    """How many speakers are in more than one group."""
    pairs = np.unique(np.stack([speaker, group]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _crossed(whole: np.ndarray, speaker: np.ndarray, group: np.ndarray) -> bool:
    """Whether any set has several groups and several speakers."""
    known = group >= 0
    if not known.any():
        return False
    sets, member = np.unique(whole, return_inverse=True)
    several = []
    for numbers, rows in ((speaker, np.ones(len(whole), dtype=bool)), (group, known)):
        pairs = np.unique(np.stack([member[rows], numbers[rows]]), axis=1)
        several.append(np.bincount(pairs[0], minlength=len(sets)) > 1)
    return bool((several[0] & several[1]).any())
