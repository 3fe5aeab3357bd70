"""What is asked of scores by name, and is not there."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.misspelt import meant


def scores_with(scores: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    """Rows of the scores whose columns have the given values; of a table without any row, none.

    Raises
    ------
    UserError
        If there is no such column, or no row of any fit has the value.
    """
    chosen = scores
    for name, value in values.items():
        if name not in scores:
            raise UserError(f"the scores have no column {name!r}: {meant(name, scores.columns)}")
        if len(scores) and not (scores[name] == value).any():
            there = sorted(map(str, scores[name].dropna().unique()))
            raise UserError(f"no score has the {name} {value!r}: {meant(str(value), there)}")
        chosen = chosen[chosen[name] == value]
    return chosen
