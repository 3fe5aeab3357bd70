"""A hash of what of a cache numbers depend on: what was computed from it is known by it again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from emoprobe.jsontext import to_json

if TYPE_CHECKING:
    import pandas as pd

    from .cache import HiddenStateCache


def cache_digest(cache: HiddenStateCache, utterances: pd.DataFrame, columns: Iterable[str]) -> str:
    """Hash of provenance, states with their acoustics, some columns of the utterances, and who belongs together.

    What is kept beside the cache has a hash of its own, in ``cache.baselines``.

    Parameters
    ----------
    cache : HiddenStateCache
    utterances : pandas.DataFrame
        Those of the cache, with the labels that the numbers are computed from.
    columns : iterable of str
        What the numbers depend on, in the order in which it enters the hash.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    UserError
        If the states are not those that were written: a score of damaged ones is never taken for theirs.
    """
    digest = hashlib.sha256(to_json(cache.provenance, sort_keys=True).encode())
    digest.update(b"verified" + cache.verified_checksums().tobytes())
    for column in columns:
        digest.update("\x1f".join(map(str, utterances[column])).encode())
    for column in ("group", "fold"):
        if (utterances[column] != "").any():  # a corpus without them keeps the hash that it had before there were any
            digest.update(f"\x1e{column}".encode() + "\x1f".join(map(str, utterances[column])).encode())
    return digest.hexdigest()
