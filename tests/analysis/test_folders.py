"""Two folders of results are compared as two models of one folder are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoprobe.analysis.measures.folders import folders_compared, told_differences
from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.errors import UserError
from emoprobe.probe import fit_layers, load_results, models_compared
from emoprobe.testing import write_cache

pytestmark = pytest.mark.slow

FIT = {"dimensions": ("arousal", "valence"), "permutations": 0, "mdl": False, "folds": 3, "resamples": 50}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Results of one model in A, of another in B, of both in AB."""
    root = tmp_path_factory.mktemp("folders")
    labels: dict = {}
    for name, seed in (("a", 0), ("b", 1)):
        table = write_cache(root / f"{name}.h5", n=90, speakers=9, seed=seed, label=name, **labels)
        labels = {dimension: table[dimension].to_numpy() for dimension in ("arousal", "valence", "dominance")}
        fit_layers(root / f"{name}.h5", out=root / name.upper(), **FIT)
        fit_layers(root / f"{name}.h5", out=root / "AB", **FIT)
    return root


def test_two_folders_are_as_two_models_of_one(folders):
    table = folders_compared(folders / "A", folders / "B", models=("a", "b"))
    reference = models_compared(load_results(folders / "AB"), split=None).set_index("dimension")
    assert table["dimension"].tolist() == ["arousal", "valence"]
    for row in table.set_index("dimension").itertuples():
        other = reference.loc[row.Index]
        sign = 1 if other["one"].startswith("b") else -1
        assert row.difference == pytest.approx(sign * other["difference"])
        assert sorted([row.low, row.high]) == pytest.approx(sorted([sign * other["low"], sign * other["high"]]))
        assert row.p == pytest.approx(other["p"])
        assert row.interval == other["interval"]
    best = {name: load_results(folders / name.upper()).best_layers() for name in "ab"}
    for row in table.itertuples():
        scores = [
            part[(part["dimension"] == row.dimension) & (part["probe"] == "ridge")]["ccc"].iloc[0]
            for part in (best["a"], best["b"])
        ]
        assert (row.score_other, row.score_one) == pytest.approx(tuple(scores))
    # Holm over the rows of the page: the smaller p twice, the larger one at least that.
    low, high = sorted(table["p"])
    assert sorted(table["p_holm"]) == pytest.approx(sorted([min(1, 2 * low), max(high, min(1, 2 * low))]))


def test_a_folder_does_not_differ_from_itself(folders):
    table = folders_compared(folders / "A", folders / "A")
    assert np.allclose(table["difference"], 0)
    assert told_differences(table) == "B differs from A in none of 2 comparisons, after correction"


def test_the_only_models_are_compared_without_being_named(folders):
    table = folders_compared(folders / "A", folders / "B", dimensions=("valence",))
    assert table[["model_a", "model_b", "dimension"]].to_numpy().tolist() == [["a", "b", "valence"]]


def test_what_cannot_be_compared_is_refused(folders, tmp_path):
    with pytest.raises(UserError, match=r"A has no model c: it has a"):
        folders_compared(folders / "A", folders / "B", models=("c", "b"))
    write_cache(tmp_path / "c.h5", n=60, speakers=6, seed=2, label="c")
    fit_layers(tmp_path / "c.h5", out=tmp_path / "C", **{**FIT, "dimensions": ("dominance",)})
    with pytest.raises(UserError, match=r"no model is in both folders .*AB has a, b; .*C has c.*--models"):
        folders_compared(folders / "AB", tmp_path / "C")
    with pytest.raises(UserError, match="have no corpus, dimension, probe, features and split in common"):
        folders_compared(folders / "A", tmp_path / "C")


def test_what_stands_is_said():
    rows = {"dimension": ["valence", "arousal"], "probe": "ridge", "difference": [0.2, 0.01], "low": [0.1, -0.1],
            "high": [0.3, 0.1], "p_holm": [0.01, 0.7]}  # fmt: skip
    told = told_differences(pd.DataFrame(rows))
    assert told == (
        "B differs from A in valence by ridge (+0.200 [0.100, 0.300]); in 1 other comparisons nothing stands after "
        "correction"
    )


def test_the_command_tells_and_writes_it(folders, tmp_path, capsys):
    out = tmp_path / "differences.csv"
    assert emoprobe(["compare", str(folders / "A"), str(folders / "B"), "--dim", "valence", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"A is {folders / 'A'}, B is {folders / 'B'}")
    (of_valence,) = (line for line in lines if line.strip().startswith("valence, ridge"))
    assert any(line.startswith("a and b on ") for line in lines)
    assert " B differs from A in " in " ".join(" ".join(lines).split())  # a sentence is wrapped at the screen's width
    written = pd.read_csv(out)
    assert f"{written['difference'][0]:+7.3f}" in of_valence
    before = out.read_bytes()
    out.write_text("mine")
    assert emoprobe(["compare", str(folders / "A"), str(folders / "B"), "--out", str(out)]) == 2
    assert out.read_text() == "mine"
    assert before != b"mine"
    assert emoprobe(["compare", str(folders / "A"), str(tmp_path / "none")]) == 2
    assert "is not a folder of results" in capsys.readouterr().err
