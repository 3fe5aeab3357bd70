"""What a training can do beside its defaults, each against a closed form: objective, rates of blocks, a teacher."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from emoprobe.endtoend import teacher as teacher_module
from emoprobe.endtoend.model import AudioTextModel
from emoprobe.endtoend.objective import Objective
from emoprobe.endtoend.rates import parameter_groups
from emoprobe.endtoend.saved import build, load_model
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.endtoend.teacher import FILE, Teacher
from emoprobe.endtoend.training import train
from emoprobe.errors import UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.probe.metrics import ccc
from emoprobe.testing.checkpoints import save_speech_model, save_text_model
from emoprobe.testing.corpora import make_corpus

NAN = float("nan")


# The objective -------------------------------------------------------------------------------------------------------


def sides() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits, labels, taught = rng.normal(size=(3, 12, 2)).astype(np.float32)
    labels[3, 0] = taught[5, 1] = NAN
    return torch.from_numpy(logits), labels, taught


def expected(logits: np.ndarray, targets: np.ndarray, share: float) -> np.ndarray:
    found = []
    for prediction, target in zip(logits.T, targets.T, strict=True):
        there = ~np.isnan(target)
        error = ((prediction[there] - target[there]) ** 2).mean()
        found.append((1 - share) * (1 - ccc(target[there], prediction[there])) + share * error)
    return np.array(found)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_objective_is_that_of_the_labels_that_are_there(share):
    logits, labels, _ = sides()
    found = Objective(mse_share=share)(logits, torch.from_numpy(labels))
    np.testing.assert_allclose(found.numpy(), expected(logits.numpy(), labels, share), rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_teacher_has_its_share_of_the_objective(share):
    logits, labels, taught = sides()
    found = Objective(mse_share=0.2, teacher_share=share)(logits, torch.from_numpy(np.hstack([labels, taught])))
    parts = [expected(logits.numpy(), targets, 0.2) for targets in (labels, taught)]
    np.testing.assert_allclose(found.numpy(), (1 - share) * parts[0] + share * parts[1], rtol=1e-5)


def test_what_has_no_target_has_no_gradient():
    logits = torch.ones(3, 1, requires_grad=True)
    targets = torch.tensor([[NAN, 1.0], [NAN, NAN], [NAN, 0.0]])
    Objective(mse_share=1.0, teacher_share=0.5)(logits, targets).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mse_share": 1.5}, r"--mse-share 1\.5 must be from 0 to 1"),
        ({"layer_decay": 0.0}, r"--layer-decay 0 must be above 0"),
        ({"layer_decay": 1.1}, r"--layer-decay 1\.1 .* at most 1"),
        ({"teacher_share": 0.2}, r"--teacher-share 0\.2 is of a teacher: name one"),
        ({"teacher": "there", "teacher_share": NAN}, r"--teacher-share nan must be"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        TrainingSettings(**given)


# Rates of blocks -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    save_speech_model(folder / "audio", "hubert-large")
    save_text_model(folder / "text", "bert")
    return folder


def made(encoders, **changes) -> AudioTextModel:
    settings = {"audio": str(encoders / "audio"), "text": str(encoders / "text"), "hidden": 8, "freeze": ()}
    model, _ = build(ModelSettings(**{**settings, **changes}))
    return model


def test_each_block_has_its_share_of_the_rate_of_the_one_behind_it(encoders):
    model = made(encoders)
    training = TrainingSettings(layer_decay=0.5, audio_rate=8e-3, text_rate=4e-3, head_rate=1e-2)
    rate = {id(p): group["lr"] for group in parameter_groups(model, training) for p in group["params"]}
    of = {name: rate[id(parameter)] for name, parameter in model.named_parameters()}
    blocks = len(model.audio.backbone.blocks)
    for k in range(blocks):
        found = {of[name] for name in of if name.startswith(f"audio.model.encoder.layers.{k}.")}
        assert found == {8e-3 * 0.5 ** (blocks - 1 - k)}
    assert {of[name] for name in of if "feature_extractor" in name} == {8e-3 * 0.5**blocks}
    assert {of[name] for name in of if name.startswith("audio.model.encoder.layer_norm")} == {8e-3}  # behind all
    depth = len(model.text.encoder.layer)
    assert {of[name] for name in of if "text.embeddings" in name} == {4e-3 * 0.5**depth}
    assert {of[name] for name in of if f"text.encoder.layer.{depth - 1}." in name} == {4e-3}
    assert {of[name] for name in of if name.startswith(("head", "audio_projection", "no_text"))} == {1e-2}


def test_every_parameter_is_in_one_group_and_without_decay_they_are_as_ever(encoders):
    model = made(encoders)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    for share in (1.0, 0.9):
        groups = parameter_groups(model, TrainingSettings(layer_decay=share))
        members = [id(p) for group in groups for p in group["params"]]
        assert len(members) == len(set(members))
        assert set(members) == trained
        for group in groups:
            assert (group["weight_decay"] > 0) is all(p.ndim > 1 for p in group["params"])
    assert len(parameter_groups(model, TrainingSettings())) == 6  # audio, text and head, matrices and vectors


# A teacher -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory, encoders):
    """A corpus with a split, and a teacher of arousal and valence that was trained on it."""
    folder = tmp_path_factory.mktemp("taught")
    manifest = make_corpus(folder, utterances=18, speakers=6, longest=0.8)
    table = pd.read_csv(manifest)
    parts = dict(zip(sorted(table["speaker"].unique()), ["train"] * 3 + ["development", "test", "test"], strict=True))
    table["split"] = table["speaker"].map(parts)
    table.to_csv(manifest, index=False)
    taught(folder, encoders, "teacher", layers="sum", dimensions=("arousal", "valence"))
    return folder


def taught(folder, encoders, name, *, say=lambda line: None, corpus="manifest.csv", training=None, **model):
    settings = {"audio": str(encoders / "audio"), "text": None, "hidden": 8, "dimensions": ("valence",), **model}
    how = {"epochs": 2, "batch": 4, "resamples": 10, "device": "cpu", **(training or {})}
    return train(
        read_corpus(str(folder / corpus)),
        ModelSettings(**settings),
        TrainingSettings(**how),
        out=folder / name,
        say=say,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_student_learns_what_the_teacher_predicts(place, encoders, monkeypatch):
    seen = []
    predict = teacher_module.predict_rows
    monkeypatch.setattr(
        teacher_module, "predict_rows", lambda *given, **more: seen.append(1) or predict(*given, **more)
    )
    with_teacher = {"teacher": str(place / "teacher"), "teacher_share": 0.75}
    results, _ = taught(place, encoders, "student", training=with_teacher)
    table = pd.read_csv(place / "manifest.csv")
    rows = np.flatnonzero((table["split"] == "train") & table["valence"].notna())
    predicted = np.load(place / "student" / FILE)
    teacher = load_model(place / "teacher/model")
    speech = [soundfile.read(place / table["path"][row], dtype="float32")[0] for row in rows]
    column = teacher.dimensions.index("valence")
    np.testing.assert_allclose(predicted[:, 0], teacher.predict(speech)[:, column], rtol=1e-4, atol=1e-5)
    run = json.loads((place / "student/model/config.json").read_text())["run"]
    assert run["teacher"]["share"] == 0.75
    assert "teacher" not in run["training"]
    assert "0.75 towards the predictions of" in (place / "student/model/README.md").read_text()
    alone, _ = taught(place, encoders, "alone")
    assert not np.array_equal(alone.predictions["prediction"], results.predictions["prediction"])
    # Gone on with, it is not asked again.
    (place / "student/runs/seed0-fold-all/result.json").unlink()
    again, _ = taught(place, encoders, "student", training=with_teacher)
    assert len(seen) == 1
    np.testing.assert_allclose(again.predictions["prediction"], results.predictions["prediction"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_teacher_that_cannot_teach_is_refused(place, encoders, tmp_path):
    table = pd.read_csv(place / "manifest.csv")
    table.drop(columns="split").to_csv(place / "folds.csv", index=False)
    with_teacher = {"teacher": str(place / "teacher/model"), "folds": 3}
    with pytest.raises(UserError, match=r"--teacher needs a corpus with a training part of its own"):
        taught(place, encoders, "folds", corpus="folds.csv", training=with_teacher)
    with pytest.raises(UserError, match=r"predicts no dominance.*--dim arousal valence"):
        taught(place, encoders, "dominance", training=with_teacher, dimensions=("valence", "dominance"))
    with pytest.raises(UserError, match=r"holds no config.json"):
        taught(place, encoders, "nobody", training={"teacher": str(tmp_path)})
    corpus = read_corpus(str(place / "folds.csv"))
    (note,) = Teacher.of(place / "teacher", corpus, ModelSettings(dimensions=("valence",))).notes
    assert "whether it has heard what is tested here cannot be told" in note
