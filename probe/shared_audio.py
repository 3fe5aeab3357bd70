"""Utterances of one and the same audio on both sides of a split, whatever speakers and groups say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .splits import Fold


def shared_audio(table: pd.DataFrame, folds: Sequence[Fold]) -> list[str]:
    """What is to be said of rows that are scored and whose audio is trained on as well.

    Two rows share audio where they name the same file, and parts of it (`start`, `end`, `channel`) that overlap.

    Parameters
    ----------
    table : pandas.DataFrame
        Of utterances, with `path` and the columns of :data:`~emoprobe.extract.corpora.cells.PLACES`.
    folds : sequence of Fold

    Returns
    -------
    list of str
        A sentence for each part that is scored; none where no audio is shared.
    """
    pairs = _pairs(table)
    if not len(pairs):
        return []
    shared: dict[str, set[int]] = {}
    for fold in folds:
        trained = np.isin(pairs, fold.train)
        for name, rows in fold.tests.items():
            scored = np.isin(pairs, rows)
            both = pairs[(scored[:, 0] & trained[:, 1]) | (scored[:, 1] & trained[:, 0])]
            shared.setdefault(name, set()).update(both[np.isin(both, rows)].tolist())
    return [
        f"LEAKAGE: {len(rows):,} utterances of '{name}' are, as a whole or in part, audio that is trained on as well "
        "(rows that name the same file): their scores are too high"
        for name, rows in shared.items()
        if rows
    ]


def _pairs(table: pd.DataFrame) -> np.ndarray:
    """Numbers of rows that share audio, two by two, shape (pairs, 2)."""
    repeated = table["path"].duplicated(keep=False) & (table["path"] != "")
    if not repeated.any():
        return np.empty((0, 2), dtype=np.int64)
    start = np.nan_to_num(table["start"].to_numpy(np.float64))
    end = np.nan_to_num(table["end"].to_numpy(np.float64), nan=math.inf)
    channel = table["channel"].to_numpy(np.float64)
    rows = np.flatnonzero(repeated)
    pairs = []
    for of_file in pd.Series(rows).groupby(table["path"].to_numpy()[rows], sort=False):
        inside = of_file[1].to_numpy()
        inside = inside[np.lexsort((end[inside], start[inside]))]
        for place, one in enumerate(inside):
            # In the order of their beginnings, those that begin before this one ends.
            later = inside[place + 1 : np.searchsorted(start[inside], end[one], side="left")]
            alike = (channel[later] == channel[one]) | np.isnan(channel[later]) | np.isnan(channel[one])
            pairs += [(one, other) for other in later[alike]]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
