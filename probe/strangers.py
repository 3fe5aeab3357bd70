"""Folders and files that are not results of ours: where probes refuse to write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.jsontext import from_json
from emoprobe.ownership import refuse_file, refuse_foreign_lock, refuse_stranger

from .schema import KEY, TABLES


def refuse_other_results(folder: str | Path) -> None:
    """Refuse a folder in which a file of the same name as one of ours is not ours.

    Parameters
    ----------
    folder : str or Path
        It may be absent.

    Raises
    ------
    UserError
    """
    folder = Path(folder)
    refuse_file(folder, option="--out")
    refuse_foreign_lock(folder / ".lock")
    if (folder / "protocol.json").exists():
        refuse_stranger(folder / "protocol.json", is_protocol, "protocol of results", option="--out")
        return
    # A run that was killed before its first protocol has left tables.
    for name, columns in TABLES.items():
        for ending in ("csv", "parquet"):
            is_own = partial(_has_columns, columns=list(columns)[:5])
            refuse_stranger(folder / f"{name}.{ending}", is_own, f"table of {name}", option="--out")


@contextmanager
def told_of_the_folder(folder: str | Path) -> Iterator[None]:
    """Say what to do where a folder of results cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the results cannot be written to {folder} ({error.strerror or error}): free the disk or give another "
            "folder with --out"
        ) from error


def read_entries(path: Path) -> list[dict]:
    """Entries of a protocol.

    Raises
    ------
    ValueError, TypeError
        If the file is no protocol.
    """
    entries = from_json(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list) or not all(set(KEY) <= set(entry) for entry in entries):
        raise ValueError("no list of runs")
    return entries


def is_protocol(path: Path) -> bool:
    """Whether a file is a protocol of results."""
    try:
        read_entries(path)
    except (ValueError, TypeError):
        return False
    return True


def _has_columns(path: Path, *, columns: list[str]) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path).names[: len(columns)] == columns
        with path.open(encoding="utf-8") as file:
            return file.readline(1000).rstrip().split(",")[: len(columns)] == columns
    except (pa.ArrowException, OSError, ValueError):
        return False
