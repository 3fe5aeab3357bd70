"""Statistics of log-mel bands and MFCC: what a probe can do without any learned representation.

Nothing is normalised first, so these features know the loudness of a recording, which a model that normalises its input
does not.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
import torchaudio

from .encoders.exact import frame_mask
from .limits import SAMPLE_RATE
from .transfers import padded_batch, to_device

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

WINDOW, HOP = 400, 160  # 25 ms and 10 ms
_FFT = 512
N_MELS, N_MFCC = 80, 40
POWER_FLOOR = 1e-10
_CPU = torch.device("cpu")

ACOUSTIC_WIDTHS = {"logmel": 2 * N_MELS, "mfcc": 4 * N_MFCC}


def acoustic_statistics(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation over time of log-mel bands, MFCC and their deltas.

    Windows of 25 ms every 10 ms (periodic Hann, 512-point Fourier transform), ``1 + (samples - 400) // 160`` of them,
    each within the signal. 80 triangular bands on the HTK mel scale from 0 to 8 kHz (none of them empty), natural
    logarithm of their power, not below ``log(1e-10)``. MFCC: the first 40 coefficients of the orthonormal DCT-II over
    these bands, the zeroth included. Deltas: the slope of the regression line over 5 windows, the first and the last
    repeated beyond the ends (as :func:`torchaudio.functional.compute_deltas`).

    Parameters
    ----------
    waveform : numpy.ndarray
        Shape ``(samples,)``, 16 kHz mono. Fewer than 400 samples are padded with zeros to one window.

    Returns
    -------
    dict of str to numpy.ndarray
        ``logmel``, shape (160,): means of the 80 bands, then their standard deviations. ``mfcc``, shape (160,): means
        of the 40 coefficients, their standard deviations, means of the 40 deltas, their standard deviations. All
        float32; the standard deviations are those of the population, 0 for a single window.
    """
    if np.ndim(waveform) != 1:
        raise ValueError(f"waveform of shape {np.shape(waveform)}, expected one dimension")
    return {name: values[0].numpy() for name, values in batch_statistics([waveform]).items()}


def batch_statistics(waveforms: Sequence[np.ndarray], device: torch.device = _CPU) -> dict[str, torch.Tensor]:
    """:func:`acoustic_statistics` of a batch at once.

    Parameters
    ----------
    waveforms : sequence of numpy.ndarray
        Each ``(samples,)``, 16 kHz mono, whatever their lengths: no window that touches the padding is counted.
    device : torch.device
        Where they are computed; for one without double precision (MPS), on the CPU.

    Returns
    -------
    dict of str to Tensor
        ``logmel`` and ``mfcc``, each (batch, 160) float32, where they were computed.
    """
    if device.type == "mps":
        device = _CPU
    windows = [max(1, 1 + (len(waveform) - WINDOW) // HOP) for waveform in waveforms]
    padded = padded_batch(waveforms, length=max(WINDOW, *(len(waveform) for waveform in waveforms)))
    spectrogram, mel, dct = _transforms(device)
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        # The squared modulus from its parts: a root first, to square it again, or a sum over an axis of two, would take
        # three times as long.
        squares = torch.view_as_real(spectrogram(to_device(padded, device))).square()
        power = squares[..., 0] + squares[..., 1]
        bands = mel(power).double().clamp_min(POWER_FLOOR).log()  # (batch, bands, windows)
        valid = frame_mask(windows, bands.shape[-1], device)
        share = (valid / valid.sum(1, keepdim=True, dtype=torch.float64))[:, :, None]
        coefficients = dct.T @ bands
        last = to_device(torch.tensor(windows)[:, None, None] - 1, device).expand(-1, N_MFCC, 1)
        deltas = _deltas(coefficients, valid[:, None], coefficients.gather(2, last))
        logmel = _mean_and_std(bands, share)
        mfcc = torch.cat([_mean_and_std(coefficients, share), _mean_and_std(deltas, share)], dim=1)
        return {"logmel": logmel.float(), "mfcc": mfcc.float()}


def _mean_and_std(series: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Of (batch, rows, windows), `share` (batch, windows, 1) being each one's part in a mean, as (batch, 2 x rows)."""
    mean = series @ share
    spread = (series - mean).square_() @ share
    return torch.cat([mean, spread.sqrt_()], dim=1)[:, :, 0]


def _deltas(series: torch.Tensor, valid: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Of (batch, rows, windows), `last` (batch, rows, 1) being what the last valid window has."""
    # Ten times as fast as the grouped convolution of torchaudio, which the tests compare with.
    first, series = series[:, :, :1], torch.where(valid, series, last)
    padded = torch.cat([first, first, series, last, last], dim=2)
    return (2 * (padded[:, :, 4:] - padded[:, :, :-4]) + padded[:, :, 3:-1] - padded[:, :, 1:-3]) / 10


@functools.cache
def _transforms(
    device: torch.device,
) -> tuple[torchaudio.transforms.Spectrogram, torchaudio.transforms.MelScale, torch.Tensor]:
    spectrogram = torchaudio.transforms.Spectrogram(
        n_fft=_FFT,
        win_length=WINDOW,
        hop_length=HOP,
        power=None,
        # The window stands in the middle of the transform's frame: these zeros put the first one on the first sample.
        pad=(_FFT - WINDOW) // 2,
        center=False,
    )
    mel = torchaudio.transforms.MelScale(n_mels=N_MELS, sample_rate=SAMPLE_RATE, n_stft=_FFT // 2 + 1)
    dct = torchaudio.functional.create_dct(N_MFCC, N_MELS, norm="ortho").double()
    return spectrogram.to(device), mel.to(device), dct.to(device)
