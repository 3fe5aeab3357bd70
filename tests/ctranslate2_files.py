"""Model files in CTranslate2's format, written here from the format's description."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
import torch

NUMBERS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}

WHISPER_SETTINGS = {
    "decoder/activation": np.int8(3),
    "decoder/alibi": np.int8(0),
    "decoder/alignment_heads": np.int16(1),
    "decoder/alignment_layer": np.int16(-1),
    "decoder/pre_norm": np.int8(1),
    "decoder/scale_embeddings": np.int8(0),
    "decoder/start_from_zero_embedding": np.int8(0),
}
TIED = {"decoder/projection/weight": "decoder/embeddings/weight"}


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def ctranslate2_file(
    arrays: Mapping[str, np.ndarray], *, name: str = "WhisperSpec", aliases: Mapping[str, str] = TIED, version: int = 6
) -> bytes:
    """Content of a `model.bin`."""
    parts = [struct.pack("<I", version), _text(name), struct.pack("<II", 3, len(arrays))]
    for key, array in arrays.items():
        array = np.asarray(array)
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        parts += [_text(key), shape, struct.pack("<BI", NUMBERS[array.dtype.name], array.nbytes), array.tobytes()]
    parts.append(struct.pack("<I", len(aliases)))
    parts += [_text(key) for pair in aliases.items() for key in pair]
    return b"".join(parts)


def whisper_arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The arrays of a transformers Whisper under CTranslate2's names, in float32."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    arrays = dict(WHISPER_SETTINGS)

    def norm(target: str, source: str) -> None:
        arrays[f"{target}/gamma"], arrays[f"{target}/beta"] = state[f"{source}.weight"], state[f"{source}.bias"]

    def linear(target: str, *sources: str) -> None:
        arrays[f"{target}/weight"] = np.concatenate([state[f"{source}.weight"] for source in sources])
        arrays[f"{target}/bias"] = np.concatenate(
            [state.get(f"{source}.bias", np.zeros(len(state[f"{source}.weight"]), np.float32)) for source in sources]
        )

    for side in ("encoder", "decoder"):
        arrays[f"{side}/num_heads"] = np.int16(getattr(model.config, f"{side}_attention_heads"))
        arrays[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for k in range(getattr(model.config, f"{side}_layers")):
            new, old = f"{side}/layer_{k}", f"model.{side}.layers.{k}"
            norm(f"{new}/self_attention/layer_norm", f"{old}.self_attn_layer_norm")
            linear(f"{new}/self_attention/linear_0", *(f"{old}.self_attn.{part}_proj" for part in "qkv"))
            linear(f"{new}/self_attention/linear_1", f"{old}.self_attn.out_proj")
            if side == "decoder":
                norm(f"{new}/attention/layer_norm", f"{old}.encoder_attn_layer_norm")
                linear(f"{new}/attention/linear_0", f"{old}.encoder_attn.q_proj")
                linear(f"{new}/attention/linear_1", *(f"{old}.encoder_attn.{part}_proj" for part in "kv"))
                linear(f"{new}/attention/linear_2", f"{old}.encoder_attn.out_proj")
            norm(f"{new}/ffn/layer_norm", f"{old}.final_layer_norm")
            linear(f"{new}/ffn/linear_0", f"{old}.fc1")
            linear(f"{new}/ffn/linear_1", f"{old}.fc2")
    for convolution in ("conv1", "conv2"):
        linear(f"encoder/{convolution}", f"model.encoder.{convolution}")
    arrays["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    return arrays
