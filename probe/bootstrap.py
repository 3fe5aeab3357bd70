"""Confidence intervals over speakers: utterances of one speaker are not independent, so speakers are resampled.

A resample is a row of counts, one a speaker. Every score follows from sums over speakers (`metrics`), so all resamples
of all layers are one matrix product, and every layer and probe sees the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import sparse

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


def intervals(
    sums: np.ndarray,
    measures: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, np.ndarray]:
    """Percentile bootstrap intervals of measures that follow from sums over speakers.

    Parameters
    ----------
    sums : ndarray, shape (speakers, fits, ...)
        Such as :func:`moments_by_speaker` returns, or a confusion matrix for each speaker and fit.
    measures : mapping of str to callable
        Each takes summed `sums`, shape (resamples, fits, ...), and returns shape (resamples, fits).
    resamples : int
    seed : int
        The resamples depend on this and on the number of speakers alone.
    level : float

    Returns
    -------
    dict of str to ndarray, shape (2, fits)
        Lower and upper bound. NaN with fewer than 2 speakers, or where more than a tenth of the resamples have no
        score (a constant truth, say).

    References
    ----------
    B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    speakers, fits = sums.shape[:2]
    nothing = {name: np.full((2, fits), np.nan) for name in measures}
    if speakers < 2 or resamples < 1:
        return nothing
    flat = sums.reshape(speakers, -1)
    drawn: dict[str, list] = {name: [] for name in measures}
    for counts in resample_counts(speakers, resamples, seed=seed):
        summed = (counts @ flat).reshape(len(counts), *sums.shape[1:])
        for name, measure in measures.items():
            drawn[name].append(measure(summed))
    found = {}
    for name, parts in drawn.items():
        scores = np.concatenate(parts)
        bounds = np.full((2, fits), np.nan)
        scored = np.isfinite(scores).mean(0) >= 0.9
        if scored.any():
            tails = [(1 - level) / 2, (1 + level) / 2]
            bounds[:, scored] = np.nanquantile(scores[:, scored], tails, axis=0)
        found[name] = bounds
    return found


def resample_counts(speakers: int, resamples: int, *, seed: int = 0):
    """Yield how often each speaker is drawn in each resample, as arrays of shape (up to `CHUNK`, speakers)."""
    rng = np.random.default_rng([seed, speakers])
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        drawn = rng.integers(0, speakers, size=(size, speakers)) + np.arange(size)[:, None] * speakers
        yield np.bincount(drawn.ravel(), minlength=size * speakers).reshape(size, speakers).astype(np.float64)
