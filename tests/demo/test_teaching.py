"""How hubert-nano was taught, at toy size: the student goes on, is told by its teacher, and keeps its phones."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from emoprobe.cli import demo_teach
from emoprobe.demo import teaching
from emoprobe.demo.hubert import hubert_config
from emoprobe.demo.teaching_settings import TeachingSettings
from emoprobe.distil.checkpoint import export
from emoprobe.distil.settings import Running
from emoprobe.errors import UserError
from emoprobe.extract.encoders.speech import load_backbone
from emoprobe.testing import save_whisper
from tests.store_fixtures import make_stores, one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

pytest.importorskip("accelerate", reason="the recipe trains with transformers' Trainer, which needs accelerate")
pytest.importorskip("espeakng_loader", reason="synthetic speech needs espeakng-loader")

TINY = TeachingSettings(
    width=32,
    blocks=2,
    heads=2,
    intermediate=64,
    conv_dim=(8, 8, 16, 16, 16, 32, 32),
    position_kernel=8,
    position_groups=4,
    unit_block=1,
    word_units=40,
    pairs=((1, 1), (2, 2)),
    recorded_share=0.5,
    batch_seconds=6.0,
    longest=2.0,
    steps=30,
    warmup=3,
    decay=10,
    learning_rate=5e-3,
)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    synthetic, recorded = make_stores(root)
    return {"synthetic": synthetic, "recorded": recorded}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    from transformers import HubertModel

    root = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        export(HubertModel(hubert_config(TINY)), root / "start", half=False, made_by="a test")
    return str(root / "start"), str(save_whisper(root / "teacher"))


def loaded(models):
    return dict(zip(("start", "teacher"), map(load_backbone, models), strict=True))


def test_a_frame_is_told_what_the_teacher_says_of_its_moment(models, speech, tmp_path):
    """Batches hold the targets of their own utterances and frames, and mask synthetic speech alone."""
    model = teaching.teach(tmp_path / "run", dataclasses.replace(TINY, steps=2), **loaded(models), **speech)
    grid = teaching.grid(TINY)
    targets = {
        kind: teaching.make_targets(
            tmp_path / "run" / f"targets-{kind}",
            load_backbone(models[1]),
            model.matching.teacher_layers,
            np.diff(store.offsets),
            lambda index, store=store: store.wave(index).astype(np.float32) / 32768,
            grid,
        )
        for kind, store in speech.items()
    }
    batches = teaching.TaughtBatches(TINY, speech["synthetic"], speech["recorded"], targets)
    kinds = set()
    for step in range(12):
        batch = batches[step]
        kind = "synthetic" if batch["labels"] else "recorded"
        kinds.add(kind)
        assert bool(batch["mask"].any()) == (kind == "synthetic")
        frames = batch["targets"].shape[1]
        assert frames == TINY.frames(batch["waves"].shape[1])
        # Each row stands somewhere in the targets of its store, whole.
        store = targets[kind]
        row = batch["targets"][0].numpy()
        places = [
            (index, start)
            for index in range(len(store.offsets) - 1)
            for start in range(store.offsets[index + 1] - store.offsets[index] - frames + 1)
            if np.array_equal(store.part(index, start, 1)[0], row[0])
        ]
        assert any(np.array_equal(store.part(index, start, frames), row) for index, start in places)
    assert kinds == {"synthetic", "recorded"}


def test_the_student_goes_on_learns_and_loads(models, speech, tmp_path):
    told: list[str] = []
    run = tmp_path / "run"
    model = teaching.teach(run, TINY, **loaded(models), **speech, running=Running(log_steps=5), say=told.append)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["layer1_tells_1_l1"] < lines[0]["layer1_tells_1_l1"]
    assert {"phones_masked_accuracy", "words_unmasked_loss", "spectrum_loss", "audio_per_second"} <= set(lines[-1])
    export(model.hubert, tmp_path / "out", made_by=teaching.MADE_BY)
    states, _ = load_backbone(str(tmp_path / "out")).hidden_states([np.random.default_rng(0).standard_normal(9_000)])
    assert torch.isfinite(states).all()
    assert states.shape[0] == 3


def test_killed_and_resumed_equals_unbroken(models, speech, tmp_path, monkeypatch):
    running = Running(save_steps=4, log_steps=1)
    settings = dataclasses.replace(TINY, steps=10)
    unbroken = teaching.teach(tmp_path / "a", settings, **loaded(models), **speech, running=running)

    class Killed(Exception):
        pass

    original = teaching.TaughtBatches.__getitem__

    def fetch(self, step):
        if step == 7:
            raise Killed
        return original(self, step)

    monkeypatch.setattr(teaching.TaughtBatches, "__getitem__", fetch)
    with pytest.raises(Killed):
        teaching.teach(tmp_path / "b", settings, **loaded(models), **speech, running=running)
    monkeypatch.setattr(teaching.TaughtBatches, "__getitem__", original)
    resumed = teaching.teach(tmp_path / "b", settings, **loaded(models), **speech, running=running)
    for (key, one), (_, other) in zip(unbroken.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(one, other), key


def test_a_student_of_other_sizes_is_refused(models, speech, tmp_path):
    with pytest.raises(UserError, match="other sizes"):
        teaching.teach(tmp_path / "run", dataclasses.replace(TINY, width=48), **loaded(models), **speech)
    with pytest.raises(UserError, match="no speech"):
        teaching.teach(tmp_path / "run", TINY, **loaded(models))
    with pytest.raises(UserError, match="layers 1 to 2"):
        dataclasses.replace(TINY, pairs=((3, 1),))


def test_the_command_tells_errors(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert demo_teach.main(["--device", "cuda", "--out", str(tmp_path / "run")]) == 2
    assert "--device cuda: torch finds none here" in capsys.readouterr().err
    assert demo_teach.main(["--start", str(tmp_path / "nothing"), "--out", str(tmp_path / "run")]) == 2
    assert "error:" in capsys.readouterr().err
