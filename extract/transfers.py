"""Bring numbers to a device without waiting for what it is at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def padded_batch(waveforms: Sequence[np.ndarray], *, length: int | None = None) -> torch.Tensor:
    """One tensor of waveforms of several lengths, zero past each one's end.

    Parameters
    ----------
    waveforms : sequence of ndarray, (samples,) float32
    length : int, optional
        Of the padded ones; the longest's own if left out.

    Returns
    -------
    Tensor, (batch, length), float32
    """
    padded = torch.zeros(len(waveforms), max(map(len, waveforms)) if length is None else length)
    for row, waveform in enumerate(waveforms):
        padded[row, : len(waveform)] = torch.as_tensor(waveform)
    return padded


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values of this machine's memory on a device.

    A GPU copies by itself only from pinned memory; from any other, the calling thread waits until all is computed that
    the GPU was given before, and it has nothing to do afterwards until it is given more.
    """
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
