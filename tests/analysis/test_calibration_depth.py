"""What is said of two dimensions over the layers is wrong as seldom as it should be: real ridge probes, known profiles.

Two dimensions of one profile are read with unequal strength, unequal label noise, or both. Every verdict that tells
them apart is false. Seeds are fixed, so that every count is a constant of the code on one kind of machine; the bounds
leave room for the binomial error of the count.
"""

from __future__ import annotations

import pytest
from scipy import stats

from tests.simulated_depths import EQUAL, ONE_RISES, OPPOSED, SHALLOWER, counted
from tests.thorough import thoroughly

pytestmark = pytest.mark.slow

REPLICATIONS = 60


@pytest.mark.parametrize("official", [True, False], ids=["official split", "cross-validation"])
@pytest.mark.parametrize("speakers", [12, thoroughly(24), 60])
def test_equal_profiles_are_told_apart_in_a_twentieth_of_the_cases_at_most(speakers, official):
    counts = counted(speakers, official=official, replications=REPLICATIONS)
    wrong = {name: counts[name]["false"] for name in EQUAL}
    # All pairs share their states, so the bound of their sum is that of independent pairs, twice as wide.
    assert sum(wrong.values()) <= bound(len(EQUAL) * REPLICATIONS, 4.0), wrong
    assert max(wrong.values()) <= bound(REPLICATIONS, 3.0), wrong
    # And what is true is found: the planted depths, once there are speakers enough; nothing is ever turned round.
    said = counts[OPPOSED]
    assert said["turned round"] == 0, said
    if speakers == 60:
        # What the rule is for: CCC alone tells equal profiles apart where they are read with unequal strength.
        assert counts["rising, unequal strength"]["CCC alone"] >= 0.3 * REPLICATIONS, counts
        assert said[SHALLOWER] >= 0.7 * REPLICATIONS, said
        assert counts[ONE_RISES][SHALLOWER] <= bound(REPLICATIONS, 3.0)
        rises = sum(n for text, n in counts[ONE_RISES].items() if text.startswith("valence rises"))
        assert rises >= 0.8 * REPLICATIONS, counts[ONE_RISES]


def bound(n: int, deviations: float) -> float:
    """5 % and so many standard deviations of a count."""
    return 0.05 * n + deviations * stats.binom.std(n, 0.05)
