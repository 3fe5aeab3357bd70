"""The kinds of probe: that a new one takes a file and a line, and what settings a call makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emoprobe.cli.fit import parser
from emoprobe.errors import UserError
from emoprobe.extract.corpora import DIMENSIONS
from emoprobe.probe import FitSettings, fit_layers, load_results
from emoprobe.probe.probes.base import Fit, Fitted, Probe
from emoprobe.probe.probes.registry import BASELINES, PROBES
from emoprobe.testing.caches import write_cache

QUICK = {"folds": 3, "resamples": 20, "permutations": 0, "mdl": False}


class Median(Probe):
    """The median label of the training rows, whatever the layer."""

    name, about = "median", "the median"

    def takes(self, target):
        return target == "valence"

    def feature_sets(self, asked, inputs):
        return list(asked) or [inputs.statistics[0]]

    def versions(self, settings, target):
        return {"median": 7}

    def identity(self, settings, target, inputs):
        return {"of": "the training rows"}

    def fit(self, task):
        predictions = np.full((len(task.labels.table), len(task.targets)), np.nan)
        for fold in task.folds:
            for rows in fold.tests.values():
                predictions[rows] = np.nanmedian(task.ratings()[fold.train], axis=0)
        notes = {target: ["it looks at no layer"] for target in task.targets}
        return Fitted([Fit(layer, 0, predictions) for layer in range(task.cache.n_layers)], notes)


@pytest.fixture
def cache(tmp_path) -> Path:
    write_cache(tmp_path / "c.h5", n=60, layers=2, width=4)
    return tmp_path / "c.h5"


@pytest.mark.slow
def test_a_new_probe_is_a_line_in_the_registry(cache, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="unknown probe 'median': there are ridge"):
        fit_layers(cache, probe="median")
    monkeypatch.setitem(PROBES, "median", Median())
    assert parser().parse_args(["--probe", "median"]).probe == "median"
    made = fit_layers(cache, probe="median", out=tmp_path / "r", **QUICK)
    assert list(made.select(probe="median", fold="all")["layer"]) == [0, 1]
    (entry,) = [entry for entry in load_results(tmp_path / "r").protocol if entry["probe"] == "median"]
    assert entry["dimension"] == "valence"
    assert entry["settings"]["methods"]["median"] == 7
    assert entry["settings"]["of"] == "the training rows"
    assert entry["notes"][0] == "it looks at no layer"

    def refuse(self, task):
        raise AssertionError("it was fitted before")

    monkeypatch.setattr(Median, "fit", refuse)
    fit_layers(cache, probe="median", out=tmp_path / "r", **QUICK)
    with pytest.raises(UserError, match="the probe median does not fit arousal"):
        fit_layers(cache, probe="median", dimensions="arousal", **QUICK)


def test_names_of_probes_are_their_own():
    names = [probe.name for probe in (*BASELINES, *PROBES.values())]
    assert len(set(names)) == len(names)
    assert all(name == probe.name for name, probe in PROBES.items())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"probe": "all", "dimensions": "all"}, {"probes": ("ridge", "mlp", "weighted"), "dimensions": DIMENSIONS}),
        ({"probe": ["ridge", "mlp"], "features": "mean"}, {"probes": ("ridge", "mlp"), "features": ("mean",)}),
        ({"probes": "weighted", "penalties": [1, 2]}, {"probes": ("weighted",), "penalties": (1.0, 2.0)}),
    ],
)
def test_settings_in_the_words_of_a_command(changes, expected):
    assert FitSettings.of(**changes) == FitSettings(**expected)


def test_changes_are_made_to_the_settings_that_are_given():
    settings = FitSettings(seed=3, folds=4)
    assert FitSettings.of(settings, folds=6) == FitSettings(seed=3, folds=6)
    with pytest.raises(TypeError, match="one setting"):
        FitSettings.of(probe="ridge", probes="mlp")
    with pytest.raises(TypeError, match="colour"):
        FitSettings.of(colour="red")
