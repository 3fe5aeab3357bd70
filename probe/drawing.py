"""Scores of many systems under the same resamples of speakers and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from .bootstrap import confusion_by_speaker, leave_one_out, moments_by_speaker, resampled, scale_of, stretched
from .metrics import CATEGORY_MEASURES, DIMENSION_MEASURES
from .recalls import common_classes
from .units import SPEAKER, speaker_groups, unit_names, unit_of, with_groups

#: A score as a function of sums, shape (..., 6).
Measure = Callable[[np.ndarray], np.ndarray]

#: Columns of the predictions that hold label and answer.
_RATED, _NAMED = ("truth", "prediction"), ("true_category", "predicted_category")


@dataclass(frozen=True)
class Sums:
    """Systems on the utterances that all of them score.

    Attributes
    ----------
    sums : list of ndarray, shape (speakers, seeds, 6), or (speakers, seeds, classes, classes)
        One a system.
    n : int
        Utterances.
    speakers : int
        As many as are resampled, where that is speakers.
    unit : str
        What is resampled, and the first axis of the sums: `units.SPEAKER` or `units.GROUP`.
    common : ndarray of bool, shape (classes,), or None
        Of categories, those that are common enough for an interval (:func:`.recalls.common_classes`): the others take
        no part in a comparison.
    rare : tuple of str
        Names of these others.
    """

    sums: list[np.ndarray]
    n: int
    speakers: int = 0
    unit: str = SPEAKER
    common: np.ndarray | None = None
    rare: tuple[str, ...] = ()

    def counts(self) -> dict[str, int | str]:
        """Columns of a table: `n` utterances, `speakers`, the `unit` that is resampled, and how many `units`."""
        return {"n": self.n, "speakers": self.speakers, "unit": self.unit, "units": len(self.sums[0])}


@dataclass(frozen=True)
class Drawn:
    """Scores of systems, means over their seeds.

    Attributes
    ----------
    score : ndarray, shape (systems,)
    drawn : ndarray, shape (resamples, systems)
        On resamples of the speakers.
    with_seeds : ndarray, shape (resamples, systems)
        On the same resamples of the speakers, and resamples of the seeds.
    left_out : ndarray, shape (speakers, systems)
        Without one speaker each.
    """

    score: np.ndarray
    drawn: np.ndarray
    with_seeds: np.ndarray
    left_out: np.ndarray


# Numbers --------------------------------------------------------------------------------------------------------------


def columns_of(metric: str) -> tuple[str, str]:
    """Columns of the predictions that hold label and answer of what a metric scores.

    Raises
    ------
    UserError
        If no score has that name.
    """
    if metric in CATEGORY_MEASURES:
        return _NAMED
    if metric not in DIMENSION_MEASURES:
        known = ", ".join((*DIMENSION_MEASURES, *CATEGORY_MEASURES))
        raise UserError(f"no score is called {metric!r}: choose one of {known}")
    return _RATED


def is_there(values: pd.Series) -> pd.Series:
    """Which labels or answers are known: neither missing nor an empty name."""
    return values.notna() & (values != "")


def sums_of(frames: Sequence[pd.DataFrame], metric: str = "ccc") -> Sums:
    """Sums by speaker, from which a metric follows, of systems on the utterances that all score."""
    truth, answer = columns_of(metric)
    wide, labels = [], []
    for frame in frames:
        seeds = frame["seed"].fillna(-1)
        if frame.assign(seed=seeds).duplicated(["id", "seed"]).any():
            raise UserError("a system predicts an utterance twice: the results are damaged, fit again with --overwrite")
        wide.append(frame.assign(seed=seeds).pivot(index="id", columns="seed", values=answer).dropna())
        labels.append(
            with_groups(frame).drop_duplicates("id").set_index("id")[[truth, "speaker", "group", "dimension"]]
        )
    ids = wide[0].index
    for one in wide[1:]:
        ids = ids.intersection(one.index)
    if not len(ids):
        raise UserError("the systems that are compared have no utterance in common: were they fitted on one corpus?")
    ids = ids.sort_values()
    labels = [one.loc[ids] for one in labels]
    first: dict[str, pd.DataFrame] = {}
    for one in labels:
        known = first.setdefault(one["dimension"].iloc[0], one)
        same = all((labels[0][column] == one[column]).all() for column in ("speaker", "group"))
        if not np.array_equal(known[truth], one[truth]) or not same:
            raise UserError(
                "the systems that are compared disagree about the label, speaker or group of an utterance: they were "
                "fitted on different versions of the corpus; fit them again on the same one"
            )
    speaker, group = labels[0]["speaker"].tolist(), labels[0]["group"].tolist()
    groups = np.unique(np.array(unit_names(ids.tolist(), speaker, group)), return_inverse=True)[1]
    n_speakers, unit = len(np.unique(speaker_groups(speaker))), unit_of(group)
    answers = [one.loc[ids].to_numpy().T for one in wide]
    if metric in CATEGORY_MEASURES:
        by_unit, common, rare = _confusions(labels[0][truth].to_numpy(), answers, groups)
        return Sums(by_unit, len(ids), n_speakers, unit, common, rare)
    sums = [
        moments_by_speaker(label[truth].to_numpy(float), one.astype(float), groups)
        for one, label in zip(answers, labels, strict=True)
    ]
    return Sums(sums, len(ids), n_speakers, unit)


def _confusions(
    truth: np.ndarray, answers: Sequence[np.ndarray], groups: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, tuple[str, ...]]:
    """Confusion matrices by unit of systems, which categories are common, and the names of the others.

    `answers` are of shape (seeds, utterances) each, all of names.
    """
    names = np.unique(np.concatenate([truth, *(one.ravel() for one in answers)]).astype(str))
    number = dict(zip(names, range(len(names)), strict=True))
    label = np.array([number[name] for name in truth])
    sums = []
    for one in answers:
        numbers = np.array([[number[name] for name in row] for row in one])
        sums.append(confusion_by_speaker(label, numbers, groups, len(names)))
    support = sums[0][:, 0].sum(-1)
    common = common_classes(support)
    rare = tuple(names[(support.sum(0) > 0) & ~common])
    return sums, common, rare


def scores_of(systems: Sums, metric: str) -> np.ndarray:
    """Score of each system, mean over its seeds, of all categories: also of those that no comparison speaks of."""
    measure = DIMENSION_MEASURES[metric] if metric in DIMENSION_MEASURES else CATEGORY_MEASURES[metric]
    return np.array([measure(one.sum(0)).mean() for one in systems.sums])


def draw_resamples(systems: Sums, metric: str, resamples: int, seed: int) -> Drawn:
    """Scores of systems and their resamples, the same of all of them."""
    measure, sums = _measure(systems, metric), systems.sums
    score = np.array([measure(one.sum(0)).mean() for one in sums])
    left_out = np.stack([measure(leave_one_out(one)).mean(1) for one in sums], 1)
    drawn, with_seeds = np.empty((2, resamples, len(sums)))
    if resamples:
        # Systems side by side: `resampled` goes over the draws in parts, so that they need not all be held at once.
        each = resampled(np.concatenate(sums, axis=1), {metric: measure}, resamples=resamples, seed=seed)[metric]
        ends = np.cumsum([one.shape[1] for one in sums])
        for k, of_seeds in enumerate(np.split(each, ends[:-1], axis=1)):
            drawn[:, k] = of_seeds.mean(1)
            with_seeds[:, k] = (of_seeds * _seed_weights(of_seeds.shape[1], resamples, seed)).sum(1)
    return Drawn(score, drawn, with_seeds, left_out)


def _measure(systems: Sums, metric: str) -> Callable[[np.ndarray], np.ndarray]:
    """A metric as a function of sums, shape (..., 6) or (..., classes, classes)."""
    if metric in CATEGORY_MEASURES:
        # One class alone has a recall, and no average.
        common = systems.common
        return partial(CATEGORY_MEASURES[metric], classes=None if common is None else common & (common.sum() > 1))
    return DIMENSION_MEASURES[metric]


def _seed_weights(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """Weights of the seeds in each resample, shape (resamples, seeds); the same of every system with as many seeds.

    Drawing S seeds with replacement gives their mean (S - 1) / S of its variance: the deviations are scaled up by the
    root of the inverse.
    """
    if seeds == 1:
        return np.ones((resamples, 1))
    rng = np.random.default_rng([seed, seeds, 1])
    counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    return (1 + (counts - 1) * np.sqrt(seeds / (seeds - 1))) / seeds


def limits(
    drawn: np.ndarray, left_out: np.ndarray, *, scale: str | None = None, with_seeds: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """95 % interval of each column of resamples, and the two-sided p value of zero.

    Parameters
    ----------
    drawn : ndarray, shape (resamples, columns)
    left_out : ndarray, shape (speakers, columns)
        Without one speaker each.
    scale : str, optional
        See :func:`bootstrap.stretched`, which widens the resamples first.
    with_seeds : ndarray, shape (resamples, columns), optional
        The same resamples of the speakers with other seeds. What the seeds change is added after the resamples were
        widened: the jackknife knows of the speakers alone, and the correction for few of them would be lost in the
        spread of the seeds.

    Returns
    -------
    low, high, p : ndarray, shape (columns,)
        NaN with fewer than 2 speakers, or where more than a tenth of the resamples have no value.
    """
    columns = drawn.shape[1]
    low, high, p = np.full((3, columns), np.nan)
    for k, values in _widened(drawn, left_out, scale, with_seeds):
        low[k], high[k] = np.quantile(values, [0.025, 0.975])
        p[k] = _twice(min((values <= 0).sum(), (values >= 0).sum()), len(values))
    return low, high, p


def equivalence(
    drawn: np.ndarray, left_out: np.ndarray, smallest: float, *, with_seeds: np.ndarray | None = None
) -> np.ndarray:
    """Twice the p value of two one-sided tests that each column lies within ±`smallest` (`jackknife.equivalence`).

    Parameters
    ----------
    drawn, left_out, with_seeds
        See :func:`limits`.
    smallest : float
        The smallest difference of interest.

    Returns
    -------
    ndarray, shape (columns,)
        NaN where :func:`limits` has none.
    """
    p = np.full(drawn.shape[1], np.nan)
    for k, values in _widened(drawn, left_out, None, with_seeds):
        p[k] = _twice(max((values >= smallest).sum(), (values <= -smallest).sum()), len(values))
    return p


def _twice(beyond: int, resamples: int) -> float:
    """Twice the share of resamples beyond a limit, the sample itself counted as one of them."""
    return min(1.0, 2 * (1 + int(beyond)) / (1 + resamples))


def _widened(
    drawn: np.ndarray, left_out: np.ndarray, scale: str | None, with_seeds: np.ndarray | None
) -> Iterator[tuple[int, np.ndarray]]:
    """The widened resamples of each column that has values enough, with its number; see :func:`limits`."""
    if len(left_out) < 2 or not len(drawn):
        return
    wide = stretched(drawn, left_out, scale=scale)
    if with_seeds is not None:
        forth, back = scale_of(scale)
        wide = back(forth(wide) + forth(with_seeds) - forth(drawn))
    scored = np.isfinite(wide).mean(0) >= 0.9
    for k in np.flatnonzero(scored):
        yield int(k), wide[np.isfinite(wide[:, k]), k]


def scored(frame: pd.DataFrame, metric: str = "ccc") -> frozenset:
    """Utterances that every seed of a system scores."""
    there = frame[is_there(frame[columns_of(metric)[1]])]
    counts = there["id"].value_counts()
    return frozenset(counts.index[counts >= frame["seed"].nunique(dropna=False)])
