"""What the fields of our JSON files must hold: checked once, where a file is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import UserError
from ..extract.corpora import DIMENSIONS

#: A test of a field's value, and what it wants in words.
Field = tuple[Callable[[object], bool], str]


def is_number(value: object) -> bool:
    """A finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: object) -> bool:
    """A whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_dimensions(value: object) -> bool:
    names = isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)
    return names and len(set(value)) == len(value) and set(value) <= set(DIMENSIONS)


def _is_scale(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) and pair[0] <= pair[1]
        for pair in value.values()
    )


def _is_reasons(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(reason, str) for reason in value.values())


TEXT: Field = (lambda value: isinstance(value, str), "a text")
TRUTH: Field = (lambda value: isinstance(value, bool), "true or false")
TABLE: Field = (lambda value: isinstance(value, dict), "a table of names and values")
NUMBER: Field = (is_number, "a number")
COUNT: Field = (is_count, "a whole number from 0")
COUNT_OR_NONE: Field = (lambda value: value is None or is_count(value), "a whole number from 0, or null")
DIMENSION_LIST: Field = (_is_dimensions, f"a list of {', '.join(DIMENSIONS)}")
SCALE: Field = (_is_scale, "two numbers, low and high, a dimension")
REASONS: Field = (_is_reasons, "a text a dimension")


def check_fields(
    values: object,
    path: Path,
    required: Mapping[str, Field],
    optional: Mapping[str, Field] | None = None,
    *,
    remedy: str,
) -> dict:
    """The values, once each field is there and holds what it must.

    Parameters
    ----------
    values : object
        What the file holds.
    path : Path
    required, optional : dict of str to Field
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
    for name in required:
        if name not in values:
            raise UserError(f"{path} lacks the field '{name}'; {remedy}")
    for name, (holds, wanted) in {**required, **(optional or {})}.items():
        if name in values and not holds(values[name]):
            raise UserError(f"{path}: the field '{name}' must be {wanted}, and is {_short(values[name])}; {remedy}")
    return values


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:39]}…"
