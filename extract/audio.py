"""Audio files to 16 kHz mono float32, with a reason for each one that cannot be used.

Two steps, because the cache is laid out before anything is decoded: :func:`read_header` tells the exact number of
samples that :func:`read_audio` will return. What libsndfile decodes is accepted (WAV, FLAC, Ogg Vorbis, Opus,
MP3, AIFF, ...), told by content, not by the file's name.
"""

from __future__ import annotations

import contextlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile

from emoprobe.errors import UserError

from .containers import container_kind, container_problem
from .mpeg import measure_mpeg
from .resampling import BLOCK_VALUES, resample, resampled_length
from .streams import stream_problem

STATUSES = ("missing", "unreadable", "empty", "truncated", "silent", "non-finite", "too short", "too long")

# Two steps of 16-bit audio, peak to peak: what dithered digital silence has. The quietest speech has hundreds.
SILENCE = 2.0**-14

# Squares of larger samples overflow float32 in the spectra; recordings that were left in integers go up to 2**31.
LOUDEST = 1e15
# libsndfile reports this count for a stream whose header does not tell its length.
_UNKNOWN_LENGTH = 1 << 61
_MP3_FRAME = 1152  # samples, of the longest kind


class AudioProblem(ValueError):
    """One file that cannot be used; the run lists it and goes on.

    Attributes
    ----------
    status : str
        One of :data:`STATUSES`.
    reason : str
        What was found, for a person.
    """

    def __init__(self, status: str, reason: str) -> None:
        if status not in STATUSES:
            raise ValueError(f"status {status!r} is none of {STATUSES}")
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class AudioHeader:
    """What a file holds, known without decoding it.

    Attributes
    ----------
    frames : int
        Samples of each channel at the file's own rate.
    sample_rate : int
        The file's own rate in Hz.
    channels : int
        Number of channels.
    samples : int
        Samples at 16 kHz: ``ceil(16000 * frames / sample_rate)``, exactly what :func:`read_audio` returns.
    """

    frames: int
    sample_rate: int
    channels: int
    samples: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.sample_rate


def read_header(path: str | os.PathLike) -> AudioHeader:
    """What `path` holds, without decoding it.

    A cut-off WAV, RF64, AIFF, Wave64, AU, CAF or Ogg file is recognised by what its container promises, and so is one
    that holds more than its header tells. A FLAC or MP3 file that ends early, and a second FLAC or Ogg stream behind
    the first, are found by :func:`read_audio`. The length of an MP3 file comes from its Xing, Info or VBRI header,
    which makes it exact to the sample where the encoder told its delay; without one, the file's frames are counted,
    those of streams joined end to end as well. Where the decoder would stop before the last frame (a header that tells
    of fewer, a variable bit rate without one, another format behind the first) the file is refused. A stream whose
    header does not tell its length (FLAC from a pipe) is refused too.

    Raises
    ------
    AudioProblem
        With the status ``missing``, ``unreadable``, ``empty`` or ``truncated``.
    """
    path = os.fspath(path)
    with _opened(path) as file:
        frames, rate, channels = file.frames, file.samplerate, file.channels
        kind = file.format
    if rate <= 0 or channels <= 0 or frames < 0:
        raise AudioProblem("unreadable", f"the header claims {frames} samples, {rate} Hz, {channels} channels")
    with _told():
        problem = container_problem(path, kind)
    if problem is not None:
        raise AudioProblem(*problem)
    if kind == "MP3":
        frames = _mp3_frames(path, frames)
    elif frames >= _UNKNOWN_LENGTH:
        raise AudioProblem(
            "unreadable",
            f"the header does not tell its length; repack it: ffmpeg -i OLD.{kind.lower()} NEW.{kind.lower()}",
        )
    if frames == 0:
        raise AudioProblem("empty", "the file holds no samples")
    return AudioHeader(frames, rate, channels, resampled_length(frames, rate))


def _mp3_frames(path: str, told: int) -> int:
    """Samples that the decoder, which was told of so many, gives of an MP3 file; refuses what it would leave out."""
    with _told(), open(path, "rb") as file:  # noqa: PTH123 - path is text
        found = measure_mpeg(file.read())
    if found is None:
        raise AudioProblem("unreadable", "no sequence of MPEG frames is found in the file")
    repack = "repack it: ffmpeg -i OLD.mp3 -c copy NEW.mp3"
    if len(found.formats) > 1:
        listed = " and ".join(f"{hertz} Hz x {channels}" for hertz, channels in sorted(found.formats))
        raise AudioProblem(
            "unreadable", f"MPEG streams of different formats ({listed}) are joined; convert it: ffmpeg -i OLD NEW.wav"
        )
    ((hertz, _),) = found.formats or {(1, 1)}
    for before, skipped in found.skipped:
        if skipped > found.longest_frame:
            raise AudioProblem(
                "unreadable",
                f"after {before / hertz:.2f} s come {skipped:,} bytes that are no MPEG audio, and then "
                f"{(found.samples - before) / hertz:.2f} s more; {repack}",
            )
    if found.declared is not None:
        if found.samples > found.declared + _MP3_FRAME:
            raise AudioProblem(
                "unreadable",
                f"the header tells of {found.declared / hertz:.2f} s, and the file holds "
                f"{found.samples / hertz:.2f} s: streams were joined; {repack}",
            )
        return told
    if len(found.kbits) > 1:
        raise AudioProblem("unreadable", f"an MP3 of variable bit rate whose header does not tell its length; {repack}")
    if told < found.samples - _MP3_FRAME:
        raise AudioProblem(
            "unreadable",
            f"the decoder takes it for {told / hertz:.2f} s, and it holds {found.samples / hertz:.2f} s; {repack}",
        )
    return min(told, found.samples)


def read_audio(path: str | os.PathLike, header: AudioHeader) -> np.ndarray:
    """Decode `path` to 16 kHz mono.

    Channels are averaged, then :func:`resample` brings the signal to 16 kHz. Integer formats scale to [-1, 1);
    floating-point files are taken as they are. One MPEG frame (1,152 samples) that an MP3 header promises and the file
    lacks is filled with zeros. Threads may call this at the same time.

    Parameters
    ----------
    path : path-like
        The file.
    header : AudioHeader
        What :func:`read_header` said about it.

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
    path = os.fspath(path)
    try:
        mono = _decode_mono(path, header)
    except AudioProblem:
        refuse_vanished(os.path.dirname(path))  # noqa: PTH120 - path is text
        raise
    low, high = float(mono.min()), float(mono.max())
    if high - low <= SILENCE:
        about = "constant" if high == low else f"within {high - low:.1e} from peak to peak"
        mixed = f", the mean of {header.channels} channels," if header.channels > 1 else ""
        raise AudioProblem("silent", f"the signal{mixed} is {about}")
    return resample(mono, header.sample_rate)


def refuse_vanished(folder: str | os.PathLike) -> None:
    """Refuse to go on where a folder that held audio is no longer there, or holds nothing at all.

    Parameters
    ----------
    folder : path-like

    Raises
    ------
    UserError
    """
    try:
        with os.scandir(os.fspath(folder) or os.curdir) as entries:
            why = "it is empty" if next(entries, None) is None else ""
    except PermissionError:  # its files can be read by name all the same
        return
    except OSError as problem:
        why = problem.strerror
    if why:
        raise UserError(
            f"{folder} is gone while its audio is read ({why}): bring it back (is its disk mounted?), then run the "
            "same command again; what was finished is kept"
        )


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the system says into a reason."""
    try:
        yield
    except AudioProblem:
        raise
    except (FileNotFoundError, NotADirectoryError) as problem:
        if problem.filename is not None and os.path.islink(problem.filename):  # noqa: PTH114 - path is text
            raise AudioProblem("missing", "a symbolic link that leads nowhere") from None
        raise AudioProblem("missing", f"no such file{_other_form(problem.filename)}") from None
    except PermissionError:
        raise AudioProblem("unreadable", "no permission to read the file") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise AudioProblem("unreadable", getattr(problem, "strerror", None) or str(problem)) from None


def _other_form(path: str | None) -> str:
    """Whether the file is there under the same name in another form of Unicode, as copies between systems leave it."""
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, path or "")
        if path and other != path and os.path.exists(other):  # noqa: PTH110 - path is text
            return f"; the disk has the name in another form of Unicode ({form}): rename the file, or write it so"
    return ""


def _opened(path: str) -> soundfile.SoundFile:
    """Open a regular file by its content: libsndfile would go by the name for some endings, ``.raw`` for one."""
    with _told():
        status = os.stat(path)  # noqa: PTH116 - path is text
        if stat.S_ISDIR(status.st_mode):
            raise AudioProblem("unreadable", "is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise AudioProblem("unreadable", "is a device, a pipe or a socket, not a file")
        if status.st_size == 0:
            raise AudioProblem("empty", "the file has no bytes")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        return soundfile.SoundFile(descriptor, closefd=True)
    except soundfile.SoundFileError as problem:
        with _told():
            cut = container_problem(path, container_kind(path))
            other = None if cut is not None else _foreign(path)
        raise AudioProblem(*(cut or ("unreadable", other or _said(problem)))) from None


# What libsndfile does not decode, by where its first bytes are and what they say.
_FOREIGN = (
    (4, b"ftyp", "MPEG-4 audio or video (M4A, MP4)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, bytes.fromhex("3026b2758e66cf11"), "Windows Media (WMA)"),
    (0, b"#!AMR", "AMR"),
    (0, b"ADIF", "AAC"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA1", "True Audio"),
)


def _foreign(path: str) -> str | None:
    """What a file is that libsndfile refuses, and how to convert it."""
    with open(path, "rb") as file:  # noqa: PTH123 - path is text
        data = file.read(1 << 16)
    name = next((name for place, magic, name in _FOREIGN if data[place : place + len(magic)] == magic), None)
    if name is None and len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        name = "AAC (ADTS)"
    if name is not None:
        return f"{name}, which libsndfile does not decode; convert it: ffmpeg -i OLD NEW.wav"
    found = measure_mpeg(data)
    if found is not None and found.samples > 4 * _MP3_FRAME:
        return (
            f"MPEG audio that begins with {found.begin} bytes of something else, as a stream that was entered in its "
            "middle; repack it: ffmpeg -i OLD -c copy NEW.mp3"
        )
    return None


# What libsndfile says of damaged files where it means something else.
_MISLEADING = {
    "File does not exist or is not a regular file (possibly a pipe?)": "no MPEG audio is found in the file",
    "Internal psf_fseek() failed": "decoding cannot go on after that",
}


def _said(problem: Exception) -> str:
    """What libsndfile says, without the number of the descriptor that stands for the file's name."""
    text = str(getattr(problem, "error_string", "") or problem).strip().removeprefix("Error : ").rstrip(".")
    return _MISLEADING.get(text, text) or "libsndfile cannot decode it"


def _blocks(file: soundfile.SoundFile, frames: int) -> Iterator[np.ndarray]:
    """Blocks of shape (frames, channels), float32, until `frames` are read, or the file ends."""
    left, size = frames, max(1, BLOCK_VALUES // file.channels)
    while left > 0:
        block = file.read(min(size, left), dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        left -= len(block)
        yield block


def _decode_mono(path: str, header: AudioHeader) -> np.ndarray:
    parts, count = [], 0
    failure = None
    with _opened(path) as file:
        if (file.samplerate, file.channels) != (header.sample_rate, header.channels):
            raise AudioProblem("unreadable", "the file has changed since its header was read")
        kind = file.format
        try:
            for block in _blocks(file, header.frames):
                peak = np.abs(block).max()  # NaN if there is one
                if not np.isfinite(peak):
                    raise AudioProblem("non-finite", f"NaN or infinity within samples {count} to {count + len(block)}")
                if peak > LOUDEST:
                    raise AudioProblem("non-finite", f"samples as large as {peak:.0e} overflow")
                parts.append(_mean_of_channels(block))
                count += len(block)
        except soundfile.SoundFileError as problem:
            failure = _said(problem)
    told = f"{count or 'none'} of {header.frames} samples could be decoded"
    if failure is not None:
        # A block that fails is lost whole, so the count is where trouble begins, not where the file ends.
        status = "unreadable" if _last_sample_can_be_read(path) else "truncated"
        raise AudioProblem(status, f"{told} ({failure})")
    if count == 0 or count < header.frames - _tolerated(kind):
        raise AudioProblem("truncated", f"only {told}: the file is cut off or damaged")
    with _told():
        more = stream_problem(path, kind)
    if more is not None:
        raise AudioProblem("unreadable", more)
    if count < header.frames:
        parts.append(np.zeros(header.frames - count, dtype=np.float32))
    return np.concatenate(parts)


def _mean_of_channels(block: np.ndarray) -> np.ndarray:
    if block.shape[1] == 1:
        return block[:, 0]
    # In double precision, then rounded once; channel by channel, which is many times as fast as `mean` along the
    # short axis.
    total = block[:, 0].astype(np.float64)
    for channel in block.T[1:]:
        total += channel
    return (total / block.shape[1]).astype(np.float32)


def _tolerated(kind: str) -> int:
    """Samples that may be absent at the end: some encoders count the MP3's own header as one frame of audio."""
    return _MP3_FRAME if kind == "MP3" else 0


def _last_sample_can_be_read(path: str) -> bool:
    """Whether the end of the file is there, so that a decoding error is damage inside it rather than a cut."""
    try:
        with _opened(path) as file:
            file.seek(file.frames - 1)
            return len(file.read(1)) == 1
    except (AudioProblem, soundfile.SoundFileError):
        return False
