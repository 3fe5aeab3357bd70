"""The seal of a cache: a checksum of every byte that is written once, compared before HDF5 reads any of them.

HDF5 trusts what it reads. A few changed bytes can make it search without an end, and no Python code can stop it; so
damage is looked for first, by a plain read of the file.

The seal lies in the user block, a part in front of the file that HDF5 leaves alone: :data:`MAGIC`, the number of places
that are filled in later, the SHA-256 of all that lies outside of them, and start and length of each place. Numbers are
little-endian of 8 bytes. A cache of version 0.1 has none, and begins as any HDF5 file does. A seal tells damage, not
intent: whoever changes a cache on purpose can seal it again.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

#: First bytes of a sealed cache.
MAGIC = b"emoprobe seal 1\n"

#: First bytes of an HDF5 file without a user block.
HDF5 = b"\x89HDF\r\n\x1a\n"

#: Bytes of the user block; HDF5 takes powers of two from 512.
USER_BLOCK = 1024

_HEAD = struct.Struct("<16sq32s")
_PLACE = struct.Struct("<qq")
_MOST_PLACES = (USER_BLOCK - _HEAD.size) // _PLACE.size
_CHUNK = 1 << 22


def seal(path: Path, places: Sequence[tuple[int, int]]) -> None:
    """Write the seal of a cache that is laid out.

    Parameters
    ----------
    path : Path
        A file whose user block has :data:`USER_BLOCK` bytes.
    places : sequence of (int, int)
        Start in the file and length, in bytes, of each array that is filled in later.

    Raises
    ------
    ValueError
        If places overlap, or are more than the user block has room for.
    """
    places = sorted(places)
    with path.open("r+b") as file:
        packed = b"".join(_PLACE.pack(*place) for place in places).ljust(USER_BLOCK - _HEAD.size, b"\0")
        head = _HEAD.pack(MAGIC, len(places), _digest(file, packed, places))
        file.seek(0)
        file.write(head + packed)


def check_seal(file: BinaryIO) -> None:
    """Compare a cache with its seal, where it has one.

    Parameters
    ----------
    file : binary file
        Open for reading.

    Raises
    ------
    ValueError
        If a byte has changed that is written once, or the seal itself.
    """
    file.seek(0)
    block = file.read(USER_BLOCK)
    if block.startswith(HDF5):
        return
    if not block.startswith(MAGIC):
        raise ValueError("it begins neither as a cache nor as an HDF5 file")
    if len(block) < USER_BLOCK:
        raise ValueError("it ends within its seal")
    _, count, digest = _HEAD.unpack_from(block)
    if not 0 <= count <= _MOST_PLACES:
        raise ValueError("its seal is damaged")
    packed = block[_HEAD.size :]
    places = list(_PLACE.iter_unpack(packed[: count * _PLACE.size]))
    if _digest(file, packed, places) != digest:
        raise ValueError("bytes have changed that are written once")


def _digest(file: BinaryIO, packed: bytes, places: Sequence[tuple[int, int]]) -> bytes:
    """SHA-256 of the rest of the user block, and of all bytes behind it that lie in none of the places."""
    if len(places) > _MOST_PLACES:
        raise ValueError(f"a seal has room for {_MOST_PLACES} places, and not for {len(places)}")
    digest = hashlib.sha256(packed)
    for start, end in _gaps(places, os.fstat(file.fileno()).st_size):
        file.seek(start)
        left = end - start
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                raise ValueError("it ends before its numbers do")
            digest.update(data)
            left -= len(data)
    return digest.digest()


def _gaps(places: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Start and end of what lies between places that follow each other."""
    here = USER_BLOCK
    for start, length in places:
        if start < here or length < 0:
            raise ValueError("its seal is damaged")
        yield here, start
        here = start + length
    if here > size:
        raise ValueError("it ends before its numbers do")
    yield here, size
