r"""The noise ceiling: the best score that any model can have where labels are means of few ratings.

A rating is what all people would say of the utterance, and an error: :math:`x_{ij} = t_i + e_{ij}`. The label is the
mean of :math:`n_i` of them, and is off by an error of variance :math:`\sigma_i^2 / n_i`, which nothing in the audio
foretells. Of the variance of the labels the share that is not error is their reliability,

.. math:: \rho = 1 - \frac{\overline{s_i^2 / n_i}}{\operatorname{var}(y)},

with the spread :math:`s_i` of the utterance's own ratings (divided by :math:`n_i - 1`, so without bias). A prediction
:math:`p` knows of the label no more than of :math:`t`, so :math:`\operatorname{cov}(p, y) = \operatorname{cov}(p, t)`:

- Pearson: :math:`r(p, y) = r(p, t) \sqrt\rho \le \sqrt\rho`.
- CCC: :math:`2 \operatorname{cov}(p, y) / (\operatorname{var} p + \operatorname{var} y + (\bar p - \bar y)^2) \le r
  \le \sqrt\rho`, and :math:`p = \bar t + (t - \bar t) / \sqrt\rho` has it. The true opinion itself, :math:`p = t`, has
  :math:`2 \rho / (1 + \rho)`, since it varies less than the labels.
- RMSE: at least :math:`(\overline{s_i^2 / n_i})^{1/2}`.

It holds where errors of different ratings are independent of each other, and of the audio. The severity of a rater is
part of the error where utterances have different raters; where all of them rate all utterances it is the same for each
label and no error, and the ceiling that is told here is too low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emoprobe.probe.metrics import pearson


@dataclass(frozen=True)
class NoiseCeiling:
    """What the errors of the ratings allow.

    Attributes
    ----------
    utterances : int
        That have ratings, two or more at least one of them.
    raters : float
        Ratings of an utterance, the harmonic mean: by it errors average.
    reliability : float
        Share of the labels' variance that is no error. Below 0 by chance, where there is little else.
    single : float
        Reliability that one rating would have.
    error : float
        Mean variance of a label's error.
    """

    utterances: int
    raters: float
    reliability: float
    single: float
    error: float

    @property
    def ceiling(self) -> float:
        """Highest Pearson's r, and highest CCC, of any prediction."""
        return float(np.sqrt(max(self.reliability, 0.0)))

    @property
    def calibrated(self) -> float:
        """CCC of the opinion of all people itself."""
        reliability = max(self.reliability, 0.0)
        return 2 * reliability / (1 + reliability)

    @property
    def rmse(self) -> float:
        """Lowest RMSE of any prediction, in the unit of the labels."""
        return float(np.sqrt(self.error))


def noise_ceiling(mean: ArrayLike, spread: ArrayLike, number: ArrayLike) -> NoiseCeiling:
    """Noise ceiling of labels that are means of ratings; see :mod:`emoprobe.analysis.measures.reliability`.

    Parameters
    ----------
    mean, spread, number : array_like, shape (utterances,)
        Mean, standard deviation of the sample (divided by n - 1) and number of the ratings of each utterance. The
        error of a single rating is that of the others on average. Rows without a mean or a number take no part.

    Returns
    -------
    NoiseCeiling
        NaN where no utterance has two ratings, or labels do not vary.

    Examples
    --------
    >>> found = noise_ceiling([1.0, 2.0, 3.0], [0.5, 0.5, 0.5], [4, 4, 4])
    >>> round(found.reliability, 4), round(found.single, 4), round(found.ceiling, 4)
    (0.9375, 0.7895, 0.9682)
    """
    sums = rating_terms(np.asarray(mean, float), np.asarray(spread, float), np.asarray(number, float)).sum(0)
    reliability, single, error = _reliability(sums)
    n, _, _, _, _, _, inverse = sums
    return NoiseCeiling(int(n), float(n / inverse) if n else np.nan, float(reliability), float(single), float(error))


def spearman_brown(single: ArrayLike, raters: ArrayLike) -> np.ndarray:
    r"""Reliability of the mean of `raters` ratings, of which one has the reliability `single`.

    .. math:: \rho_k = \frac{k \rho_1}{1 + (k - 1) \rho_1}

    References
    ----------
    C. Spearman, "Correlation calculated from faulty data", and W. Brown, "Some experimental results in the correlation
    of mental abilities", British Journal of Psychology 3, 1910.
    """
    single, raters = np.asarray(single, float), np.asarray(raters, float)
    return raters * single / (1 + (raters - 1) * single)


def split_half(utterances: ArrayLike, ratings: ArrayLike, *, halves: int = 100, seed: int = 0) -> float:
    """Reliability of the mean ratings, from the correlation of the means of two halves of them.

    The ratings of each utterance are dealt to two halves by lot; one is left out where their number is odd. The
    correlation between the halves' means, averaged over `halves` lots, is raised to all ratings by
    :func:`spearman_brown`, with the harmonic means of how many a half and a whole has.

    Parameters
    ----------
    utterances : array_like of int, shape (ratings,)
        Which utterance each rating is of.
    ratings : array_like of float, shape (ratings,)
        NaN is none.
    halves, seed : int

    Returns
    -------
    float
        NaN with fewer than three utterances of two ratings or more.
    """
    values = np.asarray(ratings, float)
    there = ~np.isnan(values)
    values = values[there]
    _, utterance, counts = np.unique(np.asarray(utterances)[there], return_inverse=True, return_counts=True)
    half = counts // 2
    some = half > 0
    if some.sum() < 3:
        return float("nan")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rng, correlations = np.random.default_rng(seed), []
    for _ in range(halves):
        order = np.lexsort((rng.random(len(values)), utterance))
        place = np.arange(len(values)) - starts[utterance[order]]
        size = half[utterance[order]]
        means = []
        for chosen in (place < size, (place >= size) & (place < 2 * size)):
            sums = np.bincount(utterance[order][chosen], values[order][chosen], minlength=len(counts))
            means.append(sums[some] / half[some])
        correlations.append(pearson(*means))
    times = _harmonic(counts[some]) / _harmonic(half[some])
    return float(spearman_brown(np.mean(correlations), times))


def share_of_ceiling(
    score: tuple[float, float, float], ceiling: tuple[float, float, float]
) -> tuple[float, float, float]:
    """A score over its ceiling, with the interval that follows from those of both.

    Parameters
    ----------
    score, ceiling : (value, low, high)
        Taken for independent. Where they are not, they rise and fall with the same labels, and the interval is wide.

    Returns
    -------
    value, low, high : float
        NaN where a ceiling is not above 0, or an interval is missing.

    References
    ----------
    A. Donner and G. Zou, "Closed-form confidence intervals for functions of the normal mean and standard deviation",
    Statistical Methods in Medical Research 21(4), 2012: the interval of a ratio from those of its parts.
    """
    a, low, high = score
    b, b_low, b_high = ceiling
    if not b > 0:
        return np.nan, np.nan, np.nan
    if not b_low > 0:
        return a / b, np.nan, np.nan
    with np.errstate(invalid="ignore"):
        lower = a * b - np.sqrt((a * b) ** 2 - low * b_high * (2 * a - low) * (2 * b - b_high))
        upper = a * b + np.sqrt((a * b) ** 2 - high * b_low * (2 * a - high) * (2 * b - b_low))
    return a / b, float(lower / (b_high * (2 * b - b_high))), float(upper / (b_low * (2 * b - b_low)))


def _harmonic(counts: np.ndarray) -> float:
    return float(len(counts) / (1 / counts).sum())


def rating_terms(mean: np.ndarray, spread: np.ndarray, number: np.ndarray) -> np.ndarray:
    """What the reliability is a function of the sums of, shape (utterances, 7); 0 where there is no rating.

    Count, label and its square (about the mean), variance of the error of several ratings, variance of one of several
    ratings, whether there are several, and one over their number.
    """
    rated = np.isfinite(mean) & (number > 0)
    several = rated & (number > 1) & np.isfinite(spread)
    centred = np.where(rated, mean - (mean[rated].mean() if rated.any() else 0.0), 0.0)
    variance = np.where(several, spread, 0.0) ** 2
    number = np.where(rated, number, 1.0)
    columns = (rated, centred, centred**2, variance / number, variance, several, np.where(rated, 1 / number, 0.0))
    return np.stack(columns, axis=-1).astype(np.float64)


def _reliability(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reliability of the labels and of one rating, and the mean variance of a label's error, of sums (..., 7)."""
    n, label, square, errors, variances, several, _ = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        one = variances / several
        error = (errors + (n - several) * one) / n
        total = (square - label**2 / n) / (n - 1)
        reliability = np.where(total > 0, 1 - error / total, np.nan)
        true = total - error
        return reliability, true / (true + one), error


def ceiling_of(sums: np.ndarray) -> np.ndarray:
    """Noise ceiling of sums of :func:`rating_terms`, shape (..., 7)."""
    return np.sqrt(np.maximum(_reliability(sums)[0], 0.0))
