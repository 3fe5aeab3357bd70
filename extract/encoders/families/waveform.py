"""Models that read the waveform: convolutions without padding over it, then transformer blocks.

HuBERT and DistilHuBERT, wav2vec 2.0 (XLS-R and the robust models too), WavLM, data2vec-audio, UniSpeech, UniSpeech-SAT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..exact import frame_mask, make_exact, steps
from ..strided import stride_convolutions
from .base import Family, Recipe, blocks_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class WaveformRecipe(Recipe):
    """Group norm and positional convolution over the valid samples only, and the mask for the blocks."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.lengths = make_exact(model)
        self.blocks = blocks_of(model, "encoder.layers")
        self.front_end = [model.get_submodule("feature_extractor")]
        stride_convolutions(self.front_end[0])
        self.channels = self.config.conv_dim[0]
        self.shortest = samples_for(1, self.lengths.kernels, self.lengths.strides)

    def frames(self, samples: int) -> int:
        """Steps that are left after the convolutions."""
        return steps(samples, self.lengths.kernels, self.lengths.strides)

    def forward(self, padded: torch.Tensor, samples: list[int] | None) -> torch.Tensor:
        """As :meth:`.base.Recipe.forward`."""
        mask = None if samples is None else frame_mask(samples, padded.shape[1], padded.device).long()
        self.lengths.samples = samples
        try:
            return self.model(padded, attention_mask=mask).last_hidden_state
        finally:
            if not torch.is_grad_enabled():  # a checkpointed layer runs again in the backward pass, on these lengths
                self.lengths.samples = None


def samples_for(steps: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """The shortest waveform that so many steps are left of after a row of convolutions without padding."""
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        steps = (steps - 1) * stride + kernel
    return steps


def _family(title: str, name: str) -> Family:
    return Family(title=title, config=f"{name}Config", model=f"{name}Model", recipe=WaveformRecipe)


FAMILIES = {
    "hubert": _family("HuBERT and DistilHuBERT", "Hubert"),
    "wav2vec2": _family("wav2vec 2.0", "Wav2Vec2"),
    "wavlm": _family("WavLM", "WavLM"),
    "data2vec-audio": _family("data2vec-audio", "Data2VecAudio"),
    "unispeech": _family("UniSpeech", "UniSpeech"),
    "unispeech-sat": _family("UniSpeech-SAT", "UniSpeechSat"),
}
