"""Recall of each category with its interval, and which categories an interval can speak of.

A category of two utterances is lost from many resamples of the speakers, and a resample without it is scored on an
easier task. Such a category is left out of the intervals, by its name: its recall has none, and the intervals of UAR
and macro F1 take it as it is, for what its few utterances leave open cannot be told from resamples. They are too narrow
by that; the interval of the UAR of the other categories is not. A resample in which another category happens to have no
row averages the rest: that is rare by the rule (:func:`common_classes`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .bootstrap import intervals
from .metrics import f1_from_confusion, mean_of_classes, recalls_from_confusion, uar_from_confusion

#: A category with fewer utterances than these, or of fewer speakers, has no interval and is left out of those of UAR.
#: Three speakers of many are missing from one resample in twenty (e^-3).
FEWEST_ROWS, FEWEST_SPEAKERS = 5, 3

#: What the results say of such a category.
TOO_RARE = "too rare for an interval"

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1


def common_classes(support: np.ndarray) -> np.ndarray:
    """Which classes an interval speaks of.

    Parameters
    ----------
    support : ndarray, shape (units, classes)
        Utterances of each class, of every unit that is resampled (a speaker).

    Returns
    -------
    ndarray of bool, shape (classes,)
        With :data:`FEWEST_ROWS` utterances of :data:`FEWEST_SPEAKERS` units, or of all units where there are fewer.
    """
    units = min(FEWEST_SPEAKERS, len(support))
    return (support.sum(0) >= FEWEST_ROWS) & ((support > 0).sum(0) >= units)


def resampled_measures(counts: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What the intervals of categories are of, as functions of confusion matrices summed over resampled units.

    Parameters
    ----------
    counts : ndarray, shape (units, fits, classes, classes)
        Confusion matrix of each unit; rows for the truth.

    Returns
    -------
    dict of str to callable
        `uar`, `macro_f1`: of all classes, those that are not common held at what they are in all units together.
        `uar_common`: of the common ones alone. All are NaN where fewer than two classes are common: one has a recall,
        and no average.
    """
    common = common_classes(counts[:, 0].sum(-1))
    common &= common.sum() > 1

    def holding(ratios: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        whole = ratios(counts.sum(0))
        averaged, rare = ~np.isnan(whole), np.where(common, np.nan, whole)
        held, some, number = np.nansum(rare, -1), (averaged & common).sum(-1), averaged.sum(-1)
        return lambda resample: (mean_of_classes(ratios(resample), common) * some + held) / number

    return {
        "uar": holding(recalls_from_confusion),
        "macro_f1": holding(f1_from_confusion),
        "uar_common": partial(uar_from_confusion, classes=common),
    }


def recalls(counts: np.ndarray, *, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Recall and precision of each class, with the 95 % interval of the recall.

    Parameters
    ----------
    counts : ndarray, shape (units, fits, classes, classes)
        Confusion matrix of each unit that is resampled; rows for the truth.
    resamples, seed : int
        Of the bootstrap; see :func:`.bootstrap.intervals`.

    Returns
    -------
    dict of str to ndarray, shape (fits, classes)
        `recall`, `recall_low`, `recall_high`, `precision`. NaN where a class has no utterance (of the precision: no
        prediction), and limits where it is not common (:func:`common_classes`).
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    support, predicted = counts.sum(-1), counts.sum(-2)
    units, fits, classes = hits.shape
    common = common_classes(support[:, 0])
    pairs = np.stack([hits, support], -1).reshape(units, fits * classes, 2)
    low, high = intervals(pairs, {"share": _share}, resamples=resamples, seed=seed)["share"].reshape(2, fits, classes)
    return {
        "recall": recalls_from_confusion(counts.sum(0)),
        "recall_low": np.where(common, low, np.nan),
        "recall_high": np.where(common, high, np.nan),
        "precision": _ratio(hits.sum(0), predicted.sum(0)),
    }


def told(names: Sequence[str], support: np.ndarray, *, unit: str = "speaker") -> str:
    """Which classes the intervals leave out, and why, in words; empty where none.

    Parameters
    ----------
    names : sequence of str
        Of the classes.
    support : ndarray, shape (units, classes)
        See :func:`common_classes`.
    unit : str
        What is resampled.
    """
    common, n, units = common_classes(support), support.sum(0), (support > 0).sum(0)
    rare = [
        f"{name} ({int(n[k])} of {units[k]} {unit}{'' if units[k] == 1 else 's'})"
        for k, name in enumerate(names)
        if n[k] and not common[k]
    ]
    return f"{TOO_RARE}, and taken as they are in those of UAR and macro F1: {', '.join(rare)}" if rare else ""


def _share(pairs: np.ndarray) -> np.ndarray:
    return _ratio(pairs[..., 0], pairs[..., 1])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)
