"""Results in which a score is missing: what is there is told and drawn, and what is not has its reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emoprobe.cli.command import draw
from emoprobe.cli.fit import main, summary
from emoprobe.cli.report import main as report_main
from emoprobe.errors import UserError
from emoprobe.probe import fit_layers
from emoprobe.testing.caches import write_cache


@pytest.mark.slow
def test_labels_that_cannot_be_scored_are_told_and_the_rest_is_drawn(tmp_path, capsys):
    """The test part has one label alone; nothing was chosen there, and what was fitted is no error."""
    varied = np.random.default_rng(0).normal(3, 1, 12)
    write_cache(
        tmp_path / "c.h5",
        n=60,
        layers=3,
        valence=np.r_[np.full(36, 3.0), varied, np.full(12, 3.0)],
        split=["train"] * 36 + ["development"] * 12 + ["test"] * 12,
        speaker=[f"s{k // 6}" for k in range(60)],
    )
    given = ["--dim", "valence", "--permutations", "0", "--resamples", "20", "--no-mdl"]
    out, figures = tmp_path / "r", tmp_path / "f"
    assert main([str(tmp_path / "c.h5"), *given, "--out", str(out), "--no-figures"]) == 0
    assert "figure: " not in capsys.readouterr().out
    assert not figures.exists()
    assert main([str(tmp_path / "c.h5"), *given, "--out", str(out), "--figures", str(figures)]) == 0
    said = capsys.readouterr().out
    of_test = said[said.index("planted on handmade, test") :]
    assert "  ridge (mean+std)     no layer has a score: the labels that are scored are constant\n" in of_test
    assert "Best layers on test" not in said
    assert "[nan" not in said
    assert "figure: " in said
    assert report_main([str(out), "--quick", "--quiet", "--out", str(tmp_path / "report")]) == 0
    told = "No layer of planted has a score of valence on handmade, test: the labels that are scored are constant"
    assert told in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("scored", [True, False])
def test_figures_are_no_reason_to_fail_and_their_folder_is(tmp_path, capsys, scored):
    write_cache(tmp_path / "c.h5", n=60, layers=3)
    results = fit_layers(tmp_path / "c.h5", dimensions="valence", permutations=0, resamples=20, mdl=False)
    if not scored:
        none = dict.fromkeys(("ccc", "ccc_low", "ccc_high", "pearson", "rmse"), np.nan)
        results = replace(results, scores=results.scores.assign(**none, reason="for a reason"))
        assert "no layer has a score: for a reason" in summary(results)
        assert "chosen on" not in summary(results)
    results.save(tmp_path / "r")
    draw(tmp_path / "r", tmp_path / "f")
    said = capsys.readouterr()
    assert ("figure: " in said.out, "no figure yet: " in said.err) == (scored, not scored)
    if scored:
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="file cannot be a folder for figures"):
            draw(tmp_path / "r", tmp_path / "file")
