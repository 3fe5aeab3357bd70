"""Tables of the longer analyses on disk: each row says what it was made from, so that nothing is computed twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader as _lazy

from emoprobe import locks
from emoprobe.errors import UserError, reason
from emoprobe.fields import (
    LARGEST,
    LARGEST_COUNT,
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_LAYERS,
    check_columns,
    refuse_cut_short,
)
from emoprobe.jsontext import to_json
from emoprobe.ownership import begins_with_columns, refuse_foreign_lock, refuse_stranger
from emoprobe.storage import replacing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

else:
    # The commands of this folder answer --help before it is imported.
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")


#: Last column of a stored table: :func:`fingerprint` of the inputs and settings of its row.
MADE_FROM = "made_from"


#: What an analysis reads of the utterances of a cache (:func:`emoprobe.extract.digest.cache_digest`).
READ = ("id", "speaker", "split", "status", "arousal", "valence", "dominance")


#: Columns of names, and of whole numbers, in any of the tables.
TEXT = (
    "measure",
    "model",
    "corpus",
    "other",
    "statistic",
    "features",
    "dimension",
    "opinion",
    "split",
    "reason",
    MADE_FROM,
)
WHOLE = ("layer", "other_layer", "n", "trained", "layers", "best", "other_best")

#: What a number can be where it is not any; a missing one always can.
RANGES = dict.fromkeys(("layer", "other_layer", "best", "other_best"), (-1, MOST_LAYERS)) | {
    "layers": (0, MOST_LAYERS + 1),
    "n": (0, LARGEST_COUNT),
    "trained": (0, LARGEST_COUNT),
    "depth": (0, 1),
}
_REMEDY = "bring it back, or move it away and run the same command again"


def fingerprint(**parts: object) -> str:
    """Short hash of inputs, settings and the versions of the methods, 16 hexadecimal digits."""
    text = to_json(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_table(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table that :func:`update_table` wrote; an empty one where there is none.

    Parameters
    ----------
    path : str or Path
    columns : sequence of str
        What it must hold.

    Returns
    -------
    DataFrame

    Raises
    ------
    UserError
        If the file is not such a table.
    """
    path = Path(path)
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        refuse_cut_short(path)
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [name for name in columns if name not in table]
        if missing:
            raise ValueError(f"it lacks the columns {', '.join(missing)}")
        for name in columns:
            if name in TEXT:
                continue
            try:
                # Python reads back the very number that was written; a parser of tables may be off in the last digit.
                numbers = table[name].map(lambda value: float(value) if value else float("nan")).astype("float64")
                with np.errstate(invalid="ignore"):  # a number that is no whole one is refused, and not told of twice
                    table[name] = numbers.astype("Int64") if name in WHOLE else numbers
            except (ValueError, TypeError, OverflowError) as error:
                raise ValueError(f"the column '{name}': {error}") from error
        names = [name for name in columns if name in (*TEXT, "layer", "other_layer") and name != "reason"]
        twice = table.duplicated(names)
        if twice.any():
            raise ValueError(f"rows are there twice: {int(twice.sum()):,}, the first in line {int(twice.argmax()) + 2}")
    except Exception as error:  # a damaged file raises nearly anything
        raise UserError(f"{path} is damaged or not of this program ({reason(error)[:160]}): {_REMEDY}") from error
    ranges = {name: RANGES.get(name, (-LARGEST, LARGEST)) for name in columns if name not in TEXT}
    texts = {name: LONGEST_TEXT if name == "reason" else LONGEST_NAME for name in columns if name in TEXT}
    return check_columns(table[list(columns)], path, ranges, texts, remedy=_REMEDY)


def update_table(path: str | Path, new: pd.DataFrame, *, key: Sequence[str]) -> pd.DataFrame:
    """Put rows into a table on disk, in place of those of the same key; whole or not at all.

    Parameters
    ----------
    path : str or Path
        CSV; its folder is made where it is absent.
    new : DataFrame
    key : sequence of str
        Columns that name what a row is about.

    Returns
    -------
    DataFrame
        All that the file now holds.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    path = Path(path)
    with _writing(path):
        old = load_table(path, list(new.columns))
        replaced = pd.MultiIndex.from_frame(old[list(key)]).isin(pd.MultiIndex.from_frame(new[list(key)]))
        parts = [part for part in (old[~replaced], new) if len(part)]
        table = pd.concat(parts, ignore_index=True) if parts else new
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False)
    return table


def derive_table(path: str | Path, make: Callable[[], pd.DataFrame], columns: Sequence[str], what: str) -> pd.DataFrame:
    """Make a table anew that follows from another one in its folder, and write it; whole or not at all.

    Parameters
    ----------
    path : str or Path
        CSV in a folder that is there. Without rows it is written only where there is one already.
    make : callable
        Reads the other table; called when no other process writes this one, so that the last to write knows it all.
    columns : sequence of str
        What it makes.
    what : str
        What the table is, for a message.

    Returns
    -------
    DataFrame

    Raises
    ------
    UserError
        If what stands there is no such table, or the folder cannot be written.
    """
    path = Path(path)
    with _writing(path):
        refuse_stranger(path, begins_with_columns(columns), what, option="--out")
        table = make()
        if len(table) or path.exists():
            with replacing(path) as temporary:
                table.to_csv(temporary, index=False)
    return table


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """One process at a time, and told what keeps it from writing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_foreign_lock(path.with_name(f".{path.name}.lock"))
        with locks.hold_lock(path.with_name(f".{path.name}.lock"), wait=locks.PATIENCE):
            yield
    except locks.LockHeld as holder:
        raise UserError(
            f"{path} has been in use for {locks.PATIENCE:.0f} seconds by {holder}: wait for it, or name another folder"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}): name another folder") from error
