"""What a results folder holds: the columns of its tables, the ranges of its numbers, the fields of its protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.extract.provenance import CORPUS, MODEL, PROVENANCE
from emoprobe.fields import (
    COUNT,
    COUNTS,
    LARGEST,
    LARGEST_COUNT,
    LIST,
    LONGEST_NAME,
    MOST_LAYERS,
    NAME,
    TABLE,
    TEXT,
    TEXT_OR_NONE,
    TEXTS,
    TEXTS_BY_NAME,
    TRUTH,
    Field,
    ListOf,
    Part,
    is_number,
    is_text,
    or_none,
)

#: Columns that name a run.
KEY = ("model", "corpus", "dimension", "probe", "features")

#: Columns that name a system: a layer of a run, on one part.
SYSTEM = (*KEY, "layer", "split")

#: The dimension that is categories of emotion instead of ratings on a scale.
CATEGORIES = "emotion"

_INTEGER, _NUMBER, STRING = "Int64", "float64", "str"

SCORES = {
    "model": STRING, "corpus": STRING, "dimension": STRING, "probe": STRING, "layer": _INTEGER, "depth": _NUMBER,
    "fold": STRING, "seed": _INTEGER, "split": STRING, "n": _INTEGER,
    "ccc": _NUMBER, "ccc_low": _NUMBER, "ccc_high": _NUMBER, "pearson": _NUMBER, "rmse": _NUMBER,
    "pearson_low": _NUMBER, "pearson_high": _NUMBER, "rmse_low": _NUMBER, "rmse_high": _NUMBER,
    "uar": _NUMBER, "uar_low": _NUMBER, "uar_high": _NUMBER,
    "macro_f1": _NUMBER, "macro_f1_low": _NUMBER, "macro_f1_high": _NUMBER,
    "speakers": _INTEGER, "penalty": _NUMBER, "features": STRING, "reason": STRING,
    "null_mean": _NUMBER, "null_high": _NUMBER, "p": _NUMBER, "p_holm": _NUMBER, "selectivity": _NUMBER,
    "permutations": _INTEGER, "mdl_bits": _NUMBER, "compression": _NUMBER, "text_source": STRING,
    "unit": STRING, "units": _INTEGER,
    "classes": _INTEGER, "uar_common": _NUMBER, "uar_common_low": _NUMBER, "uar_common_high": _NUMBER,
    "tested": _NUMBER, "interval": STRING, "permuted": STRING,
}  # fmt: skip
#: What can be averaged over seeds; the rest of a row is of a fit.
AVERAGED = tuple(name for name, kind in SCORES.items() if kind == _NUMBER and name not in ("depth", "penalty"))
WEIGHTS = {
    "model": STRING, "corpus": STRING, "dimension": STRING, "layer": _INTEGER, "depth": _NUMBER, "seed": _INTEGER,
    "weight": _NUMBER, "weight_normed": _NUMBER, "probe": STRING, "features": STRING,
    "weight_by_norm": _NUMBER,
}  # fmt: skip
PREDICTIONS = {
    "model": STRING, "corpus": STRING, "dimension": STRING, "probe": STRING, "features": STRING, "layer": _INTEGER,
    "seed": _INTEGER, "split": STRING, "fold": STRING, "id": STRING, "speaker": STRING,
    "truth": _NUMBER, "prediction": _NUMBER, "true_category": STRING, "predicted_category": STRING,
    "group": STRING,
}  # fmt: skip
RECALLS = {
    "model": STRING, "corpus": STRING, "dimension": STRING, "probe": STRING, "features": STRING, "layer": _INTEGER,
    "depth": _NUMBER, "seed": _INTEGER, "split": STRING, "category": STRING, "n": _INTEGER, "speakers": _INTEGER,
    "recall": _NUMBER, "recall_low": _NUMBER, "recall_high": _NUMBER, "precision": _NUMBER, "predicted": _INTEGER,
    "reason": STRING,
}  # fmt: skip

#: The six sums of `metrics.moments`, as columns.
MOMENTS = ("n", "truth", "prediction", "truth_squared", "prediction_squared", "product")
REFITS = {
    "model": STRING, "corpus": STRING, "dimension": STRING, "probe": STRING, "features": STRING, "layer": _INTEGER,
    "seed": _INTEGER, "split": STRING, "part": STRING, "unit": STRING, **dict.fromkeys(MOMENTS, _NUMBER),
    "n": _INTEGER,
}  # fmt: skip

#: Columns of each table, by its name.
TABLES = {
    "scores": SCORES,
    "weights": WEIGHTS,
    "predictions": PREDICTIONS,
    "recalls": RECALLS,
    "refits": REFITS,
}

#: Columns that a version after 0.1 added; a table that lacks another one is damaged.
ADDED = frozenset(
    ["null_mean", "null_high", "p", "p_holm", "selectivity", "permutations", "mdl_bits", "compression", "text_source",
     "unit", "units", "group", "classes", "uar_common", "uar_common_low", "uar_common_high", "tested",
     "weight_by_norm", "interval", "permuted"]
)  # fmt: skip


#: The order of dimensions in every table and figure; others follow by name.
_DIMENSIONS = ("arousal", "valence", "dominance", CATEGORIES)


def ordered_dimensions(names: Iterable[str]) -> list[str]:
    """Names of dimensions in the order of every figure: arousal, valence, dominance, then the rest."""
    names = set(names)
    return [name for name in _DIMENSIONS if name in names] + sorted(names.difference(_DIMENSIONS))


def table(rows: Any, columns: dict[str, str]) -> pd.DataFrame:
    """A table of the given columns and types; what a row lacks is empty.

    Parameters
    ----------
    rows : list of dict, or dict of str to sequence, or DataFrame
    columns : dict of str to dtype

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If a column holds something else.
    """
    given = pd.DataFrame(rows)
    empty = pd.Series(None, index=given.index, dtype="object")
    return pd.DataFrame({name: _as(kind, given.get(name, empty)) for name, kind in columns.items()}, index=given.index)


def _as(kind: str, column: pd.Series) -> pd.Series:
    if kind == STRING:
        text = column if column.dtype == "str" else column.astype("object").where(column.notna(), "").astype("str")
        return text.fillna("")
    try:
        return column.astype(pd.api.types.pandas_dtype(kind))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"the column '{column.name}' holds what is no {kind}: {error}") from error


_SHARE, _CORRELATION = (0.0, 1.0), (-1.0, 1.0)

#: What a number of any of these tables can be; what is beyond was written by something else. A missing one always can.
RANGES = {
    "layer": (-1, MOST_LAYERS), "depth": _SHARE, "seed": (0, 2**63), "n": (0, LARGEST_COUNT),
    "ccc": _CORRELATION, "ccc_low": _CORRELATION, "ccc_high": _CORRELATION,
    "pearson": _CORRELATION, "pearson_low": _CORRELATION, "pearson_high": _CORRELATION,
    "rmse": (0, LARGEST), "rmse_low": (0, LARGEST), "rmse_high": (0, LARGEST),
    "uar": _SHARE, "uar_low": _SHARE, "uar_high": _SHARE,
    "macro_f1": _SHARE, "macro_f1_low": _SHARE, "macro_f1_high": _SHARE,
    "speakers": (0, LARGEST_COUNT), "units": (0, LARGEST_COUNT), "penalty": (0, np.finfo(float).max),
    "null_mean": _CORRELATION, "null_high": _CORRELATION, "p": _SHARE, "p_holm": _SHARE, "selectivity": (-2, 2),
    "permutations": (0, LARGEST_COUNT), "mdl_bits": (-LARGEST, LARGEST), "compression": (-LARGEST, LARGEST),
    "weight": _SHARE, "weight_normed": _SHARE, "weight_by_norm": _SHARE,
    "classes": (0, LARGEST_COUNT), "uar_common": _SHARE, "uar_common_low": _SHARE, "uar_common_high": _SHARE,
    "tested": _CORRELATION,
    "recall": _SHARE, "recall_low": _SHARE, "recall_high": _SHARE, "precision": _SHARE,
    "predicted": (0, LARGEST_COUNT),
    "truth": (-LARGEST, LARGEST), "prediction": (-LARGEST, LARGEST),
    "truth_squared": (0, LARGEST), "prediction_squared": (0, LARGEST), "product": (-LARGEST, LARGEST),
}  # fmt: skip

_SHORT = (lambda value: is_text(value) and len(value) <= LONGEST_NAME, f"a text of at most {LONGEST_NAME:,} characters")
_PENALTIES: Field = (
    lambda value: isinstance(value, list) and len(value) > 0 and all(map(is_number, value)),
    "a list of numbers",
)
_NAMES: Field = (lambda value: isinstance(value, list) and all(map(is_text, value)), "a list of texts")

#: What an entry of the protocol must hold where it is read; what else it says is printed as it is, or not read.
PROTOCOL = Part(
    {"model": NAME, "corpus": NAME, "dimension": NAME, "probe": NAME, "features": _SHORT},
    {
        "hash": TEXT,
        "cache": Part(
            {"file": NAME, "provenance": PROVENANCE, "utterances": COUNT, "speakers": COUNT, "unknown_speaker": COUNT},
            {"labelled": COUNT, "left_out": TEXTS, "groups": COUNT},
        ),
        "split": Part(
            {
                "kind": TEXT,
                "folds": COUNT,
                "counts": COUNTS,
                "leakage": ListOf(
                    Part(
                        {"parts": TEXTS, "speakers": ListOf(Part({}, {"speaker": TEXT}))},
                        {"groups": ListOf(Part({}, {"group": TEXT}))},
                    )
                ),
                "notes": TEXTS,
            },
            {"inner_folds": COUNT, "kept_whole": TEXT},
        ),
        "settings": Part(
            {},
            {
                "penalties": _PENALTIES,
                "folds_asked": COUNT,
                "seed": COUNT,
                "seeds": LIST,
                "resamples": COUNT,
                "permutations": COUNT,
                "permuted": TEXT_OR_NONE,
                "ungrouped": TRUTH,
                "rescale": TRUTH,
                "classes": TEXT,
                "training": TABLE,
            },
        ),
        "run": Part(
            {},
            {
                "audio": replace(MODEL, or_none=True),
                "corpus": CORPUS,
                "model": Part({}, {"freeze": or_none(_NAMES)}),
                "training": TABLE,
            },
        ),
        "runs": ListOf(Part({"seed": COUNT})),
        "utterances": COUNT,
        "labelled": COUNT,
        "left_out": TEXTS,
        "categories": TEXTS,
        "text": TEXT_OR_NONE,
        "interval": TEXT_OR_NONE,
        "notes": TEXTS,
        "versions": TEXTS_BY_NAME,
    },
)
