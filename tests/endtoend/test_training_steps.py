"""The loss of a step is one CCC over all its utterances, and a training that learns nothing stops with the reason."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from emoprobe.endtoend.data import Collator, LengthGrouped
from emoprobe.endtoend.saved import build
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.endtoend.step import (
    Watch,
    joint_gradients,
    predict,
    random_state,
    restore_random_state,
    steps_in_vain,
    varies,
)
from emoprobe.endtoend.trainer import EmotionTrainer
from emoprobe.endtoend.training import train
from emoprobe.errors import UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.testing.checkpoints import WORDS, save_text_model

pytestmark = pytest.mark.slow

DIMENSIONS = ("arousal", "valence", "dominance")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return save_text_model(tmp_path_factory.mktemp("models") / "text", "distilbert")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """24 texts by 6 speakers with labels that follow from the words, in parts of 13, 4 and 7."""
    rng = np.random.default_rng(0)
    words = [list(rng.choice(WORDS[:-1], 5)) for _ in range(24)]
    return pd.DataFrame(
        {
            "id": [f"u{k}" for k in range(24)],
            "path": [f"u{k}.wav" for k in range(24)],
            "speaker": [f"s{k % 6}" for k in range(24)],
            "split": ["train"] * 13 + ["development"] * 4 + ["test"] * 7,
            "arousal": [float(w.count("good") - w.count("bad") + len(set(w))) + 0.1 * k for k, w in enumerate(words)],
            "valence": rng.normal(size=24),
            "dominance": rng.normal(size=24),
            "transcript": [" ".join(w) for w in words],
        }
    )


def trained(table, text, folder, *, say=lambda line: None, model=None, **training):
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "corpus.csv", index=False)
    model = ModelSettings(**{"audio": None, "text": str(text), "hidden": 16, **(model or {})})
    training = TrainingSettings(**{"epochs": 1, "batch": 4, "resamples": 20, "device": "cpu", **training})
    return train(read_corpus(str(folder / "corpus.csv")), model, training, out=folder / "out", say=say)


def model_and_batches(text, *, sizes=(3, 1, 2), dropout=0.3, device="cpu"):
    """A model, and batches for it with one label missing."""
    model, reader = build(ModelSettings(audio=None, text=str(text), hidden=16, dropout=dropout, freeze=()))
    model.train().to(device)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    rng = np.random.default_rng(1)

    def collate(items):
        return {name: values.to(device) for name, values in Collator(reader.tokenise)(items).items()}

    # All of one length, so that dropout over one batch of all draws as many numbers as over its parts.
    items = [
        {"text": " ".join(rng.choice(WORDS[:-1], 5)), "labels": rng.normal(size=3).astype(np.float32)} for _ in range(6)
    ]
    items[4]["labels"][1] = np.nan
    edges = np.cumsum([0, *sizes])
    return model, [collate(items[a:b]) for a, b in pairwise(edges)], collate(items)


def gradients(model) -> list[torch.Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def two_passes(model, batches) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    losses, parts = joint_gradients(model, batches, model)
    for batch, part in zip(batches, parts, strict=True):
        restore_random_state(part.random, part.gradient.device)
        (predict(model, batch) * part.gradient).sum().backward()
    return losses, gradients(model)


def assert_close(found, expected):
    size = max(float(part.abs().max()) for part in expected)
    assert size > 0
    for one, other in zip(found, expected, strict=True):
        # Sums in float32 whose order differs, some hundred terms of either sign: 1e-7 each, of the largest.
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("sizes", [(3, 1, 2), (1, 1, 1, 1, 1, 1)])
def test_batches_of_a_step_have_the_gradient_of_one_large_batch(text, sizes):
    model, batches, whole = model_and_batches(text, sizes=sizes, dropout=0.0)
    losses, found = two_passes(model, batches)
    model.zero_grad()
    expected = model.losses(predict(model, whole), whole["labels"])
    expected.sum().backward()
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-6)
    assert_close(found, gradients(model))


CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"))


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_dropout_falls_in_both_passes_the_same(text, device):
    """The reference keeps every graph and draws once; another draw of the dropout is told from it."""
    model, batches, _ = model_and_batches(text, device=device)
    torch.manual_seed(3)
    losses, found = two_passes(model, batches)
    after = random_state(torch.device(device))
    model.zero_grad()
    torch.manual_seed(3)
    logits = torch.cat([predict(model, batch) for batch in batches])
    expected = model.losses(logits, torch.cat([batch["labels"] for batch in batches]))
    expected.sum().backward()
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-6, atol=1e-6)
    assert_close(found, gradients(model))
    for one, other in zip(after, random_state(torch.device(device)), strict=True):
        assert torch.equal(one, other)  # so that what follows draws what it would have drawn
    found = [part.clone() for part in gradients(model)]
    torch.manual_seed(4)
    _, others = two_passes(model, batches)
    with pytest.raises(AssertionError):
        assert_close(others, found)


def test_one_utterance_a_step_is_refused_before_anything_is_loaded():
    with pytest.raises(UserError, match="--batch 1 with --accumulate 1"):
        TrainingSettings(batch=1)


@pytest.mark.parametrize("training", [{"batch": 1, "accumulate": 4}, {"batch": 4}, {"batch": 2, "accumulate": 3}])
def test_every_step_teaches_the_last_one_too(table, text, tmp_path, monkeypatch, training):
    """13 utterances leave one for the last step; a second of the epoch joins it."""
    norms = []
    monkeypatch.setattr(Watch, "gradient", lambda self, norm, step: norms.append(norm))
    trained(table, text, tmp_path, **training)
    per_step = training["batch"] * training.get("accumulate", 1)
    assert len(norms) == math.ceil(13 / per_step)
    assert min(norms) > 0


@pytest.mark.parametrize(("items", "batch", "fewest"), [(13, 4, 2), (13, 4, 4), (12, 4, 2), (9, 8, 4), (1, 4, 2)])
def test_the_last_step_is_filled_with_others_of_the_epoch(items, batch, fewest):
    sampler = LengthGrouped(list(range(100, 100 + items)), batch, seed=0, fewest=fewest)
    order = list(sampler)
    assert len(order) == len(sampler)
    left = items % batch
    repeated = fewest - left if 0 < left < fewest and items > 1 else 0
    assert len(order) == items + repeated
    assert set(order) == set(range(items))
    last = order[-(left + repeated) :] if left else order[-batch:]
    assert len(set(last)) == len(last)


def test_steps_that_teach_nothing_are_counted():
    nan = np.nan
    labels = np.array([[1, 5], [2, 5], [3, nan], [4, 5], [5, 5], [5, 6]], float)
    assert [part.tolist() if np.ndim(part) else part for part in steps_in_vain(labels, batch=2, accumulate=1)] == [
        [1, 2],
        3,
    ]
    assert steps_in_vain(labels, batch=1, accumulate=3)[0].tolist() == [0, 1]
    # Two processes take the batches in turn: (0, 2, 4) and (1, 3, 5).
    assert steps_in_vain(labels, batch=1, accumulate=3, processes=2)[0].tolist() == [0, 1]
    assert not varies(np.array([16777216.0, 16777217.0]))  # one number in float32
    assert not varies(np.array([nan, 3.0]))


def test_a_dimension_that_no_step_holds_two_labels_of_is_told(table, text, tmp_path):
    rare = table.assign(valence=np.nan)
    rare.loc[[0, 12, 13, 14, 20, 21], "valence"] = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    said = []
    # With all in one step it is learned; with two in a step, most steps have none.
    trained(rare, text, tmp_path / "all", batch=16, say=said.append)
    assert not [line for line in said if "steps of the first epoch" in line]
    with pytest.raises(UserError, match=r"valence: no step .*--batch or --accumulate.*--dim"):
        trained(rare, text, tmp_path / "few", batch=2, say=said.append, seed=1)
    halved = table.copy()
    halved.loc[:4, "valence"] = np.nan
    trained(halved, text, tmp_path / "some", batch=2, say=said.append)
    assert any("valence" in line and "steps of the first epoch hold fewer than two" in line for line in said)


def test_a_gradient_that_stays_zero_stops_the_training(table, text, tmp_path, monkeypatch):
    monkeypatch.setattr(EmotionTrainer, "training_step", lambda self, *args, **kwargs: torch.tensor(3.0))
    with pytest.raises(UserError, match=r"gradient is zero in 4 steps, up to step 4.*arousal, valence.*--batch"):
        trained(table, text, tmp_path, epochs=5)
    assert not (tmp_path / "out" / "model").exists()


def test_a_loss_that_is_not_finite_stops_the_training(table, text, tmp_path, monkeypatch):
    def broken(self, logits, labels):
        losses = logits.sum(0)
        return losses * torch.tensor([1.0, math.nan, 1.0])

    monkeypatch.setattr("emoprobe.endtoend.model.AudioTextModel.losses", broken)
    with pytest.raises(UserError, match=r"loss of valence is not finite at step 1.*--head-rate 0.001"):
        trained(table, text, tmp_path)
    with pytest.raises(UserError, match=r"loss of valence is not finite at step 1"):
        trained(table, text, tmp_path / "more", accumulate=2)


def test_what_the_watch_lets_pass():
    def watch(**changes):
        return Watch(DIMENSIONS, TrainingSettings(**changes), steps=3, place="out")

    steady = watch()
    for norm in (0.0, 0.0, 1.0, 0.0, 0.0):  # never three in a row
        steady.gradient(norm, 1)
    with pytest.raises(UserError, match="zero in 3 steps"):
        steady.gradient(0.0, 1)
    with pytest.raises(UserError, match="not finite at step 7; lower"):
        watch().gradient(math.inf, 7)
    with pytest.raises(UserError, match="--precision float32, or lower"):
        watch(precision="bfloat16").gradient(math.nan, 7)
    searching = watch(precision="float16")  # whose loss scale is found by trial
    for step in range(16):  # from 65,536 to 1
        searching.gradient(math.inf, step)
    searching.gradient(1.0, 17)
    for step in range(30):
        searching.gradient(math.inf, step)
    with pytest.raises(UserError, match="--precision bfloat16 or float32"):
        searching.gradient(math.inf, 31)


def test_the_logged_loss_is_that_of_the_step(table, text, tmp_path):
    """12 utterances in one batch, in four and one by one are the same step: without dropout, the same loss."""
    still = {"freeze": ("text",), "dropout": 0.0}
    logs = []
    for batch in (12, 3, 1):
        folder = tmp_path / str(batch)
        trained(table.iloc[1:], text, folder, model=still, batch=batch, accumulate=12 // batch)
        lines = (folder / "out/runs/seed0-fold-all/log.jsonl").read_text().splitlines()
        logs.append(next(json.loads(line) for line in lines if '"loss"' in line))
        assert not any("eval_loss" in line for line in lines)
    assert [log["step"] for log in logs] == [1, 1, 1]
    # Float32 sums in other orders, in batches padded alike.
    assert [log["loss"] for log in logs] == pytest.approx([logs[0]["loss"]] * 3, rel=1e-5)
    assert [log["grad_norm"] for log in logs] == pytest.approx([logs[0]["grad_norm"]] * 3, rel=1e-4)
