"""Low-rank updates: where they go, what they train, and that merging them leaves a plain model that predicts alike."""

from __future__ import annotations

import sys

import pytest
import torch

from emoprobe.endtoend.adapters import Adapters, adaptable, linear_layers
from emoprobe.endtoend.model import AudioTextModel
from emoprobe.endtoend.saved import build
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings, refuse_in_vain
from emoprobe.errors import UserError
from emoprobe.testing.checkpoints import VARIANTS, make_backbone, save_speech_model, save_text_model
from emoprobe.testing.corpora import tone

pytest.importorskip("peft")

WAVEFORMS = [tone(seconds, seed=k) for k, seconds in enumerate((1.1, 0.6))]


def of_variant(variant: str) -> AudioTextModel:
    torch.manual_seed(0)
    return AudioTextModel(ModelSettings(text=None, hidden=8, freeze=()), backbone=make_backbone(variant))


def moved(model: AudioTextModel) -> None:
    """Let every update have an effect: their second factors are zero at first."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_every_family_training_begins_at_the_pretrained_model_and_ends_as_a_plain_one(variant):
    model = of_variant(variant)
    backbone = model.audio.backbone
    names = [name for name, _ in model.named_parameters()]
    before, _ = backbone.hidden_states(WAVEFORMS)
    adapters = Adapters(model, 2)
    adapted, _ = backbone.hidden_states(WAVEFORMS)
    torch.testing.assert_close(adapted, before, rtol=0, atol=0)
    trained = [name for name, p in model.audio.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    moved(model)
    changed, _ = backbone.hidden_states(WAVEFORMS)
    assert not torch.equal(changed[-1], before[-1])
    adapters.merge()
    assert [name for name, _ in model.named_parameters()] == names
    merged, _ = backbone.hidden_states(WAVEFORMS)
    # One product in place of three: rounding alone, which the layers carry on.
    torch.testing.assert_close(merged, changed, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_update_has_a_gradient(variant):
    """A layer whose weight is read by others, and is not called, would be trained in vain."""
    model = of_variant(variant)
    Adapters(model, 2)
    moved(model)
    states = []
    backbone = model.audio.backbone
    samples = [len(waveform) for waveform in WAVEFORMS]
    padded = torch.zeros(len(samples), max(samples))
    for row, waveform in enumerate(WAVEFORMS):
        padded[row, : len(waveform)] = torch.from_numpy(backbone.prepare(waveform))
    backbone.forward(padded, samples, lambda _, layer: states.append(layer))
    states[-1].square().sum().backward()
    for name, parameter in model.audio.model.named_parameters():
        if "lora_" in name:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_it_is_the_seed_that_draws_them_and_nothing_else_is_drawn():
    drawn = []
    for seed in (0, 0, 1):
        model = of_variant("hubert-base")
        torch.manual_seed(5)
        Adapters(model, 2, seed=seed)
        after = torch.rand(1)
        torch.manual_seed(5)
        assert torch.rand(1) == after
        drawn.append(next(p for name, p in model.named_parameters() if "lora_A" in name).detach().clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_text_has_them_too_and_a_frozen_encoder_has_none(tmp_path):
    save_speech_model(tmp_path / "audio", "hubert-base")
    save_text_model(tmp_path / "text", "bert")
    settings = {"audio": str(tmp_path / "audio"), "text": str(tmp_path / "text"), "hidden": 8}
    model, _ = build(ModelSettings(**settings, freeze=("audio",)))
    Adapters(model, 2)
    named = [name for name, _ in model.named_parameters() if "lora_" in name]
    assert named
    assert all(name.startswith("text.") for name in named)
    model, _ = build(ModelSettings(**settings, freeze=("audio", "text")))
    with pytest.raises(UserError, match="--lora is of encoders that are trained"):
        refuse_in_vain(model.settings, TrainingSettings(lora=2))
    with pytest.raises(UserError, match=r"--lora is of encoders that are trained, and --freeze keeps all"):
        Adapters(model, 2)


def test_layers_are_those_of_the_blocks():
    model = of_variant("hubert-base")
    names, count = linear_layers(model, model.audio.model)
    assert len(names) == count == 18
    assert all(name.startswith("encoder.layers.") for name in names)
    assert not adaptable(model, 2)


def test_layers_that_get_no_update_are_told():
    (note,) = adaptable(of_variant("wavlm-base"), 2)
    assert note.startswith("--lora updates 9 of the 21 linear layers in the blocks of WavLMModel")


def test_blocks_that_are_not_known_are_told_by_the_option_that_asks_for_them(tmp_path):
    model = of_variant("hubert-base")
    model.text = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"^--lora: the blocks of Linear are not known here"):
        adaptable(model, 2)


def test_updates_as_large_as_the_weights_are_refused():
    model = of_variant("hubert-base")
    called, _ = linear_layers(model, model.audio.model)
    shapes = [model.audio.model.get_submodule(name).weight.shape for name in called]
    most = max(rank for rank in range(1, 64) if rank * sum(a + b for a, b in shapes) < sum(a * b for a, b in shapes))
    adaptable(model, most)
    with pytest.raises(UserError, match=rf"--lora {most + 1}: .* give {most} at most"):
        adaptable(model, most + 1)


def test_without_peft_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"--lora needs peft: pip install 'emoprobe\[lora\]'"):
        Adapters(of_variant("hubert-base"), 2)
