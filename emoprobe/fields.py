"""What a file must hold to be used: its fields, their types and their ranges, checked once, where the file is read.

A reader says what it uses as a :class:`Part` (for JSON) or as ranges by column (for a table). The checks name the file,
the field, what it must be and is, and a remedy. A field that nothing uses is let be.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from .errors import UserError, reason
from .jsontext import from_json

if TYPE_CHECKING:
    import pandas as pd

#: Layers that no model has, and characters that no name has. What is drawn or built by such a number has no end.
MOST_LAYERS = 1_000
LONGEST_NAME = 1_000
#: Characters of a reason or a note.
LONGEST_TEXT = 100_000
#: A number beyond this is no score, label or prediction; its square must still be a number.
LARGEST = 1e30
#: A number may be beyond its range by what arithmetic is off.
ROUNDING = 1e-6
#: Whole numbers up to this are exact in every program that reads JSON.
LARGEST_COUNT = 2**53

#: A test of a value, and what it wants in words.
Field = tuple[Callable[[object], bool], str]


@dataclass(frozen=True)
class Part:
    """A table of names and values, within another one or by itself.

    Attributes
    ----------
    required : mapping of str to Field, Part or ListOf
    optional : mapping of str to Field, Part or ListOf
        Checked where it is there.
    or_none : bool
        Whether null may stand in its place.
    """

    required: Mapping[str, Spec] = field(default_factory=dict)
    optional: Mapping[str, Spec] = field(default_factory=dict)
    or_none: bool = False


@dataclass(frozen=True)
class ListOf:
    """A list of any length, each of whose values is one such."""

    each: Spec


Spec = Field | Part | ListOf


def is_number(value: object) -> bool:
    """A finite number, and no truth value."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every floating-point one
        return False


def is_count(value: object) -> bool:
    """A whole number from 0, and none that no file can count."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT


def is_text(value: object) -> TypeGuard[str]:
    """A text that can be written in UTF-8, and is not endless."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and is_unicode(value)


def is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8; one that was made of other bytes cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def or_none(wanted: Field) -> Field:
    """The same, or null."""
    holds, words = wanted
    return (lambda value: value is None or holds(value)), f"{words}, or null"


def number_from(low: float, high: float, *, whole: bool = False) -> Field:
    """A number in a range, both ends included."""
    words = f"a {'whole ' if whole else ''}number from {low:g} to {high:g}"
    return (lambda value: is_number(value) and low <= value <= high and (not whole or isinstance(value, int))), words


TEXT: Field = (is_text, "a text")
NAME: Field = (
    lambda value: is_text(value) and 0 < len(value) <= LONGEST_NAME,
    f"a text of 1 to {LONGEST_NAME:,} characters",
)
TRUTH: Field = (lambda value: isinstance(value, bool), "true or false")
TABLE: Field = (lambda value: isinstance(value, dict), "a table of names and values")
LIST: Field = (lambda value: isinstance(value, list), "a list")
NUMBER: Field = (is_number, "a number")
COUNT: Field = (is_count, "a whole number from 0")
COUNT_OR_NONE: Field = or_none(COUNT)
TEXT_OR_NONE: Field = or_none(TEXT)
TEXTS = ListOf(TEXT)
COUNTS: Field = (
    lambda value: isinstance(value, dict) and all(map(is_count, value.values())),
    "a table of names and whole numbers from 0",
)
TEXTS_BY_NAME: Field = (
    lambda value: isinstance(value, dict) and all(map(is_text, value.values())),
    "a table of names and texts",
)


def read_json(path: Path, *, remedy: str) -> object:
    """What a JSON file holds; NaN and infinity are None.

    Raises
    ------
    UserError
        If it cannot be read or is no JSON.
    """
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or reason(error)}); {remedy}") from error
    except ValueError as error:
        raise UserError(f"{path} cannot be read (it is no JSON: {reason(error)[:160]}); {remedy}") from error


def check_fields(
    values: object,
    path: Path | str,
    required: Mapping[str, Spec],
    optional: Mapping[str, Spec] | None = None,
    *,
    remedy: str,
) -> dict:
    """The values, once each field is there and holds what it must.

    Parameters
    ----------
    values : object
        What the file holds.
    path : Path or str
        For the message.
    required, optional : mapping of str to Field, Part or ListOf
        An optional field is checked where it is there; others are let be.
    remedy : str
        What to do about it.

    Raises
    ------
    UserError
        Naming file, field and remedy.
    """
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no table of names and values; {remedy}")
    problem = _problem(values, Part(required, optional or {}), "")
    if problem:
        raise UserError(f"{path}{problem}; {remedy}")
    return values


def check_list(values: object, path: Path, each: Part, *, remedy: str) -> list[dict]:
    """The same of a file that holds a list of tables of names and values.

    Raises
    ------
    UserError
        Naming file, field and remedy.
    """
    if not isinstance(values, list):
        raise UserError(f"{path} holds no list; {remedy}")
    for place, value in enumerate(values):
        if problem := _problem(value, each, f"[{place}]"):
            raise UserError(f"{path}{problem}; {remedy}")
    return values


def _problem(value: object, spec: Spec, name: str) -> str:
    """What is wrong with a value, to be read behind the file's name; "" if nothing is."""
    if isinstance(spec, ListOf):
        return _problem_of_list(value, spec, name)
    if isinstance(spec, Part):
        return "" if value is None and spec.or_none else _problem_of_part(value, spec, name)
    holds, wanted = spec
    return "" if holds(value) else f": the field '{name}' must be {wanted}, and is {_short(value)}"


def _problem_of_list(value: object, spec: ListOf, name: str) -> str:
    if not isinstance(value, list):
        return f": the field '{name}' must be a list, and is {_short(value)}"
    return next(filter(None, (_problem(one, spec.each, f"{name}[{i}]") for i, one in enumerate(value))), "")


def _problem_of_part(value: object, spec: Part, name: str) -> str:
    if not isinstance(value, dict):
        return f": the field '{name}' must be a table of names and values, and is {_short(value)}"
    prefix = f"{name}." if name else ""
    for inner in spec.required:
        if inner not in value:
            return f" lacks the field '{prefix}{inner}'"
    inside = {**spec.optional, **spec.required}  # what is required is the stricter of two
    problems = (_problem(value[inner], what, prefix + inner) for inner, what in inside.items() if inner in value)
    return next(filter(None, problems), "")


def check_columns(
    table: pd.DataFrame, path: Path, ranges: Mapping[str, tuple[float, float]], texts: Mapping[str, int], *, remedy: str
) -> pd.DataFrame:
    """The table, once its numbers are in their ranges and its texts are not endless. A missing value is in every range.

    Parameters
    ----------
    table : DataFrame
        Of numbers and texts as they are used.
    path : Path
    ranges : mapping of str to (low, high)
        By column, both ends included.
    texts : mapping of str to int
        Most characters, by column.
    remedy : str
        What to do about it.

    Raises
    ------
    UserError
        Naming file, column and row (the first is 1), and the remedy.
    """
    for name, (low, high) in ranges.items():
        if name in table:
            numbers = table[name].astype("float64")
            wrong = (numbers < low - ROUNDING) | (numbers > high + ROUNDING)
            _refuse(table[name], wrong, path, f"a number from {low:g} to {high:g}", remedy)
    for name, longest in texts.items():
        if name in table:
            wrong = table[name].str.len() > longest
            _refuse(table[name], wrong, path, f"a text of at most {longest:,} characters", remedy)
    return table


def _refuse(column: pd.Series, wrong: pd.Series, path: Path, wanted: str, remedy: str) -> None:
    rows = wrong.to_numpy(bool).nonzero()[0].tolist()
    if rows:
        row = rows[0]
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise UserError(
            f"{path}, row {row + 1}{more}: the column '{column.name}' must be {wanted}, and is "
            f"{_short(column.tolist()[row])}; {remedy}"
        )


def refuse_cut_short(path: Path) -> None:
    """Refuse a CSV that is cut short: a reader would take half a number for one, and what is missing for empty.

    What writes tables ends the last row with a line end, outside of quotes. Without it nothing can tell a row that was
    cut within its last cell from one that is whole, so whoever edits a table by hand has to leave it.

    Raises
    ------
    ValueError
    """
    content = path.read_bytes()
    if not content.endswith((b"\n", b"\r")):
        raise ValueError("its last line is cut short, or lacks the end of the line")
    if content.count(b'"') % 2:
        raise ValueError("its last line is cut short within quotes")


def refuse_beyond_memory(nbytes: float, path: Path | str, *, remedy: str) -> None:
    """Refuse what a file asks for where the whole of this machine's memory cannot hold it, before any is taken.

    Parameters
    ----------
    nbytes : float
        Bytes that would be taken.
    path : Path or str
    remedy : str
        What to do about it.

    Raises
    ------
    UserError
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if nbytes > memory:
        raise UserError(
            f"{path} asks for {nbytes / 1e9:,.0f} GB of memory, and this machine has {memory / 1e9:,.0f} GB; {remedy}"
        )


def _short(value: object) -> str:
    # Never the whole of it: it may be of any size and depth.
    if isinstance(value, list | dict) and value:
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)} values"
    if isinstance(value, int) and abs(value) > 10**40:
        return "a whole number of more than 40 digits"
    text = " ".join(ascii(value[:100] if isinstance(value, str) else value).split())
    return text if len(text) <= 40 else f"{text[:39]}…"
