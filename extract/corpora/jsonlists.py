"""Lists of utterances in JSON: an object a line (JSONL, EmoBox), an array of objects, one object by id (SpeechBrain).

EmoBox's lists have ``key``, ``wav``, ``emo`` and ``channel``, which counts from 1; their paths start at the folder that
holds ``downloads``, some folders above the list.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.fields import is_unicode

from .text import decode
from .values import first

#: What EmoBox writes in every row.
_EMOBOX = frozenset({"wav", "emo", "channel"})


def is_json(data: bytes) -> bool:
    """Whether a file begins as an object or an array does."""
    return data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def json_rows(data: bytes, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The cells of a list as they are, and the place of each row: ``line 3``, ``entry 2``, ``entry 'utt1'``.

    A column for each name that any object has, None where an object has it not. What stands by id gets a column ``id``.

    Raises
    ------
    UserError
        Naming the file, the place and the remedy.
    """
    text = decode(data, path)
    rows, places = _whole(text, path) or _lines(text, path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if rows and all(row.keys() >= _EMOBOX for row in rows):
        rows = [_emobox(row, path, place) for row, place in zip(rows, places, strict=True)]
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}), places


def paths_start(table: pd.DataFrame, path: Path) -> Path:
    """The folder that the paths of a list start from: its own, or for EmoBox the one above that holds them."""
    folder = path.absolute().parent
    if not len(table) or not set(table.columns) >= _EMOBOX:
        return folder
    parts = Path(str(table["wav"].iloc[0])).parts
    above = (place for place in (folder, *folder.parents) if parts and (place / parts[0]).exists())
    return next(above, folder)


def _emobox(row: Mapping, path: Path, place: str) -> dict:
    if row.get("type", "raw") != "raw":
        raise UserError(f"{path}, {place}: is of the type {row['type']!r}, not audio; give the list of raw audio")
    channel = row["channel"]
    if channel is None:
        return dict(row)
    if isinstance(channel, bool) or not isinstance(channel, int) or channel < 1:
        raise UserError(f"{path}, {place}, column 'channel': {channel!r} is none; EmoBox's channels count from 1")
    return {**row, "channel": channel - 1}


def _whole(text: str, path: Path) -> tuple[list[dict], list[str]] | None:
    """Rows of a file that is one array or one object of objects; None where it is one object a line."""
    try:
        held = _value(text)
    except json.JSONDecodeError as problem:
        if problem.msg == "Extra data" and text.lstrip().startswith("{"):
            return None
        raise _no_json(path, problem.lineno, problem.msg) from None
    except ValueError as problem:
        if text.count("\n") and text.lstrip().startswith("{") and _is_object(text.lstrip().split("\n", 1)[0]):
            return None  # the place of the problem is told line by line
        raise UserError(f"{path}: {problem}") from None
    if isinstance(held, list):
        return _objects(held, [f"entry {number + 1}" for number in range(len(held))], path)
    if isinstance(held, dict) and held and all(isinstance(value, dict) for value in held.values()):
        rows = [{**value, **({} if "id" in value else {"id": name})} for name, value in held.items()]
        return rows, [f"entry {name!r}" for name in held]
    return None


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(text: str, path: Path) -> tuple[list[dict], list[str]]:
    held, places = [], []
    # By line ends alone: a text may hold what str.splitlines takes for one.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            held.append(_value(line))
        except json.JSONDecodeError as problem:
            raise _no_json(path, number, problem.msg) from None
        except ValueError as problem:
            raise UserError(f"{path}, line {number}: {problem}") from None
        places.append(f"line {number}")
    return _objects(held, places, path)


def _no_json(path: Path, line: int, said: str) -> UserError:
    return UserError(f"{path}, line {line}: is no JSON ({said}); write one object a line, or one array of objects")


def _objects(held: list, places: list[str], path: Path) -> tuple[list[dict], list[str]]:
    for value, place in zip(held, places, strict=True):
        if not isinstance(value, dict):
            raise UserError(f"{path}, {place}: is no object of names and values; write one for each utterance")
    return held, places


def _value(text: str) -> object:
    """A value; refused are a name that occurs twice in one object, since one would be lost, and what is no Unicode."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("is nested too deeply for a list of utterances") from None


def _object(pairs: list[tuple[str, object]]) -> dict:
    held = dict(pairs)
    if len(held) < len(pairs):
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError(f"{first(map(repr, twice))} occurs more than once in one object; keep one of them")
    for text in (*held, *held.values()):
        if isinstance(text, str) and not is_unicode(text):
            raise ValueError(f"{text!a} holds half of a character; write it whole")
    return held
