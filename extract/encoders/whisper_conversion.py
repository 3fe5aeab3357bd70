"""Whisper in CTranslate2's format, rewritten as the folder that transformers loads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from emoprobe.errors import UserError
from emoprobe.jsontext import to_json

from .ctranslate2 import CTranslate2Model, parse_model

#: Raised whenever the same file would be converted into something else.
VERSION = 1

FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")

_NORM = {"gamma": "weight", "beta": "bias"}
_ENGLISH_TOKENS = 51_864  # a multilingual Whisper has more
_GELU = 3  # as CTranslate2 numbers activations: the exact one, by the error function

# What the sound of every Whisper is turned into before the encoder; only the number of mel bands differs.
_FEATURES = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "WhisperProcessor",
    "sampling_rate": 16_000,
    "hop_length": 160,
    "chunk_length": 30,
    "n_fft": 400,
    "n_samples": 480_000,
    "nb_max_frames": 3_000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
}


def convert_whisper(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the checkpoint as `save_pretrained` would: weights (float32, safetensors), settings, tokeniser.

    Parameters
    ----------
    files : mapping of str to bytes
        Content of the :data:`FILES`: an English-only Whisper in CTranslate2's format (float16 or float32).
    folder : Path
        An empty folder.

    Raises
    ------
    UserError
        If `model.bin` is damaged or holds another model than a plain Whisper, or the tokeniser does not fit it.
    """
    model = parse_model(files["model.bin"], path="model.bin")
    state = whisper_state(model)
    tokenizer = json.loads(files["tokenizer.json"])
    tokens = files["vocabulary.txt"].decode().removesuffix("\n").split("\n")
    numbers = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    if len(tokens) != len(state["model.decoder.embed_tokens.weight"]) or any(
        tokens[number] != token for token, number in {**tokenizer["model"]["vocab"], **numbers}.items()
    ):
        raise UserError("tokenizer.json, vocabulary.txt and model.bin are of different models; get the files again")
    if len(tokens) != _ENGLISH_TOKENS:
        raise UserError(f"this Whisper has {len(tokens)} tokens; only those for English alone are converted")
    config = _config(model, state, numbers)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in {
        "config.json": config,
        "generation_config.json": _generation(json.loads(files["config.json"]), config, numbers),
        "preprocessor_config.json": {**_FEATURES, "feature_size": config["num_mel_bins"]},
        **_tokenizer_files(tokenizer, tokens),
    }.items():
        (folder / name).write_text(to_json(content, indent=2, ensure_ascii=False), encoding="utf-8")
    # The slow tokeniser of older releases reads its merges as text.
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def whisper_state(model: CTranslate2Model) -> dict[str, np.ndarray]:
    """The weights under the names that transformers gives them, in float32.

    The projection onto the vocabulary is not among them: it is the embedding of the tokens.

    Raises
    ------
    UserError
        If an array is missing, left over, quantised, or the model is built in another way than Whisper's.
    """
    if model.name != "WhisperSpec" or model.aliases != {"decoder/projection/weight": "decoder/embeddings/weight"}:
        raise UserError(f"model.bin holds a {model.name}, or one whose output is not tied; only Whisper is converted")
    remaining = dict(model.arrays)
    for switch, expected in _SWITCHES.items():
        value = remaining.pop(switch, None)
        if value is None or value.ndim or int(value) != expected:
            raise UserError(f"model.bin: {switch} is {value}, and a Whisper has {expected}")
    for unused in ("encoder/num_heads", "decoder/num_heads", "decoder/alignment_heads", "decoder/alignment_layer"):
        remaining.pop(unused, None)
    state = {}
    try:
        for place, array in _renamed(remaining):
            state[place] = np.ascontiguousarray(array, np.float32)
    except KeyError as error:
        raise UserError(f"model.bin lacks the array {error}") from error
    if remaining:
        raise UserError(f"model.bin holds {len(remaining)} arrays that no Whisper has, such as {min(remaining)}")
    return state


_SWITCHES = {
    "decoder/activation": _GELU,
    "decoder/alibi": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}


def _renamed(arrays: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Take every known array out of `arrays`, with its new name; stacked projections come apart."""

    def take(name: str) -> np.ndarray:
        array = arrays.pop(name)
        if array.dtype.kind != "f":
            raise UserError(f"model.bin: {name} is quantised ({array.dtype}); take a float16 or float32 file")
        return array

    def norm(source: str, target: str) -> Iterator[tuple[str, np.ndarray]]:
        for old, new in _NORM.items():
            yield f"{target}.{new}", take(f"{source}/{old}")

    def linear(source: str, *targets: str) -> Iterator[tuple[str, np.ndarray]]:
        weights = _split(take(f"{source}/weight"), len(targets), source)
        biases = _split(take(f"{source}/bias"), len(targets), source)
        for target, weight, bias in zip(targets, weights, biases, strict=True):
            yield f"{target}.weight", weight
            if not target.endswith("k_proj"):
                yield f"{target}.bias", bias
            elif bias.any():
                raise UserError(f"model.bin: {source} has a bias for keys, which a Whisper has not")

    def attention(source: str, target: str, *stacked: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
        yield from norm(f"{source}/layer_norm", f"{target}_layer_norm")
        for i, names in enumerate((*stacked, ("out_proj",))):
            yield from linear(f"{source}/linear_{i}", *(f"{target}.{name}" for name in names))

    for convolution in ("conv1", "conv2"):
        yield from linear(f"encoder/{convolution}", f"model.encoder.{convolution}")
    yield "model.decoder.embed_tokens.weight", take("decoder/embeddings/weight")
    for side in ("encoder", "decoder"):
        yield f"model.{side}.embed_positions.weight", take(f"{side}/position_encodings/encodings")
        yield from norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for k in range(_layers(arrays, side)):
            source, target = f"{side}/layer_{k}", f"model.{side}.layers.{k}"
            yield from attention(f"{source}/self_attention", f"{target}.self_attn", ("q_proj", "k_proj", "v_proj"))
            if side == "decoder":
                yield from attention(f"{source}/attention", f"{target}.encoder_attn", ("q_proj",), ("k_proj", "v_proj"))
            yield from norm(f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
            for i in (0, 1):
                yield from linear(f"{source}/ffn/linear_{i}", f"{target}.fc{i + 1}")


def _split(array: np.ndarray, parts: int, name: str) -> list[np.ndarray]:
    if not array.ndim or len(array) % parts:
        raise UserError(f"model.bin: {name} of shape {array.shape} does not hold {parts} projections of equal size")
    return np.split(array, parts)


def _layers(names: Mapping[str, object], side: str) -> int:
    """How many layers an encoder or decoder has."""
    return len({match[0] for match in map(re.compile(rf"{side}/layer_\d+/").match, names) if match})


def _config(model: CTranslate2Model, state: Mapping[str, np.ndarray], numbers: Mapping[str, int]) -> dict:
    """`config.json`, from the sizes of the weights."""
    config: dict = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
    }
    for side in ("encoder", "decoder"):
        heads = model.arrays.get(f"{side}/num_heads")
        if heads is None or heads.ndim:
            raise UserError(f"model.bin lacks the number {side}/num_heads")
        config[f"{side}_attention_heads"] = int(heads)
        config[f"{side}_layers"] = _layers(model.arrays, side)
        config[f"{side}_ffn_dim"] = len(state[f"model.{side}.layers.0.fc1.bias"])
    config["d_model"], config["num_mel_bins"], _ = state["model.encoder.conv1.weight"].shape
    config["vocab_size"] = len(state["model.decoder.embed_tokens.weight"])
    config["max_source_positions"] = len(state["model.encoder.embed_positions.weight"])
    config["max_target_positions"] = len(state["model.decoder.embed_positions.weight"])
    start, end = numbers["<|startoftranscript|>"], numbers["<|endoftext|>"]
    return {
        **config,
        "num_hidden_layers": config["encoder_layers"],
        "bos_token_id": start,
        "decoder_start_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
    }


def _generation(source: Mapping, config: Mapping, numbers: Mapping[str, int]) -> dict:
    """`generation_config.json`: which tokens start, end and never stand in a transcript."""
    return {
        **{name: number for name, number in config.items() if name.endswith("_token_id")},
        "no_timestamps_token_id": numbers["<|notimestamps|>"],
        "prev_sot_token_id": numbers["<|startofprev|>"],
        "suppress_tokens": source["suppress_ids"],
        "begin_suppress_tokens": source["suppress_ids_begin"],
        "alignment_heads": source["alignment_heads"],
        "is_multilingual": False,
        "max_initial_timestamp_index": 50,
        "max_length": config["max_target_positions"],
        "return_timestamps": False,
    }


def _tokenizer_files(tokenizer: Mapping, tokens: list[str]) -> dict[str, object]:
    """The tokeniser as all releases of transformers read it, with the times that the source leaves out."""
    vocabulary, special = tokenizer["model"]["vocab"], tokenizer["added_tokens"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    first = max(token["id"] for token in special) + 1
    times = [{"id": number, "content": tokens[number], **plain} for number in range(first, len(tokens))]
    added = [*special, *times]
    end = "<|endoftext|>"
    return {
        "tokenizer.json": {**tokenizer, "added_tokens": added},
        "vocab.json": vocabulary,
        "tokenizer_config.json": {
            "tokenizer_class": "WhisperTokenizer",
            "processor_class": "WhisperProcessor",
            "added_tokens_decoder": {
                str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in added
            },
            "additional_special_tokens": [token["content"] for token in special],
            "bos_token": end,
            "eos_token": end,
            "pad_token": end,
            "unk_token": end,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "errors": "replace",
            "model_max_length": 1_024,
            "return_attention_mask": False,
        },
    }
