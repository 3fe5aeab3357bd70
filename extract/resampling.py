"""From any sampling rate to 16 kHz, with what a stretch of a long file would have in the whole."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torchaudio

from .limits import SAMPLE_RATE

# A header may claim any count; memory is taken for what is really decoded, a block at a time.
BLOCK_VALUES = 1 << 18
# Entries of a polyphase kernel. The usual rates need under 0.3 million; a rate such as 44,101 Hz, which shares no
# factor with 16,000, would need 700 million, most of them zero.
_LARGEST_KERNEL = 1 << 19


def resampled_length(frames: int, rate: int) -> int:
    """``ceil(16000 * frames / rate)`` in whole numbers."""
    return -(-frames * SAMPLE_RATE // rate)


def resample(signal: np.ndarray, rate: int) -> np.ndarray:
    """Bring a mono signal to 16 kHz.

    Parameters
    ----------
    signal : numpy.ndarray
        Shape ``(frames,)``, float32.
    rate : int
        Its rate in Hz.

    Returns
    -------
    numpy.ndarray
        Shape ``(ceil(16000 * frames / rate),)``, float32: torchaudio's resampling with its defaults (windowed sinc of
        width 6, roll-off 0.99, Hann window), the kernel computed in double precision.
    """
    if rate == SAMPLE_RATE:
        return signal
    common = math.gcd(rate, SAMPLE_RATE)
    old, new = rate // common, SAMPLE_RATE // common
    length = resampled_length(len(signal), rate)
    if new * (old + 2 * _kernel_width(old, new)) > _LARGEST_KERNEL:
        return _resample_directly(signal, old, new, length)
    # torchaudio takes the ceiling of a float32, which is one sample short for some long signals: more zeros at the end
    # (it pads with zeros itself), and the cut made here in whole numbers.
    padded = torch.from_numpy(np.pad(signal, (0, old)))
    with torch.inference_mode():
        return _resampler(old, new)(padded)[:length].numpy()


def span(begin: int, end: int, rate: int) -> tuple[int, int]:
    """Which samples of a resampled file lie within samples `begin` to `end` (exclusive) of the file: from, to."""
    return resampled_length(begin, rate), resampled_length(end, rate)


def context(begin: int, end: int, rate: int, whole: int) -> tuple[int, int, int]:
    """What has to be resampled so that a stretch comes out as in the whole file.

    Parameters
    ----------
    begin, end : int
        The stretch, in samples of the file; `end` is the first one behind it.
    rate : int
        The file's rate in Hz.
    whole : int
        Samples of the file.

    Returns
    -------
    first, last : int
        What to resample: the stretch and as much before and behind it as its filter reaches to.
    ahead : int
        Samples at 16 kHz that come out before those of the stretch.
    """
    if rate == SAMPLE_RATE:
        return begin, end, 0
    common = math.gcd(rate, SAMPLE_RATE)
    old, new = rate // common, SAMPLE_RATE // common
    width = _kernel_width(old, new)
    wanted, behind = span(begin, end, rate)
    # From a multiple of `old`, where the filter's phases begin anew.
    first = max(0, wanted // new - -(-width // old)) * old
    last = min(whole, (behind // new + 1) * old + width + 2)
    return first, last, wanted - first // old * new


def resample_blocks(blocks: Iterable[np.ndarray], rate: int, whole: int) -> np.ndarray:
    """Bring a long signal to 16 kHz as its blocks come, in the memory of the result and little more.

    Parameters
    ----------
    blocks : iterable of numpy.ndarray
        Of shape ``(frames, channels)``, float32, one after the other; they may end early.
    rate : int
        Their rate in Hz.
    whole : int
        Frames that all of them should have.

    Returns
    -------
    numpy.ndarray
        Shape ``(channels, samples)``, float32: each channel as :func:`resample` gives it. What lies behind the last
        block is 0.
    """
    blocks = iter(blocks)
    held = next(blocks, np.empty((0, 1), np.float32))
    result = np.zeros((held.shape[1], resampled_length(whole, rate)), np.float32)
    begins = 0  # where `held` begins
    for start, stop in _stretches(whole, rate):
        first, last, ahead = context(start, stop, rate, whole)
        while begins + len(held) < last and (block := next(blocks, None)) is not None:
            held = np.concatenate([held[max(0, first - begins) :], block])
            begins = max(begins, first)
        into, until = span(start, stop, rate)
        for channel, line in enumerate(held[first - begins : last - begins].T):
            piece = resample(np.ascontiguousarray(line), rate)[ahead : ahead + until - into]
            result[channel, into : into + len(piece)] = piece
    return result


def _stretches(whole: int, rate: int) -> Iterator[tuple[int, int]]:
    step = max(BLOCK_VALUES, rate)
    return ((start, min(start + step, whole)) for start in range(0, whole, step))


@functools.lru_cache(maxsize=32)
def _resampler(old: int, new: int) -> torchaudio.transforms.Resample:
    # The kernel in double precision, then rounded: in single, its phases are off by 1e-6 to 2e-4 for unusual rates.
    return torchaudio.transforms.Resample(old, new, dtype=torch.float64).float()


_LOWPASS_WIDTH, _ROLLOFF = 6, 0.99  # torchaudio's defaults


def _kernel_width(old: int, new: int) -> int:
    return math.ceil(_LOWPASS_WIDTH * old / (min(old, new) * _ROLLOFF))


def _resample_directly(signal: np.ndarray, old: int, new: int, length: int) -> np.ndarray:
    """The same windowed sinc, its taps computed where they are used: for rates whose table of kernels is too large."""
    cutoff = min(old, new) * _ROLLOFF
    width = _kernel_width(old, new)
    taps = np.arange(-width, width + 2)
    padded = np.pad(signal.astype(np.float64), (width, width + 2))
    result = np.empty(length, dtype=np.float32)
    step = max(1, BLOCK_VALUES // len(taps))
    for start in range(0, length, step):
        positions = np.arange(start, min(start + step, length), dtype=np.int64)
        whole, phase = np.divmod(positions * old, new)
        times = (taps[None, :] / old - phase[:, None] / (old * new)) * cutoff
        times = np.clip(times, -_LOWPASS_WIDTH, _LOWPASS_WIDTH)
        kernel = np.sinc(times) * np.cos(times * np.pi / _LOWPASS_WIDTH / 2) ** 2
        samples = padded[whole[:, None] + (taps + width)[None, :]]
        result[start : start + len(positions)] = (kernel * samples).sum(axis=1) * (cutoff / old)
    return result
