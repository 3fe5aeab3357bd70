"""Trainings with masks, speeds, averages and low-rank updates: killed and gone on with, and plain in the end."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from emoprobe.cli.train import main
from emoprobe.endtoend.averaging import FILE
from emoprobe.endtoend.saved import load_model
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.endtoend.trainer import EmotionTrainer
from emoprobe.endtoend.training import train
from emoprobe.extract.corpora import read_corpus
from tests.killed_training import finish
from tests.training_fixtures import make_encoders_and_corpus

ALL = {"mask_time": 0.2, "mask_features": 0.1, "speeds": (0.9, 1.0, 1.1), "average": 0.8}
SAID = {
    "mask_time": "In training 0.2 of the frames were hidden",
    "mask_features": "In training 0.1 of the channels were hidden",
    "speeds": "played at one of the speeds 0.9, 1, 1.1.",
    "average": "The weights are a running average, of which 0.8 stayed",
    "lora": "low-rank updates (rank 2)",
}
SHORT = {"epochs": 2, "batch": 4, "resamples": 10, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("place")
    make_encoders_and_corpus(root).to_csv(root / "corpus" / "manifest.csv", index=False)
    return root


@pytest.fixture(scope="module")
def plain(place, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A run without any of them, and its predictions."""
    out = tmp_path_factory.mktemp("plain") / "run"
    results, _ = trained(place, out)
    return out, results.predictions["prediction"].to_numpy()


def settings(place: Path, **changes) -> ModelSettings:
    return ModelSettings(**{"audio": str(place / "audio"), "text": str(place / "text"), "hidden": 16, **changes})


def trained(place: Path, out: Path, **how):
    corpus = read_corpus(str(place / "corpus/manifest.csv"))
    return train(corpus, settings(place), TrainingSettings(**{**SHORT, **how}), out=out)


@pytest.mark.slow
@pytest.mark.parametrize(("lora", "workers"), [(None, 0), (2, 1)])
def test_a_killed_training_ends_as_one_that_was_never_stopped(place, tmp_path, lora, workers):
    if lora is not None:
        pytest.importorskip("peft")
    corpus, model = str(place / "corpus/manifest.csv"), settings(place)
    how = TrainingSettings(
        epochs=3, batch=3, accumulate=2, save_steps=1, longest=0.5, resamples=20, lora=lora, workers=workers, **ALL
    )
    assert finish(corpus, model, replace(how, workers=0), tmp_path / "whole") == 0
    assert finish(corpus, model, how, tmp_path / "killed", die_after=7) == -signal.SIGKILL
    assert finish(corpus, model, how, tmp_path / "killed", die_after=1, where="_save") == -signal.SIGKILL
    assert finish(corpus, model, how, tmp_path / "killed") == 0
    for name in ("model/model.safetensors", "runs/seed0-fold-all/predictions.npy"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    logs = [(tmp_path / run / "runs/seed0-fold-all/log.jsonl").read_text() for run in ("killed", "whole")]
    scores = [[entry for entry in map(json.loads, log.splitlines()) if "eval_ccc" in entry] for log in logs]
    assert [_without_time(one) for one in scores[0]] == [_without_time(one) for one in scores[1]]


def _without_time(entries: dict) -> dict:
    return {name: value for name, value in entries.items() if "runtime" not in name}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_what_is_scored_and_kept_is_the_average(place, tmp_path, monkeypatch):
    seen, scored = [], []
    evaluate, predict = EmotionTrainer.evaluate, EmotionTrainer.prediction_step

    def predicted(self, model, *args, **kwargs):
        scored.append(model.head[1].weight.detach().numpy().copy())
        return predict(self, model, *args, **kwargs)

    monkeypatch.setattr(EmotionTrainer, "prediction_step", predicted)

    def noted(self, *args, **kwargs):
        with self._average.in_place():
            seen.append({n: p.detach().numpy().copy() for n, p in self.model.named_parameters() if p.requires_grad})
        return evaluate(self, *args, **kwargs)

    monkeypatch.setattr(EmotionTrainer, "evaluate", noted)
    trained(place, tmp_path / "averaged", average=0.9, patience=5)
    each = len(scored) // len(seen)  # batches of the development part
    for epoch, weights in enumerate(seen):
        for one in scored[epoch * each : (epoch + 1) * each]:
            np.testing.assert_array_equal(one, weights["head.1.weight"])
    model = load_model(tmp_path / "averaged/model").model
    kept = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    result = json.loads((tmp_path / "averaged/runs/seed0-fold-all/result.json").read_text())
    best = seen[round(result["best_step"] / result["steps"] * result["epochs"]) - 1]
    for name, value in best.items():
        np.testing.assert_array_equal(kept[name], value)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("lever", [*ALL, "lora"])
def test_each_changes_what_is_learned_and_says_so(place, plain, tmp_path, lever):
    value = 2 if lever == "lora" else ALL[lever]
    if lever == "lora":
        pytest.importorskip("peft")
    results, _ = trained(place, tmp_path / "levered", **{lever: value})
    without, predicted = plain
    assert not np.array_equal(results.predictions["prediction"], predicted)
    folders = (tmp_path / "levered/model", without / "model")
    with_it, without_it = (json.loads((folder / "config.json").read_text())["run"]["training"] for folder in folders)
    assert with_it[lever] == (list(value) if isinstance(value, tuple) else value)
    assert lever not in without_it
    assert SAID[lever] in (folders[0] / "README.md").read_text()
    assert SAID[lever] not in (folders[1] / "README.md").read_text()
    names = [sorted(safe_open(folder / "model.safetensors", "pt").keys()) for folder in folders]
    assert names[0] == names[1]  # a plain model, whatever was trained
    assert not list((tmp_path / "levered").rglob(FILE))


@pytest.mark.slow
def test_low_rank_updates_leave_the_encoders_few_parameters_to_train(place, tmp_path):
    pytest.importorskip("peft")
    said: list[str] = []
    corpus = read_corpus(str(place / "corpus/manifest.csv"))
    for lora in (None, 1):
        how = TrainingSettings(**SHORT, lora=lora)
        train(corpus, settings(place), how, out=tmp_path / str(lora), say=said.append)
    counts = [int(line.split(": ")[1].split(" of ")[0].replace(",", "")) for line in said if "parameters are" in line]
    assert counts[1] < counts[0]


@pytest.mark.usefixtures("undrawn")
def test_from_the_command_line(place, tmp_path, capsys):
    words = ["--corpus", str(place / "corpus/manifest.csv"), "--audio", "none", "--text", str(place / "text")]
    words += ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results"), "--quiet"]
    assert main([*words, "--speeds", "0.9", "1", "1.1"]) == 2
    assert "--speeds is of speech, and --audio is none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
