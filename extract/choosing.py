"""What is asked of a cache by name or number, and is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.misspelt import meant


def rows_with(utterances: pd.DataFrame, wanted: Mapping[str, str | Sequence[str]], *, path: Path) -> np.ndarray:
    """Which utterances have one of the wanted values in each column.

    Parameters
    ----------
    utterances : DataFrame
    wanted : mapping of str to str or sequence of str
        Values by column.
    path : Path
        Of the cache, for messages.

    Returns
    -------
    ndarray of bool, (utterances,)

    Raises
    ------
    UserError
        If there is no such column, or no utterance has the value.
    """
    rows = np.ones(len(utterances), dtype=bool)
    for column, values in wanted.items():
        if column not in utterances:
            raise UserError(f"{path} has no column {column!r}: {meant(column, utterances.columns)}")
        chosen = [values] if isinstance(values, str) else list(values)
        for value in chosen:
            if not (utterances[column] == value).any():
                raise UserError(_absent(path, column, value, utterances[column]))
        rows &= utterances[column].isin(chosen).to_numpy()
    return rows


def _absent(path: Path, column: str, value: str, there: pd.Series) -> str:
    told = f"{path} has no utterance whose {column} is {value!r}"
    if known := [str(one) for one in there.unique() if str(one)]:
        return f"{told}: {meant(str(value), known)}"
    return (
        f"{told}: its corpus says no {column} of any; give the corpus a column {column} and take that over by "
        "probe-extract --refresh-labels, or leave this condition out"
    )


def layer_index(layers: int | Sequence[int] | slice | None, *, n_layers: int, path: Path) -> int | slice | list[int]:
    """What picks layers out of an array of all.

    Raises
    ------
    UserError
        If there is no such layer.
    """
    if layers is None or isinstance(layers, slice):
        return slice(None) if layers is None else layers
    for layer in [layers] if isinstance(layers, int | np.integer) else layers:
        if not -n_layers <= layer < n_layers:
            raise UserError(f"{path} holds the layers 0 to {n_layers - 1}, and no layer {layer}")
    return int(layers) if isinstance(layers, int | np.integer) else list(layers)
