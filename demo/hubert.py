"""The packaged model's architecture, with heads for the units and for the log spectrum."""

from __future__ import annotations

import torch
import torchaudio
from torch import nn
from transformers import HubertConfig, HubertModel

from emoprobe.distil.training import Reporting
from emoprobe.extract.limits import SAMPLE_RATE

from .pretrain_settings import PretrainSettings

#: Samples of a window of the log spectrum: 64 ms.
_WINDOW = 1024


def hubert_config(settings: PretrainSettings) -> HubertConfig:
    """The transformers configuration of the model."""
    return HubertConfig(
        hidden_size=settings.width,
        num_hidden_layers=settings.blocks,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate,
        conv_dim=settings.conv_dim,
        conv_kernel=settings.conv_kernel,
        conv_stride=settings.conv_stride,
        num_conv_pos_embeddings=settings.position_kernel,
        num_conv_pos_embedding_groups=settings.position_groups,
        do_stable_layer_norm=True,
        feat_extract_norm="group",
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=True,
        # What fine-tuning masks by default; pretraining draws its own masks.
        mask_time_prob=0.05,
        mask_time_length=5,
        mask_feature_prob=0.0,
        vocab_size=32,
    )


class LogSpectrum(nn.Module):
    """Waves (batch, samples) to (batch, frames, 144), of mean 0 and deviation 1 within the batch.

    80 mel bands, and the 64 lowest bins of a 64 ms window (up to 1 kHz, 15.6 Hz apart), which show the harmonics.

    Parameters
    ----------
    settings : PretrainSettings
    """

    width = 144

    def __init__(self, settings: PretrainSettings) -> None:
        super().__init__()
        self.missing = max(0, _WINDOW - settings.field)
        self.power = torchaudio.transforms.Spectrogram(
            n_fft=_WINDOW, win_length=_WINDOW, hop_length=settings.hop, center=False
        )
        self.mel = torchaudio.transforms.MelScale(n_mels=80, sample_rate=SAMPLE_RATE, n_stft=_WINDOW // 2 + 1)

    @torch.no_grad()
    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """The spectrum of some waves."""
        power = self.power(nn.functional.pad(waves, (0, self.missing)))
        both = torch.cat([self.mel(power), power[:, :64]], 1).add(1e-2).log().transpose(1, 2)
        return (both - both.mean((0, 1))) / (both.std((0, 1)) + 1e-2)


class MaskedPrediction(Reporting):
    """HubertModel with one linear head a kind of unit, which gives the loss of some labels.

    Parameters
    ----------
    settings : PretrainSettings
    classes : dict of str to int
        Number of units of each kind.
    """

    def __init__(self, settings: PretrainSettings, classes: dict[str, int]) -> None:
        super().__init__()
        self.settings = settings
        self.hubert = HubertModel(hubert_config(settings))
        # On a CPU the fused attention's backward pass in bfloat16 takes as long as everything else together.
        self.hubert.set_attn_implementation("eager")
        self.norm = nn.LayerNorm(settings.width)
        self.heads = nn.ModuleDict({kind: nn.Linear(settings.width, n) for kind, n in classes.items()})
        self.spectrum = LogSpectrum(settings)
        self.to_spectrum = nn.Linear(settings.width, self.spectrum.width)

    def frame_states(self, wave: torch.Tensor) -> torch.Tensor:
        """States of the frames of one wave (samples,) that discovered units are clusters of, shape (frames, width)."""
        states = self.hubert(wave[None], output_hidden_states=True).hidden_states
        return self.norm(states[self.settings.unit_block])[0]

    def count(self, name: str, loss: torch.Tensor, right: float | torch.Tensor, number: int) -> None:
        """Add the mean loss of so many frames, of which some are right, to the tally."""
        sums = self.tally.setdefault(name, [0.0, 0.0, 0.0])
        for place, value in enumerate((float(loss) * number, float(right), number)):
            sums[place] += value

    def error_of_spectrum(
        self, states: torch.Tensor, waves: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean squared error of the log spectrum that states tell, where they are not masked."""
        with torch.autocast(waves.device.type, enabled=False):
            error = (self.to_spectrum(states.float()) - self.spectrum(waves)[:, : states.shape[1]]) ** 2
        loss = error.mean() if mask is None else error[~mask].mean()
        self.count("spectrum", loss.detach(), 0.0, states.shape[0] * states.shape[1])
        return loss

    def forward(
        self, waves: torch.Tensor, mask: torch.Tensor, labels: dict[str, torch.Tensor], spectrum: bool = True
    ) -> dict[str, torch.Tensor]:
        """The loss of a batch, as :class:`.batches.Batch` names it."""
        self.heard += waves.numel() / SAMPLE_RATE
        out = self.hubert(waves, mask_time_indices=mask, output_hidden_states=True)
        # Entry k is the output of block k in every release of transformers, for all but the last block.
        middle = self.norm(out.hidden_states[self.settings.unit_block])
        loss = waves.new_zeros(())
        if spectrum:
            loss = self.settings.spectrum_weight * self.error_of_spectrum(out.hidden_states[0], waves, mask)
        for kind, label in labels.items():
            logits = self.heads[kind](out.last_hidden_state if kind == "words" else middle).float()
            weight = self.settings.word_weight if kind == "words" else 1.0
            known = label >= 0
            for name, part in (("masked", mask & known), ("unmasked", ~mask & known)):
                if not part.any():
                    continue
                entropy = nn.functional.cross_entropy(logits[part], label[part])
                loss = loss + 0.5 * weight * entropy
                right = (logits[part].argmax(-1) == label[part]).sum()
                self.count(f"{kind}_{name}", entropy.detach(), right, int(part.sum()))
        return {"loss": loss}

    def report(self) -> dict[str, float]:
        """Mean cross-entropy and accuracy of each kind since the last report."""
        means = {}
        for key, (entropy, right, count) in sorted(self.tally.items()):
            means[f"{key}_loss"] = round(entropy / count, 4)
            if key != "spectrum":
                means[f"{key}_accuracy"] = round(right / count, 4)
        self.tally.clear()
        return means


class FrontEnd(MaskedPrediction):
    """The same model, of which the front end alone learns: the log spectrum."""

    def forward(
        self,
        waves: torch.Tensor,
        mask: torch.Tensor,  # noqa: ARG002 - as the model whose control it is takes them
        labels: dict[str, torch.Tensor],  # noqa: ARG002
        spectrum: bool = True,  # noqa: ARG002
    ) -> dict[str, torch.Tensor]:
        """The error of the log spectrum in a batch."""
        features = self.hubert.feature_extractor(waves).transpose(1, 2)
        # HubertFeatureProjection gives a tensor, or a tuple that starts with it, by release.
        projected = self.hubert.feature_projection(features)
        return {"loss": self.error_of_spectrum(projected[0] if isinstance(projected, tuple) else projected, waves)}


def build_model(settings: PretrainSettings, classes: dict[str, int]) -> MaskedPrediction:
    """The model of some settings, drawn from their seed."""
    torch.manual_seed(settings.seed)
    return FrontEnd(settings, classes) if settings.frontend_only else MaskedPrediction(settings, classes)
