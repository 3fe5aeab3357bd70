"""The verdicts on a difference, by what was decided of it."""

from __future__ import annotations

import math

SUPPORTED, CONTRADICTED, EQUAL, UNDECIDED, NOT_TESTED = (
    "supported",
    "contradicted",
    "practically equal",
    "undecided",
    "not tested",
)

#: In the order of tallies.
VERDICTS = (SUPPORTED, CONTRADICTED, EQUAL, UNDECIDED, NOT_TESTED)


def verdict(value: float | None, *, decided: bool, equal: bool = False) -> str:
    """Verdict on a value whose claimed side is the positive one.

    Parameters
    ----------
    value : float or None
    decided : bool
        Whether it stands that the value is not 0.
    equal : bool
        Whether it stands that it is smaller than the smallest of interest.

    Examples
    --------
    >>> from emoprobe.analysis.measures.verdicts import verdict
    >>> verdict(0.2, decided=True), verdict(-0.2, decided=True), verdict(0.2, decided=False)
    ('supported', 'contradicted', 'undecided')
    >>> verdict(0.01, decided=False, equal=True), verdict(0.01, decided=True, equal=True)
    ('practically equal', 'supported')
    >>> verdict(float("nan"), decided=False)
    'not tested'
    """
    if value is None or not math.isfinite(value):
        return NOT_TESTED
    if decided:
        return SUPPORTED if value > 0 else CONTRADICTED
    return EQUAL if equal else UNDECIDED
