"""Parts of the input that a speech encoder does not see in training, after SpecAugment."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from emoprobe.extract.encoders.speech import Backbone

#: Frames, and channels, that are masked together.
FRAMES, CHANNELS = 10, 16


class Masking:
    """Sets spans of frames and of channels of what the first block is given to zero, in training alone.

    A span may begin at any frame (channel) with the same probability, before the first one too, and spans may overlap:
    the probability of each frame to be masked is then the share asked for. The draws are torch's own, so that a batch
    whose states are computed twice is masked alike.

    Parameters
    ----------
    time, features : float
        Share of the frames, and of the channels, that are masked, below 1.

    References
    ----------
    D. S. Park et al., "SpecAugment", Interspeech 2019; A. Baevski et al., "wav2vec 2.0", NeurIPS 2020, which masks
    the states behind the convolutions, as here.
    """

    def __init__(self, *, time: float, features: float) -> None:
        self.time, self.features = time, features

    def attach(self, backbone: Backbone) -> None:
        """Mask the input of the first block of a speech encoder from now on."""
        # First of all, so that a learned sum of the layers reads no state that was hidden from the blocks.
        backbone.blocks[0].register_forward_pre_hook(self._before, prepend=True, with_kwargs=True)

    def _before(
        self, block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not block.training:
            return None
        if given:
            return (self(given[0]), *given[1:]), named
        return given, {**named, "hidden_states": self(named["hidden_states"])}

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """States (batch, frames, width), some of them zero."""
        batch, frames, width = states.shape
        hidden = _spans((batch, frames), FRAMES, self.time, states.device)[:, :, None]
        hidden = hidden | _spans((batch, width), CHANNELS, self.features, states.device)[:, None, :]
        return states.masked_fill(hidden, 0.0)


def _spans(shape: tuple[int, int], length: int, share: float, device: torch.device) -> torch.Tensor:
    """A mask (rows, steps) of spans of `length`; each step is in one with the probability `share`."""
    rows, steps = shape
    begins = torch.rand(rows, steps + length - 1, device=device) < 1 - (1 - share) ** (1 / length)
    begun = nn.functional.pad(begins.cumsum(1), (1, 0))
    # A step is in a span where one began at it, or at one of the steps just before.
    return begun[:, length:] > begun[:, :steps]
