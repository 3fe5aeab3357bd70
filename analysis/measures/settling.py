"""Which tests of a family stand after correction, whatever the seed.

A bootstrap p value is a count, and so has an error of its own. Where that error leaves a decision open, the test is
asked again on more resamples. A p value of refits that left out random blocks of speakers has an error too: other
blocks would have given another. What is decided is decided at the upper end of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from scipy import stats

from emoprobe.probe.deletion import MOST as BLOCKS
from emoprobe.probe.jackknife import FIXED, IN_BLOCKS

from .directions import LEVEL
from .family import corrected_together

#: Chance that a p value lies beyond its error on one side.
ERROR = 1e-4

#: Resamples of the first round: at least, and for each test of the page. With so many, of which none is beyond 0, the
#: upper end of p times the number of tests is below `LEVEL`.
FIRST, A_TEST = 2000, 400

#: Resamples of each further round, as a multiple; and at most.
TIMES, MOST = 4, 500_000


class Tested(Protocol):
    """What a question gives: the p values of its tests, NaN where one could not be made."""

    @property
    def p(self) -> tuple[float, ...]: ...  # noqa: D102 - said above

    @property
    def intervals(self) -> tuple[str, ...]: ...  # noqa: D102 - of each, what `probe.jackknife` calls its interval


T = TypeVar("T", bound=Tested)


@dataclass(frozen=True)
class Question(Generic[T]):
    """Something to test, on as many resamples as it takes.

    Attributes
    ----------
    ask : callable
        Takes a number of resamples. More of them begin with the same ones.
    tests : int
        How many p values it gives.
    shares : tuple of float
        Of a claim whose null hypotheses exclude each other: the share of the level that each is tested at, by which its
        p value is divided already. Empty where each test is a claim of its own.
    """

    ask: Callable[[int], T]
    tests: int = 1
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Settled(Generic[T]):
    """A question and how its tests stand.

    Attributes
    ----------
    tested
        What it gave on the most resamples it was asked on.
    corrected : tuple of float
        p values after the correction over all tests of all questions (:mod:`.family`).
    decided : tuple of bool
        Which are at most :data:`LEVEL`, up to the error of the resampling.
    resamples : int
    """

    tested: T
    corrected: tuple[float, ...]
    decided: tuple[bool, ...]
    resamples: int


def settle(questions: Sequence[Question[T]], *, first: int = FIRST, most: int = MOST) -> list[Settled[T]]:
    """Ask all questions of a family, and those again that resampling leaves open.

    Parameters
    ----------
    questions : sequence of Question
    first : int
        Resamples of the first round, at least.
    most : int
        Resamples after which what is still open counts as undecided.

    Returns
    -------
    list of Settled
        One a question.
    """
    owner = np.repeat(np.arange(len(questions)), [question.tests for question in questions])
    together = _family(questions)
    asked = np.full(len(questions), min(most, max(first, A_TEST * len(owner))))
    tested = [question.ask(int(resamples)) for question, resamples in zip(questions, asked, strict=True)]
    while True:
        p = np.array([value for one in tested for value in one.p], dtype=float)
        intervals = np.array([kind for one in tested for kind in one.intervals], dtype=object)
        low, high = limits_of(p, intervals, asked[owner])
        surely = together(high) <= LEVEL
        open_ = [
            k
            for k in np.unique(owner[surely != (together(low) <= LEVEL)])
            if asked[k] < most and FIXED in tested[k].intervals
        ]
        if not open_:
            break
        for k in open_:
            asked[k] = min(most, TIMES * asked[k])
            tested[k] = questions[k].ask(int(asked[k]))
    corrected = together(p)
    return [
        Settled(one, tuple(corrected[owner == k].tolist()), tuple(surely[owner == k].tolist()), int(asked[k]))
        for k, one in enumerate(tested)
    ]


def _family(questions: Sequence[Question]) -> Callable[[np.ndarray], np.ndarray]:
    """The correction of all tests of some questions."""
    claims: list[int] = []
    shares: list[float] = []
    for question in questions:
        first = claims[-1] + 1 if claims else 0
        claims += [first] * question.tests if question.shares else range(first, first + question.tests)
        shares += question.shares or (1.0,) * question.tests
    return lambda p: corrected_together(p, claims, shares)


def limits_of(p: np.ndarray, intervals: np.ndarray, resamples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits of p values by the error that each has.

    Parameters
    ----------
    p : ndarray, shape (tests,)
    intervals : ndarray of str, shape (tests,)
        What the interval of each is: a count of resamples, of refits without blocks of units, or exact.
    resamples : ndarray of int, shape (tests,)

    Returns
    -------
    low, high : ndarray, shape (tests,)
    """
    low, high = np.array([p, p])
    for kind, (lower, upper) in ((FIXED, within(p, resamples)), (IN_BLOCKS, of_blocks(p))):
        low, high = np.where(intervals == kind, lower, low), np.where(intervals == kind, upper, high)
    return low, high


def of_blocks(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits of two-sided p values by what other blocks would have given.

    With H random blocks of U units, the jackknife's variance scatters about its mean over all draws of the blocks by
    2 / H · (1 - H / U) of its square, at most as a chi-square of H degrees of freedom does; a normal quantile over its
    standard error moves by the root of that.

    Parameters
    ----------
    p : ndarray, shape (tests,)

    Returns
    -------
    low, high : ndarray, shape (tests,)
    """
    distance = stats.norm.isf(p / 2)
    factors = np.sqrt(stats.chi2.ppf([1 - ERROR, ERROR], BLOCKS) / BLOCKS)
    low, high = (2 * stats.norm.sf(distance * factor) for factor in factors)
    return low, high


def within(p: np.ndarray, resamples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits of two-sided bootstrap p values by the error of the resampling (Clopper and Pearson's).

    Parameters
    ----------
    p : ndarray, shape (tests,)
        2 (1 + count) / (1 + resamples), or NaN.
    resamples : ndarray of int, shape (tests,)

    Returns
    -------
    low, high : ndarray, shape (tests,)

    References
    ----------
    C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26(4), 1934.
    """
    count = np.maximum(np.round(p * (1 + resamples) / 2 - 1), 0)
    low = np.where(count > 0, stats.beta.ppf(ERROR, np.maximum(count, 1), resamples - count + 1), 0.0)
    high = stats.beta.ppf(1 - ERROR, count + 1, np.maximum(resamples - count, 1))
    known = np.isfinite(p)
    return np.where(known, 2 * low, np.nan), np.where(known, np.minimum(2 * high, 1.0), np.nan)
