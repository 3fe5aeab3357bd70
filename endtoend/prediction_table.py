"""The table that predictions are written as."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from emoprobe.extract.batchwise import Problem
from emoprobe.extract.corpora import DIMENSIONS
from emoprobe.extract.corpora.cells import PLACES
from emoprobe.extract.corpora.values import printable

from .familiar import BEYOND, beyond_training
from .unlike import UNLIKE

if TYPE_CHECKING:
    from .emotion_model import EmotionModel
    from .exported import OnnxModel

PREDICTION_COLUMNS = ("path", "seconds", "text_used", *DIMENSIONS, "status", "reason")


def tabulate(
    table: pd.DataFrame,
    said: Sequence[str],
    results: Sequence[list[float] | Problem | None],
    model: EmotionModel | OnnxModel,
    widths: Mapping[str, float],
) -> pd.DataFrame:
    """A row for each utterance.

    Parameters
    ----------
    table : DataFrame
        `path`, `seconds`, `status`, `reason`, and which part of its file each utterance is.
    said : sequence of str
        What was said in each; "" where that is not known.
    results : sequence
        Of each the predictions, and how unlike what the model learned from it sounds, where the model can tell; or why
        there are none.
    model : EmotionModel or OnnxModel
    widths : mapping of str to float
        Half width of the interval around each dimension's prediction, where intervals are asked for.
    """
    rows, scale, unlike = [], model.config.get("scale", {}), np.full(len(results), math.nan)
    for row, result in enumerate(results):
        status, reason, values = table["status"][row], table["reason"][row], {}
        if isinstance(result, Problem):
            status, reason = result.status, result.reason
        elif result is not None:
            status, values = "done", dict(zip(model.dimensions, result, strict=False))
            unlike[row] = result[len(model.dimensions)] if len(result) > len(model.dimensions) else math.nan
        rows.append(
            {
                "path": printable(table["path"][row]),
                "seconds": table["seconds"][row],
                "text_used": "yes" if said[row] and status == "done" else "no",
                **{dimension: values.get(dimension, math.nan) for dimension in DIMENSIONS},
                "status": status,
                "reason": printable(reason),
                BEYOND: ", ".join(beyond_training(values, scale)),
            }
        )
    predictions = pd.DataFrame(rows, columns=[*PREDICTION_COLUMNS, BEYOND])
    if model.familiar is not None:
        predictions[UNLIKE] = unlike
    for dimension, width in widths.items():
        for end, sign in (("low", -1), ("high", 1)):
            predictions[f"{dimension}_{end}"] = predictions[dimension] + sign * width
    in_parts = [name for name in PLACES if table[name].notna().any()]
    return predictions.assign(**{name: table[name].to_numpy() for name in in_parts})


def is_predictions(path: Path) -> bool:
    """Whether a file is such a table."""
    with path.open("rb") as file:
        return file.readline(1000).startswith(",".join(PREDICTION_COLUMNS).encode())


def as_csv(table: pd.DataFrame) -> bytes:
    """Numbers to 6 digits: a prediction is known to fewer; times with every digit."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    digits = [".15g" if name in PLACES else ".6g" for name in table.columns]
    for row in table.itertuples(index=False):
        writer.writerow(map(_cell, row, digits))
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(cell: object, digits: str) -> str:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else format(cell, digits)
    return str(cell)
