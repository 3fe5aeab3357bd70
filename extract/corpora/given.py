"""The table that a reader has: its cells become texts, numbers, paths and names, or an error that tells their place."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .copies import first_rows
from .places import Place, part_suffix
from .scales import refuse_outside, two_scales
from .values import first, is_plain, normalise_split, parse_rating, parse_seconds, path_under


@dataclass(frozen=True, kw_only=True)
class Given:
    """A table of any of a corpus's columns, and how its makers speak of it.

    Attributes
    ----------
    table : pandas.DataFrame
        One row an utterance, with a RangeIndex.
    source : Path
        The file that errors name.
    where : callable
        Tells a row's place in it.
    called : mapping of str to str
        How each column is called there.
    missing : MissingWords
        Tells which words stand for no value, and counts them.
    option : str
        What tells on the command line which column is which; empty where the reader takes none.
    """

    table: pd.DataFrame
    source: Path
    where: Callable[[int], str]
    called: Mapping[str, str]
    missing: MissingWords
    option: str

    def without_copies(self, notes: list[str]) -> Given:
        """The rows that say what no earlier one does; how many do is noted."""
        kept = first_rows(self.table, notes).tolist()
        if len(kept) == len(self.table):
            return self
        return replace(
            self, table=self.table.iloc[kept].reset_index(drop=True), where=lambda row: self.where(kept[row])
        )

    def error(self, row: int, column: str, said: object) -> UserError:
        """What is wrong with a cell, behind its place."""
        return UserError(f"{self.source}, {self.where(row)}, column '{self.called[column]}': {said}")

    def texts(self, column: str) -> list[str]:
        """The cells of a column of texts, ``""`` where there is no value.

        Raises
        ------
        UserError
            If a cell is of another kind, or holds a NUL character.
        """
        if column not in self.table.columns:
            return [""] * len(self.table)
        texts = [self._text(value, column, row) for row, value in enumerate(self.table[column])]
        return [self.missing.text(column, text) for text in texts]

    def _text(self, value: object, column: str, row: int) -> str:
        if type(value) is str and value.isprintable():  # as nearly every cell is
            return value.strip()
        if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA or value is pd.NaT:
            return ""
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)  # a column of whole numbers with empty cells comes as floats: speaker 30, not 30.0
        if not isinstance(value, str | int | float | np.number):
            raise self.error(row, column, f"a value of type {type(value).__name__}; store it as text")
        text = str(value).strip()
        if "\0" in text:
            raise self.error(row, column, "holds a NUL character; remove it")
        return text

    def numbers(self, column: str) -> np.ndarray:
        """The cells of a column of numbers, (utterances,) float64, NaN where there is no value.

        Raises
        ------
        UserError
            If a cell is no finite number, or in a column of times no time.
        """
        if column not in self.table.columns:
            return np.full(len(self.table), np.nan)
        parse = parse_seconds if column in ("start", "end") else parse_rating
        numbers = np.empty(len(self.table))
        read: dict[str, float] = {}  # a mean of a few ratings is one of a few values
        for row, value in enumerate(self.table[column]):
            text = self.missing.text(column, value) if isinstance(value, str) else None
            try:
                if text is None:
                    numbers[row] = parse(None if value is pd.NA else value)
                else:
                    numbers[row] = read[text] if text in read else read.setdefault(text, parse(text))
            except (TypeError, ValueError) as problem:
                remedy = "correct it or leave the cell empty"
                if column == "channel":
                    remedy = "channels are numbers from 0; if the column tells none, --columns channel= leaves it out"
                raise self.error(row, column, f"{problem}; {remedy}") from None
        return numbers

    def ratings(self, column: str, scale: tuple[float, float] | None, notes: list[str]) -> np.ndarray:
        """The same of ratings: on the scale of the corpus where it is known, else noted where they seem to be on two.

        Raises
        ------
        UserError
            If a cell is no finite number, or beyond the scale.
        """
        ratings = self.numbers(column)
        if scale is not None:
            refuse_outside(ratings, scale, source=self.source, column=self.called[column], where=self.where)
        elif mixed := two_scales(ratings):
            notes.append(f"column '{self.called[column]}': {mixed}; are two scales mixed? Bring them to one")
        return ratings

    def paths(self, given: list[str], root: Path, notes: list[str]) -> list[str]:
        """The absolute paths of files that are named relative to `root`; that some are absolute already is noted.

        Raises
        ------
        UserError
            If a name is empty, or leads out of `root`.
        """
        try:
            base = os.path.join(root, "")  # noqa: PTH118 - with its slash
            paths = [base + path if is_plain(path) else path_under(root, path) for path in given]
        except ValueError:
            written = self.table["path"]
            paths = [
                self._path(root, path, cell, row) for row, (path, cell) in enumerate(zip(given, written, strict=True))
            ]
        absolute = sum(map(os.path.isabs, given))
        if absolute and absolute < len(given):
            notes.append(f"{absolute} of {len(given)} paths are absolute, the others start from {root}")
        elif absolute:
            notes.append("all paths are absolute: the manifest does not move with its audio")
        return paths

    def _path(self, root: Path, path: str, written: object, row: int) -> str:
        try:
            return path_under(root, path)
        except ValueError as problem:
            remedy = ""
            if not path and isinstance(written, str) and written.strip():
                remedy = f": {written.strip()!r} stands for no value; if a file is called so, --keep-words path"
            raise self.error(row, "path", f"{problem}{remedy}") from None

    def splits(self, names: list[str], notes: list[str]) -> list[str]:
        """Our words for the names of splits; how many utterances belong to none, where others do, is noted.

        Raises
        ------
        UserError
            If a name is none that is known.
        """
        known = {name: normalise_split(name) for name in dict.fromkeys(names)}
        unknown = [name for name, split in known.items() if split is None]
        if unknown:
            counts = Counter(names)
            listed = first([f"{name!r} ({counts[name]} rows)" for name in unknown])
            other = f"; if the column tells no split, {self.option} split= leaves it out" if self.option else ""
            raise UserError(
                f"{self.source}, column '{self.called['split']}': unknown {listed}; "
                f"use train, development, test, test1, test2, ... or nothing{other}"
            )
        splits = [known[name] or "" for name in names]
        unsplit = sum(not split for split in splits)
        if 0 < unsplit < len(splits):
            notes.append(f"{unsplit} of {len(splits)} utterances belong to no split")
        return splits

    def refuse_repeated(self, ids: list[str], *, by_stem: bool) -> None:
        """Refuse two utterances of one id; `by_stem` says that some ids are the stems of files.

        Raises
        ------
        UserError
        """
        seen: dict[str, int] = {}
        for row, name in enumerate(ids):
            if name in seen:
                remedy = "add a column 'id' of unique names" if by_stem else "make the ids unique"
                raise UserError(
                    f"{self.source}: the id {name!r} occurs at {self.where(seen[name])} and {self.where(row)}; {remedy}"
                )
            seen[name] = row


def ids_of(given: list[str], paths: list[str], parts: list[Place]) -> list[str]:
    """The ids of utterances: where none is given, the stem of the file and the part of it."""
    return [name or Path(path).stem + part_suffix(part) for name, path, part in zip(given, paths, parts, strict=True)]
