"""Ratings that cannot be of the scale that the others are of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError

#: Scales that people rate on, the smaller ones; between 0 and 1 only what is neither counts, since 0 is on others too.
SMALL_SCALES = ((0.0, 1.0), (1.0, 5.0), (1.0, 7.0), (1.0, 9.0), (0.0, 10.0))
#: How far beyond a scale, in its widths, ratings lie that are of another.
FAR = 2.0
#: The least share of the ratings that makes a scale of its own, and what lies just above it at most, beside them.
SHARE, GAP = 0.2, 0.1


def refuse_outside(
    values: np.ndarray, scale: tuple[float, float], *, source: Path, column: str, where: Callable[[int], str]
) -> None:
    """Refuse a rating beyond the scale of its corpus; a missing one (NaN) is not.

    Parameters
    ----------
    values : ndarray
        Ratings, NaN where there is none.
    scale : tuple of float
        The least and the largest.
    source, column
        The file and the column that an error should name.
    where : callable
        Tells a row's place in `source`.

    Raises
    ------
    UserError
        Naming the first such row.
    """
    low, high = scale
    rows = np.flatnonzero((values < low) | (values > high))
    if len(rows):
        more = f" (and {len(rows) - 1:,} more)" if len(rows) > 1 else ""
        raise UserError(
            f"{source}, {where(rows[0])}, column '{column}': {values[rows[0]]:g} is beyond this corpus's scale of "
            f"{low:g} to {high:g}{more}; correct it or leave the cell empty"
        )


def two_scales(values: np.ndarray) -> str:
    """Say that a column holds ratings of two scales, or nothing.

    It does where at least a fifth of the ratings lie within a small scale, next to none as far above it again, and some
    more than twice its width beyond it.

    Parameters
    ----------
    values : ndarray
        Ratings, NaN where there is none.

    Examples
    --------
    >>> two_scales(np.array([1, 2.5, 3, 4, 5, 70.0]))
    '5 ratings lie within 1 to 5 and 1 beyond, at 70'
    >>> two_scales(np.array([5.0, 20, 41, 55, 78, 90]))
    ''
    """
    known = values[np.isfinite(values)]
    for low, high in SMALL_SCALES:
        within = (known > 0) & (known < 1) if high == 1 else (known >= low) & (known <= high)
        beyond = known[(known < low) | (known > high)]
        near = int(np.sum((known > high) & (known <= 2 * high)))
        n_within = int(within.sum())
        is_far = np.any(beyond > high + FAR * (high - low)) or np.any(beyond < low - FAR * (high - low))
        if is_far and n_within >= max(1, SHARE * len(known)) and near <= GAP * n_within:
            n_inside = int(np.sum((known >= low) & (known <= high)))
            least, most = f"{beyond.min():g}", f"{beyond.max():g}"
            span = f"at {most}" if least == most else f"from {least} to {most}"
            return f"{n_inside:,} ratings lie within {low:g} to {high:g} and {len(beyond):,} beyond, {span}"
    return ""
