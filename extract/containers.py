"""What an audio file's container promises, read from its few header bytes, and whether the file keeps it.

libsndfile clips a length that is too large for the file in silence, and reads no more than the header tells, so that a
recording cut off in a copy, or one whose header was never filled in, would pass for a shorter one. Only the promise of
length is read here; everything else is left to libsndfile.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

# Programs that write into a pipe cannot go back to fill in the length, and leave one of these or nearby (all within
# 64 KiB below a power of two): such a file is as long as it is.
_PIPE_LENGTHS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_CAF_BEGINNING = b"caff\0\1\0\0desc"
_MOST_CHUNKS = 10_000  # before the audio; a file of nothing but headers is not searched for ever
_LAST_PAGES = 1 << 17  # an Ogg page has at most 65,307 bytes, so the last one begins within this

# Bytes behind the audio that no chunk explains and that nobody misses: padding, an ID3 tag; 32 ms of 16 kHz, 16 bit.
_SLACK = 1024
_TAGS = (b"ID3", b"TAG", b"APET")  # appended without a chunk around them
# Names with which a file begins; where one stands behind the audio, a second file was appended.
_BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"riff", b".snd", b"dns.", b"caff")

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


def container_kind(file: BinaryIO) -> str:
    """The container by its first four bytes, as libsndfile calls it; ``""`` for others. For files that it refuses."""
    return _KINDS.get(_read_at(file, 0, 4), "")


def container_problem(file: BinaryIO, kind: str) -> tuple[str, str] | None:
    """Why `file` is shorter or longer than its container says.

    Parameters
    ----------
    file : binary file
        The bytes of an audio file.
    kind : str
        libsndfile's name of the container: ``WAV``, ``WAVEX``, ``RF64``, ``AIFF``, ``W64``, ``AU``, ``CAF``, ``OGG``;
        others promise nothing that could be checked without decoding.

    Returns
    -------
    (str, str) or None
        Status (``truncated`` or ``unreadable``) and reason, for a person; None when the promise is kept or unknown.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if kind == "OGG":
        problem = _ogg_problem(file, size)
        return None if problem is None else ("truncated", problem)
    find = _FINDERS.get(kind)
    data = None if find is None else find(file)
    if data is None:
        return None
    begin, length = data
    if length < 0 or any(0 <= power - length <= 1 << 16 for power in _PIPE_LENGTHS):
        return None
    if begin + length > size:
        return "truncated", f"the header promises {length:,} bytes of audio, the file has {max(0, size - begin):,}"
    problem = _rest_problem(file, kind, begin, length, size)
    return None if problem is None else ("unreadable", problem)


def _rest_problem(file: BinaryIO, kind: str, begin: int, length: int, size: int) -> str | None:
    """What lies behind `length` bytes of audio that the container does not explain, and what to do about it."""
    behind = _unexplained(file, begin + length, size, kind)
    if behind is not None and kind == "CAF":  # libsndfile does not align what follows compressed audio
        file.seek(behind[0])
        second = file.read().find(_CAF_BEGINNING)
        behind = behind if second < 0 else (behind[0] + second, _CAF_BEGINNING[:4])
    if behind is None:
        return None
    place, name = behind
    if name in _BEGINNINGS:
        return (
            f"a second file follows the first from byte {place:,} on; part them: "
            f"head -c {place} OLD > ONE, tail -c +{place + 1} OLD > TWO"
        )
    if kind in ("WAV", "WAVEX", "RF64"):
        remedy = "take all of it: ffmpeg -ignore_length 1 -i OLD NEW.wav"
    elif kind == "CAF" and _read_at(file, 0, 32)[28:] == b"alac":  # what its packets are, no length tells
        remedy = "bring the original back"
    else:
        remedy = f"take all of it: {_lengthened(file, kind, begin, size)}"
    return (
        f"the header tells of {length:,} bytes of audio, and {size - place:,} follow that it does not explain: it was "
        f"not filled in when the recording ended, or is damaged; {remedy}"
    )


def _lengthened(file: BinaryIO, kind: str, begin: int, size: int) -> str:
    """A command that makes a copy whose header tells of all bytes from `begin` on."""
    place, shape, length = {
        "AIFF": (begin - 4, ">I", size - begin),
        "AU": (8, ">I", size - begin),
        "CAF": (begin - 8, ">q", size - begin),
        "W64": (begin - 8, "<q", size - begin + 24),
    }[kind]
    if kind == "AU" and _read_at(file, 0, 4) == b"dns.":
        shape = "<I"
    octal = "".join(f"\\{byte:03o}" for byte in struct.pack(shape, length))
    return f"cp OLD NEW && printf '{octal}' | dd of=NEW bs=1 seek={place} conv=notrunc"


def _unexplained(file: BinaryIO, position: int, size: int, kind: str) -> tuple[int, bytes] | None:
    """Where the first bytes behind the audio lie that no chunk explains, and the four that come first; None if few."""
    order = ">" if kind == "AIFF" or _read_at(file, 0, 4) == b"RIFX" else "<"
    while size - position > _SLACK:
        # A chunk is followed by padding, to 2 bytes or in Wave64 to 8, which some writers leave out.
        step = 8 if kind == "W64" else 2
        after = [_next_chunk(file, at, size, order, kind) for at in (-(-position // step) * step, position)]
        following = next((place for place in after if place is not None), None)
        if following is None:
            break
        position = following
    if size - position <= _SLACK:
        return None
    name = _read_at(file, position, 4)
    if name.startswith(_TAGS):
        return None
    file.seek(position)
    nothing = all(not block.strip(b"\0") for block in iter(lambda: file.read(1 << 20), b""))
    return None if nothing else (position, name)


def _next_chunk(file: BinaryIO, position: int, size: int, order: str, kind: str) -> int | None:
    """Where the chunk at `position` ends; None if there is none, or the container has no chunks."""
    if kind == "AU":
        return None
    shape = {"W64": "<16sq", "CAF": ">4sq"}.get(kind, f"{order}4sI")
    head = _read_at(file, position, struct.calcsize(shape))
    if len(head) < struct.calcsize(shape):
        return None
    name, length = struct.unpack(shape, head)
    end = position + length if kind == "W64" else position + len(head) + length
    if kind == "W64":
        end = -(-end // 8) * 8
    printed = all(32 <= letter < 127 for letter in name[:4])
    return end if printed and name[:4] not in _BEGINNINGS and position + len(head) <= end <= size + 8 else None


def _read_at(file: BinaryIO, position: int, count: int) -> bytes:
    """Bytes at a place that a damaged header may put anywhere, even where no file can reach."""
    if position > 1 << 62:
        return b""
    file.seek(position)
    return file.read(count)


def _chunks(file: BinaryIO, start: int, order: str, wide: bool = False) -> Iterator[tuple[bytes, int, int]]:
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


#: By libsndfile's name of the container: where its audio begins, and how many bytes it promises.
_FINDERS = {
    "WAV": _riff,
    "WAVEX": _riff,
    "RF64": _riff,
    "AIFF": _aiff,
    "W64": _wave64,
    "AU": _au,
    "CAF": _caf,
}


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
