"""What is asked of scores by name, and is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.misspelt import meant


def rows_of(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Rows of a table whose columns have the given values; none where nothing has."""
    for name, value in values.items():
        table = table[table[name] == value]
    return table


def scores_with(scores: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """The same of scores, for a user; of a table without any row, none.

    Raises
    ------
    UserError
        If there is no such column, or no row of any fit has the value.
    """
    for name, value in values.items():
        if name not in scores:
            raise UserError(f"the scores have no column {name!r}: {meant(name, scores.columns)}")
        if len(scores) and not (scores[name] == value).any():
            there = sorted(map(str, scores[name].dropna().unique()))
            raise UserError(f"no score has the {name} {value!r}: {meant(str(value), there)}")
    return rows_of(scores, **values)
