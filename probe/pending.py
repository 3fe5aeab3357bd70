"""Runs that are done and not yet in the tables of their folder: each is written once, and all are taken up at the end.

Tables that were written anew for every run would cost more than the fits. A run is kept in a folder of its own in
``.pending`` of the results; whoever reads the results reads it there, and the end of the command, or the next one after
a kill, moves it into the tables.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from .schema import TABLES
from .strangers import is_protocol

#: In a folder of results.
FOLDER = ".pending"


def new_place(folder: Path) -> Path:
    """A folder for one more run; later ones have later names."""
    place = folder / FOLDER / f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    place.mkdir(parents=True)
    return place


def places(folder: str | Path) -> list[Path]:
    """Folders of the runs that are whole, in the order in which they were made."""
    inside = Path(folder) / FOLDER
    if not inside.is_dir():
        return []
    return sorted(place for place in inside.iterdir() if (place / "protocol.json").is_file())


def remove(taken_up: Iterable[Path]) -> None:
    """Remove folders whose runs are in the tables: the files of a run alone, the protocol last."""
    for place in taken_up:
        if not is_protocol(place / "protocol.json"):
            continue
        for name in TABLES:
            (place / f"{name}.parquet").unlink(missing_ok=True)
        (place / "protocol.json").unlink(missing_ok=True)
        _remove_if_empty(place)
        _remove_if_empty(place.parent)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
