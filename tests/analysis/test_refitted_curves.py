"""Curves over layers whose probes were fitted again without each speaker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emoprobe import fit_layers
from emoprobe.analysis import relevance_centroids
from emoprobe.analysis.measures.curve_depth import centroid_of_sums
from emoprobe.probe.deletion import TRAINING
from emoprobe.probe.jackknife import REFITTED
from emoprobe.probe.refits import Refit
from emoprobe.testing.caches import write_cache


@pytest.mark.slow
def test_refits_widen_curves_and_are_told(tmp_path):
    """In a cross-validation, where everybody is trained on; the estimate itself stays."""
    path = tmp_path / "c.h5"
    write_cache(path, layers=4, width=6, n=96, speakers=8)
    settings = {"folds": 4, "resamples": 100, "permutations": 0, "mdl": False}
    results = fit_layers(path, dimensions=("arousal", "valence"), **settings)
    table = relevance_centroids(results, resamples=200)
    old = relevance_centroids(replace(results, refits=results.refits.iloc[:0]), resamples=200)
    np.testing.assert_array_equal(table["centroid"], old["centroid"])
    table, old = (one[(one["scale"] == "ccc") & one["low"].notna()] for one in (table, old))
    assert len(table) > 2
    assert (table["interval"] == "refitted").all()
    assert (old["interval"] == "fixed probe").all()
    width, fixed = (one["slope_high"] - one["slope_low"] for one in (table, old))
    assert np.nanmedian(width / fixed) > 1


def test_curves_whose_refits_leave_out_others_are_compared_around_the_fixed_probe():
    """Of two models that were trained on other speakers and tested on the same."""
    sums = np.abs(np.random.default_rng(0).standard_normal((6, 3, 6))) + 1
    sums[..., 3:5] += 20
    depth = np.array([0.0, 0.5, 1.0])
    curves = []
    for count in (8, 7):
        left_out = sums.sum(0) - np.abs(np.random.default_rng(count).standard_normal((count, 3, 6))) / 10
        refit = Refit(tuple(f"t{k}" for k in range(count)), (TRAINING,) * count, left_out)
        curves.append(centroid_of_sums(sums, depth, refit=refit, resamples=50))
    row = curves[0].less(curves[1])
    assert np.isfinite(row["centroid"])
    assert row["interval"] != REFITTED
