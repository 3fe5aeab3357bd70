"""What an audio file's container promises, read from its few header bytes.

libsndfile clips a length that is too large for the file in silence, so a recording cut off in a copy would pass for
a shorter one. Only the promise of length is read here; everything else is left to libsndfile.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

# Programs that write into a pipe cannot go back to fill in the length, and leave one of these or nearby (all within
# 64 KiB below a power of two): such a file is as long as it is.
_PIPE_LENGTHS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_MOST_CHUNKS = 10_000  # before the audio; a file of nothing but headers is not searched for ever
_LAST_PAGES = 1 << 17  # an Ogg page has at most 65,307 bytes, so the last one begins within this


_KINDS = {
    b"RIFF": "WAV",
    b"RIFX": "WAV",
    b"RF64": "RF64",
    b"FORM": "AIFF",
    b"riff": "W64",
    b".snd": "AU",
    b"dns.": "AU",
    b"caff": "CAF",
    b"OggS": "OGG",
}


def container_kind(path: str) -> str:
    """libsndfile's name of the container by its first four bytes, ``""`` for others: for files that it refuses."""
    with open(path, "rb") as file:  # noqa: PTH123 - path is text throughout
        return _KINDS.get(file.read(4), "")


def container_problem(path: str, kind: str) -> str | None:
    """Why the file `path` is shorter than its container says.

    Parameters
    ----------
    path : str
        An audio file.
    kind : str
        libsndfile's name of the container: ``WAV``, ``WAVEX``, ``RF64``, ``AIFF``, ``W64``, ``AU``, ``CAF``, ``OGG``;
        others promise nothing that could be checked without decoding.

    Returns
    -------
    str or None
        For a person; None when the promise is kept or unknown.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - path is text throughout
        size = os.fstat(file.fileno()).st_size
        if kind == "OGG":
            return _ogg_problem(file, size)
        find = {
            "WAV": _riff,
            "WAVEX": _riff,
            "RF64": _riff,
            "AIFF": _aiff,
            "W64": _wave64,
            "AU": _au,
            "CAF": _caf,
        }.get(kind)
        data = None if find is None else find(file)
    if data is None:
        return None
    begin, length = data
    if length < 0 or any(0 <= power - length <= 1 << 16 for power in _PIPE_LENGTHS) or length == 0:
        return None
    if begin + length > size:
        return f"the header promises {length:,} bytes of audio, the file has {max(0, size - begin):,}"
    return None


def _read_at(file: BinaryIO, position: int, count: int) -> bytes:
    """Bytes at a place that a damaged header may put anywhere, even where no file can reach."""
    if position > 1 << 62:
        return b""
    file.seek(position)
    return file.read(count)


def _chunks(file: BinaryIO, start: int, order: str, wide: bool = False):
    """(name, begin, length) of each chunk; `wide` for 64-bit lengths."""
    position, shape = start, order + ("4sq" if wide else "4sI")
    for _ in range(_MOST_CHUNKS):
        head = _read_at(file, position, struct.calcsize(shape))
        if len(head) < struct.calcsize(shape):
            return
        name, length = struct.unpack(shape, head)
        begin = position + len(head)
        yield name, begin, length
        if length < 0:
            return
        position = begin + length + (0 if wide else length % 2)


def _riff(file: BinaryIO) -> tuple[int, int] | None:
    order = ">" if file.read(4) == b"RIFX" else "<"
    long_length = None
    for name, begin, length in _chunks(file, 12, order):
        if name == b"ds64" and length >= 16:
            long_length = struct.unpack("<Q", _read_at(file, begin + 8, 8).ljust(8, b"\0"))[0]
        elif name == b"data":
            return begin, length if long_length is None or length != 0xFFFFFFFF else long_length
    return None


def _aiff(file: BinaryIO) -> tuple[int, int] | None:
    return next((chunk[1:] for chunk in _chunks(file, 12, ">") if chunk[0] == b"SSND"), None)


def _caf(file: BinaryIO) -> tuple[int, int] | None:
    return next((chunk[1:] for chunk in _chunks(file, 8, ">", wide=True) if chunk[0] == b"data"), None)


def _au(file: BinaryIO) -> tuple[int, int] | None:
    order = "<" if file.read(4) == b"dns." else ">"
    head = file.read(8)
    return struct.unpack(order + "II", head) if len(head) == 8 else None


def _wave64(file: BinaryIO) -> tuple[int, int] | None:
    position = 40  # after riff's identifier, its length and wave's identifier
    for _ in range(_MOST_CHUNKS):
        head = _read_at(file, position, 24)
        if len(head) < 24:
            return None
        (length,) = struct.unpack("<q", head[16:])
        if head[:16] == _W64_DATA:
            return position + 24, length - 24
        if length < 24:
            return None
        position += (length + 7) // 8 * 8
    return None


def _ogg_problem(file: BinaryIO, size: int) -> str | None:
    """An Ogg stream ends with a page that says so (RFC 3533, section 6)."""
    start = max(0, size - _LAST_PAGES)
    file.seek(start)
    tail = file.read()
    at = len(tail)
    while (at := tail.rfind(b"OggS", 0, at)) >= 0:
        page = tail[at:]
        if len(page) < 27 or page[4] != 0:
            complete = False
        else:
            segments = page[27 : 27 + page[26]]
            complete = len(segments) == page[26] and 27 + len(segments) + sum(segments) <= len(page)
        if not complete:
            # Either the last page is cut, or these four bytes stand inside a page: the page before decides.
            if at == 0:
                break
            continue
        if page[5] & 4:
            return None
        return "the last page of the Ogg stream is not there"
    return "the last page of the Ogg stream is cut"


# MPEG audio, layer III: kbit/s by index, for version 1 and for versions 2 and 2.5.
_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mp3_frame(head: bytes) -> tuple[int, int, int, int] | None:
    """(bytes, samples, kbit/s, side-information bytes) of the layer III frame that `head` begins, or None."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return None
    first = version == 3
    kbits, hertz = _KBITS[first][bitrate], _RATES[version][rate]
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    samples = 1152 if first else 576
    return samples * 125 * kbits // hertz + (head[2] >> 1 & 1), samples, kbits, side


def mp3_frames(path: str) -> tuple[int | None, bool]:
    """Count the samples of an MP3 file that does not tell its length, frame by frame.

    Returns
    -------
    samples : int or None
        Samples of each channel; None when a Xing, Info or VBRI header tells the length, or the file is no plain
        sequence of layer III frames (the decoder's own count has to do).
    constant : bool
        Whether all frames have the same bit rate.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - path is text throughout
        data = file.read()
    position = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        length = (data[6] & 127) << 21 | (data[7] & 127) << 14 | (data[8] & 127) << 7 | data[9] & 127
        position = 10 + length + (10 if data[5] & 0x10 else 0)
    first = _mp3_frame(data[position : position + 4])
    if first is None:
        return None, True
    tag = position + 4 + first[3]
    if data[tag : tag + 4] in (b"Xing", b"Info") or data[position + 36 : position + 40] == b"VBRI":
        return None, True
    count, rates = 0, set()
    while (frame := _mp3_frame(data[position : position + 4])) is not None:
        if position + frame[0] > len(data):
            break
        count += frame[1]
        rates.add(frame[2])
        position += frame[0]
    return (count or None), len(rates) <= 1
