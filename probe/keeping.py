"""Keep each run as soon as it is done, and put all into the tables of a folder of results at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emoprobe.storage import finished_name

from . import pending
from .results import Results, update_results, write_tables
from .strangers import told_of_the_folder


@contextmanager
def keeping(folder: str | Path | None) -> Iterator[Callable[[Results], None]]:
    """Keep runs beside the tables of a folder; take them up when the block ends, however it does.

    After a kill whoever reads the results finds what was kept, and the next command takes it up.

    Parameters
    ----------
    folder : str, Path or None
        Made if absent; None keeps nothing.

    Yields
    ------
    callable
        Keeps the runs that it is given.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    if folder is None:
        yield lambda runs: None  # there is no place for them
        return
    known: dict[Path, Results] = {}

    def keep(runs: Results) -> None:
        with told_of_the_folder(folder), pending.new_place(Path(folder)) as place:
            write_tables(runs, place, csv=False)
        known[place.with_name(finished_name(place.name))] = runs

    try:
        yield keep
    finally:
        if pending.places(folder):
            update_results(folder, known=known)
