"""A claim: a statement that can fail, with an interval, and a verdict that stands after correction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..measures.directions import LEVEL
from ..measures.settling import Question, Settled
from ..measures.verdicts import verdict
from .content import Finding, known, probability, with_interval

RULES = (
    "Supported: the corrected p value is at most 0.05, and the difference lies on the claimed side of zero. "
    "Contradicted: it is at most 0.05, and the difference lies on the other side. Undecided: it is larger, whatever "
    "the interval of that claim alone says. Not tested: there is no interval, or nothing to compare."
)

#: What is said beside :data:`RULES` where a smallest difference of interest is stated.
EQUALITY = (
    "Practically equal: no difference is decided, and that it is smaller than {smallest} in {metrics}, the smallest of "
    "interest, is: by two one-sided tests, each at half the level, so that the interval of one claim alone would have "
    "to lie within ±{smallest}. A difference can be decided and be smaller than that; the verdict then says both. None "
    "applies to depth, which is claimed by directions."
)


@dataclass(frozen=True)
class Claim:
    """A statement that can fail.

    Parameters
    ----------
    subject : str
        What kind of claim: "depth", "student", "acoustics", "words", "twin" or "text".
    statement : str
    measure : str
        What `value` is, in words.
    value, low, high, p : float
        Positive means that the statement holds; the interval and p are of this claim alone. NaN where it was not
        tested.
    how : str
        What was compared, or why it was not tested.
    p_holm : float
        Corrected for all tests of the report.
    decided : bool
        Whether the corrected p value is at most 0.05, up to the error of the resampling.
    hindsight : bool
        Whether a layer or a baseline was chosen on the very rows that are compared.
    smallest : float
        The smallest difference of interest; NaN where none applies.
    p_equal, p_equal_corrected : float
        Of the test that the difference is smaller, of this claim alone and corrected; over its share of the level.
    equal : bool
        Whether that is decided.
    model, corpus, dimension : str
        What it is about; of "text" and "depth" no dimension.
    rival : str
        What the model was compared with, in words, with its score.
    floor : float
        The smallest p value that its resamples can give; NaN where it is not counted.
    """

    subject: str
    statement: str
    measure: str
    value: float
    low: float
    high: float
    p: float
    how: str
    p_holm: float = np.nan
    decided: bool = False
    hindsight: bool = False
    smallest: float = np.nan
    p_equal: float = np.nan
    p_equal_corrected: float = np.nan
    equal: bool = False
    model: str = ""
    corpus: str = ""
    dimension: str = ""
    rival: str = ""
    floor: float = np.nan

    @property
    def verdict(self) -> str:
        """By :data:`RULES` and :data:`EQUALITY`."""
        return verdict(self.value, decided=self.decided, equal=self.equal)

    @property
    def beside(self) -> str:
        """What is decided beside the verdict: that a difference is there, and too small to matter."""
        return f"and smaller than {self.smallest:g}" if self.decided and self.equal else ""

    @property
    def decided_alone(self) -> bool:
        """Whether it is undecided, and would not be if it were the only claim of the page."""
        return self.verdict == "undecided" and any(known(p) and p <= LEVEL for p in (self.p, self.p_equal))

    def finding(self) -> Finding:
        """As the report shows it."""
        if not known(self.value):
            return Finding(self.statement, self.verdict, "", self.how)
        numbers = f"{self.measure}: {with_interval(self.value, self.low, self.high, _digits(self.low, self.high))}"
        how = self.how
        if known(self.p):
            how += f" Alone, p {_equals(self._bounded(self.p))}"
            how += "; decided alone, not after correction." if self.decided_alone else "."
        if known(self.p_equal) and abs(self.value) < self.smallest:
            equal, corrected = probability(self.p_equal), probability(self.p_equal_corrected)
            how += f" Smaller than {self.smallest:g}: p {_equals(equal)}, corrected {_equals(corrected)}."
        p = self._bounded(self.p_holm)
        if self.verdict == "practically equal":  # what the verdict rests on is the other test
            p = f"{probability(self.p_equal_corrected)} (of being smaller)"
        return Finding(self.statement, self.verdict, numbers, how.strip(), self.beside, p)

    def _bounded(self, p: float) -> str:
        """A p value, as a bound where no resample reached zero."""
        text = probability(p)
        at_floor = known(self.floor) and self.p <= 1.001 * self.floor
        return f"≤ {text}" if at_floor and text[0].isdigit() and known(p) and p < 1 else text


@dataclass(frozen=True)
class Draft:
    """A claim before it is tested.

    Attributes
    ----------
    question : Question
        What is tested.
    word : callable
        Makes the claim of the outcome.
    """

    question: Question[Any]
    word: Callable[[Settled[Any]], Claim]


@dataclass(frozen=True)
class Untested:
    """No test, for a reason that the claim tells; `p` is NaN for each test that there would be."""

    reason: str
    p: tuple[float, ...]

    @property
    def intervals(self) -> tuple[str, ...]:
        """None."""
        return ("",) * len(self.p)


def smallest_of(claims: Iterable[Claim]) -> float | None:
    """The smallest difference of interest of a page; None where no claim has one."""
    return next((claim.smallest for claim in claims if known(claim.smallest)), None)


def untested(
    subject: str, statement: str, reason: str, *, model: str = "", dimension: str = "", rival: str = ""
) -> Claim:
    """A claim without a test."""
    claim = Claim(subject, statement, "", np.nan, np.nan, np.nan, np.nan, f"Not tested: {reason}.")
    return replace(claim, model=model, dimension=dimension, rival=rival)


def _equals(text: str) -> str:
    return text if text.startswith(("<", "≤")) else f"= {text}"


def _digits(low: float, high: float) -> int:
    """Three, and more where a limit would round to a zero that it is not."""
    smallest = min(abs(end) for end in (low, high)) if known(low) and known(high) else 0.0
    return next((digits for digits in (3, 4, 5) if smallest == 0 or round(smallest, digits) > 0), 6)
