"""A given student taught by any teacher, at toy size."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from emoprobe.cli import distill as distill_command
from emoprobe.distil.following import follow, pairs_at_depth
from emoprobe.distil.matching import Matching
from emoprobe.distil.settings import DistillSettings, Running
from emoprobe.errors import UserError
from emoprobe.extract.encoders.speech import load_backbone
from emoprobe.testing import save_speech_model, save_whisper
from tests.store_fixtures import one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

pytest.importorskip("accelerate", reason="the recipe trains with transformers' Trainer, which needs accelerate")

SETTINGS = DistillSettings(
    steps=12, warmup=1, decay=4, batch_seconds=3.0, longest=1.0, learning_rate=3e-3, noise=0.5, map=("1:2", "2:1")
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return str(save_whisper(root / "teacher")), str(save_speech_model(root / "student"))


@pytest.fixture(scope="module")
def speech():
    rng = np.random.default_rng(1)
    waves = [0.1 * rng.standard_normal(n).astype(np.float32) for n in rng.integers(9_000, 24_000, 12)]
    return [len(wave) for wave in waves], waves.__getitem__


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_loss_is_the_papers():
    """Against the formula written out, for two heads that ask one layer and one that asks another."""
    torch.manual_seed(0)
    matching = Matching([(1, 4), (1, 2), (3, 2)], 6, 5, cosine_weight=0.7)
    states = {1: torch.randn(2, 9, 6), 3: 4 * torch.randn(2, 9, 6)}
    targets = [torch.randn(2, 9, 5), torch.randn(2, 9, 5)]
    assert matching.teacher_layers == (4, 2)
    assert matching.student_layers == (1, 3)
    with torch.no_grad():
        loss, measured = matching(states, targets)
    wanted = 0.0
    for (asked, told), head in zip(matching.pairs, matching.heads, strict=True):
        x, y = states[asked].numpy().astype(float), targets[(4, 2).index(told)].numpy().astype(float)
        answer = x / np.sqrt((x**2).mean()) @ head.weight.detach().numpy().T + head.bias.detach().numpy()
        cosine = (answer * y).sum(-1) / np.linalg.norm(answer, axis=-1) / np.linalg.norm(y, axis=-1)
        wanted += np.abs(answer - y).mean() + 0.7 * np.log1p(np.exp(-cosine)).mean()
    assert float(loss) == pytest.approx(wanted, rel=1e-5)
    pairs = ("layer1_tells_4", "layer1_tells_2", "layer3_tells_2")
    assert set(measured) == {f"{pair}_{what}" for pair in pairs for what in ("l1", "cosine")}


def test_whisper_teaches_a_hubert(models, speech, tmp_path):
    teacher, student = models
    before = {key: value.clone() for key, value in load_backbone(student).model.state_dict().items()}
    taught = follow(
        load_backbone(teacher),
        load_backbone(student),
        *speech,
        tmp_path / "run",
        SETTINGS,
        running=Running(log_steps=3),
    )
    told = losses(tmp_path / "run")
    assert told[-1] < told[0]
    changed = [key for key, value in taught.state_dict().items() if not torch.equal(value, before[key])]
    assert any(".layers.1." in key for key in changed)
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["audio_per_second"] > 0


def test_killed_and_resumed_equals_unbroken(models, speech, tmp_path, monkeypatch):
    from emoprobe.distil import following

    teacher, student = models

    def taught(run):
        return follow(
            load_backbone(teacher), load_backbone(student), *speech, run, SETTINGS, running=Running(save_steps=4)
        )

    unbroken = taught(tmp_path / "a")
    original = following.TaughtCrops.__getitem__

    class Killed(Exception):
        pass

    def fetch(self, step):
        if step == 9:
            raise Killed
        return original(self, step)

    monkeypatch.setattr(following.TaughtCrops, "__getitem__", fetch)
    with pytest.raises(Killed):
        taught(tmp_path / "b")
    monkeypatch.setattr(following.TaughtCrops, "__getitem__", original)
    resumed = taught(tmp_path / "b")
    for (key, one), (_, other) in zip(unbroken.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(one, other), key


def test_a_budget_ends_the_training_and_lets_the_rate_fall(models, speech, tmp_path):
    teacher, student = models
    settings = dataclasses.replace(SETTINGS, steps=10_000, decay=5_000)
    running = Running(log_steps=1, budget=2.0)
    run = tmp_path / "run"
    follow(load_backbone(teacher), load_backbone(student), *speech, run, settings, running=running)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert 1 < len(lines) < 10_000
    assert sum(line["seconds"] for line in lines) >= 1.9
    assert lines[-1]["learning_rate"] < 0.5 * max(line["learning_rate"] for line in lines)
    follow(load_backbone(teacher), load_backbone(student), *speech, run, settings, running=running)
    assert len((run / "log.jsonl").read_text().splitlines()) == len(lines)


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        (12, 4, ((3, 1), (6, 2), (9, 3), (12, 4))),
        (12, 24, ((3, 6), (6, 12), (9, 18), (12, 24))),
        (2, 12, ((1, 6), (2, 12))),
    ],
)
def test_pairs_stand_at_the_same_depth(student, teacher, pairs):
    assert pairs_at_depth(student, teacher) == pairs


def test_what_cannot_be_taught_is_refused(models, speech, tmp_path):
    teacher, student = models
    with pytest.raises(UserError, match=r"--map 1:9: .* has layers 0 to"):
        follow(
            load_backbone(teacher),
            load_backbone(student),
            *speech,
            tmp_path / "run",
            dataclasses.replace(SETTINGS, map=("1:9",)),
        )
    with pytest.raises(UserError, match="log-mel"):
        follow(load_backbone(teacher), load_backbone(teacher), *speech, tmp_path / "run", SETTINGS)
    with pytest.raises(UserError, match="write STUDENT:TEACHER"):
        DistillSettings(map=("3-1",))


def test_the_command_teaches_a_given_student(models, speech, tmp_path, capsys):
    import soundfile

    teacher, student = models
    lines = ["id,path,speaker,split"]
    for i in range(5):
        soundfile.write(tmp_path / f"u{i}.wav", speech[1](i), 16_000)
        lines.append(f"u{i},u{i}.wav,s{i},train")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    options = ["--teacher", teacher, "--corpus", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out")]
    small = ["--steps", "2", "--warmup", "1", "--decay", "1", "--batch-seconds", "2", "--longest", "1"]
    assert distill_command.main([*options, *small]) == 2
    assert "--student" in capsys.readouterr().err
    assert distill_command.main([*options, *small, "--student", student, "--map", "2:1"]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "not self-supervised alone" in card
    assert "2:1" in card
    assert load_backbone(str(tmp_path / "out")).n_layers == load_backbone(student).n_layers
