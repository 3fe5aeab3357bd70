"""SEW: wav2vec 2.0 whose blocks work at a fraction of the front end's rate, and whose output is brought back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..exact import frame_mask
from .base import Family
from .waveform import WaveformRecipe, samples_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SewRecipe(WaveformRecipe):
    """Frames are those of the blocks: `squeeze_factor` steps of the front end each; a rest that fills none has none.

    In a padded batch transformers lets the blocks attend to that rest as to one frame more, which the utterance alone
    does not have; here the blocks get a mask of their own. What comes out is the last block's states, not brought back
    to the front end's rate.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.squeeze = self.config.squeeze_factor
        self.shortest = samples_for(self.squeeze, self.lengths.kernels, self.lengths.strides)
        model.get_submodule("encoder.upsample").register_forward_hook(lambda module, inputs, output: inputs[0])
        for block in self.blocks:
            block.register_forward_pre_hook(self._mask, with_kwargs=True)

    def frames(self, samples: int) -> int:
        """Whole frames of the blocks."""
        return super().frames(samples) // self.squeeze

    def forward(self, padded: torch.Tensor, samples: list[int] | None) -> torch.Tensor:
        """As :meth:`.base.Recipe.forward`."""
        # Behind them transformers puts zeros, up to the front end's number.
        return super().forward(padded, samples)[:, : self.frames(padded.shape[1])]

    def _mask(self, _block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if self.lengths.samples is None:
            return None
        states = args[0] if args else kwargs["hidden_states"]
        valid = frame_mask([self.frames(n) for n in self.lengths.samples], states.shape[1], states.device)
        # Added to the attention's logits, which every implementation of it in transformers takes.
        added = torch.zeros(valid.shape, dtype=states.dtype, device=states.device).masked_fill(~valid, -torch.inf)
        mask = added[:, None, None]
        if len(args) > 1:  # as releases of transformers that checkpoint a block's call pass it
            return (args[0], mask, *args[2:]), kwargs
        return args, {**kwargs, "attention_mask": mask}


FAMILIES = {"sew": Family(title="SEW", config="SEWConfig", model="SEWModel", recipe=SewRecipe)}
