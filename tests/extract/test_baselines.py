"""Baselines beside a cache: what they hold, that a kill loses little, and that they are read by nobody else's cache."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoprobe import HiddenStateCache, fit_layers, load_results
from emoprobe.cli.extract import main
from emoprobe.errors import UserError
from emoprobe.extract.baselines import BASELINES, add_baselines
from emoprobe.extract.baselines.egemaps import LIMIT
from emoprobe.extract.sidecars import read_sidecar, sidecar_path, write_sidecar
from emoprobe.probe.baselines import probe_features
from emoprobe.probe.splits import Fold
from emoprobe.testing.caches import write_cache
from emoprobe.testing.checkpoints import save_speech_model, save_text_model
from emoprobe.testing.corpora import make_corpus
from tests.killed_baselines import add_and_die

QUICK = {"resamples": 50, "penalties": (1.0, 100.0), "features": "mean"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_speech_model(tmp_path_factory.mktemp("model"), "distilhubert"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return str(save_text_model(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def extracted(tmp_path_factory, model) -> Path:
    """A finished cache of twelve recordings, one of them too short for eGeMAPS, one without transcript."""
    folder = tmp_path_factory.mktemp("extracted")
    manifest = make_corpus(folder / "corpus", longest=0.6)
    soundfile.write(folder / "corpus" / "u003.wav", np.random.default_rng(0).normal(size=700) * 0.1, 16000)
    table = pd.read_csv(manifest)
    table.loc[5, "transcript"] = ""
    table.to_csv(manifest, index=False)
    assert main(["--corpus", str(manifest), "--model", model, "--out", str(folder / "c.h5"), "--quiet"]) == 0
    return folder / "c.h5"


@pytest.fixture
def cache(extracted, tmp_path):
    path = tmp_path / "c.h5"
    shutil.copy(extracted, path)
    with HiddenStateCache(path) as opened:
        yield opened


# What they hold -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_egemaps_is_what_opensmile_computes(cache):
    opensmile = pytest.importorskip("opensmile")
    made = add_baselines(cache, ["egemaps"], progress=False)["egemaps"]
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )
    assert list(made.columns) == smile.feature_names
    features = cache.baseline("egemaps")
    assert features.shape == (12, 88)
    for row in (0, 7):
        # By opensmile's own reading of the file.
        expected = smile.process_file(cache.corpus_root / cache.utterances["path"][row]).to_numpy()[0]
        np.testing.assert_allclose(features[row], expected, rtol=1e-4, atol=1e-4)  # 16-bit files, read two ways
    assert np.flatnonzero(np.isnan(features).any(1)).tolist() == [3]
    assert "too short for eGeMAPS (0.044 s)" in made.reasons[3]


def test_text_is_the_embedding_of_the_transcript(cache, encoder):
    from emoprobe.extract.encoders.text import load_text_encoder

    made = add_baselines(cache, [f"text={encoder}"], progress=False)["text"]
    expected = load_text_encoder(encoder).embed(list(cache.utterances["transcript"]))
    np.testing.assert_array_equal(cache.baseline("text"), expected)
    assert np.flatnonzero(np.isnan(expected).any(1)).tolist() == [5]
    assert made.reasons[5] == "no transcript"
    assert cache.baselines["text"]["settings"]["weights_sha256"]
    assert list(cache.baselines) == ["duration", "logmel", "mfcc", "text"]


def test_duration_is_seconds_and_their_logarithm(tmp_path):
    seconds = np.linspace(0.5, 9, 120)
    write_cache(tmp_path / "c.h5", pending=3)
    with HiddenStateCache(tmp_path / "c.h5") as cache:
        cache._file.description["seconds"] = seconds
        found = cache.baseline("duration")
    np.testing.assert_allclose(found[:-3, 0], seconds[:-3], rtol=1e-6)
    np.testing.assert_allclose(np.exp(found[:-3, 1]), seconds[:-3], rtol=1e-6)
    assert np.isnan(found[-3:]).all()


def test_the_file_is_readable_by_anyone(cache, encoder):
    add_baselines(cache, [f"text={encoder}"], progress=False)
    table = pd.read_parquet(sidecar_path(cache.path, "text"))
    assert list(table.columns) == ["id", "reason", *(f"text_{k}" for k in range(16))]
    assert list(table["id"]) == list(cache.utterances["id"])


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("die_at", [2, 4])  # the second part; the whole
def test_a_killed_run_goes_on_and_ends_with_the_same_file(cache, encoder, monkeypatch, tmp_path, die_at):
    process = multiprocessing.get_context("spawn").Process(
        target=add_and_die, args=(str(cache.path), encoder, die_at, torch.get_num_threads())
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    path = sidecar_path(cache.path, "text")
    assert len(list(path.with_suffix(".parts").glob("0*.parquet"))) == die_at - 1
    assert not path.exists()
    assert "text" not in cache.baselines
    monkeypatch.setitem(BASELINES, "text", replace(BASELINES["text"], part=4))
    computed = count_rows(monkeypatch)
    add_baselines(cache, [f"text={encoder}"], progress=False)
    assert computed == [4] * (4 - die_at)
    resumed = path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["text.parquet"]
    path.unlink()
    monkeypatch.setitem(BASELINES, "text", replace(BASELINES["text"], part=1024))
    add_baselines(cache, [f"text={encoder}"], progress=False)
    assert path.read_bytes() == resumed


def count_rows(monkeypatch) -> list[int]:
    """The number of utterances of every call of the text encoder from now on."""
    from emoprobe.extract.encoders.text import TextEncoder

    computed: list[int] = []
    embed = TextEncoder.embed
    monkeypatch.setattr(TextEncoder, "embed", lambda self, texts: computed.append(len(texts)) or embed(self, texts))
    return computed


def test_parts_of_something_else_are_computed_again(cache, encoder, monkeypatch):
    monkeypatch.setitem(BASELINES, "text", replace(BASELINES["text"], part=6))
    add_baselines(cache, [f"text={encoder}"], progress=False)
    path = sidecar_path(cache.path, "text")
    whole = path.read_bytes()
    other = read_sidecar(path)
    other.about["settings"]["weights_sha256"] = "0" * 64
    write_sidecar(path.with_suffix(".parts") / "000000.parquet", other)
    (path.with_suffix(".parts") / "000001.parquet").write_bytes(b"damaged")
    path.unlink()
    add_baselines(cache, [f"text={encoder}"], progress=False)
    assert path.read_bytes() == whole


def test_what_is_there_is_not_computed_again_and_a_neighbour_of_the_same_corpus_is_copied(
    cache, encoder, monkeypatch, tmp_path
):
    add_baselines(cache, [f"text={encoder}"], progress=False)
    student = tmp_path / "student.h5"
    shutil.copy(cache.path, student)
    computed, said = count_rows(monkeypatch), []
    add_baselines(cache, [f"text={encoder}"], progress=False, report=said.append)
    with HiddenStateCache(student) as other:
        add_baselines(other, [f"text={encoder}"], progress=False, report=said.append)
        np.testing.assert_array_equal(other.baseline("text"), cache.baseline("text"))
    assert computed == []
    assert "nothing to do" in said[0]
    assert "copied from" in said[1]


def test_another_encoder_takes_the_place_and_says_so(cache, encoder, tmp_path):
    add_baselines(cache, [f"text={encoder}"], progress=False)
    first = cache.baselines["text"]
    said = []
    other = save_text_model(tmp_path / "other", "bert", seed=1)
    add_baselines(cache, [f"text={other}"], progress=False, report=said.append)
    assert "another encoder" in said[0]
    assert cache.baselines["text"] != first


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_baseline_of_another_corpus_is_refused(cache, encoder, tmp_path):
    add_baselines(cache, [f"text={encoder}"], progress=False)
    write_cache(tmp_path / "other.h5", n=12)
    shutil.copytree(sidecar_path(cache.path, "text").parent, tmp_path / "other.h5.baselines")
    with HiddenStateCache(tmp_path / "other.h5") as other:
        for read in (lambda: other.baselines, lambda: other.baseline("text"), lambda: fit_layers(other, **QUICK)):
            with pytest.raises(
                UserError, match=r"other\.h5\.baselines/text\.parquet is of another corpus.*make it anew"
            ):
                read()


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign"])
def test_a_damaged_baseline_is_told(cache, encoder, damage):
    add_baselines(cache, [f"text={encoder}"], progress=False)
    path = sidecar_path(cache.path, "text")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "foreign":
        pd.DataFrame({"id": ["a"]}).to_parquet(path)
    else:
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        values = table["text_3"].to_numpy().copy()
        values[2] += 1
        changed = table.set_column(table.column_names.index("text_3"), "text_3", [values])
        pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(UserError, match=r"text\.parquet is damaged.*--baselines text"):
        cache.baseline("text")


def test_what_cannot_be_computed_is_said_with_its_remedy(cache, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no baseline 'loudness'; there is egemaps, text"):
        add_baselines(cache, ["loudness"])
    with pytest.raises(UserError, match="--baselines text=: the encoder is empty"):
        add_baselines(cache, ["text="])
    with pytest.raises(UserError, match=r"has no baseline 'egemaps'.*--baselines"):
        cache.baseline("egemaps")
    write_cache(tmp_path / "silent.h5")
    with HiddenStateCache(tmp_path / "silent.h5") as silent, pytest.raises(UserError, match="has a transcript"):
        add_baselines(silent, ["text"])
    monkeypatch.setitem(__import__("sys").modules, "opensmile", None)
    with pytest.raises(UserError, match=r"pip install 'emoprobe\[egemaps\]'"):
        add_baselines(cache, ["egemaps"])


def test_audio_that_is_gone_is_refused_and_may_be_named_anew(cache, extracted, tmp_path):
    pytest.importorskip("opensmile")
    with pytest.raises(UserError, match=r"nowhere is gone .*No such file"):
        add_baselines(cache, ["egemaps"], root=tmp_path / "nowhere", progress=False)
    assert not sidecar_path(cache.path, "egemaps").exists()
    shutil.copytree(extracted.parent / "corpus", tmp_path / "moved")
    add_baselines(cache, ["egemaps"], root=tmp_path / "moved", progress=False)
    assert np.isfinite(cache.baseline("egemaps")).all(1).sum() == 11


A_NEW_ONE = """
import sys
import numpy as np
from emoprobe.extract.baselines.base import Baseline, Features
from emoprobe.extract.baselines.registry import BASELINES

def ready(cache, resources):
    return Features(("samples",), {}, {}, lambda rows: (cache.samples[rows][:, None].astype("f4"), [""] * len(rows)))

BASELINES["length"] = Baseline(
    "length", "Length", "the number of samples", acoustic=True, compute=ready, clean=lambda features, _: features / 1000
)

from emoprobe import HiddenStateCache, fit_layers
from emoprobe.analysis.report.paired_claims import ACOUSTIC
from emoprobe.analysis.tables import BASELINE_NAMES
from emoprobe.cli.extract import main, parser

assert "length (the number of samples)" in " ".join(parser().format_help().split())
assert main(["--out", sys.argv[1], "--baselines", "length", "--quiet"]) == 0
with HiddenStateCache(sys.argv[1]) as cache:
    np.testing.assert_array_equal(cache.baseline("length")[:, 0], cache.samples)
    quick = {"resamples": 0, "penalties": (1.0,), "features": "mean", "permutations": 0, "mdl": False}
    results = fit_layers(cache, dimensions="arousal", **quick)
assert len(results.select(probe="length", fold="all")) == 1
assert BASELINE_NAMES["length"] == "Length" and "length" in ACOUSTIC
"""


@pytest.mark.slow
def test_a_new_baseline_is_one_entry(tmp_path):
    """Nothing else names it: the command, the cache, the probes, the tables and the claims ask the registry."""
    write_cache(tmp_path / "c.h5")
    command = [sys.executable, "-c", A_NEW_ONE, str(tmp_path / "c.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# The command ----------------------------------------------------------------------------------------------------------


def test_baselines_are_added_to_a_finished_cache_without_its_model(cache, extracted, encoder, monkeypatch, capsys):
    pytest.importorskip("opensmile")
    from emoprobe.extract.encoders import speech

    def refuse(*arguments, **settings):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(speech, "load_backbone", refuse)
    before = cache.path.read_bytes()
    arguments = ["--out", str(cache.path), "--baselines", "egemaps", f"text={encoder}", "--quiet"]
    assert main(arguments) == 3  # one file is too short for eGeMAPS
    told = capsys.readouterr().err
    assert "left out of egemaps" in told
    assert "u003.wav" in told
    assert "transcript" not in told
    assert cache.path.read_bytes() == before
    assert list(cache.baselines) == ["duration", "logmel", "mfcc", "egemaps", "text"]
    # A corpus that is named is compared, as in every extraction: the cache may be of another.
    with pytest.raises(AssertionError, match="the model was loaded"):
        main([*arguments, "--corpus", str(extracted.parent / "corpus" / "manifest.csv")])


def test_baselines_are_computed_with_a_first_extraction(extracted, model, encoder, tmp_path):
    manifest = extracted.parent / "corpus" / "manifest.csv"
    arguments = ["--corpus", str(manifest), "--model", model, "--out", str(tmp_path / "n.h5"), "--quiet"]
    assert main([*arguments, "--baselines", f"text={encoder}"]) == 0
    with HiddenStateCache(tmp_path / "n.h5") as cache:
        assert "text" in cache.baselines


# Probes ---------------------------------------------------------------------------------------------------------------


def beside(path: Path, name: str, features: np.ndarray) -> None:
    """A baseline for a handmade cache."""
    with HiddenStateCache(path) as cache:
        about = {
            "baseline": name,
            "corpus": {part: cache.provenance["corpus"][part] for part in ("name", "sha256")},
            "settings": {},
            "versions": {},
        }
        columns = tuple(f"{name}_{k}" for k in range(features.shape[1]))
        ids, reasons = cache.utterances["id"].to_numpy(object), np.full(len(features), "", object)
    from emoprobe.extract.sidecars import Sidecar

    write_sidecar(sidecar_path(path, name), Sidecar(about, ids, reasons, columns, features.astype(np.float32)))


@pytest.mark.slow
def test_probes_take_the_baselines_on_the_same_rows_as_the_layers(tmp_path):
    path = tmp_path / "c.h5"
    table = write_cache(path, n=240)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(240, 5))
    features[:, 1] += 2 * (table["valence"] - 4)
    features[::6] = np.nan
    beside(path, "text", features)
    results = fit_layers(path, dimensions=("arousal", "valence"), **QUICK)
    pooled = results.select(fold="all", dimension="valence")
    assert pooled["n"].unique().tolist() == [240]
    scores = pooled.set_index("probe")["ccc"]
    assert scores["text"] > 0.5
    (run,) = [run for run in results.protocol if run["probe"] == "text" and run["dimension"] == "valence"]
    assert any("40 of 240 labelled utterances lack the baseline 'text'" in note for note in run["notes"])
    assert run["settings"]["baseline"]["sha256"]
    # A row without the baseline gets the prediction of a row of which nothing is known: about the mean label.
    rows = results.predictions.query("probe == 'text' and dimension == 'valence'").set_index("id")
    assert rows.loc[[f"u{i:04d}" for i in range(0, 240, 6)], "prediction"].std() < 0.2 * rows["prediction"].std()


@pytest.mark.slow
def test_other_features_are_fitted_again_and_the_same_are_not(tmp_path):
    path = tmp_path / "c.h5"
    write_cache(path)
    features = np.random.default_rng(0).normal(size=(120, 3))
    beside(path, "text", features)
    settings = QUICK | {"dimensions": "arousal", "out": tmp_path / "results"}
    fit_layers(path, **settings)
    first = {run["probe"]: run["hash"] for run in load_results(tmp_path / "results").protocol}
    beside(path, "text", features + 1)
    fit_layers(path, **settings)
    second = {run["probe"]: run["hash"] for run in load_results(tmp_path / "results").protocol}
    assert {name for name in first if first[name] != second[name]} == {"text"}


@pytest.mark.slow
def test_duration_explains_a_target_that_is_duration(tmp_path):
    path = tmp_path / "c.h5"
    seconds = np.random.default_rng(0).uniform(1, 6, 120)
    write_cache(path, arousal=seconds)
    cache = HiddenStateCache(path)
    cache._file.description["seconds"] = seconds
    with cache:
        results = fit_layers(cache, dimensions="arousal", **QUICK)
    assert results.select(probe="duration", fold="all")["ccc"].item() > 0.99


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_gaps_are_filled_from_the_training_rows_alone(seed, share):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(40, 3)).astype(np.float32)
    features[rng.random(40) < share] = np.nan
    train, test = np.arange(25), np.arange(25, 40)
    folds = [Fold("all", train, (), {"test": test})]
    filled = probe_features("text", features, folds)
    there = ~np.isnan(features[:, 0])
    np.testing.assert_array_equal(filled[there], features[there])
    expected = features[train][there[train]].mean(0) if there[train].any() else np.zeros(3)
    # Sums of at most 25 float32 values, in single and in double precision.
    np.testing.assert_allclose(filled[~there], np.broadcast_to(expected, filled[~there].shape), atol=1e-6)


def test_outliers_of_egemaps_are_limited_by_the_training_rows():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3))
    features[7, 0], features[399, 0], features[:, 2] = 1e6, -1e6, 1.0
    folds = [Fold("all", np.arange(300), (), {"test": np.arange(300, 400)})]
    limited = probe_features("egemaps", features, folds)
    # Robust and plain standard deviation of 300 normal values agree to a few percent.
    assert limited[7, 0] == pytest.approx(LIMIT, rel=0.2)
    assert limited[399, 0] == pytest.approx(-LIMIT, rel=0.2)
    np.testing.assert_array_equal(limited[:, 1:], features[:, 1:])
    np.testing.assert_array_equal(probe_features("mfcc", features, folds), features)
