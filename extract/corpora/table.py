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
from .given import Given, ids_of
from .places import Place, check_places, overlaps, places
from .values import first, printable

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
    def from_table(  # noqa: PLR0913 - the door for every reader, those of other packages too
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
        given = Given(
            table=table,
            source=source,
            where=where or (lambda row: f"row {row + 1}"),
            called={column: column for column in COLUMNS} | dict(called or {}),
            missing=missing or MissingWords(),
            option=option,
        )
        if "path" not in table.columns:
            raise UserError(
                f"{source}: no column 'path' (columns: {first(table.columns, 12)}); "
                "name the column of audio files 'path'"
            )
        if len(table) == 0:
            raise UserError(f"{source}: no utterances; a manifest needs a header line and one line an utterance")
        said, root = list(notes), Path(os.path.abspath(root))  # noqa: PTH100 - see path_under
        given = given.without_copies(said)
        texts = {column: given.texts(column) for column in TEXT_COLUMNS}
        texts["path"] = given.paths(texts["path"], root, said)
        numbers = {column: given.numbers(column) for column in OPTIONAL_NUMBERS}
        check_places(numbers, given.called, source=source, where=given.where)
        parts = places(pd.DataFrame({name: numbers[name] for name in PLACES}))
        _note_repeated_paths(texts["path"], parts, said)
        by_stem = not all(texts["id"])
        texts["id"] = ids_of(texts["id"], texts["path"], parts)
        texts |= {column: [identifier(name) for name in texts[column]] for column in IDENTIFIERS}
        given.refuse_repeated(texts["id"], by_stem=by_stem)
        texts["gender"] = [_GENDERS.get(gender.casefold(), gender.casefold()) for gender in texts["gender"]]
        texts["split"] = given.splits(texts["split"], said)
        numbers |= {column: given.ratings(column, (scales or {}).get(column), said) for column in DIMENSIONS}
        said += given.missing.notes()
        _note_look_alikes(texts, said)
        # Plain Python strings on every version of pandas: newer ones infer a text type that refuses file names which
        # are not UTF-8 (lone surrogates in Python).
        columns = {name: pd.Series(texts[name], dtype=object) for name in TEXT_COLUMNS}
        frame = pd.DataFrame({**columns, **{name: numbers[name] for name in _NUMBERS}}, columns=list(COLUMNS))
        _note_means_alone(frame, given.called, said)
        if sharing := overlaps(frame):
            said.append(f"{sharing:,} utterances share audio with another one: the times of parts of a file overlap")
        return cls(printable(name), root, frame, tuple(said), printable(text_source))

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
            cells: list[str | None] = []
            for column, value in zip(held, row, strict=True):
                if column == "path":
                    cells.append(Path(value.removeprefix(base)).as_posix())
                elif column in _NUMBERS:
                    cells.append(None if math.isnan(value) else float(value).hex())
                else:
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


def _note_repeated_paths(paths: list[str], parts: list[Place], notes: list[str]) -> None:
    repeated = [path for (path, _), count in Counter(zip(paths, parts, strict=True)).items() if count > 1]
    if repeated:
        what = "parts of files" if any(parts) else "audio files"
        notes.append(f"{len(repeated)} {what} are named by more than one row: {first(repeated, 2)}")


def _note_look_alikes(texts: Mapping[str, list[str]], notes: list[str]) -> None:
    for column in _NAMES:
        alike = look_alikes(texts[column])
        if alike:
            notes.append(
                f"column '{column}': names that look alike are kept apart: {first(alike, 3)}; "
                "write a name in one way where one is meant"
            )


def _note_means_alone(frame: pd.DataFrame, called: Mapping[str, str], notes: list[str]) -> None:
    alone = [name for name in DIMENSIONS if frame[name].isna().all() and frame[f"{name}_mean"].notna().any()]
    if alone:
        taken = " ".join(f"{name}={called[name + '_mean']}" for name in alone)
        notes.append(
            f"no label of {' or '.join(alone)}, and means of single ratings, which are kept beside labels; if they "
            f"are the labels: --columns {taken}"
        )
