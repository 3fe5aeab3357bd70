"""Databases in audformat: a header ``db.yaml``, a table a file (``db.emotion.csv`` or ``.parquet``), and the audio.

Read by the library `audformat <https://audeering.github.io/audformat/>`_. Two of its ways would run what a stranger put
into the folder, and are not taken: a header is read by YAML's safe loader, and a pickled table (``.pkl``) not at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from emoprobe.errors import UserError

from .cells import DIMENSIONS, EMOTION, MISSING, MissingWords
from .naming import Naming, name_columns
from .separated import csv_rows
from .table import Corpus
from .text import read_bytes, read_text
from .values import first, normalise_split

if TYPE_CHECKING:
    import audformat

_HEADER = "db.yaml"
_FORMATS = (".parquet", ".csv")
_TARGETS = (*DIMENSIONS, EMOTION)
#: What another table of the database may tell of the utterances of the chosen one.
_BESIDE = ("speaker", "gender", "group", "fold", "transcript")
#: The index of a table.
_PLACE = _FILE, _START, _END = "file", "start", "end"


def read(root: Path, *, keep_words: Collection[str] = (), columns: Mapping[str, str] | None = None) -> Corpus:
    """Read a database in audformat.

    Parameters
    ----------
    root : Path
        The folder that holds ``db.yaml``; or the file of one of its tables, where several hold labels.
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.
    columns : mapping, optional
        Our name of a column to the one in the table, see :mod:`.naming`.

    Returns
    -------
    Corpus
        The utterances of the table that holds labels. Speakers, genders, groups and transcripts that it lacks come from
        the labels of its schemes and from the other tables, splits from the tables that belong to one.

    Raises
    ------
    UserError
        If the library is not there, the folder holds no database that it reads, several tables hold labels, or two
        tables tell different things of one utterance.
    """
    given = Path(os.path.abspath(root))  # noqa: PTH100 - links are the user's own
    folder = given if given.is_dir() else given.parent
    database = _Database(folder)
    chosen = "" if given.is_dir() or given.name == _HEADER else given.stem.removeprefix("db.")
    table_id = database.table_with_labels(chosen, columns)
    table, scales, notes = database.utterances(table_id, columns)
    return Corpus.from_table(
        database.name,
        folder,
        table,
        source=database.file(table_id),
        notes=[f"table {table_id}", *notes],
        missing=MissingWords(keep_words),
        scales=scales,
    )


class _Database:
    """A database whose tables are loaded when they are needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / _HEADER
        if not path.is_file():
            raise UserError(f"{path}: no such file; give the folder of a database in audformat, as audformat:ROOT")
        try:
            import audformat
            import yaml
        except ImportError:
            raise UserError(f"{path}: to read it, pip install 'emoprobe[audformat]'") from None
        with _reading(path, "header of audformat"):
            self._held = audformat.Database.load_header_from_yaml(yaml.safe_load(read_text(path)))
            for table_id in (*self._held.tables, *self._held.misc_tables):  # what they refer to is there
                self._schemes(self._held[table_id])
            for table_id in self._held.tables:
                self._split(table_id)
        self.name = str(self._held.name or folder.name)
        self._loaded: set[str] = set()

    def file(self, table_id: str) -> Path:
        """The file of a table; one that is only pickled is refused."""
        files = [self._folder / f"db.{table_id}{ending}" for ending in _FORMATS]
        present = [path for path in files if path.is_file()]
        if present:
            return present[0]
        pickled = self._folder / f"db.{table_id}.pkl"
        if pickled.is_file():
            raise UserError(
                f"{pickled}: is pickled, and to read it would run what it holds; if you made it, load the database "
                "with audformat and save it with storage_format='parquet'"
            )
        raise UserError(f"{files[0]}: no such file, and no .csv; bring the table {table_id!r} back")

    def table_with_labels(self, chosen: str, columns: Mapping[str, str] | None) -> str:
        """The table that the user chose, or else the only one with a column of labels."""
        tables = self._held.tables
        if chosen:
            if chosen not in tables:
                raise UserError(
                    f"{self._folder / _HEADER}: tells no table {chosen!r}; its tables are {', '.join(tables) or 'none'}"
                )
            return chosen
        named = dict(columns or {})
        held = {name: list(tables[name].columns) for name in tables}
        wanted = {named[ours] for ours in _TARGETS if named.get(ours)}
        labelled = [name for name in tables if wanted & set(held[name]) or (not wanted and self._has_labels(name))]
        if len(labelled) == 1:
            return labelled[0]
        if not labelled and len(tables) == 1:
            return next(iter(tables))
        which = f"{len(labelled)} tables hold labels" if labelled else "no table holds labels under a name that we know"
        listed = "; ".join(f"{name} ({', '.join(held[name]) or 'no column'})" for name in labelled or tables)
        example = self._folder / f"db.{(labelled or list(tables) or ['TABLE'])[0]}{_FORMATS[0]}"
        example = example if example.is_file() else example.with_name(f"{example.name.removesuffix('.parquet')}.csv")
        raise UserError(f"{self._folder}: {which}: {listed}; choose one by its file: --corpus {example}")

    def _has_labels(self, table_id: str) -> bool:
        naming = name_columns(list(self._held.tables[table_id].columns), source=self._folder / _HEADER)
        return bool(set(naming.places) & set(_TARGETS))

    def load(self, table_id: str) -> audformat.Table | audformat.MiscTable:
        """A table with its rows."""
        table = self._held[table_id]
        if table_id in self._loaded:
            return table
        for scheme in self._schemes(table).values():
            if scheme.uses_table:
                self.load(scheme.labels)
        path = self.file(table_id)
        # The library would rather take a pickle that lies beside the file: it sees the file alone.
        with tempfile.TemporaryDirectory() as alone:
            link = Path(alone) / path.name
            link.symlink_to(path)
            with _reading(path, "table of this database"):
                table.load(str(link.with_suffix("")))
        self._check(table, path)
        self._loaded.add(table_id)
        return table

    def _check(self, table: audformat.Table | audformat.MiscTable, path: Path) -> None:
        """Refuse what the library does in silence: it takes columns by their place, and empties unlisted labels."""
        names = [*table.df.index.names, *table.df.columns]
        header, values = _values(path)
        if header != names:
            raise UserError(f"{path}: its columns are {first(header, 12)}, and {_HEADER} tells {first(names, 12)}")
        for name, scheme in self._schemes(table).items():
            lost = values[name] - int(table.df[name].notna().sum()) if scheme.labels is not None else 0
            if lost > 0:
                raise UserError(
                    f"{path}, column {name!r}: {lost:,} labels are none of those that {_HEADER} lists for it; "
                    "add them there, or correct them"
                )

    def _schemes(self, table: audformat.Table | audformat.MiscTable) -> dict[str, audformat.Scheme]:
        """The scheme of each column that has one."""
        named = {name: column.scheme_id for name, column in table.columns.items()}
        return {name: self._held.schemes[scheme] for name, scheme in named.items() if scheme}

    def utterances(
        self, table_id: str, columns: Mapping[str, str] | None
    ) -> tuple[pd.DataFrame, dict[str, tuple[float, float]], list[str]]:
        """A table in our columns, the scales that the schemes tell, and notes."""
        rows, naming = self._rows(table_id, columns)
        utterances = rows[list(_PLACE)].rename(columns={_FILE: "path"}).astype(object)
        for ours, place in naming.places.items():
            utterances[ours] = rows.iloc[:, place]
        taken, notes = dict(naming.written), []
        if "split" not in utterances:
            notes += self._add_splits(table_id, utterances)
        self._add_from_beside(table_id, utterances, taken, set(columns or {}))
        written = [f"{ours} from {theirs}" for ours, theirs in taken.items()]
        notes += [f"columns taken: {', '.join(written)}"] if written else []
        notes += [f"columns not used: {first(naming.unused, 12)}"] if naming.unused else []
        return utterances, self._scales(table_id, naming), notes

    def _rows(self, table_id: str, columns: Mapping[str, str] | None) -> tuple[pd.DataFrame, Naming]:
        """The rows of a table: its columns, what the speakers' labels tell of them, and the place of each in a file."""
        table = self.load(table_id)
        rows = table.df.astype(object)
        chosen = dict.fromkeys(("path", "start", "end"), "") | dict(columns or {})
        schemes = self._schemes(table)
        naming = name_columns(list(rows.columns), chosen=chosen, source=self.file(table_id))
        named = {ours: rows.columns[place] for ours, place in naming.places.items() if rows.columns[place] in schemes}
        if "speaker" in named:
            speakers = table.columns[named["speaker"]]
            for field in self._fields(schemes[named["speaker"]]):
                rows[field] = rows.get(field, speakers.get(map=field).astype(object))
        if "transcript" in named and isinstance(schemes[named["transcript"]].labels, dict):
            name = named["transcript"]
            if not self._fields(schemes[name]):  # codes of sentences to sentences
                rows[name] = table.columns[name].get(map=name).astype(object)
        naming = name_columns(list(rows.columns), chosen=chosen, source=self.file(table_id))
        index = rows.index
        rows = rows.where(rows.notna(), None).reset_index(drop=True)
        places = [_place(entry) for entry in index]
        # As objects, so that None stays None.
        index_columns = {name: pd.Series([place[k] for place in places], dtype=object) for k, name in enumerate(_PLACE)}
        return rows.assign(**index_columns), naming

    def _fields(self, scheme: audformat.Scheme) -> list[str]:
        """What the labels of a scheme tell of each: of a speaker, the gender and the age."""
        if scheme.uses_table:
            return list(self.load(scheme.labels).columns)
        if not isinstance(scheme.labels, dict):
            return []
        told = [label for label in scheme.labels.values() if isinstance(label, dict)]
        return list(dict.fromkeys(field for label in told for field in label))

    def _add_from_beside(
        self, table_id: str, utterances: pd.DataFrame, taken: dict[str, str], chosen: Collection[str]
    ) -> None:
        """What the table lacks and another tells of the same files, or the same parts of them."""
        lacking = [ours for ours in _BESIDE if ours not in utterances and ours not in chosen]
        keys = list(zip(*(utterances[name] for name in ("path", _START, _END)), strict=True))
        told_by: dict[str, dict[tuple, tuple[object, str]]] = {ours: {} for ours in lacking}
        for other in self._held.tables if lacking else ():
            header = name_columns(list(self._held.tables[other].columns), source=self._folder / _HEADER)
            if other == table_id or not set(header.places) & set(lacking):
                continue
            rows, naming = self._rows(other, None)
            places = list(zip(*(rows[name] for name in _PLACE), strict=True))
            for ours in (ours for ours in lacking if ours in naming.places):
                for place, value in zip(places, rows.iloc[:, naming.places[ours]], strict=True):
                    if value is None:
                        continue
                    known = told_by[ours].setdefault(place, (value, other))
                    if known[0] != value:
                        raise UserError(
                            f"{self._folder}: of {place[0]} the table {known[1]!r} tells the {ours} {known[0]!r}, the "
                            f"table {other!r} {value!r}; correct one, or take none with --columns {ours}="
                        )
        for ours, told in told_by.items():
            # What is told of a file holds for its parts.
            values = [told.get(key, told.get((key[0], None, None), (None, "")))[0] for key in keys]
            if any(value is not None for value in values):
                utterances[ours] = pd.Series(values, dtype=object)
                taken[ours] = f"table {' and '.join(sorted({table for _, table in told.values()}))}"

    def _add_splits(self, table_id: str, utterances: pd.DataFrame) -> list[str]:
        """Splits by the tables that belong to one: the table itself, or others with the same files."""
        own = self._split(table_id)
        if own:
            utterances["split"] = own
            return []
        split_of: dict[tuple, str] = {}
        for other in self._held.tables:
            split = self._split(other)
            if not split:
                continue
            rows, _ = self._rows(other, None)
            for place in zip(*(rows[name] for name in _PLACE), strict=True):
                if split_of.setdefault(place, split) != split:
                    return [f"splits are not used: the tables tell both {split_of[place]} and {split} of {place[0]}"]
        keys = list(zip(*(utterances[name] for name in ("path", _START, _END)), strict=True))
        if not any(key in split_of for key in keys):
            return []
        utterances["split"] = [split_of.get(key, "") for key in keys]
        return ["splits by the tables that belong to one"]

    def _split(self, table_id: str) -> str:
        """The split of a table, as its type or else its name tells it."""
        split_id = self._held.tables[table_id].split_id
        if not split_id:
            return ""
        named = normalise_split(str(self._held.splits[split_id].type))
        return named or normalise_split(split_id) or ""

    def _scales(self, table_id: str, naming: Naming) -> dict[str, tuple[float, float]]:
        table = self._held.tables[table_id]
        schemes, names = self._schemes(table), list(table.columns)
        told = {
            ours: schemes.get(names[place])
            for ours, place in naming.places.items()
            if ours in DIMENSIONS and place < len(names)
        }
        return {
            ours: (float(scheme.minimum), float(scheme.maximum))
            for ours, scheme in told.items()
            if scheme is not None and scheme.minimum is not None and scheme.maximum is not None
        }


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Tell of what the library meets in a file that is damaged; it raises whatever comes first."""
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        said = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise UserError(f"{path}: is no {what} ({said}); write the database again") from problem


def _values(path: Path) -> tuple[list[str], dict[str, int]]:
    """The columns of a file, and how many cells of each hold a value."""
    if path.suffix == ".csv":
        header, rows, _ = csv_rows(read_bytes(path), path)
        columns = zip(*rows, strict=True) if rows else [()] * len(header)
        held = [sum(cell.strip().casefold() not in MISSING for cell in column) for column in columns]
        return header, dict(zip(header, held, strict=True))
    import pyarrow.parquet as pq

    table = pq.read_table(path, use_threads=False)
    return table.column_names, {name: len(table) - table.column(name).null_count for name in table.column_names}


def _place(entry: object) -> tuple[str, float | None, float | None]:
    """File, start and end in seconds of an entry of an index; None where they are the file's own."""
    if not isinstance(entry, tuple):
        return str(entry), None, None
    file, start, end = entry
    if (pd.isna(start) or start == pd.Timedelta(0)) and pd.isna(end):
        return str(file), None, None
    return str(file), _seconds(start), _seconds(end)


def _seconds(time: pd.Timedelta) -> float | None:
    return None if pd.isna(time) else time.total_seconds()
