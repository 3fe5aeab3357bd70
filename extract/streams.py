"""Whether a file holds more than the first stream, or the first recording, that libsndfile takes it for.

It takes the whole file to tell, so this is asked when the file is decoded, not when its header is read.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_FLAC = b"fLaC"
# Bytes with which files of one format and writer begin alike. Their headers promise no length, or libsndfile reads the
# first part alone: where a file's own beginning stands in it once more, two were joined.
_ALIKE = {
    "AVR": 16,
    "IRCAM": 16,
    "MAT4": 31,
    "MAT5": 19,
    "NIST": 16,
    "PAF": 16,
    "PVF": 12,
    "SDS": 10,
    "VOC": 20,
    "WVE": 16,
    "XI": 21,
}
_LARGEST_FLAC_FRAME = 1 << 17  # where the header does not tell it


def stream_problem(file: BinaryIO, kind: str) -> str | None:
    """Why libsndfile gives less than `file` holds.

    Parameters
    ----------
    file : binary file
        The bytes of an audio file that it decoded.
    kind : str
        libsndfile's name of the container; what :mod:`.containers` answers for is not looked into.

    Returns
    -------
    str or None
        For a person; None where nothing is missed.
    """
    if kind not in ("OGG", "FLAC", *_ALIKE):
        return None
    if file.seek(0, os.SEEK_END) == 0:
        return None
    if kind in _ALIKE:
        return _second_beginning(file, _ALIKE[kind])
    return _chained(file) if kind == "OGG" else _flac_problem(file)


@contextmanager
def _content(file: BinaryIO) -> Iterator[mmap.mmap | bytes]:
    """All bytes, without a copy where they lie in a file of their own."""
    try:
        descriptor = file.fileno()
    except OSError:  # they lie inside another file
        file.seek(0)
        yield file.read()
        return
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        yield data


def _second_beginning(file: BinaryIO, alike: int) -> str | None:
    with _content(file) as data:
        second = data.find(data[:alike], alike)
    if second < 0:
        return None
    return f"a second file follows the first from byte {second:,} on; {_part(second)}"


def _part(second: int) -> str:
    return f"part them: head -c {second} OLD > ONE, tail -c +{second + 1} OLD > TWO"


def _chained(file: BinaryIO) -> str | None:
    """Streams that follow one another (RFC 3533): one begins (flag 2) when another has begun to go on."""
    position, going_on = 0, False
    while True:
        file.seek(position)
        head = file.read(27 + 255)
        if head[:4] != b"OggS" or len(head) < 27:
            return None  # the end, or bytes behind it
        if head[5] & 2 and going_on:
            return (
                f"a second Ogg stream follows the first from byte {position:,} on, which would be left out; "
                "join them: ffmpeg -i OLD NEW.flac"
            )
        going_on |= not head[5] & 2
        segments = head[27 : 27 + head[26]]
        position += 27 + head[26] + sum(segments)


def _flac_problem(file: BinaryIO) -> str | None:
    with _content(file) as data:
        begin = _flac_marker(data, 0)
        if begin < 0:
            return None
        second = _flac_marker(data, begin + 4)
        if second >= 0:
            told = f"a second FLAC stream follows the first from byte {second:,} on, which would be left out"
            return f"{told}; {_part(second)}"
        declared = int.from_bytes(data[begin + 21 : begin + 26], "big") & (1 << 36) - 1
        end = _flac_end(data, begin, declared)
    if end is not None and end > declared:
        return (
            f"the header tells of {declared:,} samples, and the last frame ends with sample {end:,}; "
            "repack it: ffmpeg -i OLD NEW.wav"
        )
    return None


def _flac_marker(data: mmap.mmap | bytes, position: int) -> int:
    """Where the next stream begins: the marker, and the head of the block of 34 bytes that must follow it; or -1."""
    while (position := data.find(_FLAC, position)) >= 0:
        head = data[position + 4 : position + 8]
        if len(head) == 4 and head[0] & 0x7F == 0 and head[1:] == b"\0\0\x22":
            break
        position += 4
    return position


def _flac_end(data: mmap.mmap | bytes, begin: int, declared: int) -> int | None:
    """The sample with which the last frame ends, by that frame's own number; None if it cannot be found."""
    block = int.from_bytes(data[begin + 10 : begin + 12], "big")
    largest = int.from_bytes(data[begin + 15 : begin + 18], "big") or _LARGEST_FLAC_FRAME
    tail = data[max(0, len(data) - largest - 16) :]
    position = len(tail)
    while (position := max(tail.rfind(b"\xff\xf8", 0, position), tail.rfind(b"\xff\xf9", 0, position))) >= 0:
        end = _frame_end(tail[position : position + 16], block)
        # The sum over a whole frame is slow here, so it is made only where the answer would be a problem.
        if end is not None and (end <= declared or _crc(tail[position:], 16, 0x8005) == 0):
            return end
    return None


def _frame_end(head: bytes, block: int) -> int | None:
    """The sample that follows the frame with this header (RFC 9639, section 9.1); None if it is no header."""
    if len(head) < 16 or head[3] & 1:
        return None
    code, rate = head[2] >> 4, head[2] & 15
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # as in UTF-8: how many bytes the number takes
    length, number = max(1, ones), head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    at = 4 + length
    if code == 0 or rate == 15:
        return None
    if code == 1:
        size = 192
    elif code < 6:
        size = 576 << code - 2
    elif code < 8:
        size = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    else:
        size = 256 << code - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if at >= len(head) or _crc(head[:at], 8, 0x07) != head[at]:
        return None
    return number + size if head[1] & 1 else number * block + size


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    """Cyclic redundancy check, from 0, highest bit first."""
    value, top, mask = 0, 1 << bits - 1, (1 << bits) - 1
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value
