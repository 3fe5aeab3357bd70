"""What a study found is told of the layers in which it was planted."""

from __future__ import annotations

import pytest

from emoprobe.probe import fit_layers, load_results
from emoprobe.study.outcome import told_result
from emoprobe.testing import write_cache


@pytest.mark.slow
def test_the_planted_layers_are_told_with_their_scores(tmp_path):
    splits = ["train"] * 80 + ["development"] * 40 + ["test"] * 40
    speakers = [f"{split}{k % 4}" for k, split in enumerate(splits)]
    planted = {"arousal": 1, "valence": 3, "dominance": 2}
    write_cache(tmp_path / "c.h5", n=160, planted=planted, label="teacher", split=splits, speaker=speakers)
    write_cache(
        tmp_path / "other.h5", n=160, planted=dict.fromkeys(planted, 0), label="other", split=splits, speaker=speakers
    )
    for cache in ("other.h5", "c.h5"):
        fit_layers(tmp_path / cache, out=tmp_path / "results", permutations=0, mdl=False, resamples=50)
    told = told_result(tmp_path / "results", tmp_path / "c.h5", ("valence", "arousal"))
    scores = load_results(tmp_path / "results").select(model="teacher", split="test", probe="ridge", fold="all")
    valence = scores[(scores["layer"] == 3) & (scores["dimension"] == "valence")].iloc[0]
    bounds = f"[{valence['ccc_low']:.2f}, {valence['ccc_high']:.2f}]"
    assert told.startswith(f"teacher carries valence best in layer 3 (CCC {valence['ccc']:.2f} {bounds} on test), ")
    assert "arousal best in layer 1 (CCC " in told
    assert "dominance" not in told
    assert "hindsight" not in told
    assert told_result(tmp_path / "results", tmp_path / "c.h5", ()) == ""


@pytest.mark.slow
def test_a_layer_chosen_on_the_scored_rows_is_called_so(tmp_path):
    write_cache(tmp_path / "c.h5", n=90, speakers=9)
    fit_layers(
        tmp_path / "c.h5", dimensions="valence", out=tmp_path / "results", permutations=0, mdl=False, resamples=50
    )
    told = told_result(tmp_path / "results", tmp_path / "c.h5", ("valence",))
    assert "on cross-validation, chosen with hindsight)" in told
