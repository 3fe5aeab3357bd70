"""Curves over layers whose probes were fitted again without each speaker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emoprobe import fit_layers
from emoprobe.analysis import relevance_centroids
from emoprobe.testing.caches import write_cache


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
