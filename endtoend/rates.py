"""What is trained at which rate: encoders and heads, and within an encoder the deeper blocks faster than the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from emoprobe.errors import UserError

from .model import AudioTextModel
from .settings import TrainingSettings


def parameter_groups(model: AudioTextModel, training: TrainingSettings) -> list[dict[str, Any]]:
    """Groups for AdamW: a rate for each part of the model, weight decay for matrices and none for vectors.

    With a `layer_decay` below 1 each block of an encoder has that share of the rate of the block behind it, and what
    comes before the blocks that share of the first one's (K. Clark et al., "ELECTRA", ICLR 2020, there 0.8 to 0.9):
    shallow layers are of use as they are, and deep ones have the most to learn.

    Parameters
    ----------
    model : AudioTextModel
    training : TrainingSettings

    Returns
    -------
    list of dict
        `params`, `lr` and `weight_decay` each. A norm and a bias are vectors.

    Raises
    ------
    UserError
        If the blocks of an encoder are not known.
    """
    groups: list[dict[str, Any]] = []
    for part, parameters in model.parts().items():
        rate = getattr(training, f"{part}_rate")
        for below, some in _by_depth(model, part, parameters, training.layer_decay):
            for matrices, decay in ((True, training.decay), (False, 0.0)):
                chosen = [parameter for parameter in some if (parameter.ndim > 1) is matrices]
                if chosen:
                    groups.append({"params": chosen, "lr": rate * training.layer_decay**below, "weight_decay": decay})
    return groups


def _by_depth(
    model: AudioTextModel, part: str, parameters: list[nn.Parameter], layer_decay: float
) -> list[tuple[int, list[nn.Parameter]]]:
    """Parameters of a part by the number of blocks behind them; all together where that makes no difference."""
    blocks = _blocks(model, part)
    if layer_decay == 1 or blocks is None:
        return [(0, parameters)]
    behind = {id(p): len(blocks) - 1 - k for k, block in enumerate(blocks) for p in block.parameters()}
    # A norm behind all blocks is as deep as they get.
    behind |= {id(p): 0 for p in _last_norm(model, part)}
    of_depth: dict[int, list[nn.Parameter]] = {}
    for parameter in parameters:
        of_depth.setdefault(behind.get(id(parameter), len(blocks)), []).append(parameter)
    return sorted(of_depth.items(), key=lambda item: item[0])


def _blocks(model: AudioTextModel, part: str) -> nn.ModuleList | None:
    if part == "audio" and model.audio is not None:
        return model.audio.backbone.blocks
    if part == "text" and model.text is not None:
        return text_blocks(model.text, option="--layer-decay")
    return None


def text_blocks(text: nn.Module, *, option: str) -> nn.ModuleList:
    """The blocks of a text encoder, which an option asks for.

    Raises
    ------
    UserError
        If its architecture keeps them elsewhere.
    """
    for name in ("encoder.layer", "transformer.layer", "encoder.layers", "layers"):
        try:
            blocks = text.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(blocks, nn.ModuleList):
            return blocks
    raise UserError(f"{option}: the blocks of {type(text).__name__} are not known here; leave it out, or freeze text")


def _last_norm(model: AudioTextModel, part: str) -> list[torch.Tensor]:
    """Parameters of the norm that an encoder of pre-norm blocks has behind them."""
    if part != "audio" or model.audio is None:
        return []
    config, encoder = model.audio.model.config, getattr(model.audio.model, "encoder", model.audio.model)
    # The same name stands before the blocks where these are of the post-norm kind.
    stands_behind = getattr(config, "do_stable_layer_norm", False) or config.model_type == "whisper"
    norm = getattr(encoder, "layer_norm", None)
    return list(norm.parameters()) if stands_behind and isinstance(norm, nn.Module) else []
