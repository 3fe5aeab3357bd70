"""What was meant by a name that is not known."""

from __future__ import annotations

import pytest

from emoprobe.misspelt import meant, nearest


@pytest.mark.parametrize(
    ("given", "near"),
    [("arousel", "arousal"), ("AROUSAL", "arousal"), ("mean-ln", "mean_ln"), ("joy", None), ("", None)],
)
def test_the_nearest_name_whatever_its_case_and_dashes(given, near):
    assert nearest(given, ["arousal", "valence", "mean_ln"]) == near


def test_where_none_is_near_all_are_listed_but_not_without_end():
    assert meant("joy", ["arousal", "valence"]) == "there are arousal, valence"
    assert meant("joy", ["arousal"]) == "there is arousal"
    assert meant("x", [f"speaker{number}" for number in range(200)]).endswith(" speaker29 and 170 more")
