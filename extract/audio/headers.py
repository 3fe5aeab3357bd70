"""What a file holds, known without decoding it, so that a cache can be laid out before anything is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ..containers import container_problem
from ..mpeg import measure_mpeg
from ..resampling import resampled_length
from .kept import Kept
from .opening import MP3_FRAME, open_audio
from .problems import AudioProblem, told_as_problems
from .shards import open_bytes

# libsndfile reports this count for a stream whose header does not tell its length.
_UNKNOWN_LENGTH = 1 << 61
#: Codings of which libsndfile gives the same samples wherever it begins: those that code each sample for itself, and
#: FLAC. What MP3, Vorbis, Opus, ADPCM and their kin give depends on what was decoded before.
_SAMPLE_BY_SAMPLE = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")


@dataclass(frozen=True, slots=True)
class Part:
    """Which samples of a file an utterance is, at the file's own rate.

    Attributes
    ----------
    begin : int
        The first one; those that follow are counted by the header's `frames`.
    whole : int
        Samples of each channel of the whole file.
    channel : int or None
        One channel, from 0; None for the mean of all.
    """

    begin: int
    whole: int
    channel: int | None


@dataclass(frozen=True, slots=True)
class AudioHeader:
    """What a file, or a part of one, holds.

    Attributes
    ----------
    frames : int
        Samples of each channel at the file's own rate.
    sample_rate : int
        The file's own rate in Hz.
    channels : int
        Number of channels.
    samples : int
        Samples at 16 kHz: ``ceil(16000 * frames / sample_rate)`` of a file, exactly what :func:`.reading.read_audio`
        returns.
    part : Part or None
        Which part of the file is meant; None for the whole.
    seeks : bool
        Whether any stretch of the file can be decoded alone.
    """

    frames: int
    sample_rate: int
    channels: int
    samples: int
    part: Part | None = None
    seeks: bool = field(default=False, compare=False)

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.sample_rate


def read_header(path: str | os.PathLike, kept: Kept | None = None) -> AudioHeader:
    """What `path` holds, without decoding it.

    A cut-off WAV, RF64, AIFF, Wave64, AU, CAF or Ogg file is recognised by what its container promises, and so is one
    that holds more than its header tells. A FLAC or MP3 file that ends early, and a second FLAC or Ogg stream behind
    the first, are found by :func:`.reading.read_audio`. The length of an MP3 file comes from its Xing, Info or VBRI
    header, which makes it exact to the sample where the encoder told its delay; without one, the file's frames are
    counted, those of streams joined end to end as well. Where the decoder would stop before the last frame (a header
    that tells of fewer, a variable bit rate without one, another format behind the first) the file is refused. A stream
    whose header does not tell its length (FLAC from a pipe) is refused too.

    Parameters
    ----------
    path : path-like
        A file, or audio inside a shard (:mod:`.shards`).
    kept : Kept, optional
        Where shards stay open from one call to the next.

    Raises
    ------
    AudioProblem
        With the status ``missing``, ``unreadable``, ``empty`` or ``truncated``.
    """
    path, kept = os.fspath(path), kept or Kept()
    with open_audio(path, kept) as file:
        frames, rate, channels = file.frames, file.samplerate, file.channels
        kind, seeks = file.format, file.format == "FLAC" or file.subtype.startswith(_SAMPLE_BY_SAMPLE)
    if rate <= 0 or channels <= 0 or frames < 0:
        raise AudioProblem("unreadable", f"the header claims {frames} samples, {rate} Hz, {channels} channels")
    with told_as_problems(), open_bytes(path, kept) as file:
        problem = container_problem(file, kind)
    if problem is not None:
        raise AudioProblem(*problem)
    if kind == "MP3":
        frames = _mp3_frames(path, frames, kept)
    elif frames >= _UNKNOWN_LENGTH:
        raise AudioProblem(
            "unreadable",
            f"the header does not tell its length; repack it: ffmpeg -i OLD.{kind.lower()} NEW.{kind.lower()}",
        )
    if frames == 0:
        raise AudioProblem("empty", "the file holds no samples")
    return AudioHeader(frames, rate, channels, resampled_length(frames, rate), seeks=seeks)


def _mp3_frames(path: str, told: int, kept: Kept) -> int:
    """Samples that the decoder, which was told of so many, gives of an MP3 file; refuses what it would leave out."""
    with told_as_problems(), open_bytes(path, kept) as file:
        audio = measure_mpeg(file.read())
    if audio is None:
        raise AudioProblem("unreadable", "no sequence of MPEG frames is found in the file")
    repack = "repack it: ffmpeg -i OLD.mp3 -c copy NEW.mp3"
    if len(audio.formats) > 1:
        listed = " and ".join(f"{hertz} Hz x {channels}" for hertz, channels in sorted(audio.formats))
        raise AudioProblem(
            "unreadable", f"MPEG streams of different formats ({listed}) are joined; convert it: ffmpeg -i OLD NEW.wav"
        )
    ((hertz, _),) = audio.formats or {(1, 1)}
    for before, skipped in audio.skipped:
        if skipped > audio.longest_frame:
            raise AudioProblem(
                "unreadable",
                f"after {before / hertz:.2f} s come {skipped:,} bytes that are no MPEG audio, and then "
                f"{(audio.samples - before) / hertz:.2f} s more; {repack}",
            )
    if audio.declared is not None:
        if audio.samples > audio.declared + MP3_FRAME:
            raise AudioProblem(
                "unreadable",
                f"the header tells of {audio.declared / hertz:.2f} s, and the file holds "
                f"{audio.samples / hertz:.2f} s: streams were joined; {repack}",
            )
        return told
    if len(audio.kbits) > 1:
        raise AudioProblem("unreadable", f"an MP3 of variable bit rate whose header does not tell its length; {repack}")
    if told < audio.samples - MP3_FRAME:
        raise AudioProblem(
            "unreadable",
            f"the decoder takes it for {told / hertz:.2f} s, and it holds {audio.samples / hertz:.2f} s; {repack}",
        )
    return min(told, audio.samples)
