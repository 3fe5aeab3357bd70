"""w2v-BERT 2.0: conformer blocks over log-mel features, two steps of 10 ms in a frame, with causal convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn.utils.rnn import pad_sequence

from ...limits import SAMPLE_RATE
from ..exact import frame_mask, renew_positions
from .base import Family, Recipe, blocks_of, check_settings, each_row, plain_float, weight_type

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_WINDOW, _HOP, _STRIDE = 400, 160, 2  # samples, samples, steps in a frame


class Wav2Vec2BertRecipe(Recipe):
    """Features of each utterance alone, each bin normalised over the utterance, and the mask for all that follows.

    The convolutions look back only, transformers silences the padding before each of them, and positions are
    distances between frames. A step that has no second one to make a frame with counts in the normalisation, and in
    nothing else, as with SeamlessM4TFeatureExtractor and its mask.
    """

    reads_waveform: ClassVar[bool] = False

    def __init__(self, model: PreTrainedModel) -> None:
        from transformers import SeamlessM4TFeatureExtractor

        super().__init__(model)
        self.blocks = blocks_of(model, "encoder.layers")
        self.front_end = []
        self.channels = max(1, self.config.intermediate_size * 50 // 3200)
        self.shortest = _WINDOW + _HOP  # two steps: one has no spread
        bins = _bins(self.config)
        self.features = f"log-mel of {bins} bins, each normalised over the utterance"
        extractor = SeamlessM4TFeatureExtractor(feature_size=bins, num_mel_bins=bins, sampling_rate=SAMPLE_RATE)
        self._filters, self._window = torch.from_numpy(extractor.mel_filters), torch.from_numpy(extractor.window)
        renew_positions(model.get_submodule("encoder"))

    @classmethod
    def normalises(cls, settings: dict, config: PretrainedConfig, source: str) -> bool:
        """Never the waveform; its features must be those that are computed here."""
        bins = _bins(config)
        check_settings(settings, {"feature_size": bins, "num_mel_bins": bins, "stride": _STRIDE}, source)
        return False

    def frames(self, samples: int) -> int:
        """Whole frames of two steps."""
        return ((samples - _WINDOW) // _HOP + 1) // _STRIDE if samples >= self.shortest else 0

    def forward(self, padded: torch.Tensor, samples: list[int] | None) -> torch.Tensor:
        """As :meth:`.base.Recipe.forward`."""
        with plain_float(padded.device):
            features = [self._log_mel(waveform) for waveform in each_row(padded, samples)]
        mask = None
        if samples is not None:
            frames = [len(rows) for rows in features]
            mask = frame_mask(frames, max(frames), padded.device).long()
        batch = pad_sequence(features, batch_first=True).to(weight_type(self.model))
        return self.model(batch, attention_mask=mask).last_hidden_state

    def _log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """Features (frames, 2 * bins) of one utterance, by the operations of SeamlessM4TFeatureExtractor.

        In float64 as there, and rounded where it rounds: a bin without sound is 10 orders of magnitude below the rest.
        """
        device = waveform.device
        place = "cpu" if device.type == "mps" else device  # which has no float64
        steps = (waveform.to(place).float() * 2**15).double().unfold(0, _WINDOW, _HOP)
        steps = steps - steps.mean(dim=1, keepdim=True)
        before = torch.cat([steps[:, :1], steps[:, :-1]], dim=1)
        spectrum = torch.fft.rfft((steps - 0.97 * before) * self._window.to(place), 512).to(torch.complex64)
        power = torch.view_as_real(spectrum).double().square().sum(-1)
        levels = (power @ self._filters.to(place)).clamp(min=1.192092955078125e-07).log().float().double()
        levels = (levels - levels.mean(0)) / (levels.var(0) + 1e-7).sqrt()
        whole = len(levels) // _STRIDE
        return levels[: whole * _STRIDE].reshape(whole, -1).float().to(device)


def _bins(config: PretrainedConfig) -> int:
    return config.feature_projection_input_dim // _STRIDE


FAMILIES = {
    "wav2vec2-bert": Family(
        title="w2v-BERT 2.0", config="Wav2Vec2BertConfig", model="Wav2Vec2BertModel", recipe=Wav2Vec2BertRecipe
    )
}
