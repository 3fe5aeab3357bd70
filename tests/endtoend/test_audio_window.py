"""Whisper with a shorter window: the model that transformers builds for it, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emoprobe.cli.train import main
from emoprobe.endtoend.costs import count_parts
from emoprobe.endtoend.saved import build, load_model, read_config, save_model, window_of
from emoprobe.endtoend.settings import ModelSettings
from emoprobe.endtoend.teacher import Teacher
from emoprobe.errors import UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.encoders.shortening import narrow
from emoprobe.probe.splits import OFFICIAL
from emoprobe.testing.checkpoints import make_backbone, save_speech_model
from emoprobe.testing.corpora import make_corpus, tone

WAVEFORMS = [tone(seconds, seed=k) for k, seconds in enumerate((0.9, 0.6))]


def test_it_is_the_encoder_of_that_window_as_transformers_has_it():
    """Features of transformers' extractor for that window, an encoder built for it, the weights of the long one."""
    backbone = make_backbone("whisper")
    config = type(backbone.config)(**{**backbone.config.to_dict(), "max_source_positions": 50})
    reference = WhisperEncoder(config).eval()
    weights = backbone.model.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:50]
    reference.load_state_dict(weights)
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=1)
    features = extractor(WAVEFORMS, sampling_rate=16000, return_tensors="pt").input_features

    narrow(backbone, 1.0)
    assert backbone.longest == 16000
    states, frames = backbone.hidden_states(WAVEFORMS)
    assert frames == [45, 30]
    with torch.no_grad():
        expected = reference(features).last_hidden_state
        actual = backbone.forward(
            torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, WAVEFORMS)), True), [14400, 9600]
        )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert states.shape == (backbone.n_layers, 2, 50, backbone.width)
    with pytest.raises(UserError, match="longer than the 1 s"):
        backbone.hidden_states([tone(1.1, seed=3)])


@pytest.mark.parametrize(("seconds", "frames"), [(0.5, 25), (0.52, 26), (0.5001, 26), (8.06, 403), (8.14, 407)])
def test_no_frame_more_than_the_seconds_ask_for(seconds, frames):
    """Also where the product of seconds and rate is a rounding above a whole number, as the last two are."""
    backbone = make_backbone("whisper", max_source_positions=500)
    assert narrow(backbone, seconds).config.max_source_positions == frames


def test_a_teacher_with_too_short_a_window_is_refused_with_the_count():
    teacher = Teacher(Path("taught"), {}, (), longest=16000)
    fold = SimpleNamespace(stopping=(np.arange(4), np.arange(0)))
    lengths = [SimpleNamespace(samples=samples) for samples in (8000, 16000, 24000, 40000)]
    split = SimpleNamespace(kind=OFFICIAL, folds=[fold])
    material = SimpleNamespace(speech=SimpleNamespace(headers=lengths), split=split)
    told = r"--teacher taught takes at most 1 s, and 2 of the 4 utterances .* up to 2\.5 s: .*--audio-window"
    with pytest.raises(UserError, match=told):
        teacher.refuse(material)
    fold.stopping = (np.arange(2), np.arange(0))
    teacher.refuse(material)


def test_seconds_are_rounded_up_to_a_frame_and_positions_are_never_trained():
    backbone = narrow(make_backbone("whisper"), 0.5001)
    assert (backbone.longest, backbone.config.max_source_positions) == (26 * 320, 26)
    assert not backbone.model.embed_positions.weight.requires_grad
    assert "window of 0.52 s" in backbone.provenance()["features"]


def test_the_whole_window_changes_no_bit():
    whole, narrowed = make_backbone("whisper"), make_backbone("whisper")
    narrow(narrowed, whole.longest / 16000)
    torch.testing.assert_close(narrowed.hidden_states(WAVEFORMS)[0], whole.hidden_states(WAVEFORMS)[0], rtol=0, atol=0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_window_of_no_seconds(seconds):
    with pytest.raises(UserError, match=rf"--audio-window {seconds:g} must be a number of seconds above 0"):
        ModelSettings(audio_window=seconds)


@pytest.mark.parametrize("seconds", [0.01, 30.0])
def test_a_window_that_cannot_be(seconds):
    with pytest.raises(UserError, match=rf"--audio-window {seconds:g}: the window of whisper can have 0.025 to 2 s"):
        narrow(make_backbone("whisper"), seconds)


def test_a_model_without_a_window_has_none_to_shorten():
    with pytest.raises(UserError, match=r"--audio-window 5: hubert-base takes an utterance as it is"):
        narrow(make_backbone("hubert-base"), 5.0)
    with pytest.raises(UserError, match=r"--audio-window .*--audio is none"):
        ModelSettings(audio=None, audio_window=2.0)


def test_the_saved_model_has_the_window_and_predicts_the_same(tmp_path):
    settings = ModelSettings(
        audio=str(save_speech_model(tmp_path / "speech", "whisper")), text=None, hidden=8, freeze=(), audio_window=1.0
    )
    model, text = build(settings)
    folder = save_model(tmp_path / "model", model, text, {"label": "narrow"})
    assert json.loads((folder / "audio/config.json").read_text())["max_source_positions"] == 50
    assert window_of(folder, read_config(folder)) == 16000
    loaded = load_model(folder)
    assert (loaded.longest, loaded.model.settings) == (16000, settings)
    model.eval()
    with torch.no_grad():
        logits = model(waveforms=torch.from_numpy(WAVEFORMS[0])[None], samples=torch.tensor([14400]))["logits"]
    np.testing.assert_allclose(loaded.predict(WAVEFORMS[:1]), model.in_units(logits).numpy(), rtol=1e-5, atol=1e-5)
    whole = count_parts(ModelSettings(audio=settings.audio, text=None, hidden=8, freeze=())).set_index("part")
    narrowed = count_parts(settings).set_index("part")
    assert narrowed.loc["audio encoder", "macs_per_second"] < whole.loc["audio encoder", "macs_per_second"]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_it_is_trained_and_the_card_says_so(tmp_path, monkeypatch, capsys):
    """Utterances that do not fit into the window are left out, with their number."""
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "corpus", utterances=16, speakers=8)
    save_speech_model(tmp_path / "speech", "whisper")
    words = ["--corpus", "corpus/manifest.csv", "--audio", "speech", "--text", "none", "--hidden", "8"]
    words += ["--epochs", "2", "--batch", "4", "--resamples", "10", "--folds", "3", "--device", "cpu"]
    assert main([*words, "--audio-window", "0.8", "--out", "narrow"]) == 3  # files were left out
    said = "".join(capsys.readouterr())
    seconds = read_corpus("corpus/manifest.csv").utterances["path"].map(lambda path: soundfile.info(path).duration)
    assert said.count("too long: ") == (seconds > 0.8).sum() > 0
    assert "the model's window is 0.8 s" in said
    assert "whether the words are read" not in said  # it reads none
    assert "its window has 0.8 s" in (tmp_path / "narrow/model/README.md").read_text()
    assert load_model(tmp_path / "narrow/model").longest == 12800
    assert main([*words, "--audio-window", "0.1", "--out", "none"]) == 2
    assert "16 are too long (u000: 0.8 s; the model's window is 0.1 s: cut the file)" in capsys.readouterr().err
