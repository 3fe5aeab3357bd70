"""Correction of all tests of a page together, where some null hypotheses cannot be true at once.

A claim on a difference has two null hypotheses: that it is 0, and that it is not small, which means no smaller than
the smallest difference of interest. At most one of them is true. A page of m claims therefore has at most m true null
hypotheses, however many are tested, and a test of both costs the first step of Holm's procedure nothing.

Let each null hypothesis h have a share s_h of the level. Tests are taken in the order of p/s; the next is rejected
where

    p/s ≤ α / D,    D = Σ over claims of the largest share of their null hypotheses that are not yet rejected.

The chance of any false rejection is at most α, whatever is true. Up to the first false rejection no true null
hypothesis was rejected, so D is at least the sum of the shares of all that are true, T. It happens with a chance of at
most Σ over T of P(p_h ≤ α s_h / D) ≤ α Σ over T of s_h / D ≤ α. With all shares 1 and one test a claim this is Holm's
procedure, with several that exclude each other it is Shaffer's.

References
----------
S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2), 1979.
J. P. Shaffer, "Modified sequentially rejective multiple test procedures", Journal of the American Statistical
Association 81(395), 1986. G. Stefansson, W. Kim and J. C. Hsu, "On confidence sets in multiple comparisons", 1988: one
parameter's difference and equivalence, tested in a partition of its values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def corrected_together(p: ArrayLike, claims: Sequence[int], shares: ArrayLike) -> np.ndarray:
    """Give p values that stand at a level where the step-down procedure above rejects at it.

    Parameters
    ----------
    p : array_like, shape (tests,)
        Each over its share of the level; NaN are left out of the family.
    claims : sequence of int, shape (tests,)
        Number of the claim that each test is of. Of the null hypotheses of one claim at most one is true.
    shares : array_like, shape (tests,)

    Returns
    -------
    ndarray, shape (tests,)
        At most 1.

    Examples
    --------
    Three claims with one test each are Holm's family:

    >>> corrected_together([0.01, 0.04, 0.03], [0, 1, 2], [1, 1, 1]).round(3).tolist()
    [0.03, 0.06, 0.06]

    The first claim has a second test with half a share, which is not rejected and so stays counted:

    >>> corrected_together([0.01, 0.9, 0.04, 0.03], [0, 0, 1, 2], [1, 0.5, 1, 1]).round(3).tolist()
    [0.03, 0.45, 0.075, 0.075]
    """
    single, claim, share = np.asarray(p, dtype=float), np.asarray(claims, dtype=int), np.asarray(shares, dtype=float)
    corrected = np.full(single.shape, np.nan)
    there = np.flatnonzero(~np.isnan(single))
    order = there[np.argsort(single[there], kind="stable")]
    largest = 0.0
    for step, test in enumerate(order):
        left = order[step:]
        counted = np.zeros(claim[there].max() + 1)
        np.maximum.at(counted, claim[left], share[left])
        largest = max(largest, float(single[test] * counted.sum()))
        corrected[test] = min(largest, 1.0)
    return corrected
