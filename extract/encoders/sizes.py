"""The sizes that a checkpoint's configuration names: whether they can be, before anything is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from emoprobe.errors import UserError, reason
from emoprobe.fields import (
    MOST_LAYERS,
    NUMBER,
    TEXT,
    TRUTH,
    check_fields,
    is_number,
    number_from,
    or_none,
    refuse_beyond_memory,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_REMEDY = "give the config.json that belongs to the weights, or download the model again"

_LAYERS = or_none(number_from(1, MOST_LAYERS, whole=True))
_SIZE = or_none(number_from(1, 2**31, whole=True))
_SIZES = (
    lambda value: isinstance(value, list) and 0 < len(value) <= MOST_LAYERS and all(map(_SIZE[0], value)),
    f"a list of whole numbers from 1 to {2**31}",
)

#: By the names that transformers' speech and text models give them; null stands for the model's own choice.
_FIELDS = {
    **dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "n_layers"), _LAYERS),
    **dict.fromkeys(
        (
            "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "embedding_size", "dim",
            "hidden_dim", "n_heads", "d_model", "encoder_attention_heads", "decoder_attention_heads",
            "encoder_ffn_dim", "decoder_ffn_dim", "num_mel_bins", "max_source_positions", "vocab_size",
            "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "conv_pos_kernel_size",
            "conv_depthwise_kernel_size", "feature_projection_input_dim", "squeeze_factor",
        ),
        _SIZE,
    ),
    # Some models are without.
    **dict.fromkeys(
        (
            "type_vocab_size", "max_target_positions", "num_buckets", "max_bucket_distance", "num_codevector_groups",
            "num_codevectors_per_group", "codevector_dim", "proj_codevector_dim", "classifier_proj_size",
            "output_hidden_size",
        ),
        or_none(number_from(0, 2**31, whole=True)),
    ),
    **dict.fromkeys(("conv_dim", "conv_kernel", "conv_stride"), _SIZES),
    "model_type": or_none(TEXT),
}  # fmt: skip

_PREPROCESSOR = {
    **dict.fromkeys(
        ("sampling_rate", "feature_size", "num_mel_bins", "hop_length", "n_fft", "stride"),
        number_from(1, 2**31, whole=True),
    ),
    "chunk_length": number_from(0, 2**31),
    "dither": NUMBER,
    "do_normalize": or_none(TRUTH),
    "return_attention_mask": or_none(TRUTH),
}


def check_sizes(settings: dict, path: Path) -> None:
    """Refuse a configuration with a size that no model has.

    Parameters
    ----------
    settings : dict
        Content of `config.json`.
    path : Path
        For the message.

    Raises
    ------
    UserError
        Naming the field.
    """
    check_fields(settings, path, {}, _FIELDS, remedy=_REMEDY)
    for name, value in settings.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and not (is_number(value) and value < 2**63):
            raise UserError(f"{path}: the field '{name}' must be a number below 2**63; {_REMEDY}")


def check_preprocessor(settings: dict, path: Path) -> dict:
    """The settings of a feature extractor, once those that are used can be.

    Raises
    ------
    UserError
        Naming the field.
    """
    return check_fields(settings, path, {}, _PREPROCESSOR, remedy=_REMEDY.replace("config.json", path.name))


def check_model(model_class: type[PreTrainedModel], config: PretrainedConfig, source: str, **options: Any) -> None:
    """Refuse a model that this machine's memory cannot hold, or whose sizes do not fit together, before it is made.

    The global random state is left alone.

    Parameters
    ----------
    model_class : type
        A class of transformers.
    config : PretrainedConfig
    source : str
        For the message.
    **options
        For the class.

    Raises
    ------
    UserError
    """
    try:
        # Some modules draw numbers on the CPU all the same.
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            model = model_class(config, **options)
    except Exception as error:  # sizes that do not fit together raise what each layer happens to raise
        raise UserError(f"{source}: config.json describes no model ({reason(error)}); {_REMEDY}") from error
    tensors = (*model.parameters(), *model.buffers())
    refuse_beyond_memory(4.0 * sum(tensor.numel() for tensor in tensors), f"{source}: config.json", remedy=_REMEDY)
