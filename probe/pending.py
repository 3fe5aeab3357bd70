"""Runs that are done and not yet in the tables of their folder: each is written once, and all are taken up at the end.

Tables that were written anew for every run would cost more than the fits. A run is kept in a folder of its own in
``.pending`` of the results; whoever reads the results reads it there, and the end of the command, or the next one after
a kill, moves it into the tables. A folder has its name when it is whole, and loses it before anything in it is removed,
so that a kill leaves a whole run or none.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emoprobe.storage import beside, finished_name, flush, is_abandoned

from .schema import TABLES

#: In a folder of results.
FOLDER = ".pending"

_FILES = frozenset({"protocol.json", *(f"{name}.parquet" for name in TABLES)})


@contextmanager
def new_place(folder: Path) -> Iterator[Path]:
    """A folder to write the files of one more run to; it becomes a place when the block ends without an error.

    Yields
    ------
    Path
        Later ones get later names.
    """
    place = folder / FOLDER / f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    unfinished = beside(place)
    while not unfinished.is_dir():
        with contextlib.suppress(FileNotFoundError):  # another command has removed the empty folder around it
            unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.replace(place)
        with contextlib.suppress(OSError):  # a file system that cannot flush a folder keeps names in its own time
            flush(place.parent)
    except BaseException:
        if unfinished.is_dir():
            _empty(unfinished)
        raise


def places(folder: str | Path) -> list[Path]:
    """Folders of the runs that are whole, in the order in which they were made."""
    try:
        return sorted(place for place in (Path(folder) / FOLDER).iterdir() if place.name[0] != ".")
    except FileNotFoundError:
        return []


def remove(folder: str | Path, taken_up: Iterable[Path]) -> None:
    """Remove places whose runs are in the tables, and what killed processes have left of others."""
    inside = Path(folder) / FOLDER
    if not inside.is_dir():
        return
    for place in taken_up:
        nameless = beside(place)
        place.replace(nameless)
        _empty(nameless)
    for unfinished in inside.iterdir():
        if is_abandoned(unfinished):
            _empty(unfinished)
    _remove_if_empty(inside)


def _empty(folder: Path) -> None:
    """Remove a folder with the files of a run; others, which are not ours, keep it."""
    for file in folder.iterdir():
        if finished_name(file.name) in _FILES:
            file.unlink(missing_ok=True)
    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it is not empty, or gone already
        folder.rmdir()
