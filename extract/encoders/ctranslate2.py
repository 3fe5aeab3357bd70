"""Model files in CTranslate2's format: named arrays one behind the other, with no code in them.

Little-endian: version (uint32), name of the specification, its revision (uint32), number of arrays (uint32); for each
array its name, rank (uint8), sizes (uint32 each), type (uint8), bytes (uint32) and values; then the number of aliases
(uint32), each with its own name and that of the array it stands for. A string is its length (uint16), the end mark
counted, its bytes, and a zero. No length is trusted: whatever does not fit into the file is refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from emoprobe.errors import UserError

VERSION = 6

# By the number that stands for them in the file. Number 5 is bfloat16, which numpy does not have.
_TYPES = {number: np.dtype(name) for number, name in enumerate(("<f4", "i1", "<i2", "<i4", "<f2"))}

_MAX_RANK = 8


@dataclass(frozen=True)
class CTranslate2Model:
    """What a model file holds.

    Attributes
    ----------
    name : str
        Specification, such as ``WhisperSpec``.
    revision : int
        Of the specification.
    arrays : mapping of str to ndarray
        Read-only views of the file's bytes.
    aliases : mapping of str to str
        Other names of arrays: a tied weight is stored once.
    """

    name: str
    revision: int
    arrays: Mapping[str, np.ndarray]
    aliases: Mapping[str, str]


def parse_model(data: bytes, *, path: str) -> CTranslate2Model:
    """Read the content of a `model.bin`.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : str
        Its place, for messages.

    Returns
    -------
    CTranslate2Model

    Raises
    ------
    UserError
        If the bytes are not one whole model of version 6, or it holds a type that is not supported.
    """
    file = _Reader(data, path)
    version = file.number("I")
    if version != VERSION:
        file.refuse(f"its version is {version}, and only {VERSION} is supported")
    name, revision = file.text(), file.number("I")
    arrays: dict[str, np.ndarray] = {}
    for _ in range(file.number("I")):
        key = file.text()
        if key in arrays:
            file.refuse(f"it holds {key} twice")
        arrays[key] = file.array(key)
    aliases: dict[str, str] = {}
    for _ in range(file.number("I")):
        alias, key = file.text(), file.text()
        if alias in arrays or alias in aliases or key not in arrays:
            file.refuse(f"its alias {alias} for {key} has no meaning")
        aliases[alias] = key
    file.end()
    return CTranslate2Model(name, revision, arrays, aliases)


class _Reader:
    """A place in the bytes, which moves on with what is read."""

    def __init__(self, data: bytes, path: str) -> None:
        self._data, self._path, self._at = data, path, 0

    def refuse(self, why: str) -> NoReturn:
        raise UserError(
            f"{self._path} is no whole model in CTranslate2's format ({why}; at byte {self._at} of {len(self._data)}); "
            "get the file again"
        )

    def take(self, size: int) -> int:
        """Where the next `size` bytes begin."""
        start = self._at
        if size > len(self._data) - start:
            self.refuse(f"{size} bytes should follow, and {len(self._data) - start} do")
        self._at += size
        return start

    def number(self, code: str) -> int:
        code = f"<{code}"
        (value,) = struct.unpack_from(code, self._data, self.take(struct.calcsize(code)))
        return value

    def text(self) -> str:
        size = self.number("H")
        start = self.take(size)
        raw = self._data[start : start + size]
        if not raw.endswith(b"\0") or not raw.isascii() or b"\0" in raw[:-1]:
            self.refuse("a name is not ASCII text with a zero behind it")
        return raw[:-1].decode("ascii")

    def array(self, name: str) -> np.ndarray:
        rank = self.number("B")
        if rank > _MAX_RANK:
            self.refuse(f"{name} should have {rank} axes")
        shape = tuple(self.number("I") for _ in range(rank))
        kind = self.number("B")
        if kind not in _TYPES:
            self.refuse(f"{name} is of type {kind}, which is not supported")
        dtype = _TYPES[kind]
        size, count = self.number("I"), math.prod(shape)
        if size != count * dtype.itemsize:
            self.refuse(f"{name} of shape {shape} and type {dtype} cannot be {size} bytes")
        return np.frombuffer(self._data, dtype, count, self.take(size)).reshape(shape)

    def end(self) -> None:
        if self._at != len(self._data):
            self.refuse(f"{len(self._data) - self._at} bytes stand behind its end")
