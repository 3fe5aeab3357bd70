"""What one cell can hold: a split, a rating, a time, a path; and how cells are shown."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from .cells import MISSING

_SPLITS = {
    "train": ("train", "training", "tr", "trn"),
    "development": ("development", "develop", "devel", "dev", "validation", "valid", "val"),
    "test": ("test", "testing", "tst", "eval", "evaluation"),
}
_SPLIT_OF = {spelling: name for name, spellings in _SPLITS.items() for spelling in spellings}

#: Squares of larger ratings overflow single precision, which training computes in.
LARGEST_RATING = 1e15
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# 0 days 00:00:01.500000000 (pandas, audformat), 00:16:16,059 (subtitles), 1:02.5
_CLOCK = re.compile(r"(?:(\d{1,9})\s+days?\s+)?(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9}(?:[.,]\d+)?)")
_SHOWN = 5

# From the root, up, nowhere, or nothing.
_STEPS = re.compile(r"//|/\.\.?/")


def first(items: Iterable[object], shown: int = _SHOWN) -> str:
    """List the first few of many, and say how many more there are."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more


def printable(text: str) -> str:
    r"""The text with the bytes of a file name that is not UTF-8 written as ``\xe9``; other text is unchanged."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def normalise_split(name: str) -> str | None:
    """The project's word for a split: ``""``, ``train``, ``development``, ``test`` or ``test<number>``.

    Returns
    -------
    str or None
        None when the name is none that is known.
    """
    word = re.sub(r"[\s_-]+", "", name.strip().casefold())
    if not word:
        return ""
    numbered = re.fullmatch(r"(?:test|tst|eval)(\d{1,3})", word)
    return f"test{int(numbered[1])}" if numbered else _SPLIT_OF.get(word)


def parse_rating(value: object) -> float:
    """A rating as a float, NaN where the cell says that there is none.

    Parameters
    ----------
    value : object
        A number, a text, or None. The texts of :data:`.cells.MISSING` are missing.

    Raises
    ------
    ValueError
        When the value is no number, or infinite, or beyond :data:`LARGEST_RATING`.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{value} is not a number")
    if isinstance(value, int | float | np.number):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    else:
        text = str(value).strip()
        if text.casefold() in MISSING:
            return math.nan
        if not _NUMBER.fullmatch(text):
            hint = "; write a decimal point, not a comma" if re.fullmatch(r"[+-]?\d+,\d+", text) else ""
            if text.casefold().lstrip("+-") in ("inf", "infinity"):
                hint = ": infinite"
            raise ValueError(f"{text!r} is not a finite number{hint}")
        number = float(text)
    if math.isinf(number):
        raise ValueError(f"{value!r} is infinite")
    if abs(number) > LARGEST_RATING:
        raise ValueError(f"{value!r} is no rating: beyond {LARGEST_RATING:.0e} nothing can be computed with it")
    return number


def is_plain(given: str) -> bool:
    """Whether a file name goes down into folders and nothing else, so that nothing about it needs to be worked out."""
    return given.isprintable() and not _STEPS.search(f"/{given}/")


def parse_seconds(value: object) -> float:
    """A time in a file in seconds, NaN where the cell says that there is none.

    Parameters
    ----------
    value : object
        A number of seconds, as a number or as text; a time of day or a timedelta, as text (``00:00:01.5``,
        ``0 days 00:00:01.5``) or as an object of Python, numpy or pandas.

    Raises
    ------
    ValueError
        When it is none of these, or infinite.

    Examples
    --------
    >>> parse_seconds("0 days 00:01:01.5"), parse_seconds("2.25"), parse_seconds("NaT")
    (61.5, 2.25, nan)
    """
    if value is pd.NaT or value is pd.NA:
        return math.nan
    if isinstance(value, timedelta | np.timedelta64):
        return pd.Timedelta(value).total_seconds()
    if isinstance(value, str):
        text = value.strip()
        if text == "NaT":
            return math.nan
        clock = _CLOCK.fullmatch(text)
        if clock:
            days, hours, minutes = (int(part or 0) for part in clock.groups()[:3])
            return ((days * 24 + hours) * 60 + minutes) * 60 + float(clock[4].replace(",", "."))
        if ":" in text:
            raise ValueError(f"{text!r} is no time: give seconds, or hours:minutes:seconds")
    return parse_rating(value)


def path_under(root: Path, given: str) -> str:
    """The absolute path of a file that is named relative to `root`.

    The check is on the name alone: a symbolic link inside `root` is its owner's choice and is followed.

    Raises
    ------
    ValueError
        When a relative name leads out of `root`, or cannot be a file's name.
    """
    if not given:
        raise ValueError("the path is empty")
    if any(ord(letter) < 32 for letter in given):
        raise ValueError(f"the path {given!r} holds control characters")
    base = os.path.abspath(root)  # noqa: PTH100 - Path.resolve would follow links, and the path is shown to the user
    if os.path.isabs(given):  # noqa: PTH117 - a question about the text
        return os.path.normpath(given)
    joined = os.path.normpath(os.path.join(base, given))  # noqa: PTH118 - normpath is lexical, resolve is not
    if os.path.commonpath([base, joined]) != base or joined == base:
        raise ValueError(f"the relative path {given!r} leads out of {base}; give an absolute path if that is meant")
    return joined


def below_root(path: str, root: Path) -> str:
    """The path below the corpus's root where it lies there, so that a cache means the same on another machine."""
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path
