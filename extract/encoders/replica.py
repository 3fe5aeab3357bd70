"""A second model with the same weights, for a second batch at a time: a forward pass keeps notes in its model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from .speech import Backbone

if TYPE_CHECKING:
    from torch import nn


def replica_of(backbone: Backbone) -> Backbone:
    """A model with notes of its own on the batch under way, which shares every weight.

    Parameters
    ----------
    backbone : Backbone
        Whatever becomes of its weights becomes of the replica's, as long as they stay where they are.

    Returns
    -------
    Backbone
    """
    # Without memory: every tensor is about to be one of the original's.
    with torch.device("meta"):
        model = type(backbone.model)(copy.deepcopy(backbone.config))
    same = Backbone(
        model, name=backbone.name, normalise=backbone.normalise, label=backbone.label,
        random_init=backbone.random_init, origin=backbone.origin,
    )  # fmt: skip
    parts = dict(model.named_modules())
    for name, part in backbone.model.named_modules():
        _share(part, parts[name])
    return same


def _share(part: nn.Module, with_part: nn.Module) -> None:
    """Give a part's own parameters and buffers to its like."""
    for name, parameter in part.named_parameters(recurse=False):
        with_part.register_parameter(name, parameter)
    for name, buffer in part.named_buffers(recurse=False):
        with_part.register_buffer(name, buffer)
