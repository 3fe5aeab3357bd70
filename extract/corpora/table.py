"""The table that every reader returns, with the checks that make it safe to compute on."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.jsontext import to_json

from .cells import (
    DIMENSIONS,
    EMOTION,
    IDENTIFIERS,
    OPTIONAL,
    OPTIONAL_NUMBERS,
    PLACES,
    TEXT_COLUMNS,
    MissingWords,
    identifier,
    look_alikes,
)
from .copies import first_rows
from .places import Place, check_places, overlaps, part_suffix, places
from .scales import refuse_outside, two_scales
from .values import first, is_plain, normalise_split, parse_rating, parse_seconds, path_under, printable

COLUMNS = (*(name for name in TEXT_COLUMNS if name not in OPTIONAL), *DIMENSIONS, *OPTIONAL)
_NUMBERS = (*DIMENSIONS, *OPTIONAL_NUMBERS)
#: Columns of names, in which one that is written in two ways is told.
_NAMES = ("speaker", "emotion", "gender", "group", "fold")
_GENDERS = {"m": "male", "f": "female", "man": "male", "woman": "female"}


@dataclass(frozen=True)
class Corpus:
    """A corpus of speech: one row an utterance.

    Readers make one with :meth:`from_table`, which fills what is absent and checks the rest.

    Attributes
    ----------
    name : str
        Short name for tables and legends.
    root : Path
        Folder that relative paths start from.
    utterances : pandas.DataFrame
        The columns :data:`COLUMNS` in this order, with a RangeIndex: text columns ``id`` (unique), ``path`` (absolute),
        ``speaker``, ``gender``, ``split``, ``emotion`` and ``transcript``, where ``""`` is unknown, and the float64
        columns ``arousal``, ``valence`` and ``dominance``, where NaN is a missing label. ``split`` is one of ``""``,
        ``train``, ``development``, ``test``, ``test1``, ``test2``, ... Then the optional ones: the texts ``group``
        (what no fold may split: a session, a dialogue, a film) and ``fold`` (the name of a given fold), and the float64
        columns ``start`` and ``end`` (seconds; NaN is the file's own), ``channel`` (from 0; NaN is their mean), and
        :data:`.cells.RATERS`.
    notes : tuple of str
        What the reader found odd, and what it did about it.
    text_source : str
        Where the transcripts come from: "corpus", or the recogniser that heard them.
    arguments : tuple of str
        What names it on the command line, from any folder; empty for a corpus that was made in Python.
    """

    name: str
    root: Path
    utterances: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()
    text_source: str = "corpus"
    arguments: tuple[str, ...] = ()

    @classmethod
    def from_table(
        cls,
        name: str,
        root: Path,
        table: pd.DataFrame,
        *,
        source: Path,
        notes: Iterable[str] = (),
        where: Callable[[int], str] | None = None,
        text_source: str = "corpus",
        missing: MissingWords | None = None,
        called: Mapping[str, str] | None = None,
        scales: Mapping[str, tuple[float, float]] | None = None,
        option: str = "",
    ) -> Corpus:
        """Make a corpus from whatever columns there are.

        Parameters
        ----------
        name : str
            Name of the corpus.
        root : Path
            Folder that relative paths start from.
        table : pandas.DataFrame
            Any of :data:`COLUMNS`; ``path`` is required. Without ``id``, the file's stem is the id. Of rows that are
            alike in every column the first one is kept.
        source : Path
            The file that errors should name.
        notes : iterable of str
            What the reader has to say already.
        where : callable, optional
            Tells a row's place in `source` (default: ``row 1``, ``row 2``, ...).
        text_source : str
            Where the transcripts come from.
        missing : MissingWords, optional
            Tells which words stand for no value; a reader that read cells by it already has it count the rest.
        called : mapping, optional
            How a column is called in `source`, where that is not our name.
        scales : mapping, optional
            The least and the largest rating of a dimension, where the corpus's makers tell them.
        option : str
            What tells on the command line which column is which, where the reader takes it.

        Raises
        ------
        UserError
            Naming source, place and remedy: no utterances, an empty or escaping path, an id that occurs twice, a rating
            that is no finite number or beyond its scale, an unknown split.
        """
        where = where or (lambda row: f"row {row + 1}")
        notes, missing, called = (
            list(notes),
            missing or MissingWords(),
            {name: name for name in COLUMNS} | dict(called or {}),
        )
        root = Path(os.path.abspath(root))  # noqa: PTH100 - see path_under
        if "path" not in table.columns:
            raise UserError(
                f"{source}: no column 'path' (columns: {first(table.columns, 12)}); "
                "name the column of audio files 'path'"
            )
        if len(table) == 0:
            raise UserError(f"{source}: no utterances; a manifest needs a header line and one line an utterance")
        kept = first_rows(table, notes)
        if len(kept) < len(table):
            table, where = table.iloc[kept].reset_index(drop=True), _among(kept, where)
        columns: dict[str, object] = {}
        for column in TEXT_COLUMNS:
            if column in table.columns:
                texts = [_text(value, source, called[column], where, row) for row, value in enumerate(table[column])]
                columns[column] = [missing.text(column, text) for text in texts]
            else:
                columns[column] = [""] * len(table)

        given_paths = columns["path"]
        try:
            base = os.path.join(root, "")  # noqa: PTH118 - with its slash
            columns["path"] = [base + given if is_plain(given) else path_under(root, given) for given in given_paths]
        except ValueError:
            columns["path"] = [
                _checked_path(root, given, written, source, called["path"], where, row)
                for row, (given, written) in enumerate(zip(given_paths, table["path"], strict=True))
            ]
        absolute = sum(map(os.path.isabs, given_paths))
        if absolute and absolute < len(given_paths):
            notes.append(f"{absolute} of {len(given_paths)} paths are absolute, the others start from {root}")
        elif absolute:
            notes.append("all paths are absolute: the manifest does not move with its audio")
        for column in OPTIONAL_NUMBERS:
            columns[column] = _numbers(table, column, source, where, missing, called)
        check_places(columns, called, source=source, where=where)
        parts = places(pd.DataFrame({name: columns[name] for name in PLACES}))
        _note_repeated_paths(columns["path"], parts, notes)

        from_stem = sum(not given for given in columns["id"])
        columns["id"] = [
            given or Path(path).stem + part_suffix(part)
            for given, path, part in zip(columns["id"], columns["path"], parts, strict=True)
        ]
        for column in IDENTIFIERS:
            columns[column] = [identifier(name) for name in columns[column]]
        _refuse_repeated_ids(columns["id"], source, where, from_stem)

        columns["gender"] = [_GENDERS.get(gender.casefold(), gender.casefold()) for gender in columns["gender"]]
        columns["split"] = _splits(columns["split"], source, called, option)
        unsplit = sum(not split for split in columns["split"])
        if 0 < unsplit < len(table):
            notes.append(f"{unsplit} of {len(table)} utterances belong to no split")

        for column in DIMENSIONS:
            columns[column] = _numbers(table, column, source, where, missing, called)
            scale = (scales or {}).get(column)
            if scale is not None:
                refuse_outside(columns[column], scale, source=source, column=called[column], where=where)
            elif mixed := two_scales(columns[column]):
                notes.append(f"column '{called[column]}': {mixed}; are two scales mixed? Bring them to one")
        notes += missing.notes()
        for column in _NAMES:
            alike = look_alikes(columns[column])
            if alike:
                notes.append(
                    f"column '{column}': names that look alike are kept apart: {first(alike, 3)}; "
                    "write a name in one way where one is meant"
                )
        # Plain Python strings on every version of pandas: newer ones infer a text type that refuses file names which
        # are not UTF-8 (lone surrogates in Python).
        texts = {name: pd.Series(columns[name], dtype=object) for name in TEXT_COLUMNS}
        frame = pd.DataFrame({**texts, **{name: columns[name] for name in _NUMBERS}}, columns=list(COLUMNS))
        alone = [name for name in DIMENSIONS if frame[name].isna().all() and frame[f"{name}_mean"].notna().any()]
        if alone:
            taken = " ".join(f"{name}={called[name + '_mean']}" for name in alone)
            notes.append(
                f"no label of {' or '.join(alone)}, and means of single ratings, which are kept beside labels; if they "
                f"are the labels: --columns {taken}"
            )
        if sharing := overlaps(frame):
            notes.append(f"{sharing:,} utterances share audio with another one: the times of parts of a file overlap")
        return cls(printable(name), root, frame, tuple(notes), printable(text_source))

    def __post_init__(self) -> None:
        if tuple(self.utterances.columns) != COLUMNS:
            raise ValueError(f"columns {list(self.utterances.columns)}, expected {list(COLUMNS)}")
        if not self.utterances["id"].is_unique:
            raise ValueError("ids are not unique")

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns that hold any label: of :data:`DIMENSIONS`, and ``emotion``."""
        table = self.utterances
        return tuple(name for name in (*DIMENSIONS, EMOTION) if (table[name].notna() & (table[name] != "")).any())

    @property
    def sha256(self) -> str:
        """Hash of the whole table; the same corpus in another folder has the same hash.

        Paths enter relative to :attr:`root` where they lie below it, ratings with every digit.
        """
        held = held_columns(self.utterances)
        digest = hashlib.sha256(to_json(held).encode())
        base = str(self.root) + os.sep
        for row in self.utterances[list(held)].itertuples(index=False):
            cells = []
            for column, value in zip(held, row, strict=True):
                if column == "path":
                    value = Path(value.removeprefix(base)).as_posix()
                elif column in _NUMBERS:
                    value = None if math.isnan(value) else float(value).hex()
                cells.append(value)
            # File names that are not valid UTF-8 reach Python as lone surrogates, which plain UTF-8 refuses.
            digest.update(to_json(cells, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()

    def summary(self) -> str:
        """A few lines for a person: utterances, speakers, splits, emotions, labels missing, notes."""
        table = self.utterances
        named = table.loc[table["speaker"] != "", "speaker"]
        unknown = len(table) - len(named)
        speakers = f"{named.nunique():,}" + (f" (unknown for {unknown:,} utterances)" if unknown else "")
        splits = Counter(table["split"])
        split_text = ", ".join(f"{name or '(none)'} {splits[name]:,}" for name in sorted(splits)) or "none"
        if set(splits) == {""}:
            split_text = "none"
        emotions = Counter(emotion for emotion in table["emotion"] if emotion)
        emotion_text = first([f"{name} {count:,}" for name, count in emotions.most_common()], 12) or "none"
        missing = ", ".join(f"{dimension} {table[dimension].isna().sum():,}" for dimension in DIMENSIONS)
        lines = [
            f"corpus {self.name} ({self.root})",
            f"  utterances      {len(table):,}",
            f"  speakers        {speakers}",
            f"  splits          {split_text}",
            f"  emotions        {emotion_text}",
            f"  labels missing  {missing}",
            f"  transcripts     {(table['transcript'] != '').sum():,}",
        ]
        for name in ("group", "fold"):
            held = table.loc[table[name] != "", name]
            if len(held):
                lines.append(f"  {name + 's':<15} {held.nunique():,} (of {len(held):,} utterances)")
        parts = table[list(PLACES)].notna().any(axis=1).sum()
        if parts:
            lines.append(f"  parts of files  {parts:,}")
        notes = [f"note: {note}" for note in self.notes]
        if not self.targets:
            notes.append(
                "warning: no utterance has a label, so there is no target: nothing can be fitted. "
                "If a column holds labels, name it: --columns arousal=NAME (or valence, dominance, emotion)"
            )
        return printable("\n".join(lines + [f"  {note}" for note in notes]))


def held_columns(table: pd.DataFrame) -> tuple[str, ...]:
    """Those of :data:`COLUMNS` that a table of utterances holds: the optional ones only where any cell has a value."""
    return tuple(
        name
        for name in COLUMNS
        if name not in OPTIONAL or (table[name].notna() if name in OPTIONAL_NUMBERS else table[name] != "").any()
    )


def empty_columns(n: int) -> dict[str, object]:
    """The optional columns of `n` utterances that hold nothing in them."""
    texts = {name: pd.Series([""] * n, dtype=object) for name in OPTIONAL if name not in OPTIONAL_NUMBERS}
    return texts | {name: np.full(n, np.nan) for name in OPTIONAL_NUMBERS}


def _among(rows: np.ndarray, where: Callable[[int], str]) -> Callable[[int], str]:
    """Tells the place of each of some rows."""
    return lambda row: where(int(rows[row]))


def _text(value: object, source: Path, column: str, where: Callable[[int], str], row: int) -> str:
    if type(value) is str and value.isprintable():  # as nearly every cell is
        return value.strip()
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)  # a column of whole numbers with empty cells comes as floats: speaker 30, not 30.0
    if not isinstance(value, str | int | float | np.number):
        raise UserError(
            f"{source}, {where(row)}, column '{column}': a value of type {type(value).__name__}; store it as text"
        )
    text = str(value).strip()
    if "\0" in text:
        raise UserError(f"{source}, {where(row)}, column '{column}': holds a NUL character; remove it")
    return text


def _checked_path(
    root: Path, given: str, written: object, source: Path, column: str, where: Callable[[int], str], row: int
) -> str:
    try:
        return path_under(root, given)
    except ValueError as problem:
        remedy = ""
        if not given and isinstance(written, str) and written.strip():
            remedy = f": {written.strip()!r} stands for no value; if a file is called so, --keep-words path"
        raise UserError(f"{source}, {where(row)}, column '{column}': {problem}{remedy}") from None


def _note_repeated_paths(paths: list[str], parts: list[Place], notes: list[str]) -> None:
    repeated = [path for (path, _), count in Counter(zip(paths, parts, strict=True)).items() if count > 1]
    if repeated:
        what = "parts of files" if any(parts) else "audio files"
        notes.append(f"{len(repeated)} {what} are named by more than one row: {first(repeated, 2)}")


def _refuse_repeated_ids(ids: list[str], source: Path, where: Callable[[int], str], from_stem: int) -> None:
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        if name in seen:
            remedy = "add a column 'id' of unique names" if from_stem else "make the ids unique"
            raise UserError(f"{source}: the id {name!r} occurs at {where(seen[name])} and {where(row)}; {remedy}")
        seen[name] = row


def _splits(given: list[str], source: Path, called: Mapping[str, str], option: str) -> list[str]:
    known = {name: normalise_split(name) for name in dict.fromkeys(given)}
    unknown = [name for name, split in known.items() if split is None]
    if unknown:
        counts = Counter(given)
        listed = first([f"{name!r} ({counts[name]} rows)" for name in unknown])
        other = f"; if the column tells no split, {option} split= leaves it out" if option else ""
        raise UserError(
            f"{source}, column '{called['split']}': unknown {listed}; "
            f"use train, development, test, test1, test2, ... or nothing{other}"
        )
    return [known[name] for name in given]


def _numbers(
    table: pd.DataFrame,
    column: str,
    source: Path,
    where: Callable[[int], str],
    missing: MissingWords,
    called: Mapping[str, str],
) -> np.ndarray:
    if column not in table.columns:
        return np.full(len(table), np.nan)
    parse = parse_seconds if column in ("start", "end") else parse_rating
    numbers = np.empty(len(table))
    read: dict[str, float] = {}  # a mean of a few ratings is one of a few values
    for row, value in enumerate(table[column]):
        text = missing.text(column, value) if isinstance(value, str) else None
        try:
            if text is None:
                numbers[row] = parse(None if value is pd.NA else value)
            else:
                numbers[row] = read[text] if text in read else read.setdefault(text, parse(text))
        except (TypeError, ValueError) as problem:
            remedy = "correct it or leave the cell empty"
            if column == "channel":
                remedy = "channels are numbers from 0; if the column tells none, --columns channel= leaves it out"
            raise UserError(f"{source}, {where(row)}, column '{called[column]}': {problem}; {remedy}") from None
    return numbers
