"""The encoder of Whisper: log-mel features of a window of 30 s, whatever is spoken of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from ...limits import SAMPLE_RATE
from .base import Family, Recipe, blocks_of, check_settings, each_row, plain_float, weight_type

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_WINDOW, _HOP = 400, 160  # of the spectrum, in samples; a frame of the encoder is two steps


class WhisperRecipe(Recipe):
    """Each utterance stands at the start of a window of its own, with silence behind it, as the encoder was trained.

    The window's length is the same for all, so a batch has no padding of its own, and attention to the silence is part
    of the model. The frames that are counted, and pooled, are the utterance's own: frame j has its centre on sample
    320 j, and is counted while that sample is within the utterance, so that n samples give n / 320 frames, rounded up.
    (In log-mel steps of 160 samples it is as WhisperFeatureExtractor's attention mask says; the convolution of stride 2
    halves them, rounded up.) An utterance that is shorter than one window of the spectrum (25 ms) has none, one that is
    longer than the encoder's window (30 s) is left out: cut up, its layers would no longer be of one utterance.
    """

    longest: int
    reads_waveform: ClassVar[bool] = False

    def __init__(self, model: PreTrainedModel) -> None:
        from transformers import WhisperFeatureExtractor

        super().__init__(model)
        self._fix_positions()
        self.blocks = blocks_of(model, "layers")
        self.front_end = [model.get_submodule("conv1"), model.get_submodule("conv2")]
        self.channels = max(1, self.config.encoder_ffn_dim * 50 // 3200)
        self.shortest = _WINDOW
        self._take_window()
        bins = self.config.num_mel_bins
        filters = WhisperFeatureExtractor(feature_size=bins, hop_length=_HOP, n_fft=_WINDOW).mel_filters
        self._filters = torch.from_numpy(np.ascontiguousarray(filters.T, dtype=np.float32))

    @classmethod
    def normalises(cls, settings: dict, config: PretrainedConfig, source: str) -> bool:
        """Never; its features must be those that are computed here."""
        expected = {"feature_size": config.num_mel_bins, "hop_length": _HOP, "n_fft": _WINDOW, "dither": 0.0}
        check_settings(settings, expected | {"chunk_length": _longest(config) / SAMPLE_RATE}, source)
        return False

    def frames(self, samples: int) -> int:
        """Frames whose centre is within the utterance."""
        return -(-samples // (2 * _HOP)) if samples >= self.shortest else 0

    def sizes(self, samples: np.ndarray) -> np.ndarray:
        """A whole window each."""
        return np.where(samples > 0, self.longest, 0)

    def forward(self, padded: torch.Tensor, samples: list[int] | None) -> torch.Tensor:
        """As :meth:`.base.Recipe.forward`; frames past an utterance's own are of the silence in its window."""
        with plain_float(padded.device):
            features = torch.cat([self._log_mel(waveform) for waveform in each_row(padded, samples)])
        return self.model(features.to(weight_type(self.model))).last_hidden_state

    def _log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """Features (1, bins, steps) of one utterance, by the operations of WhisperFeatureExtractor.

        One by one, so that each goes through the same kernels as it would alone.
        """
        waveform = F.pad(waveform.float(), (0, self.longest - len(waveform)))[None]
        window = torch.hann_window(_WINDOW, device=waveform.device)
        spectrum = torch.stft(waveform, _WINDOW, _HOP, window=window, return_complex=True)[..., :-1]
        power = (spectrum.abs() ** 2).contiguous()
        levels = (self._filters.to(power.device) @ power).clamp(min=1e-10).log10()
        return (torch.maximum(levels, levels.amax() - 8.0) + 4.0) / 4.0

    def narrow(self, seconds: float) -> None:
        """Keep the first positions alone, those of so many seconds."""
        self.config.max_source_positions = math.ceil(round(seconds * SAMPLE_RATE, 6) / (2 * _HOP))
        kept = self.model.get_parameter("embed_positions.weight")[: self.config.max_source_positions]
        self.model.embed_positions = torch.nn.Embedding.from_pretrained(kept.detach().clone())
        self.model.max_source_positions = self.config.max_source_positions
        self._fix_positions()
        self._take_window()

    def _fix_positions(self) -> None:
        """The positions are sines, which nothing trains; a loaded model has lost that."""
        self.model.get_submodule("embed_positions").requires_grad_(False)

    def _take_window(self) -> None:
        self.longest = _longest(self.config)
        self.features = f"log-mel of {self.config.num_mel_bins} bins in a window of {self.longest / SAMPLE_RATE:g} s"

    def keep_every_block(self) -> None:
        """Let training skip no block."""
        self.model.layerdrop = 0.0  # type: ignore[assignment]  # torch knows parts and tensors alone


def _longest(config: PretrainedConfig) -> int:
    """Samples of the encoder's window."""
    return config.max_source_positions * 2 * _HOP


FAMILIES = {
    "whisper": Family(
        title="Whisper's encoder",
        config="WhisperConfig",
        model="WhisperEncoder",
        recipe=WhisperRecipe,
        module="transformers.models.whisper.modeling_whisper",
        within="encoder",
    )
}
