"""A speech model of its first blocks alone: what the probes find in a layer needs none of the deeper ones."""

from __future__ import annotations

from emoprobe.errors import UserError

from .speech import Backbone


def shorten(backbone: Backbone, blocks: int) -> Backbone:
    """Take the deeper blocks out of a model, weights and all.

    Layers up to the last that is kept are what they were. In a model whose blocks begin with a norm, the final norm,
    which was made for the output of all blocks, then stands behind the last that is kept: training fits it.

    Parameters
    ----------
    backbone : Backbone
        Changed in place.
    blocks : int
        How many are kept.

    Returns
    -------
    Backbone
        The same.

    Raises
    ------
    UserError
        If there are not so many.
    """
    there = len(backbone.blocks)
    if not 1 <= blocks <= there:
        raise UserError(f"--keep-layers {blocks}: {backbone.label} has {there} blocks; keep 1 to {there} of them")
    del backbone.blocks[blocks:]
    backbone.config.num_hidden_layers = blocks
    backbone.n_layers = blocks + 1
    backbone.layer_names = backbone.layer_names[: blocks + 1]
    return backbone
