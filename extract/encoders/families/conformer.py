"""wav2vec 2.0 with conformer blocks: each block convolves over time, and positions are relative or rotary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exact import renew_positions, silence_padding
from .base import Family
from .waveform import WaveformRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ConformerRecipe(WaveformRecipe):
    """The convolution of each block sees zeros in the padding too."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        for block in self.blocks:
            silence_padding(block.get_submodule("conv_module.depthwise_conv"), self.lengths)
        renew_positions(model.get_submodule("encoder"))


FAMILIES = {
    "wav2vec2-conformer": Family(
        title="wav2vec 2.0 conformer",
        config="Wav2Vec2ConformerConfig",
        model="Wav2Vec2ConformerModel",
        recipe=ConformerRecipe,
    )
}
