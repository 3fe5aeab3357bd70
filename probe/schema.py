"""What a results folder must hold to be read: the ranges of its numbers, and the fields of its protocol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

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

_SHARE, _CORRELATION = (0.0, 1.0), (-1.0, 1.0)

#: What a number of any of these tables can be; what is beyond was written by something else. A missing one always can.
RANGES = {
    "layer": (-1, MOST_LAYERS), "depth": _SHARE, "seed": (0, 2**63), "n": (0, LARGEST_COUNT),
    "ccc": _CORRELATION, "ccc_low": _CORRELATION, "ccc_high": _CORRELATION,
    "pearson": _CORRELATION, "pearson_low": _CORRELATION, "pearson_high": _CORRELATION,
    "rmse": (0, LARGEST), "rmse_low": (0, LARGEST), "rmse_high": (0, LARGEST),
    "uar": _SHARE, "uar_low": _SHARE, "uar_high": _SHARE,
    "macro_f1": _SHARE, "macro_f1_low": _SHARE, "macro_f1_high": _SHARE,
    "speakers": (0, LARGEST_COUNT), "penalty": (0, np.finfo(float).max),
    "null_mean": _CORRELATION, "null_high": _CORRELATION, "p": _SHARE, "p_holm": _SHARE, "selectivity": (-2, 2),
    "permutations": (0, LARGEST_COUNT), "mdl_bits": (-LARGEST, LARGEST), "compression": (-LARGEST, LARGEST),
    "weight": _SHARE, "weight_normed": _SHARE,
    "truth": (-LARGEST, LARGEST), "prediction": (-LARGEST, LARGEST),
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
            {"labelled": COUNT, "left_out": TEXTS},
        ),
        "split": Part(
            {
                "kind": TEXT,
                "folds": COUNT,
                "counts": COUNTS,
                "leakage": ListOf(Part({"parts": TEXTS, "speakers": ListOf(Part({}, {"speaker": TEXT}))})),
                "notes": TEXTS,
            },
            {"inner_folds": COUNT},
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
