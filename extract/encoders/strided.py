"""Convolutions of a front end as matrix products over channels that lie side by side, on a CPU.

Where a front end normalises over channels (``feat_extract_norm="layer"``: HuBERT large, wav2vec 2.0 large, XLS-R, WavLM
large), transformers turns its largest states over and back again for every norm. With channels last nothing is turned,
and a strided convolution is one or two products of views. Each number is the same sum in another order.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

#: Steps of the answer that are computed both ways, and what share of it may be between them: rounding is far below it.
_CHECKED_STEPS, _FAR = 256, 1e-3


class StridedConv(nn.Conv1d):
    """A strided convolution over time with the parameters of the one it replaces.

    Parameters
    ----------
    conv : torch.nn.Conv1d
        As :func:`is_strided` asks.

    Raises
    ------
    ValueError
        If it is another one.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        if not is_strided(conv):
            raise ValueError(f"{conv} is no plain strided convolution")
        (kernel,), (stride,), has_bias = conv.kernel_size, conv.stride, conv.bias is not None
        super().__init__(conv.in_channels, conv.out_channels, kernel, stride, bias=has_bias, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self._agrees: bool | None = None  # once it was tried

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Convolve `states` (batch, channels, steps); where a product does it, the answer lies with channels last.

        The first time, a short piece is computed both ways, and a product that is far off is not used here any more.
        """
        if not self._is_simple(states) or self._agrees is False:
            return super().forward(states)
        if self._agrees is None:
            few = states[:1, :, : self.kernel_size[0] + _CHECKED_STEPS * self.stride[0]]
            expected, found = super().forward(few), self._product(few)
            if not expected.isfinite().all():  # tells nothing, and has been told of elsewhere
                return super().forward(states)
            self._agrees = bool((found - expected).norm() <= _FAR * expected.norm())
            if not self._agrees:
                warnings.warn(
                    "a product of matrices on this processor is not the convolution that it stands for; torch's own "
                    "convolution is used instead, which is slower",
                    stacklevel=2,
                )
                return super().forward(states)
        return self._product(states)

    def _is_simple(self, states: torch.Tensor) -> bool:
        """Whether there is only to compute, in float32 on a CPU: no gradient, no autocast, nothing that records."""
        plain = states.device.type == "cpu" and states.dtype == self.weight.dtype == torch.float32
        fits = states.ndim == 3 and states.shape[1] == self.in_channels and states.shape[2] >= self.kernel_size[0]
        recorded = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
        return plain and fits and not recorded and not torch.is_autocast_enabled("cpu")

    def _product(self, states: torch.Tensor) -> torch.Tensor:
        kernel, stride, channels = self.kernel_size[0], self.stride[0], self.in_channels
        count = (states.shape[-1] - kernel) // stride + 1
        weight = self.weight.permute(2, 1, 0).reshape(kernel * channels, self.out_channels)
        whole = states.transpose(1, 2).contiguous()
        answer = states.new_empty(len(states), count, self.out_channels)
        for steps, out in zip(whole, answer, strict=True):
            if channels == 1:
                torch.mm(steps[:, 0].unfold(0, kernel, stride).contiguous(), weight, out=out)
                continue
            # Rows of a stride each, which no product has to copy, and what of the kernel reaches into the next one.
            rows = steps[: (count - 1) * stride + stride].reshape(count, stride * channels)
            torch.mm(rows, weight[: stride * channels], out=out)
            if kernel > stride:
                beyond = (kernel - stride) * channels
                start = steps.storage_offset() + stride * channels
                out.addmm_(steps.as_strided((count, beyond), (stride * channels, 1), start), weight[-beyond:])
        if self.bias is not None:
            answer += self.bias
        return answer.transpose(1, 2)


def is_strided(conv: nn.Conv1d) -> bool:
    """Whether it is a convolution without padding, dilation and groups, of one channel or one to two strides."""
    if type(conv) is not nn.Conv1d:  # a weight that is computed, say
        return False
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    plain = (conv.padding, conv.dilation, conv.groups) == ((0,), (1,), 1)
    return plain and (conv.in_channels == 1 or stride <= kernel <= 2 * stride)


def stride_convolutions(front_end: nn.Module) -> None:
    """Replace the convolutions of a front end that normalises over channels; another one is left as it is.

    Parameters
    ----------
    front_end : torch.nn.Module
        `feature_extractor` of HuBERT or its kin; changed in place. Its parameters and their names stay as they are.
    """
    layers = list(front_end.get_submodule("conv_layers").children())
    if not all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) for layer in layers):
        return
    for layer in layers:
        if isinstance(layer.conv, nn.Conv1d) and is_strided(layer.conv):
            layer.conv = StridedConv(layer.conv)
