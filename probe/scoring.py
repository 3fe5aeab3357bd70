"""From predictions to rows of the results: pooled scores with intervals, scores of folds, and what a number lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from . import jackknife
from .bootstrap import confusion_by_speaker, intervals, moments_by_speaker
from .deletion import LeftOut
from .jackknife import FIXED
from .metrics import CATEGORY_MEASURES, DIMENSION_MEASURES
from .permutation import holm, summarise
from .recalls import TOO_RARE, common_classes, recalls, resampled_measures, told
from .refits import Refit
from .schema import MOMENTS
from .splits import POOLED, Split
from .units import unit_of


@dataclass(frozen=True)
class Scored:
    """Predictions of one target by several fits, and what they are compared with.

    Attributes
    ----------
    split : Split
    truth : ndarray, shape (utterances,)
        Labels, or numbers of categories.
    labelled : ndarray of bool, shape (utterances,)
    predictions : ndarray, shape (fits, utterances)
    identity : list of dict
        For each fit, the columns that say which it is.
    penalties : list of ndarray, shape (folds,), or None
        For each fit, the chosen penalty of every fold.
    categories : list of str or None
        Names, where the target is categories.
    ids, speakers : sequence of str, shape (utterances,)
    nulls : list of dict of str to ndarray, shape (permutations,), or None
        For each fit, its scores for permuted labels by the name of the split.
    tested : list of dict of str to float, or None
        For each fit, the score that the null is of, by the name of the split, where that is not CCC of the fit itself.
    permuted : str
        What the labels of the nulls were permuted among.
    codes : list of dict or None
        For each fit, more columns of its pooled rows.
    left_out : list of LeftOut, or None
        For each fit, the sums that remain without each speaker, where it can be fitted again without them.
    """

    split: Split
    truth: np.ndarray
    labelled: np.ndarray
    predictions: np.ndarray
    identity: list[dict]
    penalties: list[np.ndarray | None]
    categories: list[str] | None
    ids: Sequence[str]
    speakers: Sequence[str]
    nulls: list[dict[str, np.ndarray] | None]
    codes: list[dict | None]
    tested: list[dict[str, float] | None] | None = None
    left_out: list[LeftOut | None] | None = None
    permuted: str = ""

    def refit(self, fit: int, split: str) -> Refit | None:
        """What a fit scores on a split without each speaker; None where nobody knows, or there is one alone."""
        left_out = self.left_out[fit] if self.left_out else None
        if left_out is None:
            return None
        parts = left_out.deletions.parts(split)
        some = np.flatnonzero(parts != "")
        if len(some) < 2:
            return None
        names = tuple(left_out.deletions.names[k] for k in some)
        return Refit(names, tuple(parts[some].tolist()), left_out.sums[split][some])


@dataclass(frozen=True)
class Outcome:
    """What was scored.

    Attributes
    ----------
    scores : list of dict
        Rows of the scores.
    predictions : DataFrame
    recalls : list of dict
        Rows of the recalls of each category; none of a dimension.
    refits : list of DataFrame
        What :class:`.refits.Refits` reads, of each fit that has any.
    reasons : list of str
        Why pooled scores lack something.
    """

    scores: list[dict]
    predictions: pd.DataFrame
    recalls: list[dict]
    refits: list[pd.DataFrame]
    reasons: list[str]


def score(scored: Scored, *, resamples: int, seed: int) -> Outcome:
    """Score all fits of a target on every split and fold.

    Parameters
    ----------
    scored : Scored
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    Outcome

    Raises
    ------
    UserError
        If a prediction is not a number.
    """
    measures = DIMENSION_MEASURES if scored.categories is None else CATEGORY_MEASURES
    rows_out, frames, of_classes, refits, reasons = [], [], [], [], []
    for name in dict.fromkeys(name for fold in scored.split.folds for name in fold.tests):
        of_folds = [
            _Part(k, fold.name, fold.tests[name][scored.labelled[fold.tests[name]]])
            for k, fold in enumerate(scored.split.folds)
        ]
        rows = np.concatenate([part.rows for part in of_folds])
        if not len(rows):
            continue
        _check(scored, rows)
        by_speaker = _sums(scored, rows)
        resampled, rare = DIMENSION_MEASURES, ""
        if scored.categories is not None:
            support, resampled = by_speaker[:, 0].sum(-1), resampled_measures(by_speaker)
            of_classes += _recalls(scored, name, rows, by_speaker, resamples=resamples, seed=seed)
            rare = told(scored.categories, support, unit=_unit(scored.split, rows))
            reasons += [f"{name}: {line}" for line in (_absent(scored.categories, support), rare) if line]
        bounds = intervals(by_speaker, resampled, resamples=resamples, seed=seed)
        known = [scored.refit(fit, name) if resamples else None for fit in range(len(scored.identity))]
        kinds = [_refitted(bounds, fit, refit, by_speaker, measures) for fit, refit in enumerate(known)]
        refits += _tables_of(known, scored.identity, name)
        sums = by_speaker.sum(0)
        pooled = _rows(scored, name, _Part(None, POOLED, rows), sums)
        for fit, row in enumerate(pooled):
            row["interval"] = kinds[fit]
            for k, end in enumerate(("low", "high")):
                row.update({f"{measure}_{end}": limits[k, fit] for measure, limits in bounds.items()})
            row["reason"] = _reason(row, scored.truth[rows], wanted=resamples > 0)
            if row["reason"]:
                reasons.append(f"layer {row['layer']}, {name}: {row['reason']}")
            row["reason"] = row["reason"] or rare
            if "uar_common" in resampled:
                row["classes"] = int((sums[fit].sum(-1) > 0).sum())
                row["uar_common"] = float(resampled["uar_common"](sums[fit]))
            row.update(_tested(scored, fit, name, row) | (scored.codes[fit] or {}))
        for row, p in zip(pooled, holm([row.get("p", np.nan) for row in pooled]), strict=True):
            row["p_holm"] = p
        several = [part for part in of_folds if len(part.rows)] if len(of_folds) > 1 else []
        parts = [pooled, *(_rows(scored, name, part, _sums(scored, part.rows).sum(0)) for part in several)]
        rows_out += [row for of_fit in zip(*parts, strict=True) for row in of_fit]
        frames.append(_predictions(scored, name, of_folds))
    return Outcome(rows_out, pd.concat(frames, ignore_index=True), of_classes, refits, reasons)


def _refitted(
    bounds: dict[str, np.ndarray],
    fit: int,
    refit: Refit | None,
    by_speaker: np.ndarray,
    measures: Mapping[str, Callable],
) -> str:
    """Put the intervals of a fit that was refitted in place of those of the fixed probe; which they are now."""
    there = {name: bool(np.isfinite(ends[:, fit]).all()) for name, ends in bounds.items()}
    fixed = FIXED if any(there.values()) else ""
    if refit is None or not fixed:
        return fixed
    refitted = {}
    for measure, function in measures.items():
        samples = [values[:, None] for values in refit.samples(function, by_speaker[:, fit])]
        low, high, _ = jackknife.limits(function(by_speaker.sum(0))[fit : fit + 1], samples, scale=measure)
        refitted[measure] = np.concatenate([low, high])
    if any(there[name] and not np.isfinite(ends).all() for name, ends in refitted.items()):
        return fixed
    for name, ends in refitted.items():
        bounds[name][:, fit] = ends
    return refit.interval


def _tables_of(refits: Sequence[Refit | None], identity: Sequence[dict], split: str) -> list[pd.DataFrame]:
    """The refits of each fit that has any, as :class:`.refits.Refits` reads them."""
    return [
        pd.DataFrame(
            {
                **{name: value for name, value in about.items() if name != "depth"},
                "split": split,
                "part": list(refit.parts),
                "unit": list(refit.units),
                **dict(zip(MOMENTS, refit.sums.T, strict=True)),
            }
        )
        for refit, about in zip(refits, identity, strict=True)
        if refit is not None
    ]


@dataclass(frozen=True)
class _Part:
    """Rows that are scored together.

    Attributes
    ----------
    place : int or None
        Of the fold; None for all folds together.
    fold : str
        Its name.
    rows : ndarray of int
    """

    place: int | None
    fold: str
    rows: np.ndarray


def _rows(scored: Scored, name: str, part: _Part, sums: np.ndarray) -> list[dict[str, Any]]:
    """A row of the scores for each fit, with what every part has; `sums` of shape (fits, ...)."""
    measures = DIMENSION_MEASURES if scored.categories is None else CATEGORY_MEASURES
    counts = _counts(scored.split, part.rows)
    rows = []
    for fit, identity in enumerate(scored.identity):
        row = {**identity, "fold": part.fold, "split": name, **counts}
        row |= {measure: float(function(sums[fit])) for measure, function in measures.items()}
        row["penalty"] = _penalty(scored.penalties[fit], part.place)
        row["reason"] = _reason(row, scored.truth[part.rows], wanted=False)
        rows.append(row)
    return rows


def _tested(scored: Scored, fit: int, name: str, row: dict[str, Any]) -> dict[str, Any]:
    """Columns that compare a fit with its null on a split, if it has one."""
    null = scored.nulls[fit]
    if null is None:
        return {}
    other = scored.tested[fit] if scored.tested else None
    tested = other[name] if other else row["ccc"]
    return {"tested": tested, **summarise(tested, null[name]), "permuted": scored.permuted}


def _check(scored: Scored, rows: np.ndarray) -> None:
    wrong = ~np.isfinite(scored.predictions[:, rows])
    if wrong.any():
        fit, row = np.argwhere(wrong)[0]
        identity = scored.identity[fit]
        raise UserError(
            f"the {identity['probe']} probe of {identity['dimension']} predicts no number for "
            f"{scored.ids[rows[row]]}: its states are not finite or far too large; extract the cache anew"
        )


def _sums(scored: Scored, rows: np.ndarray) -> np.ndarray:
    """Sums for each speaker (or group, where that is resampled) and fit from which every measure follows."""
    truth, predicted, groups = scored.truth[rows], scored.predictions[:, rows], scored.split.groups[rows]
    if scored.categories is None:
        return moments_by_speaker(truth, predicted, groups)
    return confusion_by_speaker(truth, predicted, groups, len(scored.categories))


def _counts(split: Split, rows: np.ndarray) -> dict[str, int | str]:
    """Utterances and speakers of some rows, and what an interval resamples: as each table tells it of the same rows."""
    return {
        "n": len(rows),
        "speakers": len(np.unique(split.units.speakers[rows])),
        "unit": _unit(split, rows),
        "units": len(np.unique(split.groups[rows])),
    }


def _unit(split: Split, rows: np.ndarray) -> str:
    return unit_of([split.units.names[row] for row in rows])


def _absent(categories: Sequence[str], support: np.ndarray) -> str:
    """Which classes UAR averages, where that is not all."""
    there = support.sum(0) > 0
    names = {known: [name for name, n in zip(categories, there, strict=True) if n == known] for known in (True, False)}
    if not names[False]:
        return ""
    return f"UAR averages {', '.join(names[True])}: no utterance of {', '.join(names[False])} is scored"


def _recalls(
    scored: Scored, name: str, rows: np.ndarray, by_speaker: np.ndarray, *, resamples: int, seed: int
) -> list[dict]:
    """Rows of the recalls of each class, of every fit."""
    truth, speakers = scored.truth[rows].astype(int), scored.split.units.speakers[rows]
    limits = recalls(by_speaker, resamples=resamples, seed=seed)
    predicted = by_speaker.sum((0, 2))
    common = common_classes(by_speaker[:, 0].sum(-1))
    rows_out = []
    for fit, identity in enumerate(scored.identity):
        for k, category in enumerate(scored.categories or ()):
            of_class = truth == k
            rows_out.append(
                {
                    **identity,
                    "split": name,
                    "category": category,
                    "n": int(of_class.sum()),
                    "speakers": len(np.unique(speakers[of_class])),
                    "predicted": int(predicted[fit, k]),
                    **{column: float(values[fit, k]) for column, values in limits.items()},
                    "reason": "" if common[k] else TOO_RARE if of_class.any() else "none is scored",
                }
            )
    return rows_out


def _penalty(chosen: np.ndarray | None, fold: int | None) -> float | None:
    """Penalty of a fold; the pooled score has one only where there is one fit."""
    if chosen is None or (fold is None and len(chosen) > 1):
        return None
    return float(chosen[fold or 0])


def _reason(row: dict[str, Any], truth: np.ndarray, *, wanted: bool) -> str:
    """Why a number is missing; `wanted` says whether an interval should be there."""
    first = "uar" if "uar" in row else "ccc"
    if np.isnan(row[first]) or np.isnan(row.get("pearson", 0.0)):
        return "the labels that are scored are constant" if np.ptp(truth) == 0 else "the predictions are constant"
    if wanted and np.isnan(row[f"{first}_low"]):
        few = row["units"] < 2
        return f"one {row['unit']}: no interval" if few else "too many resamples have no score: no interval"
    return ""


def _predictions(scored: Scored, name: str, of_folds: Sequence[_Part]) -> pd.DataFrame:
    """Of every scored row, one fit after the other."""
    rows = np.concatenate([part.rows for part in of_folds])
    fold = np.repeat(np.arange(len(of_folds)), [len(part.rows) for part in of_folds])
    fits = len(scored.identity)
    of_fit = np.repeat(np.arange(fits), len(rows))

    def of_rows(values: Sequence[str] | np.ndarray, places: np.ndarray = rows) -> pd.api.extensions.ExtensionArray:
        return pd.array(list(values), dtype="str").take(np.tile(places, fits))

    columns = {
        "split": name,
        "fold": of_rows([part.fold for part in of_folds], fold),
        "id": of_rows(scored.ids),
        "speaker": of_rows(scored.speakers),
        "group": of_rows(scored.split.units.names),
    }
    for column in dict.fromkeys(column for about in scored.identity for column in about):
        if column != "depth":
            columns[column] = pd.Series([about[column] for about in scored.identity]).array.take(of_fit)
    predicted = scored.predictions[:, rows].ravel()
    if scored.categories is None:
        columns |= {"truth": np.tile(scored.truth[rows], fits), "prediction": predicted}
    else:
        names = pd.array(list(scored.categories), dtype="str")
        columns["true_category"] = names.take(np.tile(scored.truth[rows].astype(int), fits))
        columns["predicted_category"] = names.take(predicted.astype(int))
    return pd.DataFrame(columns)
