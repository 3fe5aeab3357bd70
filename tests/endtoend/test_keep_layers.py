"""A model of the first blocks alone: its layers are what they were, and the rest is gone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from emoprobe.cli.train import main
from emoprobe.endtoend.costs import count_parts
from emoprobe.endtoend.saved import build, load_model, read_config, save_model
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings, stated
from emoprobe.errors import UserError
from emoprobe.extract.encoders.shortening import shorten
from emoprobe.testing.checkpoints import VARIANTS, make_backbone, save_speech_model
from emoprobe.testing.corpora import make_corpus, tone

WAVEFORMS = [tone(seconds, seed=k) for k, seconds in enumerate((1.1, 0.6))]


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_up_to_the_last_kept_are_the_same_bits(variant):
    whole, _ = make_backbone(variant).hidden_states(WAVEFORMS)
    short = make_backbone(variant)
    before = sum(parameter.numel() for parameter in short.model.parameters())
    a_block = sum(parameter.numel() for parameter in short.blocks[-1].parameters())
    kept = len(short.blocks) - 1
    shorten(short, kept)
    states, _ = short.hidden_states(WAVEFORMS)
    assert len(short.layer_names) == len(states) == short.n_layers == kept + 1
    torch.testing.assert_close(states, whole[: kept + 1], rtol=0, atol=0)
    assert sum(parameter.numel() for parameter in short.model.parameters()) == before - a_block


@pytest.mark.parametrize("count", [0, 4, -1])
def test_so_many_blocks_must_be_there(count):
    with pytest.raises(UserError, match=rf"--keep-layers {count}: .* has 3 blocks; keep 1 to 3"):
        shorten(make_backbone("hubert-base"), count)


def test_a_side_that_is_not_there_has_no_blocks():
    with pytest.raises(UserError, match=r"--keep-layers .*--audio is none"):
        ModelSettings(audio=None, keep_layers=2)


def test_the_saved_model_has_no_more_and_predicts_the_same(tmp_path):
    settings = ModelSettings(
        audio=str(save_speech_model(tmp_path / "speech")), text=None, hidden=8, freeze=(), keep_layers=2
    )
    model, text = build(settings)
    folder = save_model(tmp_path / "model", model, text, {"label": "short"})
    assert json.loads((folder / "audio/config.json").read_text())["num_hidden_layers"] == 2
    loaded = load_model(folder)
    assert loaded.model.audio.backbone.n_layers == 3
    assert loaded.model.settings == settings
    model.eval()
    with torch.no_grad():
        one = torch.from_numpy(loaded.model.audio.backbone.prepare(WAVEFORMS[0]))[None]
        logits = model(waveforms=one, samples=torch.tensor([one.shape[1]]))["logits"]
    np.testing.assert_allclose(loaded.predict(WAVEFORMS[:1]), model.in_units(logits).numpy(), rtol=1e-5, atol=1e-5)
    all_blocks = count_parts(ModelSettings(**{**stated(settings), "keep_layers": None})).set_index("part")
    two = count_parts(settings).set_index("part")
    assert two.loc["audio encoder", "total"] < all_blocks.loc["audio encoder", "total"]
    assert two.loc["audio encoder", "macs_per_second"] < all_blocks.loc["audio encoder", "macs_per_second"]


def test_records_from_before_are_what_they_were(tmp_path):
    """A setting at its default is not named, and a model without it is read."""
    assert "keep_layers" not in stated(ModelSettings())
    assert stated(ModelSettings(keep_layers=2))["keep_layers"] == 2
    assert "device" not in stated(TrainingSettings(), without=("device",))
    settings = ModelSettings(audio=str(save_speech_model(tmp_path / "speech")), text=None, hidden=8, freeze=())
    model, text = build(settings)
    folder = save_model(tmp_path / "model", model, text, {"label": "whole"})
    assert "keep_layers" not in read_config(folder)["settings"]
    assert load_model(folder).model.settings.keep_layers is None


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_short_model_is_trained_and_its_card_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "corpus", utterances=12, speakers=6)
    save_speech_model(tmp_path / "speech")
    words = ["--corpus", "corpus/manifest.csv", "--audio", "speech", "--text", "none", "--hidden", "8", "--quiet"]
    words += ["--epochs", "2", "--batch", "4", "--resamples", "10", "--folds", "3", "--device", "cpu"]
    assert main([*words, "--keep-layers", "2", "--out", "short"]) == 0
    assert "last (of its blocks the first 2 are kept)" in (tmp_path / "short/model/README.md").read_text()
    assert load_model(tmp_path / "short/model").model.audio.backbone.n_layers == 3
