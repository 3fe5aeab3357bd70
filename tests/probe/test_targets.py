"""What is said of labels before anything is fitted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.probe.settings import FitSettings
from emoprobe.probe.targets import LOOKED_UP, Labels, left_out, plan_target


def table(emotions: list[str], **ratings: list[float]) -> pd.DataFrame:
    n = len(emotions)
    nothing = {name: [np.nan] * n for name in DIMENSIONS}
    ids = [f"u{k}" for k in range(n)]
    about = {"id": ids, "speaker": [f"s{k % 4}" for k in range(n)], "split": [""] * n, "emotion": emotions}
    return pd.DataFrame({**about, "status": ["done"] * n, **nothing, **ratings})


@pytest.mark.parametrize(
    ("emotions", "arousal", "told"),
    [
        (["angry", "sad"] * 6, [0.8, -0.3] * 6, True),
        (["angry", "sad"] * 6, [0.8, -0.3] * 5 + [0.8, -0.2], False),  # one of them was rated otherwise
        (["angry"] * 12, [0.8] * 12, False),
        ([""] * 12, [0.8, -0.3] * 6, False),
        ([f"e{k}" for k in range(12)], list(range(12)), False),  # each its own
    ],
)
def test_ratings_that_are_read_off_the_categories_are_told(emotions, arousal, told):
    notes = left_out(Labels.of(table(emotions, arousal=arousal), classes="all"), "arousal")
    assert any(LOOKED_UP in note for note in notes) == told


def test_who_lacks_a_label_is_told_which_there_are():
    labels, folding = Labels.of(table(["angry", "sad"] * 6), classes="all"), FitSettings(folds=3)
    with pytest.raises(UserError) as refused:
        plan_target(labels, "arousal", folding, corpus="acted")
    said = str(refused.value)
    assert "has a label of arousal; there are labels of emotion: ask for them with --target emotion." in said
    assert "extract with --columns arousal=NAME --refresh-labels" in said
