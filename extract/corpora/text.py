"""Text files whose encoding nobody promised."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from emoprobe.errors import UserError

_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; what the system says becomes an error that the user can act on.

    A pipe is read to its end, as from ``<(command)``; one that nobody writes to is refused, as is a device.
    """
    try:
        # Without waiting, or to open a pipe that nobody writes to would have no end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                raise UserError(f"{path}: is a device, not a file")
            os.set_blocking(file.fileno(), True)
            data = file.read()
        if stat.S_ISFIFO(mode) and not data:
            raise UserError(f"{path}: is a pipe that nobody writes to; give a file")
        return data
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a file") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        reason = getattr(problem, "strerror", None) or problem
        raise UserError(f"{path}: cannot be read ({reason})") from None


def read_text(path: Path) -> str:
    """A UTF-8 text file, with or without a byte-order mark.

    Raises
    ------
    UserError
        Naming line and byte of the first one that is not UTF-8, and how to convert the file.
    """
    return decode(read_bytes(path), path)


def decode(data: bytes, path: Path) -> str:
    """Text of `data`, see :func:`read_text`; line ends are kept as they are."""
    if data[:2] in _OTHER_ENCODINGS:
        name = _OTHER_ENCODINGS[data[:2]]
        raise UserError(f"{path}: is {name}, not UTF-8; convert it: iconv -f {name} -t UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        column = problem.start - (data.rfind(b"\n", 0, problem.start) + 1) + 1
        raise UserError(
            f"{path}, line {line}, byte {column}: 0x{data[problem.start]:02x} is not UTF-8 text; "
            "save the file as UTF-8 (from Latin-1: iconv -f LATIN1 -t UTF-8)"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: holds a NUL character, so this is no text file")
    return text


def read_json(path: Path) -> object:
    """What a JSON file holds.

    Raises
    ------
    UserError
        Naming the file and the line.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as problem:
        raise UserError(f"{path}, line {problem.lineno}: is no JSON ({problem.msg}); unpack it again") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for a table; unpack it again") from None


def decode_leniently(data: bytes) -> tuple[str, bool]:
    """Text of `data` on one line, and whether bytes had to be replaced: for what is only read by people."""
    try:
        text, damaged = data.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        text, damaged = data.decode("utf-8-sig", errors="replace"), True
    return " ".join(text.replace("\0", " ").split()), damaged
