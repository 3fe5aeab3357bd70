"""Open an audio file by its content, with a reason for each one that libsndfile refuses."""

from __future__ import annotations

import os
import shlex
import stat
from typing import BinaryIO

import soundfile

from ..containers import container_kind, container_problem
from ..mpeg import measure_mpeg
from .kept import Kept
from .problems import AudioProblem, told_as_problems
from .shards import open_bytes, open_inside, place_inside

MP3_FRAME = 1152  # samples, of the longest kind


def open_audio(path: str, kept: Kept) -> soundfile.SoundFile:
    """Open a regular file by its content: libsndfile would go by the name for some endings, ``.raw`` for one.

    Raises
    ------
    AudioProblem
        ``missing``, ``unreadable``, ``empty`` or ``truncated``.
    """
    with told_as_problems():
        source = _source(path, kept)
    try:
        return soundfile.SoundFile(source, closefd=True)
    except soundfile.SoundFileError as problem:
        with told_as_problems(), open_bytes(path, kept) as file:
            cut = container_problem(file, container_kind(file))
            other = None if cut is not None else _foreign(file, path)
        raise AudioProblem(*(cut or ("unreadable", other or said(problem)))) from None


def _source(path: str, kept: Kept) -> int | BinaryIO:
    """A descriptor of the file, or the bytes in its shard."""
    try:
        status = os.stat(path)  # noqa: PTH116 - path is text
    except NotADirectoryError:
        inside = open_inside(path, kept)
        if inside.seek(0, os.SEEK_END) == 0:
            raise AudioProblem("empty", "the file has no bytes") from None
        inside.seek(0)
        return inside
    if stat.S_ISDIR(status.st_mode):
        raise AudioProblem("unreadable", "is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise AudioProblem("unreadable", "is a device, a pipe or a socket, not a file")
    if status.st_size == 0:
        raise AudioProblem("empty", "the file has no bytes")
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))


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


def _foreign(file: BinaryIO, path: str) -> str | None:
    """What a file is that libsndfile refuses, and how to convert it."""
    file.seek(0)
    data = file.read(1 << 16)
    kind = next((name for place, magic, name in _FOREIGN if data[place : place + len(magic)] == magic), None)
    if kind is None and len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        kind = "AAC (ADTS)"
    if kind is not None:
        return f"{kind}, which libsndfile does not decode; {_remedy(path)}"
    mpeg = measure_mpeg(data)
    if mpeg is not None and mpeg.samples > 4 * MP3_FRAME:
        return (
            f"MPEG audio that begins with {mpeg.begin} bytes of something else, as a stream that was entered in its "
            "middle; repack it: ffmpeg -i OLD -c copy NEW.mp3"
        )
    return None


def _remedy(path: str) -> str:
    """How to convert a file, or what of a shard to write anew."""
    inside = place_inside(path)
    if inside is not None:
        return f"it is {inside}: write the data set again with WAV or FLAC"
    return f"extract the audio with ffmpeg: {_extracting(path)}"


def _extracting(path: str) -> str:
    """The command that does it in the file's folder."""
    name = os.path.basename(path)  # noqa: PTH119 - path is text
    name = f"./{name}" if name.startswith("-") else name
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    made = f"{stem}.wav" if ending != ".wav" else f"{stem}.new.wav"
    return f"ffmpeg -i {shlex.quote(name)} -vn {shlex.quote(made)}"


# What libsndfile says of damaged files where it means something else.
_MISLEADING = {
    "File does not exist or is not a regular file (possibly a pipe?)": "no MPEG audio is found in the file",
    "Internal psf_fseek() failed": "decoding cannot go on after that",
}


def said(problem: Exception) -> str:
    """What libsndfile says, without the number of the descriptor that stands for the file's name."""
    text = str(getattr(problem, "error_string", "") or problem).strip().removeprefix("Error : ").rstrip(".")
    return _MISLEADING.get(text, text) or "libsndfile cannot decode it"
