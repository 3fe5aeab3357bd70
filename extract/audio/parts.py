"""From the seconds of a corpus to the samples of a file."""

from __future__ import annotations

from dataclasses import replace

from ..corpora.places import Place
from ..resampling import span
from .headers import AudioHeader, Part
from .problems import AudioProblem, BehindEnd

#: Seconds by which an utterance may end behind its file, where it is cut short: times are often written to 1/100 s.
ROUNDING = 0.01


def cut(header: AudioHeader, place: Place) -> AudioHeader:
    """The header of a part of a file.

    Sample ``round(seconds * rate)`` of the file is the first one of the part, or the first one behind it. At 16 kHz it
    has the samples of the resampled file between these times, so that parts which follow one another are the file.

    Parameters
    ----------
    header : AudioHeader
        Of the whole file.
    place : tuple
        Start and end in seconds and the channel; None for the file's own (for the channel, the mean of all).

    Raises
    ------
    AudioProblem
        ``outside`` where the file has no such time or channel, ``empty`` where no sample lies between the times.
    """
    if not place:
        return header
    start, end, channel = place
    rate, whole = header.sample_rate, header.frames
    if channel is not None and channel >= header.channels:
        has = "1 channel (0)" if header.channels == 1 else f"{header.channels} channels (0 to {header.channels - 1})"
        raise AudioProblem("outside", f"channel {channel} is wanted, and the file has {has}")
    first = round((start or 0.0) * rate)
    last = whole if end is None else round(end * rate)
    if first >= whole or last > whole + ROUNDING * rate:
        told = f"{start or 0.0:g} s to " + ("its end" if end is None else f"{end:g} s")
        raise BehindEnd(f"{told} is wanted, and the file has {header.seconds:.4g} s")
    last = min(last, whole)
    if first >= last:
        raise AudioProblem("empty", f"no sample lies between {start or 0.0:g} s and {end:g} s at {rate} Hz")
    into, until = span(first, last, rate)
    if into == until:
        raise AudioProblem("empty", f"no sample of 16 kHz lies between {start or 0.0:g} s and {header.seconds:g} s")
    return replace(header, frames=last - first, samples=until - into, part=Part(first, whole, channel))
