"""Layers that several processes fit have the numbers that one finds, bit for bit."""

from __future__ import annotations

import os

import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from emoprobe import parallel
from emoprobe.errors import UserError
from emoprobe.extract.cluster import EngineSettings
from emoprobe.probe.fit import fit_caches
from emoprobe.probe.settings import FitSettings
from emoprobe.probe.spreading import spread_over
from emoprobe.testing import write_cache


@pytest.mark.slow
@pytest.mark.parametrize("target", ["dimensions", "categories"])
def test_processes_fit_layers_to_the_same_bits(tmp_path, monkeypatch, target):
    caches = [tmp_path / name for name in ("one.h5", "other.h5")]
    for seed, path in enumerate(caches):
        write_cache(path, layers=3, width=6, n=90, speakers=9, seed=seed, label=path.stem)
    asked = {"dimensions": ("arousal", "valence")} if target == "dimensions" else {"dimensions": ("emotion",)}
    settings = FitSettings.of(resamples=100, permutations=50, **asked)
    with threadpool_limits(1):
        here = fit_caches(caches, settings, workers=1)
    monkeypatch.setattr(parallel, "WORTH", 0.0)
    there = fit_caches(caches, settings, workers=2)
    for table in ("scores", "predictions", "recalls", "refits"):
        pd.testing.assert_frame_equal(getattr(here, table), getattr(there, table), check_exact=True)
    assert [run["hash"] for run in here.protocol] == [run["hash"] for run in there.protocol]
    assert [run["notes"] for run in here.protocol] == [run["notes"] for run in there.protocol]


@pytest.mark.slow
def test_all_layers_but_the_first_are_fitted_elsewhere(monkeypatch):
    monkeypatch.setattr(parallel, "WORTH", 0.0)
    with spread_over(EngineSettings(), workers=2) as spread:
        first, *others = spread(lambda layer: (layer, os.getpid()), range(4), lambda layers, _: layers)
    assert first == (0, os.getpid())
    assert [layer for layer, _ in others] == [1, 2, 3]
    assert os.getpid() not in {process for _, process in others}


def test_processes_of_one_machine_are_none_of_a_cluster():
    engine = EngineSettings(engine="ray")
    with pytest.raises(UserError, match=r"--workers 2 is of one machine"), spread_over(engine, workers=2):
        pass


def test_nobody_to_work_is_refused():
    with pytest.raises(UserError, match=r"--workers 0.*1 or more"), spread_over(EngineSettings(), workers=0):
        pass
