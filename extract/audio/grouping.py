"""Which utterances share a file that is slow to enter."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ..corpora.places import Place

#: Files that are slow to enter in the middle, told by their names, so that a plan does not depend on whether a file is
#: there: what is decoded from the beginning, and what is stored in groups of rows.
_SLOW = (".mp3", ".ogg", ".oga", ".opus")
_IN_GROUPS = (".parquet",)


def gathered(paths: Sequence[str], places: Sequence[Place]) -> np.ndarray:
    """Which utterances had better be read one after the other, since they share a file that is slow to enter.

    Parameters
    ----------
    paths : sequence of str
    places : sequence of tuple
        As :func:`emoprobe.extract.corpora.places.places` gives them.

    Returns
    -------
    ndarray of int, (utterances,)
        A number from 1 for each such file, 0 for those of other files. It depends on names and places alone.
    """
    numbers: dict[str, int] = {}
    groups = np.zeros(len(paths), dtype=np.int64)
    for row, (path, place) in enumerate(zip(paths, places, strict=True)):
        shared = _slow_file(path, place)
        if shared:
            groups[row] = numbers.setdefault(shared, len(numbers) + 1)
    return groups


def _slow_file(path: str, place: Place) -> str:
    lower = path.lower()
    if place and lower.endswith(_SLOW):
        return path
    for ending in _IN_GROUPS:
        at = lower.find(f"{ending}{os.sep}")
        if at >= 0:
            return path[: at + len(ending)]
    return ""
