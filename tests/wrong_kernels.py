"""Kernels that are wrong in reduced precision, as a vendor's was, to be set in place of torch's."""

from __future__ import annotations

import pytest
import torch

_conv1d, _linear = torch.nn.functional.conv1d, torch.nn.functional.linear


def spoil_grouped_convolutions(patch: pytest.MonkeyPatch) -> None:
    """Let grouped convolutions be wrong by about 100 % under autocast, as oneDNN's in bfloat16 with AMX."""

    def conv1d(inputs, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        right = _conv1d(inputs, weight, bias, stride, padding, dilation, groups)
        return right.flip(1) if groups > 1 and torch.is_autocast_enabled(inputs.device.type) else right

    patch.setattr(torch.nn.functional, "conv1d", conv1d)


def mend_grouped_convolutions(patch: pytest.MonkeyPatch) -> None:
    """Let grouped convolutions be right under autocast on every processor: computed in float32, and rounded once."""

    def conv1d(inputs, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        device = inputs.device.type
        if groups == 1 or not torch.is_autocast_enabled(device):
            return _conv1d(inputs, weight, bias, stride, padding, dilation, groups)
        kind = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            given = [None if one is None else one.to(kind).float() for one in (inputs, weight, bias)]
            return _conv1d(*given, stride, padding, dilation, groups).to(kind)

    patch.setattr(torch.nn.functional, "conv1d", conv1d)


def spoil_linear(patch: pytest.MonkeyPatch, *, inputs: int, outputs: int) -> None:
    """Let linear layers of that size give the same for every input under autocast."""

    def linear(values, weight, bias=None):
        right = _linear(values, weight, bias)
        spoilt = weight.shape == (outputs, inputs) and torch.is_autocast_enabled(values.device.type)
        return torch.linspace(-2, 2, outputs, dtype=right.dtype).expand_as(right) if spoilt else right

    patch.setattr(torch.nn.functional, "linear", linear)
