"""A smaller speech model: its first blocks alone, or a shorter window, before it is trained further."""

from __future__ import annotations

from emoprobe.errors import UserError

from ..limits import SAMPLE_RATE
from .speech import Backbone


def cut_down(backbone: Backbone, *, blocks: int | None = None, window: float | None = None) -> Backbone:
    """:func:`shorten` and :func:`narrow` a model, as far as that is asked for.

    Parameters
    ----------
    backbone : Backbone
        Changed in place.
    blocks : int, optional
        How many are kept.
    window : float, optional
        Seconds.

    Returns
    -------
    Backbone
        The same.
    """
    if blocks is not None:
        shorten(backbone, blocks)
    if window is not None:
        narrow(backbone, window)
    return backbone


def shorten(backbone: Backbone, blocks: int) -> Backbone:
    """Take the deeper blocks out of a model, weights and all: what probes find in a layer needs none of them.

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


def narrow(backbone: Backbone, seconds: float) -> Backbone:
    """Give a model that puts every utterance into a window of one length (Whisper: 30 s) a shorter one.

    The positions of the frames that are left are what they were, but there is less silence behind an utterance, so the
    layers are not those of the whole window: for a model that is trained further, not for probes.

    Parameters
    ----------
    backbone : Backbone
        Changed in place.
    seconds : float
        Rounded up to a frame.

    Returns
    -------
    Backbone
        The same.

    Raises
    ------
    UserError
        If the model has no window, or one that is shorter.
    """
    if backbone.longest is None:
        raise UserError(f"--audio-window {seconds:g}: {backbone.label} takes an utterance as it is; leave it out")
    if not backbone.receptive_field <= seconds * SAMPLE_RATE <= backbone.longest:
        least, most = (samples / SAMPLE_RATE for samples in (backbone.receptive_field, backbone.longest))
        raise UserError(f"--audio-window {seconds:g}: the window of {backbone.label} can have {least:g} to {most:g} s")
    backbone.narrow(seconds)
    return backbone
