"""What a model costs before it is trained, beside HuBERT large: parameters, multiply-adds, size on disk.

Nothing is computed and no weight is read: the models are built on the meta device, from their configurations alone.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import torch
import torch._dynamo  # older versions import it at first use, and cannot do so where the meta device is the default
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from emoprobe.extract.encoders.architectures import ARCHITECTURES
from emoprobe.extract.encoders.shortening import cut_down
from emoprobe.extract.encoders.speech import load_backbone
from emoprobe.extract.encoders.text import TEXT_ARCHITECTURES, load_text_config, new_text_model
from emoprobe.extract.limits import SAMPLE_RATE

from .model import AudioTextModel
from .settings import ModelSettings

#: The model that the paper distils: HuBERT large, its front end frozen.
TEACHER = "hubert-large"
#: Of the demo corpus: 1,200 utterances of 5.5 s on average, 3.55 tokens of BERT's vocabulary a second, the two special
#: ones of each utterance included.
SECONDS, TOKENS_PER_SECOND = 5.5, 3.5
PARTS = ("audio encoder", "text encoder", "before heads", "head", "all")
_COUNTED = ("trainable", "total", "macs_per_second", "bytes")


def count_model(
    settings: ModelSettings, *, seconds: float = SECONDS, tokens_per_second: float = TOKENS_PER_SECOND
) -> pd.DataFrame:
    """Costs of a model and of HuBERT large with its front end frozen: ``probe-train --count``.

    Parameters
    ----------
    settings : ModelSettings
        Of the model; HuBERT large gets the same head, and no text.
    seconds, tokens_per_second : float
        As in :func:`count_parts`.

    Returns
    -------
    DataFrame
        `model`, then the columns of :func:`count_parts`, then each of its counts as a ratio to HuBERT large:
        `trainable_ratio`, `total_ratio`, `macs_per_second_ratio`, `bytes_ratio`. Encoders are set against all that
        HuBERT large has before its head, the head against its head, all against all.
    """
    teacher = replace(
        settings,
        audio=TEACHER,
        audio_revision=None,
        keep_layers=None,
        audio_window=None,
        text=None,
        text_revision=None,
        freeze=("frontend",),
    )
    assumed = {"seconds": seconds, "tokens_per_second": tokens_per_second}
    tables = {
        "this model": count_parts(settings, **assumed),
        f"{TEACHER}, front end frozen": count_parts(teacher, **assumed),
    }
    table = pd.concat([rows.assign(model=name) for name, rows in tables.items()], ignore_index=True)
    reference = table[table["model"] != "this model"].set_index("part")
    encoders = dict.fromkeys(("audio encoder", "text encoder"), "before heads")
    against = reference.loc[table["part"].replace(encoders).tolist()]
    for name in _COUNTED:
        table[f"{name}_ratio"] = table[name].to_numpy() / against[name].to_numpy()
    return table[["model", *(name for name in table.columns if name != "model")]]


def count_parts(
    settings: ModelSettings, *, seconds: float = SECONDS, tokens_per_second: float = TOKENS_PER_SECOND
) -> pd.DataFrame:
    """Parameters, multiply-adds and size of a model, part by part.

    Parameters
    ----------
    settings : ModelSettings
        Its encoders are folders, hub names, or short names, which need no network.
    seconds : float
        Length of the utterance that multiply-adds are counted for: attention grows with its square, and the head works
        once an utterance.
    tokens_per_second : float
        Length of its transcript, special tokens included.

    Returns
    -------
    DataFrame
        A row for each of :data:`PARTS` that the model has: `part`, `trainable` and `total` parameters,
        `macs_per_second` (multiply-adds of matrix products and convolutions, for each second of speech),
        `bytes` (float32 safetensors, without the header of some kilobytes). "head" is all that is not in an encoder:
        sum of layers, pooling, fusion and output.
    """
    model = meta_model(settings)
    work = _multiply_adds(model, int(seconds * SAMPLE_RATE), max(1, round(seconds * tokens_per_second)))
    encoders = {"audio encoder": None if model.audio is None else model.audio.model, "text encoder": model.text}
    counts = {
        part: {**_sizes(encoder), "macs_per_second": round(work[part] / seconds)}
        for part, encoder in encoders.items()
        if encoder is not None
    }
    before = {name: sum(each[name] for each in counts.values()) for name in _COUNTED}
    whole = {**_sizes(model), "macs_per_second": round(work["all"] / seconds)}
    head = {name: whole[name] - before[name] for name in _COUNTED}
    counts |= {"before heads": before, "head": head, "all": whole}
    return pd.DataFrame([{"part": part, **each} for part, each in counts.items()])[["part", *_COUNTED]]


def meta_model(settings: ModelSettings) -> AudioTextModel:
    """The model of the settings without any weight: shapes on the meta device.

    Raises
    ------
    UserError
        If an encoder's configuration cannot be had, or describes no model.
    """
    backbone = text = None
    with torch.device("meta"):
        # A seed says that no weights are wanted, with which the short names need no network; of those every revision
        # has the one architecture.
        if settings.audio is not None:
            revision = None if settings.audio in ARCHITECTURES else settings.audio_revision
            backbone = load_backbone(settings.audio, revision=revision, random_init=0, normalise=False)
            cut_down(backbone, blocks=settings.keep_layers, window=settings.audio_window)
        if settings.text is not None:
            revision = None if settings.text in TEXT_ARCHITECTURES else settings.text_revision
            config, _ = load_text_config(settings.text, revision=revision, random_init=0)
            text = new_text_model(config, settings.text)
        return AudioTextModel(settings, backbone=backbone, text=text).eval()


def _sizes(module: nn.Module) -> dict[str, int]:
    parameters = list(module.parameters())
    return {
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "total": sum(p.numel() for p in parameters),
        "bytes": sum(value.numel() * value.element_size() for value in module.state_dict().values()),
    }


def _multiply_adds(model: AudioTextModel, samples: int, tokens: int) -> dict[str, int]:
    """Multiply-adds of one utterance, by part."""
    batch: dict[str, torch.Tensor] = {}
    if model.audio is not None:
        batch |= {"waveforms": torch.empty(1, samples, device="meta"), "samples": torch.tensor([samples])}
    if model.text is not None:
        ids = torch.empty(1, tokens, dtype=torch.long, device="meta")
        batch |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        batch["has_text"] = torch.ones(1, dtype=torch.bool, device="meta")
        # One utterance needs no mask, and a mask on the meta device has no values that could be looked at.
        model.text.register_forward_pre_hook(
            lambda _, args, named: (args, named | {"attention_mask": None}), with_kwargs=True
        )
    with FlopCounterMode(display=False, depth=4) as counter, torch.no_grad():
        model(**batch)
    by_module = {name: sum(work.values()) // 2 for name, work in counter.get_flop_counts().items()}
    root = type(model).__name__
    return {
        "audio encoder": by_module.get(f"{root}.audio", 0),  # with the features that it may compute
        "text encoder": by_module.get(f"{root}.text", 0),
        "all": by_module["Global"],
    }


def report(table: pd.DataFrame, *, seconds: float = SECONDS, tokens_per_second: float = TOKENS_PER_SECOND) -> str:
    """The table of :func:`count_model` for a person, with what it assumes."""
    lines = []
    for model, rows in table.groupby("model", sort=False):
        lines.append(f"{model}")
        lines.append(
            f"  {'':14}{'trainable':>13} {'(ratio)':>8}{'parameters':>14} {'(ratio)':>8}"
            f"{'MACs/s':>10} {'(ratio)':>8}{'size':>12} {'(ratio)':>8}"
        )
        for row in rows.to_dict("records"):
            lines.append(
                f"  {row['part']:14}{row['trainable']:13,} {row['trainable_ratio']:8.1%}"
                f"{row['total']:14,} {row['total_ratio']:8.1%}"
                f"{row['macs_per_second'] / 1e9:8.3f} G {row['macs_per_second_ratio']:8.1%}"
                f"{row['bytes'] / 1e6:9.1f} MB {row['bytes_ratio']:8.1%}"
            )
    lines.append(
        f"ratios are to {TEACHER} with its front end frozen: encoders to its encoder, head to head, all to all. MACs/s "
        f"are multiply-adds\nfor each second of an utterance of {seconds:g} s with {tokens_per_second:g} tokens a "
        "second; size is that of float32 safetensors."
    )
    return "\n".join(lines)
