"""Labels that change cost no extraction: `probe-extract --refresh-labels`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from emoprobe.cli.extract import main
from emoprobe.cli.fit import main as fit_main
from emoprobe.extract import HiddenStateCache, refreshing, resuming
from emoprobe.extract.acoustics import acoustic_statistics
from emoprobe.extract.pipeline import Pipeline
from emoprobe.extract.sidecars import Sidecar, read_sidecar, sidecar_path, write_sidecar
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "corpus", utterances=24, speakers=6)


def run(manifest: Path, model: Path, out: Path, *more: str) -> int:
    where = ["--corpus", str(manifest), "--model", str(model), "--out", str(out)]
    return main([*where, "--device", "cpu", "--batch-seconds", "3", "--quiet", *more])


def relabel(manifest: Path) -> None:
    """Another arousal for three, a split for all, and the words of one."""
    table = pd.read_csv(manifest)
    table.loc[:2, "arousal"] = 9.5
    table["split"] = ["train", "test"] * 12
    table.loc[5, "transcript"] = "something else"
    table.to_csv(manifest, index=False)


@pytest.mark.parametrize("frames", [[], ["--frames"]])
def test_labels_are_taken_over_as_if_extracted_anew(frames, manifest, model, tmp_path, monkeypatch, capsys):
    (manifest.parent / "u007.wav").write_bytes(b"not sound")
    out = tmp_path / "states.h5"
    assert run(manifest, model, out, *frames) == 3
    before = out.read_bytes()
    relabel(manifest)
    capsys.readouterr()
    assert run(manifest, model, out, *frames) == 2
    said = capsys.readouterr().err
    for told in ("of the same audio and model, with other labels", "split of 24 utterances", "--refresh-labels"):
        assert told in said
    assert out.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "run", lambda *arguments: pytest.fail("something was extracted"))
        assert run(manifest, model, out, *frames, "--refresh-labels") == 3
    assert run(manifest, model, tmp_path / "anew" / "states.h5", *frames) == 3
    assert out.read_bytes() == (tmp_path / "anew/states.h5").read_bytes()
    with HiddenStateCache(out) as cache:
        assert cache.verify() == []
        assert set(cache.utterances["split"]) == {"train", "test"}
        if frames:
            utterance = cache.utterances["id"][3]
            with HiddenStateCache(tmp_path / "anew/states.h5") as anew:
                assert (cache.frames(utterance) == anew.frames(utterance)).all()
    # Nothing is left to take over, and the option does no harm.
    after = out.read_bytes()
    assert run(manifest, model, out, *frames, "--refresh-labels") == 3
    assert out.read_bytes() == after


def test_a_run_that_was_stopped_takes_labels_over_and_goes_on(manifest, model, tmp_path, monkeypatch):
    out = tmp_path / "states.h5"
    extract_all = Pipeline.run

    def stop_half_way(self, todo):
        yield from extract_all(self, todo[: len(todo) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "run", stop_half_way)
        assert run(manifest, model, out) == 130
    with HiddenStateCache(out) as cache:
        assert 0 < cache.done.sum() < 24
    relabel(manifest)
    assert run(manifest, model, out, "--refresh-labels") == 0
    assert run(manifest, model, tmp_path / "anew" / "states.h5") == 0
    assert out.read_bytes() == (tmp_path / "anew/states.h5").read_bytes()


def test_an_error_on_the_way_leaves_the_old_cache(manifest, model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "states.h5"
    assert run(manifest, model, out) == 0
    before = out.read_bytes()
    relabel(manifest)

    def full(*arguments) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(refreshing, "_copy", full)
    assert run(manifest, model, out, "--refresh-labels") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("change", ["order", "file", "one less"])
def test_other_audio_is_not_taken_for_other_labels(change, manifest, model, tmp_path, capsys):
    out = tmp_path / "states.h5"
    assert run(manifest, model, out) == 0
    before = out.read_bytes()
    table = pd.read_csv(manifest)
    if change == "order":
        table = table.iloc[::-1]
    elif change == "one less":
        table = table.iloc[:-1]
    else:
        shutil.copy(manifest.parent / "u001.wav", manifest.parent / "v001.wav")
        table["path"] = table["path"].replace("u001.wav", "v001.wav")
    table.to_csv(manifest, index=False)
    assert run(manifest, model, out, "--refresh-labels") == 2
    assert "is a cache of something else: the corpus" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_results_of_other_labels_are_told_apart(manifest, model, tmp_path, capsys):
    out = tmp_path / "states.h5"
    assert run(manifest, model, out) == 0
    fit = [str(out), "--dim", "arousal", "--permutations", "0", "--no-mdl", "--resamples", "10", "--folds", "3"]
    fit += ["--out", str(tmp_path / "results"), "--figures", str(tmp_path / "figures"), "--quiet"]
    assert fit_main(fit) == 0
    scores = pd.read_csv(tmp_path / "results/scores.csv")
    table = pd.read_csv(manifest)
    table["arousal"] = table["arousal"].to_numpy()[::-1]
    table.to_csv(manifest, index=False)
    assert run(manifest, model, out, "--refresh-labels") == 0
    assert fit_main(fit) == 2
    assert "holds results of another 'tiny' on 'corpus'" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "results/scores.csv").equals(scores)
    assert fit_main([*fit, "--out", str(tmp_path / "others")]) == 0
    again = pd.read_csv(tmp_path / "others/scores.csv")
    assert len(again) == len(scores)
    assert not scores["ccc"].equals(again["ccc"])


@pytest.mark.parametrize("words", [False, True])
def test_baselines_that_still_hold_are_kept(words, manifest, model, tmp_path):
    """Those of the voice do not depend on a label, and those of the words on the words alone."""
    out = tmp_path / "states.h5"
    assert run(manifest, model, out) == 0
    with HiddenStateCache(out) as cache:
        corpus = {part: cache.provenance["corpus"][part] for part in ("name", "sha256")}
        ids = cache.utterances["id"].to_numpy(object)
        states = cache.states("mean", layers=0)
    for name in ("egemaps", "text"):
        about = {"baseline": name, "corpus": corpus, "settings": {}, "versions": {}}
        empty = ids.copy()
        empty[:] = ""
        columns = tuple(f"x{k}" for k in range(states.shape[1]))
        write_sidecar(sidecar_path(out, name), Sidecar(about, ids, empty, columns, states))
    table = pd.read_csv(manifest)
    table["valence"] += 1
    if words:
        table.loc[0, "transcript"] = "other words"
    table.to_csv(manifest, index=False)
    assert run(manifest, model, out, "--refresh-labels") == 0
    with HiddenStateCache(out) as cache:
        now = cache.provenance["corpus"]["sha256"]
        assert now != corpus["sha256"]
        assert words or (cache.baseline("egemaps") == states).all()
    assert read_sidecar(sidecar_path(out, "egemaps")).about["corpus"]["sha256"] == now
    assert (read_sidecar(sidecar_path(out, "text")).about["corpus"]["sha256"] == now) is not words


def test_killed_between_the_baselines_and_the_cache_it_is_finished_by_the_same_command(manifest, model, tmp_path):
    out = tmp_path / "states.h5"
    assert run(manifest, model, out) == 0
    with HiddenStateCache(out) as cache:
        corpus = {part: cache.provenance["corpus"][part] for part in ("name", "sha256")}
        ids = cache.utterances["id"].to_numpy(object)
        states = cache.states("mean", layers=0)
    about = {"baseline": "egemaps", "corpus": corpus, "settings": {}, "versions": {}}
    columns = tuple(f"x{k}" for k in range(states.shape[1]))
    write_sidecar(sidecar_path(out, "egemaps"), Sidecar(about, ids, np.full(len(ids), "", object), columns, states))
    old = out.read_bytes()
    relabel(manifest)
    assert run(manifest, model, out, "--refresh-labels") == 0
    new = out.read_bytes()
    out.write_bytes(old)  # as if the last step, the renaming, had not come
    assert run(manifest, model, out, "--refresh-labels") == 0
    assert out.read_bytes() == new
    with HiddenStateCache(out) as cache:
        assert (cache.baseline("egemaps") == states).all()


@pytest.mark.parametrize("relabelled", [False, True])
def test_other_audio_of_the_same_names_and_lengths_is_refused(relabelled, manifest, model, tmp_path, capsys):
    out = tmp_path / "states.h5"
    assert run(manifest, model, out) == 0
    before = out.read_bytes()
    rng = np.random.default_rng(0)
    for path in manifest.parent.glob("*.wav"):
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, (0.1 * rng.standard_normal(len(samples))).astype(np.float32), rate)
    if relabelled:
        relabel(manifest)
    assert run(manifest, model, out, *(["--refresh-labels"] if relabelled else [])) == 2
    error = capsys.readouterr().err
    assert "is other audio than" in error
    assert "--overwrite" in error
    assert out.read_bytes() == before


def test_the_same_noise_of_another_minute_is_other_audio():
    rng = np.random.default_rng(0)
    one, other = (acoustic_statistics(rng.standard_normal(60 * 16_000).astype(np.float32))["logmel"] for _ in range(2))
    assert np.sqrt(np.mean((one - other) ** 2)) > resuming.OTHER_AUDIO


def test_labels_are_not_lost_without_a_word(manifest, model, tmp_path, capsys):
    table = pd.read_csv(manifest).rename(columns={"valence": "how nice"})
    table.to_csv(manifest, index=False)
    out = tmp_path / "states.h5"
    assert run(manifest, model, out, "--columns", "valence=how nice") == 0
    before = out.read_bytes()
    assert run(manifest, model, out, "--refresh-labels") == 2
    error = capsys.readouterr().err
    assert "holds labels of valence, and corpus has none as it is read now" in error
    assert "--columns valence=NAME" in error
    assert "'valence=how nice'" in error
    assert out.read_bytes() == before


def test_groups_that_join_everybody_are_left_out_as_the_message_says(manifest, model, tmp_path, capsys):
    """They came from a column `session`, which is a common name of `group`."""
    table = pd.read_csv(manifest)
    table["session"] = [f"s{row % 5}" for row in range(len(table))]
    table.to_csv(manifest, index=False)
    out = tmp_path / "states.h5"
    assert run(manifest, model, out) == 0
    fit = [str(out), "--dim", "arousal", "--out", str(tmp_path / "results"), "--folds", "3", "--resamples", "0"]
    fit += ["--permutations", "0", "--probe", "ridge", "--figures", str(tmp_path / "figures"), "--quiet"]
    capsys.readouterr()
    assert fit_main(fit) == 2
    said = capsys.readouterr().err
    assert "(probe-extract … --columns group= --refresh-labels)" in said
    assert run(manifest, model, out, "--columns", "group=", "--refresh-labels") == 0
    assert fit_main(fit) == 0
