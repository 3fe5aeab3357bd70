"""Rows that say a second time what an earlier row says."""

from __future__ import annotations

import numpy as np
import pandas as pd


def first_rows(table: pd.DataFrame, notes: list[str]) -> np.ndarray:
    """The numbers of the rows that equal no earlier one in every cell; how many do is noted.

    Two rows that differ in a cell are no copies, even if they are of one file.

    Parameters
    ----------
    table : pandas.DataFrame
        With a column `path`.
    notes : list of str
        Is added to.
    """
    copies = np.zeros(len(table), dtype=bool)
    try:
        of_one_file = table["path"].duplicated(keep=False).to_numpy()
        copies[of_one_file] = table[of_one_file].duplicated().to_numpy()
    except TypeError:
        return np.arange(len(table))  # a cell is a list, a dict or the like: no value, which is refused with its row
    if copies.any():
        notes.append(f"{copies.sum():,} rows repeat an earlier one, and are left out")
    return np.flatnonzero(~copies)
