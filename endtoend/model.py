"""The audio-textual model: two encoders, masked pooling, fusion by concatenation, one head for all dimensions.

After de Oliveira, Prabhu and Gerkmann (Interspeech 2023): a distilled speech encoder lacks the depth in which a large
one holds valence, and a text encoder gives it back. What a batch's padding holds never reaches a prediction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from emoprobe.errors import UserError
from emoprobe.extract.encoders.exact import frame_mask
from emoprobe.extract.encoders.speech import Backbone

from .objective import Objective
from .settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class AudioStates(NamedTuple):
    """What the speech encoder made of a batch.

    Attributes
    ----------
    states : Tensor, (batch, frames, width)
    mask : Tensor of bool, (batch, frames)
        Which frames are no padding.
    """

    states: torch.Tensor
    mask: torch.Tensor


class TextStates(NamedTuple):
    """What the text encoder made of a batch.

    Attributes
    ----------
    states : Tensor, (batch, tokens, width)
    mask : Tensor of bool, (batch, tokens)
        Which tokens are no padding.
    given : Tensor of bool, (batch,)
        False for an utterance without text: a learned state stands for it.
    """

    states: torch.Tensor
    mask: torch.Tensor
    given: torch.Tensor


class AudioEncoder(nn.Module):
    """A speech model to be trained, exact under padding (:class:`~emoprobe.extract.encoders.speech.Backbone`).

    Parameters
    ----------
    backbone : Backbone
    layers : str
        "last" or "sum".

    Raises
    ------
    UserError
        If what comes behind its blocks has frames of its own.
    """

    def __init__(self, backbone: Backbone, *, layers: str) -> None:
        super().__init__()
        # A skipped block has no state to sum, and a mask drawn over ten frames does not fit into a short utterance.
        backbone.keep_every_block()
        if getattr(backbone.config, "add_adapter", False):
            raise UserError(
                f"{backbone.label} has an adapter behind its blocks, whose output has frames of its own: only its "
                "layers can be probed; train a checkpoint without one (add_adapter in its config.json)"
            )
        self.model = backbone.model
        self.backbone = backbone
        self.width = backbone.width
        self.layer_logits = nn.Parameter(torch.zeros(backbone.n_layers)) if layers == "sum" else None

    def train(self, mode: bool = True) -> AudioEncoder:
        """Set the mode; batch norms keep their pretrained statistics, which a batch and its padding would change."""
        super().train(mode)
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    def forward(self, waveforms: torch.Tensor, samples: torch.Tensor) -> AudioStates:
        """States of zero-padded waveforms (batch, samples)."""
        lengths = samples.tolist()
        states = self.states(waveforms, lengths)
        frames = [self.backbone.frames(n) for n in lengths]
        return AudioStates(states, frame_mask(frames, states.shape[1], states.device))

    def states(self, waveforms: torch.Tensor, lengths: list[int] | None) -> torch.Tensor:
        """States (batch, frames, width) of waveforms of these lengths; None where nothing is padded."""
        if self.layer_logits is None:
            return self.backbone.forward(waveforms, lengths)
        seen: list[torch.Tensor] = []
        self.backbone.forward(waveforms, lengths, lambda layer, states: seen.append(states))
        # Summed behind the pass, not within it: a checkpointed block that is computed again must save the same tensors.
        first, *rest = (weight * states for weight, states in zip(self.layer_logits.softmax(0), seen, strict=True))
        for part in rest:
            first = first + part
        return first


class Pooling(nn.Module):
    """Mean, or attention-weighted mean, over the valid steps of each utterance.

    Parameters
    ----------
    width : int
    attentive : bool
        Weigh each step by the softmax of a learned score (two linear layers with tanh between them).
    """

    def __init__(self, width: int, *, attentive: bool) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, 128), nn.Tanh(), nn.Linear(128, 1)) if attentive else None

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool `states` (batch, steps, width) where `mask` (batch, steps) is true; shape (batch, width)."""
        states = states.float()
        if self.score is None:
            weights = mask.to(states.dtype)
            weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
        else:
            weights = self.score(states)[..., 0].float().masked_fill(~mask, -torch.inf).softmax(1)
        return torch.einsum("bt,btw->bw", weights, states.masked_fill(~mask[..., None], 0.0))


class AudioTextModel(nn.Module):
    """Predict the dimensions of emotion from speech, its words, or both.

    Parameters
    ----------
    settings : ModelSettings
    backbone : Backbone, optional
        The speech encoder; as `settings.audio` says.
    text : transformers.PreTrainedModel, optional
        The text encoder without a head; as `settings.text` says.
    weights : tuple of float, optional
        Of each dimension's loss; all 1 by default.

    Attributes
    ----------
    label_mean, label_spread : Tensor, (dimensions,)
        Mean and standard deviation of the training labels: a prediction in the corpus's units is
        ``label_mean + label_spread * logits``.
    text_helps : Tensor of bool, (dimensions,)
        Of a model with both sides: whether a dimension is predicted from the words too. Few training utterances are
        soon known by their words, and what these then say of a dimension that they do not carry is noise; so
        training ends by asking the development part.
    """

    label_mean: torch.Tensor
    label_spread: torch.Tensor
    text_helps: torch.Tensor
    loss_weights: torch.Tensor

    def __init__(
        self,
        settings: ModelSettings,
        *,
        backbone: Backbone | None = None,
        text: PreTrainedModel | None = None,
        weights: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        if (backbone is None) != (settings.audio is None) or (text is None) != (settings.text is None):
            raise ValueError("the encoders are not those that the settings name")
        self.settings = settings
        attentive = settings.pooling == "attentive"
        self.audio = None if backbone is None else AudioEncoder(backbone, layers=settings.layers)
        self.text = text
        hidden, sides = settings.hidden, 0
        if self.audio is not None:
            sides += 1
            self.audio_pooling = Pooling(self.audio.width, attentive=attentive)
            self.audio_projection = _projection(self.audio.width, hidden)
        if self.text is not None:
            sides += 1
            self.text_pooling = Pooling(self.text.config.hidden_size, attentive=attentive)
            self.text_projection = _projection(self.text.config.hidden_size, hidden)
            # What stands for a side that is hidden or absent.
            self.no_text = nn.Parameter(torch.zeros(hidden))
        if sides == 2:
            self.no_audio = nn.Parameter(torch.zeros(hidden))
        # The sides meet in a linear layer, so that a dimension can leave one of them out by weights that are zero.
        self.head = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(sides * hidden, len(settings.dimensions)))
        self.register_buffer("label_mean", torch.zeros(len(settings.dimensions)))
        self.register_buffer("label_spread", torch.ones(len(settings.dimensions)))
        if sides == 2:
            self.register_buffer("text_helps", torch.ones(len(settings.dimensions), dtype=torch.bool))
        weights = weights or (1.0,) * len(settings.dimensions)
        if len(weights) != len(settings.dimensions):
            raise UserError(
                f"--weights gives {len(weights)} numbers for the {len(settings.dimensions)} dimensions "
                f"{', '.join(settings.dimensions)}"
            )
        self.objective = Objective()
        self.register_buffer("loss_weights", torch.tensor(weights), persistent=False)
        self._freeze()

    # What is trained ------------------------------------------------------------------------------------------------

    def _freeze(self) -> None:
        for module in self.frozen_modules():
            module.requires_grad_(False)
            freeze = getattr(module, "_freeze_parameters", None)
            if freeze is not None:  # the front end asks for gradients of its input otherwise
                freeze()

    def frozen_modules(self) -> list[nn.Module]:
        """The parts that training leaves as they are."""
        frozen: list[nn.Module] = []
        for part in self.settings.freeze:
            if part == "frontend" and self.audio is not None:
                frozen += self.audio.backbone.front_end
            elif part == "audio" and self.audio is not None:
                frozen.append(self.audio.model)
            elif part == "text" and self.text is not None:
                frozen.append(self.text)
            elif part == "embeddings" and self.text is not None:
                frozen.append(text_embeddings(self.text))
        return frozen

    def train(self, mode: bool = True) -> AudioTextModel:
        """Set the mode; frozen parts stay in evaluation mode, so that they give what they were pretrained to give."""
        super().train(mode)
        for module in self.frozen_modules():
            module.eval()
        return self

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """What is trained of "audio" and "text", which were pretrained, and of the "head", which was not."""
        encoders = {"audio": None if self.audio is None else self.audio.model, "text": self.text}
        pretrained = {
            name: [parameter for parameter in encoder.parameters() if parameter.requires_grad]
            for name, encoder in encoders.items()
            if encoder is not None
        }
        known = {id(parameter) for parameters in pretrained.values() for parameter in parameters}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return {**pretrained, "head": rest}

    def checkpoint_blocks(self) -> None:
        """Let the encoders compute their blocks again in the backward pass: less memory, more time."""
        for encoder in (None if self.audio is None else self.audio.model, self.text):
            if encoder is not None:
                # Renamed in transformers 5; the old name warns there.
                enable = getattr(encoder, "activation_checkpointing_enable", encoder.gradient_checkpointing_enable)
                enable({"use_reentrant": False})

    # Prediction -----------------------------------------------------------------------------------------------------

    def forward(
        self,
        waveforms: torch.Tensor | None = None,
        samples: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        has_text: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Predict a batch.

        Parameters
        ----------
        waveforms : Tensor, (batch, samples) float32
            16 kHz, prepared as the speech encoder wants it, zero past each end.
        samples : Tensor of int, (batch,)
        input_ids, attention_mask : Tensor of int, (batch, tokens)
        has_text : Tensor of bool, (batch,)
            False for an utterance without text: a learned state stands for it.
        labels : Tensor, (batch, dimensions), optional
            In the corpus's units; NaN where one is missing.

        Returns
        -------
        dict
            `logits` (batch, dimensions), in units of the training labels' mean and spread; with `labels` also `loss`:
            the weighted sum over dimensions of the objective within the batch (1 − CCC, unless training has set
            another), a missing label left out of its dimension.

        Raises
        ------
        ValueError
            If what one of the encoders needs is missing.
        """
        audio = text = None
        if self.audio is not None and waveforms is not None:
            audio = self.audio(waveforms, samples)
        if self.text is not None and attention_mask is not None and has_text is not None:
            states = self.text(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            text = TextStates(states, attention_mask.bool(), has_text)
        logits = self.combine(audio, text)
        if labels is None:
            return {"logits": logits}
        return {"loss": self.losses(logits, labels).sum(), "logits": logits}

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Weighted loss of each dimension, (dimensions,), over the utterances that have its label.

        Parameters
        ----------
        logits, labels : Tensor, (utterances, dimensions)
            As :meth:`forward` returns and takes them; labels may be followed by a teacher's predictions, and by how
            much each label counts (`weighed` of the objective), each in as many columns again.
        """
        parts = list(labels.split(len(self.label_mean), dim=1))
        # A development part comes with labels alone.
        trust = parts.pop() if self.objective.weighed and len(parts) > 1 else None
        targets = torch.cat([(part - self.label_mean) / self.label_spread for part in parts], dim=1)
        return self.loss_weights * self.objective(logits.float(), targets, trust)

    def combine(self, audio: AudioStates | None, text: TextStates | None) -> torch.Tensor:
        """Logits (batch, dimensions) from what the encoders made; None for a side that the model lacks.

        Raises
        ------
        ValueError
            If a side that the model has is None, or the other way round.
        """
        if (audio is None) != (self.audio is None) or (text is None) != (self.text is None):
            raise ValueError(
                "give waveforms to a model that hears, and input_ids, attention_mask and has_text to one that reads"
            )
        parts = []
        if audio is not None:
            parts.append(self.audio_projection(self.audio_pooling(audio.states, audio.mask)))
        if text is not None:
            given, read = text.given[:, None], self.text_projection(self.text_pooling(text.states, text.mask))
            parts.append(torch.where(given, read, self.no_text))
        if audio is None or text is None:
            return self.head(*parts)
        heard, read = parts
        if self.training:
            return self.head(torch.cat(self._hide_a_side(heard, read, text.given), dim=1))
        unread = torch.cat([heard, self.no_text.expand_as(read)], dim=1)
        return torch.where(self.text_helps, self.head(torch.cat(parts, dim=1)), self.head(unread))

    def _hide_a_side(self, audio: torch.Tensor, text: torch.Tensor, has_text: torch.Tensor) -> list[torch.Tensor]:
        """Modality dropout: one draw an utterance, and no audio hidden where text is absent, so that never both are."""
        draw = torch.rand(len(audio), 1, device=audio.device)
        hide_text = draw < self.settings.text_dropout
        hide_audio = (draw > 1 - self.settings.audio_dropout) & has_text[:, None]
        return [torch.where(hide_audio, self.no_audio, audio), torch.where(hide_text, self.no_text, text)]

    @torch.no_grad()
    def in_units(self, logits: torch.Tensor) -> torch.Tensor:
        """Predictions in the corpus's units."""
        return self.label_mean + self.label_spread * logits.float()

    @torch.no_grad()
    def read_for(self, helps: Iterable[bool]) -> None:
        """Take the dimensions, (dimensions,), that are predicted from the words as well where there are any."""
        self.text_helps.copy_(torch.as_tensor(helps))

    @torch.no_grad()
    def learn_labels(self, mean: Iterable[float], spread: Iterable[float]) -> None:
        """Take the mean and spread of the training labels, each (dimensions,)."""
        self.label_mean.copy_(torch.as_tensor(mean))
        self.label_spread.copy_(torch.as_tensor(spread))


def _projection(width: int, hidden: int) -> nn.Module:
    """From a pooled state to one side of the head, whatever the size of the encoder's states."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())


def text_embeddings(text: nn.Module) -> nn.Module:
    """The embedding layers of a text encoder.

    Raises
    ------
    UserError
        If its architecture keeps them elsewhere.
    """
    embeddings = getattr(text, "embeddings", None)
    if not isinstance(embeddings, nn.Module):
        raise UserError(
            f"--freeze embeddings: {type(text).__name__} has no part of that name; leave it out, or freeze text"
        )
    return embeddings
