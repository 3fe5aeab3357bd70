"""How a file is written so that a kill cannot tear it: beside its place, to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def beside(path: Path) -> Path:
    """Where a file is written before it takes its place: one name, so that a kill leaves at most one file for ever."""
    return path.with_name(f".{path.name}.new")


def flush(path: Path) -> None:
    """Have a file or folder on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to write to, whose file takes that of `path` when the block ends.

    The content is on the disk before it has the name. A kill leaves the old file or the new one; an error leaves the
    old file and nothing else.

    Parameters
    ----------
    path : Path
        Its folder exists.

    Yields
    ------
    Path
        :func:`beside` it.
    """
    temporary = beside(path)
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        with contextlib.suppress(OSError):  # a file system that cannot flush a folder keeps names in its own time
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes | str) -> None:
    """Write a whole file at once; text as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
