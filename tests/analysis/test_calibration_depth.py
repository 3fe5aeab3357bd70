"""What is said of two dimensions over the layers is wrong as seldom as it should be: real ridge probes, known profiles.

Two dimensions of one profile are read with unequal strength, unequal label noise, or both. Every verdict that tells
them apart is false. Seeds are fixed, so that every count is a constant of the code on one kind of machine; the bounds
leave room for the binomial error of the count.
"""

from __future__ import annotations

from collections import Counter

import pytest
from scipy import stats

from emoprobe.analysis.measures.directions import Statement
from emoprobe.probe.permutation import holm
from tests.simulated_depths import EQUAL, ONE_RISES, OPPOSED, PAIRS, comparisons

pytestmark = pytest.mark.slow

REPLICATIONS = 60


def counted(speakers: int, *, official: bool) -> dict[str, Counter]:
    """By pair, how often each thing was said, and what the difference of centroids alone would have said."""
    counts: dict[str, Counter] = {name: Counter() for name in PAIRS}
    for by_pair, alone in comparisons(speakers, official=official, replications=REPLICATIONS):
        for name, comparison in by_pair.items():
            statement = comparison.statement([p <= 0.05 for p in holm(comparison.p)])
            counts[name][false(name, statement)] += 1
            counts[name][statement.text] += statement.sign > 0
            counts[name]["turned round"] += statement.sign < 0
            counts[name]["CCC alone"] += alone[name] <= 0.05
    return counts


def false(name: str, statement: Statement) -> str:
    """ "false" where two equal profiles are told apart, or a curve is said to go where it does not."""
    if statement.sign == 0:
        return "open"
    apart = "shallower" in statement.text or "follow" in statement.text
    rises, falls = "rise" in statement.text, "fall" in statement.text
    true = {"rising": rises, "falling": falls}.get(name.split(",")[0], False)
    return "false" if apart or not true else "true"


@pytest.mark.parametrize("official", [True, False], ids=["official split", "cross-validation"])
@pytest.mark.parametrize("speakers", [12, 24, 60])
def test_equal_profiles_are_told_apart_in_a_twentieth_of_the_cases_at_most(speakers, official):
    counts = counted(speakers, official=official)
    wrong = {name: counts[name]["false"] for name in EQUAL}
    # All pairs share their states, so the bound of their sum is that of independent pairs, twice as wide.
    assert sum(wrong.values()) <= bound(len(EQUAL) * REPLICATIONS, 4.0), wrong
    assert max(wrong.values()) <= bound(REPLICATIONS, 3.0), wrong
    # And what is true is found: the planted depths, once there are speakers enough; nothing is ever turned round.
    said = counts[OPPOSED]
    shallower = "arousal is carried by shallower layers than valence"
    assert said["turned round"] == 0, said
    if speakers == 60:
        # What the rule is for: CCC alone tells equal profiles apart where they are read with unequal strength.
        assert counts["rising, unequal strength"]["CCC alone"] >= 0.3 * REPLICATIONS, counts
        assert said[shallower] >= 0.7 * REPLICATIONS, said
        assert counts[ONE_RISES][shallower] <= bound(REPLICATIONS, 3.0)
        rises = sum(n for text, n in counts[ONE_RISES].items() if text.startswith("valence rises"))
        assert rises >= 0.8 * REPLICATIONS, counts[ONE_RISES]


def bound(n: int, deviations: float) -> float:
    """5 % and so many standard deviations of a count."""
    return 0.05 * n + deviations * stats.binom.std(n, 0.05)
