"""From a cache to results: what is found, left out, refused, skipped and repeated; the command end to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from emoprobe.cli.fit import main
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache
from emoprobe.extract.layout import layout_sha256, seal_layout
from emoprobe.probe import fit_layers, load_results, pending
from emoprobe.probe import results as results_module
from emoprobe.probe.keeping import keeping
from emoprobe.probe.metrics import ccc, uar
from emoprobe.probe.results import KEY, Results, has_results
from emoprobe.testing.caches import write_cache, write_checksums

pytestmark = pytest.mark.usefixtures("undrawn")

CONTRACT = [
    *("model", "corpus", "dimension", "probe", "layer", "depth", "fold", "seed", "split", "n"),
    *("ccc", "ccc_low", "ccc_high", "pearson", "rmse"),
]
SPEAKERS = [f"s{i // 10:02d}" for i in range(120)]
QUICK = {"resamples": 50, "device": "cpu"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "hidden_states.h5"
    write_cache(path)
    return path


@pytest.mark.slow
def test_the_planted_layers_are_found_and_the_baselines_are_there(cache):
    results = fit_layers(cache, **QUICK)
    assert list(results.scores.columns[: len(CONTRACT)]) == CONTRACT
    best = results.best_layers().set_index(["dimension", "probe"])["layer"]
    assert [best[name, "ridge"] for name in ("arousal", "valence", "dominance")] == [1, 3, 2]
    baselines = results.scores[results.scores["layer"] == -1]
    assert set(baselines["probe"]) == {"mean", "duration", "logmel", "mfcc"}
    assert baselines["depth"].isna().all()
    pooled = results.select(probe="ridge", fold="all", dimension="arousal")
    assert list(pooled["layer"]) == [0, 1, 2, 3]
    np.testing.assert_allclose(pooled["depth"].astype(float), [0, 1 / 3, 2 / 3, 1])
    assert (pooled["ccc_low"] < pooled["ccc"]).all()
    assert (pooled["ccc"] < pooled["ccc_high"]).all()
    folds = results.select(probe="ridge", layer=1, dimension="arousal")
    assert list(folds["fold"]) == ["all", "1", "2", "3", "4", "5"]
    assert folds["n"].iloc[1:].sum() == folds["n"].iloc[0] == 120
    # Acoustics were made with arousal in them and nothing else.
    assert pooled["ccc"].max() > results.select(probe="logmel", fold="all", dimension="arousal")["ccc"].item() > 0.1
    assert abs(results.select(probe="mean", fold="all", dimension="arousal")["ccc"].item()) < 0.1


@pytest.mark.slow
def test_scores_follow_from_the_predictions(cache):
    results = fit_layers(cache, dimensions=("valence", "emotion"), **QUICK)
    predictions, scores = results.predictions, results.scores
    for (probe, layer), part in predictions[predictions["dimension"] == "valence"].groupby(["probe", "layer"]):
        row = scores[(scores["probe"] == probe) & (scores["layer"] == layer) & (scores["dimension"] == "valence")]
        pooled = row[row["fold"] == "all"]
        assert ccc(part["truth"], part["prediction"]) == pytest.approx(pooled["ccc"].item(), abs=1e-12)
        for fold, rows in part.groupby("fold"):
            assert ccc(rows["truth"], rows["prediction"]) == pytest.approx(
                row[row["fold"] == fold]["ccc"].item(), abs=1e-12
            )
        # No speaker was scored in two folds.
        assert part.groupby("speaker")["fold"].nunique().max() == 1
    for (probe, layer), part in predictions[predictions["dimension"] == "emotion"].groupby(["probe", "layer"]):
        row = scores[(scores["probe"] == probe) & (scores["layer"] == layer) & (scores["dimension"] == "emotion")]
        found = uar(part["true_category"], part["predicted_category"])
        assert found == pytest.approx(row[row["fold"] == "all"]["uar"].item(), abs=1e-12)
    best = results.best_layers().set_index(["dimension", "probe"])
    assert best.loc[("emotion", "logistic"), "layer"] == 1  # categories were cut from arousal
    assert best.loc[("emotion", "mean"), "uar"] == pytest.approx(1 / 3)


@pytest.mark.slow
def test_every_probe_finds_the_planted_layer(cache):
    results = fit_layers(
        cache, dimensions="arousal", probe="all", features=("mean", "mean_ln"), seeds=2, folds=3, **QUICK
    )
    pooled = results.scores[(results.scores["fold"] == "all") & ~results.scores["layer"].eq(-1).fillna(False)]
    assert set(zip(pooled["probe"], pooled["features"], strict=True)) == {
        (probe, features) for probe in ("ridge", "mlp", "weighted") for features in ("mean", "mean_ln")
    }
    best = results.best_layers().set_index(["probe", "features"])["layer"]
    for probe in ("ridge", "mlp"):
        for features in ("mean", "mean_ln"):
            assert best[probe, features] == 1
    weighted = results.select(probe="weighted", fold="all", features="mean")
    assert list(weighted["seed"]) == [0, 1]
    assert weighted["layer"].isna().all()
    assert weighted["depth"].isna().all()
    weights = results.weights
    contract = ["model", "corpus", "dimension", "layer", "depth", "seed", "weight", "weight_normed"]
    assert list(weights.columns[:8]) == contract
    for _, part in weights.groupby(["features", "seed"]):
        assert part["weight"].sum() == pytest.approx(1, abs=1e-5)
        assert part["weight_normed"].sum() == pytest.approx(1, abs=1e-5)
        assert part["layer"].iloc[part["weight"].argmax()] == 1
        assert part["weight_by_norm"].sum() == pytest.approx(1, abs=1e-5)
    normed = weights[weights["features"] == "mean_ln"]  # frames of one norm
    np.testing.assert_allclose(normed["weight"], normed["weight_by_norm"], atol=1e-6)


@pytest.mark.slow
def test_deterministic_for_a_seed_and_other_for_another(cache):
    one, same, other = (fit_layers(cache, dimensions="valence", seed=seed, **QUICK) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.scores, same.scores)
    assert one.protocol == same.protocol
    rows = [r.select(probe="ridge", fold="all", layer=3)["ccc_low"].item() for r in (one, other)]
    assert rows[0] != rows[1]


@pytest.mark.slow
def test_a_dimension_does_not_depend_on_its_company(cache):
    alone = fit_layers(cache, dimensions="valence", **QUICK).scores
    together = fit_layers(cache, **QUICK).select(dimension="valence")
    numbers = ["ccc", "ccc_low", "ccc_high", "pearson", "rmse", "penalty"]
    np.testing.assert_allclose(alone[numbers], together[numbers], atol=1e-9)


@pytest.mark.slow
def test_official_split(tmp_path):
    path = tmp_path / "c.h5"
    parts = ["train"] * 60 + ["development"] * 20 + ["test1"] * 20 + ["test3"] * 20
    arousal = write_cache(path)["arousal"].to_numpy().copy()
    arousal[100:] = np.nan
    table = write_cache(path, split=parts, arousal=arousal, speaker=[f"s{i // 10}" for i in range(120)], emotion="")
    assert table["valence"].notna().all()
    results = fit_layers(path, dimensions=("arousal", "valence"), **QUICK)
    ridge = results.select(probe="ridge", layer=1)
    assert list(ridge[ridge["dimension"] == "arousal"]["split"]) == ["development", "test1"]
    assert list(ridge[ridge["dimension"] == "valence"]["split"]) == ["development", "test1", "test3"]
    assert set(ridge["fold"]) == {"all"}
    assert ridge["penalty"].notna().all()
    entry = next(e for e in results.protocol if e["probe"] == "ridge" and e["dimension"] == "arousal")
    assert entry["split"]["kind"] == "official"
    assert entry["split"]["counts"] == {"train": 60, "development": 20, "test1": 20}
    assert any("test3" in note for note in entry["split"]["notes"])
    assert entry["cache"]["left_out"] == ["arousal: 20 of 120 utterances have no label and are left out"]
    # Speakers 5 and 6 are in development alone, and so on: this split is clean.
    assert entry["split"]["leakage"] == []


@pytest.mark.slow
def test_official_leakage_is_in_the_protocol_and_on_the_screen(tmp_path, capsys):
    path = tmp_path / "c.h5"
    write_cache(path, split=["train"] * 60 + ["development"] * 30 + ["test"] * 30)
    assert main([str(path), "--dim", "arousal", "--out", str(tmp_path / "r"), "--quiet"]) == 0
    assert "LEAKAGE" in capsys.readouterr().err
    entry = load_results(tmp_path / "r").protocol[0]
    assert {tuple(leak["parts"]) for leak in entry["split"]["leakage"]} >= {("train", "test")}
    assert entry["split"]["leakage"][0]["speakers"][0] == {"speaker": "s00", "first": 5, "second": 3}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"arousal": np.nan}, "no utterance of 'handmade' has a label of arousal"),
        ({"arousal": 3.0}, "arousal is 3 in all 120 labelled utterances"),
        ({"arousal": [1e300, *range(119)]}, r"arousal of row 1 is 1e\+300, and must be"),
        ({"speaker": [f"s{i % 4}" for i in range(120)]}, "at most 4 with --folds"),
        ({"speaker": ""}, "--ungrouped"),
        (
            {"arousal": [float(i) if i < 10 else np.nan for i in range(120)], "speaker": SPEAKERS},
            "too few speakers have a label of arousal",
        ),
    ],
)
def test_what_cannot_be_probed_is_refused(tmp_path, columns, message):
    path = tmp_path / "c.h5"
    write_cache(path, **columns)
    with pytest.raises(UserError, match=message):
        fit_layers(path, dimensions="arousal", **QUICK)


@pytest.mark.slow
def test_refusals_of_the_rest(tmp_path, cache):
    write_cache(tmp_path / "c.h5", pending=3)
    with pytest.raises(UserError, match="not complete: run the same probe-extract again"):
        fit_layers(tmp_path / "c.h5")
    write_cache(tmp_path / "c.h5", emotion="calm")
    with pytest.raises(UserError, match="every utterance is 'calm'"):
        fit_layers(tmp_path / "c.h5", dimensions="emotion")
    for options, message in [
        ({"dimensions": "joy"}, "unknown dimension 'joy'"),
        ({"probe": "forest"}, "unknown probe 'forest'"),
        ({"features": ("median",)}, "has no 'median'"),
        ({"features": ("std",), "probe": "weighted"}, "takes --features mean or mean_ln"),
        ({"dimensions": "emotion", "probe": "mlp"}, "does not fit emotion"),
        ({"penalties": [0]}, "penalties must be positive"),
        ({"seeds": 0}, "--seeds 0"),
        ({"folds": 2}, "too few"),
        ({"ungrouped": True}, "this one does"),
        ({"device": "abacus", "probe": "mlp"}, "abacus"),
    ]:
        with pytest.raises(UserError, match=message):
            fit_layers(cache, **{"dimensions": "arousal", **options})


@pytest.mark.slow
def test_states_that_are_no_numbers_are_refused_by_every_probe(tmp_path):
    path = tmp_path / "c.h5"
    write_cache(path, n=40, speakers=8)
    with h5py.File(path, "r+") as file:
        file["pooled/mean"][2, 17, 3] = np.nan
    write_checksums(path)
    for probe in ("ridge", "mlp", "weighted"):
        with pytest.raises(UserError, match=r"c\.h5: .*(not a finite number|predicts no number)"):
            fit_layers(path, dimensions="arousal", probe=probe, folds=3, seeds=1, **QUICK)
    with pytest.raises(UserError, match=r"c\.h5: .*not a finite number"):
        fit_layers(path, dimensions="emotion", probe="logistic", folds=3, **QUICK)


@pytest.mark.slow
def test_ungrouped_counts_every_utterance_as_a_speaker(tmp_path):
    path = tmp_path / "c.h5"
    write_cache(path, speaker="")
    results = fit_layers(path, dimensions="arousal", ungrouped=True, **QUICK)
    assert results.select(probe="ridge", fold="all")["speakers"].eq(120).all()
    assert results.protocol[0]["split"]["kind"] == "ungrouped folds"


@pytest.mark.slow
def test_dimensions_without_labels_are_left_out_of_all(tmp_path, capsys):
    path = tmp_path / "c.h5"
    write_cache(path, dominance=np.nan)
    assert main([str(path), "--out", str(tmp_path / "r"), "--quiet", "--resamples", "20"]) == 0
    assert "dominance is left out" in capsys.readouterr().err
    assert set(load_results(tmp_path / "r").scores["dimension"]) == {"arousal", "valence"}


@pytest.mark.slow
def test_missing_labels_are_counted_and_left_out(tmp_path, capsys):
    path = tmp_path / "c.h5"
    valence = write_cache(path)["valence"].to_numpy().copy()
    valence[:30] = np.nan
    write_cache(path, valence=valence)
    assert main([str(path), "--out", str(tmp_path / "r"), "--quiet", "--resamples", "20"]) == 0
    assert "valence: 30 of 120 utterances have no label and are left out" in capsys.readouterr().err
    pooled = load_results(tmp_path / "r").select(probe="ridge", fold="all", layer=0).set_index("dimension")["n"]
    assert pooled.to_dict() == {"arousal": 120, "valence": 90, "dominance": 120}


@pytest.mark.slow
def test_a_constant_fold_has_a_reason(tmp_path):
    path = tmp_path / "c.h5"
    arousal = write_cache(path)["arousal"].to_numpy().copy()
    speaker = [f"s{i // 10:02d}" for i in range(120)]
    arousal[:10] = 4.0
    write_cache(path, arousal=arousal, speaker=speaker)
    results = fit_layers(path, dimensions="arousal", folds=12, **QUICK)
    rows = results.select(probe="ridge", layer=1)
    constant = rows[rows["pearson"].isna()]
    assert len(constant) == 1
    assert constant["reason"].item() == "the labels that are scored are constant"
    assert constant["ccc"].item() == 0


@pytest.mark.slow
def test_rerun_skips_and_a_changed_protocol_does_not(cache, tmp_path, capsys):
    out = tmp_path / "r"
    arguments = [str(cache), "--dim", "valence", "--out", str(out), "--quiet", "--resamples", "30"]
    assert main(arguments) == 0
    capsys.readouterr()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir() if path.is_file()}
    assert main(arguments) == 0
    assert "not fitted again" in capsys.readouterr().err
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir() if path.is_file()}
    assert {name for name, value in before.items() if after[name] != value} <= {".lock"}
    # Another dimension is added, another seed replaces, and nothing is there twice.
    assert main([str(cache), "--dim", "arousal", "--out", str(out), "--quiet", "--resamples", "30"]) == 0
    assert set(load_results(out).scores["dimension"]) == {"valence", "arousal"}
    capsys.readouterr()
    assert main([*arguments, "--seed", "5"]) == 0
    assert "not fitted again" not in capsys.readouterr().err
    results = load_results(out)
    assert set(results.select(dimension="valence")["seed"]) == {5}
    assert set(results.select(dimension="arousal")["seed"]) == {0}
    assert not results.scores.duplicated([*KEY, "layer", "fold", "seed", "split"]).any()
    capsys.readouterr()
    assert main([*arguments, "--seed", "5", "--overwrite"]) == 0
    assert "not fitted again" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_changed_label_is_fitted_again(tmp_path):
    path, out = tmp_path / "c.h5", tmp_path / "r"
    table = write_cache(path)
    first = fit_layers(path, dimensions="arousal", out=out, **QUICK)
    changed = table["arousal"].to_numpy().copy()
    changed[0] += 1
    write_cache(path, arousal=changed)
    second = fit_layers(path, dimensions="arousal", out=out, **QUICK)
    assert first.protocol[0]["hash"] != second.protocol[0]["hash"]
    assert len(load_results(out).protocol) == len(first.protocol)


@pytest.mark.slow
def test_several_caches_stay_apart_and_the_same_twice_is_refused(cache, tmp_path):
    write_cache(
        tmp_path / "student.h5", label="student", layers=3, planted={"arousal": 0, "valence": 2, "dominance": 1}
    )
    out = tmp_path / "r"
    arguments = [str(cache), str(tmp_path / "student.h5"), "--dim", "arousal", "--out", str(out), "--quiet"]
    assert main([*arguments, "--resamples", "30"]) == 0
    best = load_results(out).best_layers().set_index(["model", "probe"])["layer"]
    assert (best["planted", "ridge"], best["student", "ridge"]) == (1, 0)
    write_cache(tmp_path / "again.h5", seed=4)
    assert main([str(cache), str(tmp_path / "again.h5"), "--out", str(tmp_path / "q"), "--quiet"]) == 2


@pytest.mark.slow
def test_joined_features_are_one_feature_set(cache):
    results = fit_layers(
        cache,
        dimensions="arousal",
        features=("mean+std", "mean"),
        probe=("ridge", "weighted"),
        folds=3,
        seeds=1,
        **QUICK,
    )
    keys = {(entry["probe"], entry["features"]) for entry in results.protocol if entry["features"]}
    # A weighted sum of standard deviations is no standard deviation of a weighted sum, so that pair is absent.
    assert keys - {("duration", "duration"), ("logmel", "logmel"), ("mfcc", "mfcc")} == {
        ("ridge", "mean+std"), ("ridge", "mean"), ("weighted", "mean")
    }  # fmt: skip
    best = results.best_layers().set_index(["probe", "features"])
    assert best.loc[("ridge", "mean+std"), "layer"] == 1
    # The standard deviations are noise here: they cost something, so they were indeed among the features.
    assert best.loc[("ridge", "mean+std"), "ccc"] < best.loc[("ridge", "mean"), "ccc"]


KILLED = """
import os, signal, sys
from emoprobe.cli import fit
from emoprobe.probe import results

replace, left = results.Path.replace, int(sys.argv[1])

def dying(beside, path):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)  # the new file is written, the old one is still in its place
    return replace(beside, path)

results.Path.replace = dying
fit.draw = lambda *folders, **_: []
sys.exit(fit.main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_killed_between_any_two_files_it_goes_on(cache, tmp_path):
    """After SIGKILL the folder loads, at most the unit under way is lost, and the end is what an unbroken run finds."""
    out = tmp_path / "r"
    arguments = [str(cache), "--resamples", "50", "--quiet", "--out", str(out)]
    # A run writes four files (five with refits), the protocol last, and gets its name. The end writes seven, and then
    # takes the name of each run away. The instants fall into the first run, before its name, into later ones, into the
    # tables, and before and between those names.
    for left, kept in ((3, 0), (8, 1), (20, 4), (9, 5), (8, 5)):
        run = subprocess.run([sys.executable, "-c", KILLED, str(left), *arguments], capture_output=True)
        assert run.returncode == -signal.SIGKILL
        if kept == 0:
            assert not has_results(out)
            continue
        there = load_results(out)
        assert len(there.protocol) == 3 * kept  # a dimension each
        assert not there.scores.duplicated([*KEY, "layer", "fold", "seed", "split"]).any()
    found = fit_layers(cache, out=out, **QUICK)
    whole = fit_layers(cache, **QUICK)
    pd.testing.assert_frame_equal(found.scores, whole.scores)
    pd.testing.assert_frame_equal(load_results(out).scores, whole.scores)
    assert load_results(out).protocol == whole.protocol
    assert not (out / pending.FOLDER).exists()


@pytest.mark.slow
def test_what_is_not_ours_stays_beside_runs_that_are_kept(cache, tmp_path):
    """An error keeps what was done; a file of somebody else keeps its folder, and is no run."""
    out = tmp_path / "r"
    whole = fit_layers(cache, out=tmp_path / "whole", **QUICK)

    def work() -> None:
        with keeping(out) as keep:
            keep(whole)
            (place,) = pending.places(out)
            (place / "mine.txt").write_text("mine")
            assert load_results(out).protocol == whole.protocol  # before it is in the tables
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        work()
    assert load_results(out).protocol == whole.protocol
    assert not pending.places(out)
    assert [path.read_text() for path in (out / pending.FOLDER).rglob("mine.txt")] == ["mine"]


@pytest.mark.slow
def test_results_on_disk(cache, tmp_path):
    out = tmp_path / "r"
    made = fit_layers(cache, dimensions="arousal", probe=("ridge", "weighted"), folds=3, out=out, **QUICK)
    csv, parquet = pd.read_csv(out / "scores.csv", dtype={"fold": str}), pd.read_parquet(out / "scores.parquet")
    assert list(csv.columns) == list(parquet.columns)
    np.testing.assert_allclose(csv["ccc"], parquet["ccc"], atol=0)
    loaded = load_results(out)
    pd.testing.assert_frame_equal(loaded.scores, made.scores)
    assert loaded.protocol == made.protocol
    assert "<table" in loaded._repr_html_()
    for entry in loaded.protocol:
        assert entry["cache"]["provenance"]["corpus"]["sha256"]
        assert entry["versions"]["scikit-learn"]
    (out / "scores.parquet").unlink()  # the CSV alone will do
    pd.testing.assert_frame_equal(load_results(out).scores, made.scores, check_exact=False)
    (out / "predictions.parquet").unlink()
    assert not len(load_results(out).predictions)
    (out / "scores.csv").write_text("model,corpus\n1,2\n")
    with pytest.raises(UserError, match=r"scores\.csv is damaged"):
        load_results(out)
    (out / "protocol.json").write_text("[{")
    with pytest.raises(UserError, match=r"protocol\.json cannot be read"):
        load_results(out)
    with pytest.raises(UserError, match="holds no results: make them with `probe-fit"):
        load_results(tmp_path / "nowhere")


@pytest.mark.slow
def test_results_of_several_folders(cache, tmp_path):
    fit_layers(cache, dimensions="arousal", out=tmp_path / "a", **QUICK)
    fit_layers(cache, dimensions="valence", out=tmp_path / "b", **QUICK)
    both = load_results([tmp_path / "a", tmp_path / "b"])
    assert set(both.scores["dimension"]) == {"arousal", "valence"}
    assert len(Results.empty().best_layers()) == 0


@pytest.mark.slow
def test_an_open_cache_is_taken_and_left_open(cache):
    with HiddenStateCache(cache) as opened:
        fit_layers(opened, dimensions="arousal", **QUICK)
        assert opened.states(layers=0).shape == (120, 12)


@pytest.mark.slow
def test_command_without_arguments(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--dim", "valence"]) == 2
    assert "error: there is no cache hidden_states.h5: make it with probe-extract" in capsys.readouterr().err
    (tmp_path / "hidden_states.h5").write_bytes(cache.read_bytes())
    drawn = []

    def draw(results, figures, **_):
        drawn.append((results, figures, (results / "scores.csv").exists()))

    monkeypatch.setattr("emoprobe.cli.fit.draw", draw)
    assert main(["--dim", "valence"]) == 0
    said = capsys.readouterr()
    assert drawn == [(Path("results"), Path("figures"), True)]
    assert "best layer 3" in said.out
    assert "carries valence best in layer 3" in " ".join(said.out.split())
    assert said.out.endswith("next: emoprobe report results\n")
    assert "%|" not in said.err  # a bar is for a terminal


def test_command_says_errors_in_a_line(tmp_path, cache, capsys):
    (tmp_path / "no.h5").write_bytes(b"no cache at all")
    for arguments in (
        [str(tmp_path / "no.h5")],
        [str(tmp_path / "absent.h5")],
        [str(cache), "--target", "emotion", "--probe", "mlp"],
        [str(cache), "--penalties", "-1"],
    ):
        assert main([*arguments, "--out", str(tmp_path / "r")]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom emoprobe.cli.fit import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'pandas', 'numpy', 'sklearn', 'matplotlib', 'h5py', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--ungrouped" in done.stdout


@pytest.mark.slow
def test_other_states_are_fitted_again_and_another_corpus_is_refused(tmp_path, capsys):
    """Under one name there is one thing: changed states make other numbers, other data need another folder."""
    out = tmp_path / "results"
    settings = {"dimensions": "arousal", "folds": 3, "resamples": 20, "out": out}
    write_cache(tmp_path / "a.h5")
    first = fit_layers(tmp_path / "a.h5", **settings).scores["ccc"]
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["pooled/mean"][:] = np.random.default_rng(3).normal(size=file["pooled/mean"].shape)
    write_checksums(tmp_path / "a.h5")
    second = fit_layers(tmp_path / "a.h5", **settings).scores["ccc"]
    assert not np.allclose(first, second, equal_nan=True)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        provenance = json.loads(file.attrs["provenance"])
        provenance["corpus"]["sha256"] = "2" * 64
        file.attrs["provenance"] = json.dumps(provenance, ensure_ascii=False)
        file.attrs["layout_sha256"] = layout_sha256(file)
    seal_layout(tmp_path / "a.h5")
    with pytest.raises(UserError, match="--out"):
        fit_layers(tmp_path / "a.h5", **settings)


@pytest.mark.slow
def test_killed_in_a_second_fit_the_first_is_not_taken_for_it(tmp_path, monkeypatch):
    """The tables hold seed 7 and nobody says so: the next run with seed 0 must not believe them to be its own."""
    out = tmp_path / "results"
    cache = tmp_path / "a.h5"
    write_cache(cache)
    settings = {"dimensions": "arousal", "folds": 3, "resamples": 20, "out": out}
    wanted = fit_layers(cache, seed=0, **settings).scores
    write, calls = results_module._write_protocol, []

    def killed(folder, protocol):
        calls.append(len(protocol))
        if len(calls) % 2 == 0:
            raise KeyboardInterrupt
        write(folder, protocol)

    monkeypatch.setattr(results_module, "_write_protocol", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_layers(cache, seed=7, **settings)
    monkeypatch.undo()
    found = fit_layers(cache, seed=0, **settings).scores
    keys = ["probe", "layer", "fold", "split"]
    left, right = (t.sort_values(keys).reset_index(drop=True)[[*keys, "ccc"]] for t in (found, wanted))
    pd.testing.assert_frame_equal(left, right)


@pytest.mark.slow
def test_tables_that_could_not_be_written_hold_no_run_twice(cache, tmp_path, monkeypatch):
    """A run is fitted again with other settings, and the disk is full when its tables are written: at each of them."""
    whole = fit_layers(cache, **QUICK | {"permutations": 3, "dimensions": "arousal"})
    write = results_module._write
    for last in (1, 3, 5):
        out, count = tmp_path / str(last), 0
        fit_layers(cache, out=out, **QUICK | {"permutations": 2, "dimensions": "arousal"})

        def full(path, how, last=last, out=out):
            nonlocal count
            count += path.parent == out
            if count > last:
                raise OSError(28, "No space left on device")
            write(path, how)

        monkeypatch.setattr(results_module, "_write", full)
        with pytest.raises(UserError, match="free the disk"):
            fit_layers(cache, out=out, **QUICK | {"permutations": 3, "dimensions": "arousal"})
        monkeypatch.undo()
        assert not load_results(out).scores.duplicated([*KEY, "layer", "fold", "seed", "split"]).any()
        again = fit_layers(cache, out=out, **QUICK | {"permutations": 3, "dimensions": "arousal"})
        for there in (again, load_results(out)):
            assert len(there.scores) == len(whole.scores)
            assert len(there.predictions) == len(whole.predictions)
