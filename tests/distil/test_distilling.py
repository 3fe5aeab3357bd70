"""probe-distill at toy size, for every accepted family."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import transformers

from emoprobe.cli import distill as distill_command
from emoprobe.distil import distiller as distill
from emoprobe.distil.student import build_distiller, predicted_layers, student_of
from emoprobe.distil.training import load_weights
from emoprobe.errors import UserError
from emoprobe.extract.encoders.speech import load_backbone

pytestmark = pytest.mark.slow

pytest.importorskip("accelerate", reason="the recipe trains with transformers' Trainer, which needs accelerate")

FAMILIES = {
    "hubert": (transformers.HubertConfig, transformers.HubertModel, {}),
    "hubert-prenorm": (transformers.HubertConfig, transformers.HubertModel, {"do_stable_layer_norm": True}),
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model, {"feat_extract_norm": "layer"}),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel, {}),
    "data2vec-audio": (transformers.Data2VecAudioConfig, transformers.Data2VecAudioModel, {"conv_pos_kernel_size": 5}),
}
SETTINGS = distill.DistillSettings(steps=10, warmup=1, decay=4, batch_seconds=3.0, longest=1.0, learning_rate=3e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def save_teacher(folder, family):
    config_class, model_class, more = FAMILIES[family]
    common = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "conv_dim": (16, 16, 32),
        "conv_kernel": (10, 8, 4),
        "conv_stride": (5, 8, 4),
        "num_feat_extract_layers": 3,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model_class(config_class(**common, **more)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {"do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000}
        )
    )
    return str(folder)


@pytest.fixture(scope="module")
def speech():
    rng = np.random.default_rng(1)
    waves = [rng.standard_normal(n).astype(np.float32) for n in rng.integers(9_000, 24_000, 12)]
    return [len(wave) for wave in waves], waves.__getitem__


@pytest.mark.parametrize("family", FAMILIES)
def test_student_of_every_family_learns_and_loads(family, speech, tmp_path):
    teacher = load_backbone(save_teacher(tmp_path / "teacher", family))
    student = distill.distill(teacher, *speech, tmp_path / "run", SETTINGS, log_steps=2)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    distill.save_student(student, tmp_path / "student", normalise=teacher.normalise, half=False)
    model, info = type(student).from_pretrained(tmp_path / "student", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.num_hidden_layers == 2
    loaded = load_backbone(str(tmp_path / "student"))
    states, _ = loaded.hidden_states([np.random.default_rng(0).standard_normal(9_000).astype(np.float32)])
    assert states.shape[0] == 3
    assert torch.isfinite(states).all()


def test_student_starts_as_the_teacher(tmp_path):
    """Before any step, layers 0 to 2 of the student are the teacher's."""
    teacher = load_backbone(save_teacher(tmp_path / "teacher", "hubert"))
    student = student_of(teacher.model, 2)
    distill.save_student(student, tmp_path / "student", normalise=True, half=False)
    wave = [np.random.default_rng(0).standard_normal(9_000).astype(np.float32)]
    of_student, _ = load_backbone(str(tmp_path / "student")).hidden_states(wave)
    of_teacher, _ = teacher.hidden_states(wave)
    assert torch.allclose(of_student, of_teacher[:3], atol=1e-5)


def test_loss_is_the_papers(tmp_path):
    """Against the formula written out: mean absolute difference minus the log of the sigmoid of the cosine."""
    teacher = load_backbone(save_teacher(tmp_path / "teacher", "hubert"))
    module = build_distiller(teacher, SETTINGS).eval()
    waves = torch.randn(2, 8_000)
    with torch.no_grad():
        found = float(module(waves)["loss"])
        states = []
        teacher.walk(list(waves.numpy()), lambda _, s: states.append(s.clone()))
        output = module.student(waves).last_hidden_state
    wanted = 0.0
    for layer, head in zip(predicted_layers(3), module.heads, strict=True):
        predicted, target = head(output).detach().numpy().astype(float), states[layer].numpy().astype(float)
        cosine = (predicted * target).sum(-1) / np.linalg.norm(predicted, axis=-1) / np.linalg.norm(target, axis=-1)
        wanted += np.abs(predicted - target).mean() + np.log1p(np.exp(-cosine)).mean()
    assert found == pytest.approx(wanted, rel=1e-4)


def test_killed_and_resumed_equals_unbroken(speech, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    name = save_teacher(tmp_path / "teacher", "hubert-prenorm")
    unbroken = distill.distill(load_backbone(name), *speech, tmp_path / "a", SETTINGS, save_steps=3)
    original = distill.Crops.__getitem__

    def fetch(self, step):
        if step == 8:
            raise Killed
        return original(self, step)

    monkeypatch.setattr(distill.Crops, "__getitem__", fetch)
    with pytest.raises(Killed):
        distill.distill(load_backbone(name), *speech, tmp_path / "b", SETTINGS, save_steps=3, log_steps=1)
    monkeypatch.setattr(distill.Crops, "__getitem__", original)
    log = tmp_path / "b" / "log.jsonl"
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4, 5, 6, 7]
    with log.open("a") as file:
        file.write('{"step": 8, "lo')  # as a kill in the middle of a write leaves it
    resumed = distill.distill(load_backbone(name), *speech, tmp_path / "b", SETTINGS, save_steps=3, log_steps=1)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 11))
    for (key, one), (_, other) in zip(unbroken.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(one, other), key


@pytest.mark.parametrize(("blocks", "layers"), [(12, (4, 8, 12)), (24, (8, 16, 24)), (3, (1, 2, 3)), (1, (1,))])
def test_predicted_layers_scale_with_depth(blocks, layers):
    assert predicted_layers(blocks) == layers


def test_command_distils_a_manifest_and_tells_errors(speech, tmp_path, capsys):
    import soundfile

    name = save_teacher(tmp_path / "teacher", "hubert")
    lines = ["id,path,speaker,split"]
    for i in range(6):
        soundfile.write(tmp_path / f"u{i}.wav", 0.1 * speech[1](i), 16_000)
        lines.append(f"u{i},u{i}.wav,s{i},{'test' if i == 5 else 'train'}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    options = ["--teacher", name, "--corpus", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out")]
    small = ["--steps", "2", "--warmup", "1", "--decay", "1", "--batch-seconds", "2", "--longest", "1"]
    assert distill_command.main([*options, *small]) == 0
    assert "5 utterances" in capsys.readouterr().out
    assert load_backbone(str(tmp_path / "out")).n_layers == 3
    assert distill_command.main([*options, *small, "--blocks", "9", "--run", str(tmp_path / "other")]) == 2
    assert "error:" in capsys.readouterr().err


def test_run_of_another_teacher_is_refused(speech, tmp_path):
    first = load_backbone(save_teacher(tmp_path / "one", "hubert"))
    distill.distill(first, *speech, tmp_path / "run", SETTINGS)
    second = load_backbone(save_teacher(tmp_path / "two", "wavlm"))
    with pytest.raises(UserError, match=r"teacher\.model_type \(there hubert, now wavlm\)"):
        distill.distill(second, *speech, tmp_path / "run", SETTINGS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"blocks": 2}, r"blocks \(there 1, now 2\)"),
        ({"layers": (1,)}, r"layers \(there \[\], now \[1\]\)"),
        ({"seed": 5}, r"seed \(there 0, now 5\)"),
    ],
)
def test_a_run_with_other_settings_is_refused(speech, tmp_path, change, told):
    """One block and then two into one folder gave a student whose second block was never trained, with exit 0."""
    teacher = load_backbone(save_teacher(tmp_path / "teacher", "hubert"))
    short = dataclasses.replace(SETTINGS, steps=2, blocks=1)
    distill.distill(teacher, *speech, tmp_path / "run", short)
    with pytest.raises(UserError, match=told):
        distill.distill(teacher, *speech, tmp_path / "run", dataclasses.replace(short, **change))
    with pytest.raises(UserError, match=r"speech\.utterances \(there 12, now 11\)"):
        distill.distill(teacher, speech[0][:-1], speech[1], tmp_path / "run", short)


def test_two_at_once_do_not_share_a_folder(speech, tmp_path):
    """The second took the checkpoint that the first was writing for a torn one, and removed it."""
    teacher = load_backbone(save_teacher(tmp_path / "teacher", "hubert"))
    started = []

    def start_another(line):
        with pytest.raises(UserError, match=r"run is in use by .*: wait for it, or give another --run"):
            distill.distill(teacher, *speech, tmp_path / "run", SETTINGS)
        started.append(line)

    distill.distill(teacher, *speech, tmp_path / "run", SETTINGS, log_steps=5, save_steps=5, say=start_another)
    assert len(started) >= 2
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"settings.json", "log.jsonl", "checkpoints"} <= left
    assert ".lock" not in left


def test_a_checkpoint_that_lacks_a_weight_is_no_checkpoint(tmp_path):
    from safetensors.torch import save_file

    teacher = load_backbone(save_teacher(tmp_path / "teacher", "hubert"))
    one = build_distiller(teacher, dataclasses.replace(SETTINGS, blocks=1))
    save_file(one.state_dict(), tmp_path / "model.safetensors")
    two = build_distiller(teacher, dataclasses.replace(SETTINGS, blocks=2))
    with pytest.raises(RuntimeError, match="Missing key"):
        load_weights(two, tmp_path)
