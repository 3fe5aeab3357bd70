"""Numbers that no command could end with are refused before anything is read."""

from __future__ import annotations

import pytest

from emoprobe.analysis.measures.relevance_settings import RelevanceSettings
from emoprobe.distil.distiller import DistillSettings
from emoprobe.endtoend.settings import TrainingSettings
from emoprobe.errors import UserError
from emoprobe.extract.options import MOST_REPEATS
from emoprobe.probe.settings import FitSettings

COUNTS = [
    *((FitSettings, name, least) for name, least in (("seeds", 1), ("resamples", 0), ("permutations", 0))),
    *((RelevanceSettings, name, least) for name, least in (("seeds", 1), ("iterations", 1), ("resamples", 0))),
    *((TrainingSettings, name, 1) for name in ("epochs", "patience", "seeds")),
    (TrainingSettings, "resamples", 0),
    *((DistillSettings, name, least) for name, least in (("blocks", 1), ("steps", 1), ("warmup", 0))),
]


@pytest.mark.parametrize(("settings", "name", "least"), COUNTS)
def test_a_count_has_two_ends(settings, name, least):
    for value in (least, 7):
        assert getattr(settings(**{name: value}), name) == value
    option = f"--{name}"
    with pytest.raises(UserError, match=f"^{option} {least - 1} must be"):
        settings(**{name: least - 1})
    with pytest.raises(UserError, match=f"^{option} 1e\\+22 has no end: ask for at most {MOST_REPEATS:,}"):
        settings(**{name: 10**22})
