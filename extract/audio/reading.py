"""Decode a file, or a part of one, to 16 kHz mono.

What libsndfile decodes is accepted (WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF, ...), told by content, not by the file's
name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import soundfile

from ..resampling import BLOCK_VALUES, context, resample, resample_blocks, span
from ..streams import stream_problem
from .headers import AudioHeader, Part
from .kept import Kept
from .opening import MP3_FRAME, open_audio, said
from .problems import AudioProblem, refuse_vanished, told_as_problems
from .shards import open_bytes

# Two steps of 16-bit audio, peak to peak: what dithered digital silence has. The quietest speech has hundreds.
SILENCE = 2.0**-14

# Squares of larger samples overflow float32 in the spectra; recordings that were left in integers go up to 2**31.
LOUDEST = 1e15


def read_audio(path: str | os.PathLike, header: AudioHeader, kept: Kept | None = None) -> np.ndarray:
    """Decode `path`, or the part of it that `header` means, to 16 kHz mono.

    Channels are averaged, then :func:`.resampling.resample` brings the signal to 16 kHz. Integer formats scale to
    [-1, 1); floating-point files are taken as they are. One MPEG frame (1,152 samples) that an MP3 header promises and
    the file lacks is filled with zeros. Threads may call this at the same time.

    A part is what the resampled whole file has between its times. Where the file can be entered anywhere
    (:attr:`.headers.AudioHeader.seeks`) no more of it is decoded than the part, and what the resampling filter reaches;
    any other is decoded once, from its beginning, and kept in `kept`.

    Parameters
    ----------
    path : path-like
        The file.
    header : AudioHeader
        What :func:`.headers.read_header` said about it, or :func:`.parts.cut`.
    kept : Kept, optional
        Where decoded files and open shards stay from one call to the next.

    Returns
    -------
    numpy.ndarray
        Shape ``(header.samples,)``, float32.

    Raises
    ------
    AudioProblem
        ``truncated`` or ``unreadable`` when decoding ends early; ``non-finite`` for NaN, infinity or samples beyond
        :data:`LOUDEST`; ``silent`` when the mono signal stays within :data:`SILENCE` from peak to peak (constant
        signals included).
    UserError
        If the folder is gone with all that it held, as when a disk is taken out: that says nothing about the file.
    """
    path, part, kept = os.fspath(path), header.part, kept or Kept()
    try:
        signal = _decode_mono(path, header, kept) if part is None else _decode_part(path, header, part, kept)
    except AudioProblem:
        refuse_vanished(os.path.dirname(path))  # noqa: PTH120 - path is text
        raise
    low, high = float(signal.min()), float(signal.max())
    if high - low <= SILENCE:
        about = "constant" if high == low else f"within {high - low:.1e} from peak to peak"
        one = header.channels == 1 or (part is not None and part.channel is not None)
        mixed = "" if one else f", the mean of {header.channels} channels,"
        raise AudioProblem("silent", f"the signal{mixed} is {about}")
    return signal if part is not None else resample(signal, header.sample_rate)


@dataclass(frozen=True)
class _Decoded:
    """A file that had to be decoded from its beginning, for all its parts."""

    signals: np.ndarray  # (channels, or 1 for their mean; samples), at 16 kHz
    frames: int  # samples at the file's own rate that could be decoded
    tolerated: int  # how many may be absent at the end
    failure: str  # why no more, if the decoder says so


def _decode_part(path: str, header: AudioHeader, part: Part, kept: Kept) -> np.ndarray:
    """The samples of the resampled file that lie within the part."""
    rate = header.sample_rate
    begin, end = part.begin, part.begin + header.frames
    into, until = span(begin, end, rate)
    if header.seeks:
        first, last, ahead = context(begin, end, rate, part.whole)
        stretch, failure = _stretch(path, header, part.channel, first, last, kept)
        _refuse_early_end(part, end, first + len(stretch), last, failure)
        signal = resample(stretch, rate)[ahead : ahead + until - into]
    else:
        # All channels at once where one is wanted: another part will want another.
        pick = _mean_of_channels if part.channel is None else _each_channel
        whole = kept.get(
            ("decoded", path, part.channel is None),
            lambda: _decode_all(path, header, part.whole, pick, kept),
            lambda decoded: decoded.signals.nbytes,
        )
        _refuse_early_end(part, end, whole.frames, end - whole.tolerated, whole.failure)
        # A copy: a view would hold the whole file in memory.
        signal = whole.signals[part.channel or 0, into:until].copy()
    peak = np.abs(signal).max()  # NaN if there is one
    if not peak <= LOUDEST:
        raise AudioProblem("non-finite", "the part holds, or touches, NaN, infinity or samples that overflow")
    return signal


def _refuse_early_end(part: Part, end: int, decoded: int, needed: int, failure: str) -> None:
    if decoded < needed:
        told = f"the part ends with sample {end} of {part.whole}, and {decoded} could be decoded"
        raise AudioProblem("truncated", f"{told} ({failure})" if failure else told)


def _stretch(
    path: str, header: AudioHeader, channel: int | None, first: int, last: int, kept: Kept
) -> tuple[np.ndarray, str]:
    """Samples `first` to `last` of a channel, at the file's own rate; fewer where it ends, with the reason."""
    parts = [np.empty(0, np.float32)]
    with open_audio(path, kept) as file:
        _refuse_changed(file, header)
        try:
            file.seek(first)
            for block in _blocks(file, last - first):
                parts.append(_mean_of_channels(block)[:, 0] if channel is None else block[:, channel])
        except soundfile.SoundFileError as problem:
            return np.concatenate(parts), said(problem)
    return np.concatenate(parts), ""


def _decode_all(
    path: str, header: AudioHeader, length: int, pick: Callable[[np.ndarray], np.ndarray], kept: Kept
) -> _Decoded:
    """A file from its beginning to `length` samples, of the channels that `pick` takes of a block."""
    frames, failure = 0, ""

    def picked(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
        nonlocal frames, failure
        try:
            for block in _blocks(file, length):
                frames += len(block)
                yield pick(block)
        except soundfile.SoundFileError as problem:
            failure = said(problem)

    with open_audio(path, kept) as file, np.errstate(invalid="ignore"):
        _refuse_changed(file, header)
        signals = resample_blocks(picked(file), header.sample_rate, length)
        return _Decoded(signals, frames, _tolerated(file.format), failure)


def _refuse_changed(file: soundfile.SoundFile, header: AudioHeader) -> None:
    if (file.samplerate, file.channels) != (header.sample_rate, header.channels):
        raise AudioProblem("unreadable", "the file has changed since its header was read")


def _blocks(file: soundfile.SoundFile, frames: int) -> Iterator[np.ndarray]:
    """Blocks of shape (frames, channels), float32, until `frames` are read, or the file ends."""
    left, size = frames, max(1, BLOCK_VALUES // file.channels)
    while left > 0:
        block = file.read(min(size, left), dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        left -= len(block)
        yield block


def _decode_mono(path: str, header: AudioHeader, kept: Kept) -> np.ndarray:
    parts, count = [], 0
    failure = None
    with open_audio(path, kept) as file:
        _refuse_changed(file, header)
        kind = file.format
        try:
            for block in _blocks(file, header.frames):
                peak = np.abs(block).max()  # NaN if there is one
                if not np.isfinite(peak):
                    raise AudioProblem("non-finite", f"NaN or infinity within samples {count} to {count + len(block)}")
                if peak > LOUDEST:
                    raise AudioProblem("non-finite", f"samples as large as {peak:.0e} overflow")
                parts.append(_mean_of_channels(block)[:, 0])
                count += len(block)
        except soundfile.SoundFileError as problem:
            failure = said(problem)
    told = f"{count or 'none'} of {header.frames} samples could be decoded"
    if failure is not None:
        # A block that fails is lost whole, so the count is where trouble begins, not where the file ends.
        status = "unreadable" if _last_sample_can_be_read(path, kept) else "truncated"
        raise AudioProblem(status, f"{told} ({failure})")
    if count == 0 or count < header.frames - _tolerated(kind):
        raise AudioProblem("truncated", f"only {told}: the file is cut off or damaged")
    with told_as_problems(), open_bytes(path, kept) as file:
        more = stream_problem(file, kind)
    if more is not None:
        raise AudioProblem("unreadable", more)
    if count < header.frames:
        parts.append(np.zeros(header.frames - count, dtype=np.float32))
    return np.concatenate(parts)


def _mean_of_channels(block: np.ndarray) -> np.ndarray:
    """Shape (frames, 1)."""
    if block.shape[1] == 1:
        return block
    # In double precision, then rounded once; channel by channel, which is many times as fast as `mean` along the
    # short axis.
    total = block[:, 0].astype(np.float64)
    for channel in block.T[1:]:
        total += channel
    return (total / block.shape[1]).astype(np.float32)[:, None]


def _each_channel(block: np.ndarray) -> np.ndarray:
    return block


def _tolerated(kind: str) -> int:
    """Samples that may be absent at the end: some encoders count the MP3's own header as one frame of audio."""
    return MP3_FRAME if kind == "MP3" else 0


def _last_sample_can_be_read(path: str, kept: Kept) -> bool:
    """Whether the end of the file is there, so that a decoding error is damage inside it rather than a cut."""
    try:
        with open_audio(path, kept) as file:
            file.seek(file.frames - 1)
            return len(file.read(1)) == 1
    except (AudioProblem, soundfile.SoundFileError):
        return False
