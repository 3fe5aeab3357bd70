"""Intervals from what scores would have been without each speaker, those who were trained on included.

The jackknife estimates the variance of a score s from its values s₋ᵤ without each of U units (speakers, groups, or
blocks of either, :mod:`.deletion`):

    V = (U - 1)/U · Σᵤ (s₋ᵤ - mean of s₋ᵤ)²

Where the same units are trained on and tested (a cross-validation) each is taken out of both sides at once. Where they
are not (an official split), those of the training part and those of the tested part are two samples, and their
variances add up; the degrees of freedom are Satterthwaite's. Where some are on both sides, they are a third sample: of
U units of a side, the n that are in a sample have the variance

    n/(n - 1) · ((U - 1)/U)² · Σᵤ (s₋ᵤ - mean of s₋ᵤ)²

which is V for n = U; U is that of the smaller side for those on both. The interval is s ± t·√V with the quantile of
Student's t, of correlations on Fisher's scale and of RMSE on that of the logarithm (`bootstrap.SCALES`).

It errs on the wide side (Efron and Stein 1981), the more, the more a score depends on pairs of a trained and a tested
speaker. `tests/simulated_probes.py` counts how often it holds the mean score of probes that are trained on so many.

References
----------
J. Tukey, "Bias and confidence in not quite large samples", 1958. B. Efron and C. Stein, "The jackknife estimate of
variance", Annals of Statistics 9(3), 1981. J. Shao and D. Tu, "The jackknife and bootstrap", 1995, chapter 2: groups
that are left out together. F. Satterthwaite, "An approximate distribution of estimates of variance components", 1946.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

from .bootstrap import scale_of
from .units import GROUP, SPEAKER

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 2

#: What an interval knows of, as a column has it: the training sets too, unit by unit or in random blocks of units; or
#: the tested speakers alone.
REFITTED, IN_BLOCKS, FIXED = "refitted", "refitted in blocks", "fixed probe"

#: The intervals that know of other training speakers.
OF_REFITS = (REFITTED, IN_BLOCKS)

#: The interval in words for the protocol, by what is left out.
IN_WORDS = {
    unit: f"95 % jackknife over {unit}s with Student's t, ridge probes fitted again without each {unit} (where there "
    f"are more than 100, without each of 100 random blocks of {unit}s)"
    for unit in (SPEAKER, GROUP)
}


def least_known(intervals: Iterable[str]) -> str:
    """Of several intervals, the one that knows least; "" where one is missing."""
    order = ("", FIXED, IN_BLOCKS, REFITTED)
    return min(intervals, key=order.index)


def spread(
    left_out: Sequence[np.ndarray], *, scale: str | None = None, crossed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of scores by the jackknife, and its degrees of freedom.

    Parameters
    ----------
    left_out : sequence of ndarray, shape (units, columns)
        Scores without one unit each. One array of units that are on both sides; or two, of units of one side each; or
        three, the third of units that are on both.
    scale : str, optional
        A key of `bootstrap.SCALES`, on which the variance is wanted.
    crossed : bool
        The samples are of factors that are crossed, such as texts and voices, however many there are: their variances
        add up to no less than that over new units of all.

    Returns
    -------
    variance, freedom : ndarray, shape (columns,)
        NaN where a sample has fewer than 2 units, or a score is missing. A third sample of one unit is taken from the
        mean of all.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 4.0, 9.0])
    >>> without = (values.sum() - values)[:, None] / 3
    >>> variance, freedom = spread([without])
    >>> bool(np.isclose(variance[0], values.var(ddof=1) / 4)), float(freedom[0])
    (True, 3.0)
    """
    forth, _ = scale_of(scale)
    three = len(left_out) == 3 and not crossed
    variances, freedoms = [], []
    with np.errstate(invalid="ignore", divide="ignore"):
        for values, side in zip(left_out, _sides([len(values) for values in left_out], three=three), strict=True):
            units = len(values)
            if not units and three:
                continue
            scaled = forth(values)
            if units > 1:
                squares = units / (units - 1) * ((scaled - scaled.mean(0)) ** 2).sum(0)
            elif three:
                squares = ((scaled - forth(np.concatenate(left_out)).mean(0)) ** 2)[0]
            else:
                squares = np.full(values.shape[1:], np.nan)
            variances.append(((side - 1) / side) ** 2 * squares)
            freedoms.append(max(units - 1, 1))
        variance = np.sum(np.broadcast_arrays(*variances), axis=0)
        shares = [each**2 / freedom for each, freedom in zip(variances, freedoms, strict=True) if freedom]
        freedom = variance**2 / np.sum(np.broadcast_arrays(*shares), axis=0) if shares else np.nan * variance
    # No variance at all: the quantile multiplies nothing, whatever it is.
    return variance, np.where(variance == 0, sum(freedoms), freedom)


def _sides(units: Sequence[int], *, three: bool) -> list[int]:
    """How many units the side of each sample has; see :func:`spread`."""
    if not three:
        return list(units)
    one, other, both = units
    return [one + both, other + both, min(one, other) + both]


def equivalence(score: np.ndarray, left_out: Sequence[np.ndarray], smallest: float) -> np.ndarray:
    """Twice the p value of two one-sided tests that each score, or difference, lies within ±`smallest`.

    The null hypothesis is that it lies outside. The p value of the two tests is the larger one, and that of the nearer
    end. Twice of it is at most 0.05 where the 95 % interval of :func:`limits` lies inside.

    Parameters
    ----------
    score : ndarray, shape (columns,)
        Of all units.
    left_out : sequence of ndarray
        See :func:`spread`.
    smallest : float
        The smallest difference of interest.

    Returns
    -------
    ndarray, shape (columns,)
        At most 1; NaN where there is no variance to be had.

    References
    ----------
    D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability", 1987. D. Lakens, "Equivalence tests: a practical primer", 2017.

    Examples
    --------
    >>> without = np.linspace(-0.001, 0.001, 24)[:, None]
    >>> p = equivalence(np.zeros(1), [without], 0.05)
    >>> low, high, _ = limits(np.zeros(1), [without])
    >>> bool(p[0] <= 0.05), bool(-0.05 < low[0] and high[0] < 0.05)
    (True, True)
    """
    variance, freedom = spread(left_out)
    error, room = np.sqrt(variance), smallest - np.abs(np.asarray(score, dtype=np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.minimum(2 * stats.t.sf(room / error, freedom), 1.0)
    return np.where(error == 0, np.where(room > 0, 0.0, 1.0), p)


def limits(
    score: np.ndarray,
    left_out: Sequence[np.ndarray],
    *,
    scale: str | None = None,
    level: float = 0.95,
    crossed: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interval of each score, and the two-sided p value of zero.

    Parameters
    ----------
    score : ndarray, shape (columns,)
        Of all units.
    left_out, scale, crossed
        See :func:`spread`.
    level : float

    Returns
    -------
    low, high, p : ndarray, shape (columns,)
        NaN where there is no variance to be had.
    """
    forth, back = scale_of(scale)
    variance, freedom = spread(left_out, scale=scale, crossed=crossed)
    middle, error = forth(np.asarray(score, dtype=np.float64)), np.sqrt(variance)
    reach = stats.t.ppf((1 + level) / 2, freedom) * error
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.abs(middle - forth(np.zeros_like(middle))) / error
    # Two systems that are one, unit by unit, differ by 0 and by no chance.
    p = np.where((error == 0) & (middle == 0), 1.0, 2 * stats.t.sf(distance, freedom))
    return back(middle - reach), back(middle + reach), p
