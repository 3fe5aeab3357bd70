"""Confidence intervals over speakers: utterances of one speaker are not independent, so speakers are resampled.

Where speakers talk to each other in groups (a session, a dialogue), the groups are resampled (:mod:`.units`), and
"speaker" stands for either in what follows.

A resample is a row of counts, one a speaker. Every score follows from sums over speakers (`metrics`), so all resamples
of all layers are one matrix product, and every layer and probe sees the same resamples.

The percentile interval of so few independent units is too narrow: over 12 speakers it held the truth 86 to 90 times in
100, over 24 speakers 89 to 93 times. The resamples are therefore stretched about their mean (:func:`stretched`) until
their spread is what the jackknife finds, times what Student's t asks for more than the normal distribution; of
correlations on Fisher's scale, where their distribution is nearly symmetric. `tests/probe/test_calibration.py` holds
the result to 93 to 97 % for CCC and its differences. Where most of the variance of the predictions is between speakers,
12 of them do not suffice for that by any interval tried: CCC was held 91 to 95 times in 100, Pearson's correlation 85
to 90 and RMSE 88 to 90 times.

All this is of one fitted probe: what other training speakers would have changed, no resample knows. Where probes can be
fitted again without each speaker, :mod:`.jackknife` takes the place of these intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy import sparse, stats

from emoprobe.errors import UserError
from emoprobe.extract.options import MOST_REPEATS

from .units import GROUP, SPEAKER

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

#: What the limits of a score are, in words for the protocol, by what is resampled.
INTERVALS = {
    unit: f"95 % bootstrap over {unit}s around the fitted probe, stretched to the jackknife's spread and Student's t; "
    f"{unknown}"
    for unit, unknown in (
        (SPEAKER, "an utterance of unknown speaker counts as one"),
        (GROUP, "an utterance of unknown group counts with its speaker"),
    )
}

#: Resamples drawn at once; bounds the memory where every utterance is a group.
CHUNK = 250


def sum_by_group(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sum rows that belong to the same group.

    Parameters
    ----------
    values : ndarray, shape (rows, ...)
    groups : ndarray of int, shape (rows,)

    Returns
    -------
    ndarray, shape (distinct groups, ...)
        In ascending order of the groups' numbers.
    """
    names, member = np.unique(groups, return_inverse=True)
    rows = np.arange(len(groups))
    indicator = sparse.csr_matrix((np.ones(len(groups)), (member, rows)), shape=(len(names), len(groups)))
    flat = np.asarray(values, dtype=np.float64).reshape(len(groups), -1)
    return (indicator @ flat).reshape(len(names), *np.shape(values)[1:])


def moments_by_speaker(truth: np.ndarray, predictions: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The sums of `metrics.moments` for each speaker and fit.

    Parameters
    ----------
    truth : ndarray, shape (rows,)
        No NaN.
    predictions : ndarray, shape (fits, rows)
    groups : ndarray of int, shape (rows,)

    Returns
    -------
    ndarray, shape (speakers, fits, 6)
        About the mean of `truth`, which changes no measure and keeps the digits.
    """
    origin = truth.mean()
    t = np.broadcast_to((truth - origin)[:, None], predictions.T.shape)
    p = predictions.T - origin
    return np.stack([sum_by_group(term, groups) for term in (np.ones_like(p), t, p, t * t, p * p, t * p)], axis=-1)


def confusion_by_speaker(truth: np.ndarray, predictions: np.ndarray, groups: np.ndarray, n_classes: int) -> np.ndarray:
    """The confusion matrix (:func:`.metrics.confusion`) of each speaker and fit, one fit after the other.

    Parameters
    ----------
    truth : ndarray of int, shape (rows,)
        Class numbers from 0.
    predictions : ndarray of int, shape (fits, rows)
    groups : ndarray of int, shape (rows,)
    n_classes : int

    Returns
    -------
    ndarray of float64, shape (speakers, fits, n_classes, n_classes)
        In ascending order of the groups' numbers.

    Raises
    ------
    ValueError
        If a number is of no class.
    """
    names, member = np.unique(groups, return_inverse=True)
    truth = truth.astype(np.int64)
    counts = np.empty((len(names), len(predictions), n_classes, n_classes))
    for fit, predicted in enumerate(predictions):
        answer = predicted.astype(np.int64)  # one at a time: all of them may be many
        if any(len(some) and not 0 <= some.min() <= some.max() < n_classes for some in (truth, answer)):
            raise ValueError(f"classes must be 0 to {n_classes - 1}")
        cell = (member * n_classes + truth) * n_classes + answer
        counts[:, fit] = np.bincount(cell, minlength=len(names) * n_classes**2).reshape(-1, n_classes, n_classes)
    return counts


def _half_angle(x: np.ndarray) -> np.ndarray:
    return np.arcsin(np.sqrt(np.clip(x, 0.0, 1.0)))


def _share(angle: np.ndarray) -> np.ndarray:
    return np.sin(np.clip(angle, 0.0, np.pi / 2)) ** 2


def _fisher(x: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(x, -1 + 1e-12, 1 - 1e-12))


#: Scales on which resampled scores are nearly symmetric, with the way back; any other measure stays as it is.
SCALES: dict[str, tuple[Callable, Callable]] = {
    "ccc": (_fisher, np.tanh),
    "pearson": (_fisher, np.tanh),
    "rmse": (lambda x: np.log(np.maximum(x, 1e-300)), np.exp),
    "uar": (_half_angle, _share),
    "uar_common": (_half_angle, _share),
    "macro_f1": (_half_angle, _share),
    "share": (_half_angle, _share),
    "difference of shares": (np.asarray, lambda x: np.clip(x, -1.0, 1.0)),
}


def scale_of(measure: str | None) -> tuple[Callable, Callable]:
    """The scale of a measure and the way back: of `SCALES`, or as it is."""
    return SCALES.get(measure or "", (np.asarray, np.asarray))


def stretched(drawn: np.ndarray, left_out: np.ndarray, *, level: float = 0.95, scale: str | None = None) -> np.ndarray:
    """Stretch resampled scores about their mean, so that their quantiles hold the truth as often as they say.

    Parameters
    ----------
    drawn : ndarray, shape (resamples, fits)
    left_out : ndarray, shape (speakers, fits)
        Scores without one speaker each.
    level : float
        Of the interval that is wanted.
    scale : str, optional
        A key of `SCALES`, for the measure of that name.

    Returns
    -------
    ndarray, shape (resamples, fits)
        Quantiles at (1 - level) / 2 and (1 + level) / 2 are the interval. Never narrower than `drawn`.

    References
    ----------
    T. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69(4), 2015: the
    correction of percentile intervals by Student's t. B. Efron and C. Stein, "The jackknife estimate of variance",
    1981: it errs on the wide side.
    """
    forth, back = scale_of(scale)
    drawn, left_out = forth(drawn), forth(left_out)
    speakers = len(left_out)
    scored = np.isfinite(drawn)
    count = np.maximum(scored.sum(0), 1)
    middle = np.where(scored, drawn, 0.0).sum(0) / count
    spread = np.sqrt((np.where(scored, drawn - middle, 0.0) ** 2).sum(0) / count)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = left_out - left_out.mean(0)
        jackknife = np.sqrt((speakers - 1) / speakers * (deviation**2).sum(0))
        tail = (1 + level) / 2
        factor = stats.t.ppf(tail, speakers - 1) / stats.norm.ppf(tail) * jackknife / spread
    # Without a spread, or without a score when one speaker is left out, there is nothing to stretch by.
    return back(middle + np.maximum(np.nan_to_num(factor, nan=1.0, posinf=1.0), 1.0) * (drawn - middle))


def leave_one_out(sums: np.ndarray) -> np.ndarray:
    """Sums over all speakers but one, for each; shape as `sums`, speakers first."""
    return sums.sum(0) - sums


def intervals(
    sums: np.ndarray,
    measures: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, np.ndarray]:
    """Bootstrap intervals of measures that follow from sums over speakers, widened for few speakers.

    Parameters
    ----------
    sums : ndarray, shape (speakers, fits, ...)
        Such as :func:`moments_by_speaker` returns, or a confusion matrix for each speaker and fit.
    measures : mapping of str to callable
        Each takes summed `sums`, shape (resamples, fits, ...), and returns shape (resamples, fits). Names of `SCALES`
        are resampled on that scale.
    resamples : int
    seed : int
        The resamples depend on this and on the number of speakers alone.
    level : float

    Returns
    -------
    dict of str to ndarray, shape (2, fits)
        Lower and upper bound: quantiles of the resamples after :func:`stretched`. NaN with fewer than 2 speakers, or
        where more than a tenth of the resamples have no score (a constant truth, say).

    References
    ----------
    B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapters 11 and 13.
    """
    speakers, fits = sums.shape[:2]
    if speakers < 2 or resamples < 1:
        return {name: np.full((2, fits), np.nan) for name in measures}
    drawn = resampled(sums, measures, resamples=resamples, seed=seed)
    left_out = leave_one_out(sums)
    found = {}
    for name, measure in measures.items():
        bounds = np.full((2, fits), np.nan)
        scored = np.isfinite(drawn[name]).mean(0) >= 0.9
        if scored.any():
            wide = stretched(drawn[name], measure(left_out), level=level, scale=name)
            bounds[:, scored] = np.nanquantile(wide[:, scored], [(1 - level) / 2, (1 + level) / 2], axis=0)
        found[name] = bounds
    return found


def resampled(
    sums: np.ndarray,
    measures: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Score resamples of the speakers; see :func:`intervals`.

    Returns
    -------
    dict of str to ndarray, shape (resamples, fits)
    """
    speakers = len(sums)
    flat = sums.reshape(speakers, -1)
    drawn: dict[str, list] = {name: [] for name in measures}
    for counts in resample_counts(speakers, resamples, seed=seed):
        summed = (counts @ flat).reshape(len(counts), *sums.shape[1:])
        for name, measure in measures.items():
            drawn[name].append(measure(summed))
    return {name: np.concatenate(parts) for name, parts in drawn.items()}


def resample_counts(speakers: int, resamples: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield how often each speaker is drawn in each resample, as arrays of shape (up to `CHUNK`, speakers).

    Raises
    ------
    UserError
        If there are more than :data:`~emoprobe.extract.options.MOST_REPEATS`.
    """
    if resamples > MOST_REPEATS:
        raise UserError(f"{resamples} resamples have no end: ask for at most {MOST_REPEATS:,}; 2,000 are usual")
    rng = np.random.default_rng([seed, speakers])
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        drawn = rng.integers(0, speakers, size=(size, speakers)) + np.arange(size)[:, None] * speakers
        yield np.bincount(drawn.ravel(), minlength=size * speakers).reshape(size, speakers).astype(np.float64)
