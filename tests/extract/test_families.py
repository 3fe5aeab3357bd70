"""Each family of speech models from end to end: loaded, extracted, trained, counted; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import transformers

from emoprobe.distil.settings import DistillSettings
from emoprobe.distil.student import build_distiller
from emoprobe.endtoend.costs import count_parts
from emoprobe.endtoend.data import pad
from emoprobe.endtoend.emotion_model import EmotionModel
from emoprobe.endtoend.prediction import predict, predict_files
from emoprobe.endtoend.saved import build, load_model, save_model
from emoprobe.endtoend.settings import ModelSettings
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache, extract, load_backbone
from emoprobe.extract.encoders.architectures import ARCHITECTURES
from emoprobe.extract.encoders.families import FAMILIES
from emoprobe.extract.encoders.families.base import blocks_of
from emoprobe.extract.encoders.speech import Backbone
from emoprobe.testing.checkpoints import VARIANTS, make_backbone, make_model, save_speech_model
from emoprobe.testing.corpora import make_corpus, tone
from tests.extract.test_exactness import FLOAT32_TOLERANCE, alone, relative_error

#: A variant of each new family, with what switches off all chance in its training.
TRAINED = {
    "unispeech-sat-base": {},
    "wav2vec2-conformer-relative": {"conformer_conv_dropout": 0.0},
    "sew": {},
    "w2v-bert": {"conformer_conv_dropout": 0.0},
    "whisper": {"dropout": 0.0},
}
NO_DROPOUT = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
WAVEFORMS = [tone(seconds, seed=k) for k, seconds in enumerate((0.9, 0.31, 0.6, 1.3))]


def test_what_is_no_list_of_blocks_is_refused():
    model = make_model("hubert-base")
    assert blocks_of(model, "encoder.layers") is model.encoder.layers
    with pytest.raises(TypeError, match="encoder of HubertModel is a HubertEncoder, and no list"):
        blocks_of(model, "encoder")


def test_every_family_is_under_the_property_test_of_exactness():
    tested = {getattr(transformers, f"{name}Config").model_type for name, _ in VARIANTS.values()}
    assert tested == set(FAMILIES)
    assert {architecture.model_type for architecture in ARCHITECTURES.values()} <= tested


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # As the hub counts those checkpoints; Whisper's with the decoder beside the encoder.
        ("w2v-bert-2.0", 580_493_120),
        ("wav2vec2-conformer-large", 618_559_104),
        ("xls-r-300m", 315_438_720),
        ("wav2vec2-large-robust", 315_438_720),
        ("unispeech-sat-base", 94_371_712),
        ("whisper-tiny", 37_760_640),
        ("whisper-base", 72_593_920),
        ("whisper-small", 241_734_912),
        ("whisper-medium", 763_857_920),
        ("whisper-large-v3", 1_543_490_560),
    ],
)
def test_a_short_name_stands_for_the_published_size(name, parameters):
    with torch.device("meta"):
        backbone = load_backbone(name, random_init=0, normalise=False)
        model = backbone.model
        if name.startswith("whisper"):
            config = backbone.config
            for side in ("layers", "attention_heads", "ffn_dim"):
                setattr(config, f"decoder_{side}", getattr(config, f"encoder_{side}"))
            config.vocab_size = 51_866 if "v3" in name else 51_865  # a language more
            model = transformers.WhisperModel(config)
    assert sum(p.numel() for p in model.parameters()) == parameters


# Whisper -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_the_encoder_is_taken_out_of_a_whole_whisper(whole, tmp_path):
    expected = make_model("whisper")
    save_speech_model(tmp_path / "model", "whisper")  # with decoder and head
    if not whole:
        model = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "model").model
        model.save_pretrained(tmp_path / "model")
    backbone = load_backbone(str(tmp_path / "model"))
    assert type(backbone.model) is type(expected)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(backbone.model.state_dict()[name], tensor)
    assert backbone.provenance()["features"] == "log-mel of 20 bins in a window of 2 s"


@pytest.mark.parametrize(
    ("variant", "change", "message"),
    [
        ("whisper", {"hop_length": 80}, "hop_length 80, and 160"),
        ("whisper", {"chunk_length": 30}, "chunk_length 30, and 2"),
        ("whisper", {"feature_size": 128}, "feature_size 128, and 20"),
        ("whisper", {"dither": 0.1}, r"dither 0\.1, and 0"),
        ("w2v-bert", {"num_mel_bins": 80}, "num_mel_bins 80, and 20"),
        ("w2v-bert", {"stride": 1}, "stride 1, and 2"),
    ],
)
def test_features_that_are_made_otherwise_are_refused(variant, change, message, tmp_path):
    save_speech_model(tmp_path, variant)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        load_backbone(str(tmp_path))


def test_features_are_not_normalised_waveforms(tmp_path):
    save_speech_model(tmp_path, "whisper")
    with pytest.raises(UserError, match="leave --normalise out"):
        load_backbone(str(tmp_path), normalise=True)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    """With the window of 30 s that the real ones have."""
    return save_speech_model(tmp_path_factory.mktemp("models") / "whisper", "whisper", max_source_positions=1500)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Nine short files, one of just 30 s and one of a sample more."""
    manifest = make_corpus(tmp_path_factory.mktemp("corpus"), utterances=11)
    sound = tone(31.0, seed=99)
    soundfile.write(manifest.parent / "u003.wav", sound[:480_000], 16000)
    soundfile.write(manifest.parent / "u004.wav", sound[:480_001], 16000)
    return manifest


@pytest.mark.slow
def test_whisper_is_extracted_window_by_window(whisper, corpus, tmp_path, monkeypatch):
    sizes, walk = [], Backbone.walk

    def counted(self, waveforms, visit):
        sizes.append(len(waveforms))
        return walk(self, waveforms, visit)

    monkeypatch.setattr(Backbone, "walk", counted)
    options = {"device": "cpu", "progress": False, "batch_seconds": 125.0}
    with extract(str(corpus), load_backbone(str(whisper)), tmp_path / "states.h5", **options) as cache:
        assert sizes == [4, 4, 2]  # four windows of 30 s in 125 s, whatever is spoken of them
        table = cache.utterances
        assert list(table["status"]) == ["done"] * 4 + ["too long"] + ["done"] * 6
        assert table["reason"][4] == "30.0001 s; the model's window is 30 s: cut the file"
        model = make_model("whisper", max_source_positions=1500)
        means = cache.states("mean")
        for row in (0, 3, 10):
            sound, _ = soundfile.read(corpus.parent / f"u{row:03d}.wav", dtype="float32")
            assert table["frames"][row] == -(-len(sound) // 320)
            for layer, states in enumerate(alone(model, sound)):
                assert len(states) == table["frames"][row]
                assert relative_error(means[layer, row], states.mean(0)) <= FLOAT32_TOLERANCE


@pytest.mark.slow
def test_whisper_goes_on_where_it_was_stopped(whisper, corpus, tmp_path, monkeypatch):
    options = {"device": "cpu", "progress": False, "batch_seconds": 65.0}
    backbone = load_backbone(str(whisper))
    extract(str(corpus), backbone, tmp_path / "unbroken.h5", **options).close()
    calls, walk = [], Backbone.walk

    def stopped(self, waveforms, visit):
        calls.append(len(waveforms))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return walk(self, waveforms, visit)

    with monkeypatch.context() as patched:
        patched.setattr(Backbone, "walk", stopped)
        with pytest.raises(KeyboardInterrupt):
            extract(str(corpus), backbone, tmp_path / "broken.h5", **options)
    with HiddenStateCache(tmp_path / "broken.h5") as cache:
        assert 0 < cache.done.sum() < 10
    extract(str(corpus), backbone, tmp_path / "broken.h5", **options).close()
    assert (tmp_path / "broken.h5").read_bytes() == (tmp_path / "unbroken.h5").read_bytes()


def test_more_than_the_window_is_refused_by_name():
    backbone = make_backbone("whisper", name="tiny")
    with pytest.raises(UserError, match=r"2\.0 s is longer than the 2 s that tiny takes"):
        backbone.hidden_states([tone(2.01, seed=0)])


# Training ------------------------------------------------------------------------------------------------------------


def trained(folder: Path, variant: str, **settings):
    changes = TRAINED[variant] if variant == "whisper" else NO_DROPOUT | TRAINED[variant]
    if variant == "whisper":
        changes = changes | {name: 0.0 for name in NO_DROPOUT if name.startswith("a")}
    audio = save_speech_model(folder / "audio", variant, **changes)
    settings = ModelSettings(audio=str(audio), text=None, hidden=8, dropout=0.0, **settings)
    model, _ = build(settings, seed=1)
    return model


@pytest.mark.parametrize(("layers", "checkpointing"), [("last", True), ("sum", False)])
@pytest.mark.parametrize("variant", TRAINED)
def test_training_sees_no_padding(variant, layers, checkpointing, tmp_path):
    """A padded batch, in training mode, has the gradients of its utterances one by one."""
    model = trained(tmp_path, variant, freeze=(), layers=layers).train()
    prepare = model.audio.backbone.prepare
    for waveform in WAVEFORMS:
        model(**pad([prepare(waveform)]))["logits"].sum().backward()
    single = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert len(single) > 20
    model.zero_grad()
    if checkpointing:
        model.checkpoint_blocks()
    model(**pad([prepare(waveform) for waveform in WAVEFORMS]))["logits"].sum().backward()
    for name, parameter in model.named_parameters():
        if name in single:
            size = single[name].abs().max()
            # Sums over all frames of all utterances, in float32 and another order.
            torch.testing.assert_close(parameter.grad, single[name], atol=float(2e-4 * size + 1e-6), rtol=0)


@pytest.mark.parametrize(
    ("variant", "frozen"),
    [
        ("whisper", {"conv1", "conv2"}),
        ("w2v-bert", set()),
        ("sew", {"feature_extractor"}),
    ],
)
def test_the_front_end_is_frozen_where_it_has_weights(variant, frozen, tmp_path):
    model = trained(tmp_path, variant, freeze=("frontend",)).train()
    for name, parameter in model.audio.model.named_parameters():
        always = variant == "whisper" and name.startswith("embed_positions")  # sines, which nothing trains
        assert parameter.requires_grad is not (always or name.split(".")[0] in frozen), name


def test_a_trained_whisper_predicts_after_loading_and_says_what_is_too_long(tmp_path):
    model = trained(tmp_path, "whisper")
    ready = EmotionModel(model, None, {"label": "tiny"})
    expected = ready.predict(WAVEFORMS)
    save_model(tmp_path / "model", model, None, {"label": "tiny"})
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(WAVEFORMS), expected)
    assert loaded.longest == 32_000
    with pytest.raises(UserError, match="32001 samples is longer than the 32000"):
        loaded.predict([tone(3.0, seed=0)[:32_001]])
    with pytest.raises(UserError, match=r"3\.0 s, and tiny takes at most 2 s"):
        predict(tone(3.0, seed=0), model=loaded)
    for name, seconds in (("short.wav", 1.0), ("long.wav", 2.5)):
        soundfile.write(tmp_path / name, tone(seconds, seed=1), 16000)
    paths = [str(tmp_path / name) for name in ("short.wav", "long.wav")]
    table = predict_files(loaded, paths, out=tmp_path / "out.csv", progress=False)
    assert list(table["status"]) == ["done", "too long"]
    assert pd.read_csv(tmp_path / "out.csv")["reason"][1].endswith("the model's window is 2 s: cut the file")


def test_a_model_of_features_has_no_onnx_form(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    from emoprobe.endtoend.export import export_model

    save_model(tmp_path / "model", trained(tmp_path, "whisper"), None, {"label": "tiny"})
    with pytest.raises(UserError, match="log-mel features, which the ONNX form does not compute"):
        export_model(tmp_path / "model", WAVEFORMS)


def test_a_model_of_features_is_no_teacher():
    with pytest.raises(UserError, match="give a teacher that reads the waveform"):
        build_distiller(make_backbone("w2v-bert"), DistillSettings())


def test_an_adapter_behind_the_blocks_can_be_probed_and_not_trained(tmp_path):
    folder = save_speech_model(tmp_path / "audio", "wav2vec2-base", add_adapter=True, output_hidden_size=16)
    states, (frames,) = load_backbone(str(folder)).hidden_states(WAVEFORMS[:1])
    assert states.shape[2] == frames
    with pytest.raises(UserError, match="adapter behind its blocks"):
        build(ModelSettings(audio=str(folder), text=None))


def test_multiply_adds_of_whisper_are_those_of_its_window():
    width, feed, blocks, bins = 384, 1536, 4, 80
    by_hand = 3000 * 201 * bins + 3000 * 3 * bins * width + 1500 * 3 * width**2
    by_hand += blocks * 1500 * (4 * width**2 + 2 * width * feed + 2 * 1500 * width)
    table = count_parts(ModelSettings(audio="whisper-tiny", text=None), seconds=5.0).set_index("part")
    assert table.loc["audio encoder", "macs_per_second"] == round(by_hand / 5)
