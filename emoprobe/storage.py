"""How a file is written so that a kill cannot tear it: beside its place, to the disk, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from .processes import here, is_alive

#: ``.NAME.new``, with where and by which process it is written and a number drawn for it; earlier versions had none.
_UNFINISHED = re.compile(r"\.(?P<name>.+?)(\.(?P<place>[0-9a-f]{8})(?P<process>[0-9a-f]{8})[0-9a-f]{8})?\.new", re.S)


def beside(path: Path) -> Path:
    """Where a file can be written before it takes its place: a new name each time, which tells the process."""
    return path.with_name(f".{path.name}.{_place()}{os.getpid():08x}{secrets.token_hex(4)}.new")


def finished_name(name: str) -> str:
    """The name for which a file is written, if its own is one of :func:`beside`; else its own.

    Examples
    --------
    >>> from pathlib import Path
    >>> from emoprobe.storage import beside, finished_name
    >>> finished_name(beside(Path("scores.csv")).name), finished_name("scores.csv")
    ('scores.csv', 'scores.csv')
    """
    unfinished = _UNFINISHED.fullmatch(name)
    return unfinished["name"] if unfinished else name


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
    old file and nothing else. Of several processes each writes a file of its own, and the last to end is the one that
    stays. What a killed one left is removed by the next. A link stays one, and its file is replaced; a file keeps its
    permissions.

    Parameters
    ----------
    path : Path
        Its folder exists.

    Yields
    ------
    Path
        :func:`beside` it.
    """
    path = Path(os.path.realpath(path))
    remove_abandoned(path)
    temporary = beside(path)
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        if mode is not None:  # nobody may read the new file who could not read the old one, at no time
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield temporary
        flush(temporary)
        if mode is not None:
            with contextlib.suppress(OSError):  # a file system that has no such permissions
                temporary.chmod(mode)
        temporary.replace(path)
        with contextlib.suppress(OSError):  # a file system that cannot flush a folder keeps names in its own time
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes | str) -> None:
    """Write a whole file at once; text as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _place() -> str:
    return hashlib.sha256(here().encode()).hexdigest()[:8]


def remove_abandoned(path: Path) -> None:
    """Remove what a process that is known to be gone has left of writing `path`, as :func:`replacing` does, too."""
    path = Path(os.path.realpath(path))
    begun = f".{path.name}."
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except PermissionError:  # a folder to put files into, whose names are not to be seen
        return
    for name in names:
        unfinished = _UNFINISHED.fullmatch(name) if name.startswith(begun) else None
        if unfinished is None or unfinished["name"] != path.name:
            continue
        if unfinished["process"] is None or is_abandoned(path.with_name(name)):
            path.with_name(name).unlink(missing_ok=True)


def is_abandoned(path: Path) -> bool:
    """Whether a file has a name of :func:`beside`, given by a process of this machine that is known to be gone."""
    unfinished = _UNFINISHED.fullmatch(path.name)
    if unfinished is None or unfinished["process"] is None:
        return False
    return unfinished["place"] == _place() and not is_alive(int(unfinished["process"], 16))
