"""Make a model's hidden states independent of the batch that an utterance is padded in.

Transformers' own batched forward passes the attention mask to the blocks only. Two parts before them still see the
padding: a group norm over time in the first convolution (``feat_extract_norm="group"``: HuBERT base, DistilHuBERT,
wav2vec 2.0 base, WavLM base), and positional convolutions behind a norm that turns the padding's zeros into something
else (the stack of data2vec-audio, batch norm in ``conv_pos_batch_norm``). Here both see the valid samples only. The
blocks of a conformer convolve over time as well: :func:`silence_padding` is for each of those convolutions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from ..transfers import to_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ValidLengths:
    """How much of each utterance of the batch under way is speech and not padding.

    Attributes
    ----------
    samples : list of int or None
        Valid samples of each waveform; None when nothing is padded, so that nothing needs masking.
    """

    def __init__(self, kernels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.kernels = kernels
        self.strides = strides
        self.samples: list[int] | None = None

    def after(self, convolutions: int | None = None) -> list[int] | None:
        """Valid steps of each utterance after that many convolutions of the front end, all of them by default.

        None where nothing is padded.
        """
        if self.samples is None:
            return None
        return [steps(n, self.kernels[:convolutions], self.strides[:convolutions]) for n in self.samples]


def steps(samples: int, kernels: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Length of a waveform after a row of convolutions without padding; 0 when it is shorter than they need."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
    return samples


class ValidGroupNorm(nn.Module):
    """A group norm over the valid steps of each utterance alone, with the parameters of the one it replaces.

    Each utterance goes through the same kernel as it would alone, so that the result is not merely close. All at once
    with a mask would take twice the time: these are the largest states of a model, and every step would pass over them
    once more for the mask.
    """

    def __init__(self, norm: nn.GroupNorm, lengths: ValidLengths) -> None:
        super().__init__()
        self.num_groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        self._lengths = lengths

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Normalise `states` (batch, channels, steps); the padding comes out as zero."""
        lengths = self._lengths.after(1)
        if lengths is None:
            return self._norm(states)
        first = self._norm(states[:1, :, : lengths[0]])
        normed = first.new_empty(states.shape)  # only now is the type known: autocast computes norms in float32
        for row, valid in enumerate(lengths):
            normed[row, :, :valid] = (first if row == 0 else self._norm(states[row : row + 1, :, :valid]))[0]
            normed[row, :, valid:] = 0
        return normed

    def _norm(self, states: torch.Tensor) -> torch.Tensor:
        return F.group_norm(states, self.num_groups, self.weight, self.bias, self.eps)


def make_exact(model: PreTrainedModel) -> ValidLengths:
    """Change `model` in place so that padding cannot reach a valid frame; return what it must be told of each batch.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        HuBERT, wav2vec 2.0, WavLM or data2vec-audio, without a head. Its parameters and their names stay as they are.

    Returns
    -------
    ValidLengths
        Set its `samples` before each forward pass, and pass the attention mask as well.
    """
    lengths = ValidLengths(tuple(model.config.conv_kernel), tuple(model.config.conv_stride))
    for layer in model.get_submodule("feature_extractor.conv_layers").children():
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            layer.layer_norm = ValidGroupNorm(norm, lengths)
    for module in model.get_submodule("encoder.pos_conv_embed").modules():
        if isinstance(module, nn.Conv1d):
            silence_padding(module, lengths)
    for module in model.modules():
        if type(module).__name__ == "WavLMAttention":
            module.register_forward_pre_hook(_mask_of_one_type, with_kwargs=True)
    return lengths


class _FloatPadding:
    """The padding of a batch as numbers to add, where WavLM's attention asks which frames are not 1.

    It adds them to a bias of numbers, and torch is about to take no mask of truth values beside one.
    """

    def __init__(self, mask: torch.Tensor, dtype: torch.dtype) -> None:
        self._mask, self._dtype = mask, dtype

    def ne(self, one: int) -> torch.Tensor:
        """Minus infinity where the mask is not `one`, (batch, frames)."""
        padding = self._mask.ne(one)
        return torch.zeros(padding.shape, dtype=self._dtype, device=padding.device).masked_fill_(padding, -torch.inf)


def _mask_of_one_type(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    mask = kwargs.get("attention_mask")
    if mask is None:
        return None
    states = args[0] if args else kwargs["hidden_states"]
    return args, {**kwargs, "attention_mask": _FloatPadding(mask, states.dtype)}


def silence_padding(convolution: nn.Module, lengths: ValidLengths) -> None:
    """Let a convolution over frames see zeros in the padding, as it sees them beyond an utterance that is alone.

    Parameters
    ----------
    convolution : torch.nn.Module
        Over frames of the front end, (batch, channels, frames); changed in place by a hook.
    lengths : ValidLengths
    """

    def silence(_module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor] | None:
        valid = lengths.after()
        if valid is None:
            return None
        (states,) = inputs
        return (states * frame_mask(valid, states.shape[-1], states.device)[:, None, :],)

    convolution.register_forward_pre_hook(silence)


def renew_positions(encoder: nn.Module) -> None:
    """Let a conformer's position embeddings depend on the batch under way alone.

    Transformers keeps them from one forward pass to the next: rotary ones by their length, whatever device and
    precision they were made for, relative ones rounded to the lowest precision that was ever asked for. Here each pass
    gets them in float32, and no rotary ones of an earlier pass.

    Parameters
    ----------
    encoder : torch.nn.Module
        Of a conformer; its `embed_positions`, where it has any, is changed in place by a hook.
    """

    def renew(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        module.cached_sequence_length = None  # type: ignore[assignment]  # torch knows parts and tensors alone
        (states,) = inputs
        return (states.float(),)

    embedding = encoder.embed_positions
    if isinstance(embedding, nn.Module):
        embedding.register_forward_pre_hook(renew)


def frame_mask(lengths: list[int], steps: int, device: torch.device) -> torch.Tensor:
    """Boolean (batch, steps): True where the step belongs to the utterance, False where it is padding."""
    return torch.arange(steps, device=device) < to_device(torch.tensor(lengths), device)[:, None]
