"""From a file of settings to a programme; what is wrong is told with its line and its key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

from emoprobe.errors import UserError, reason
from emoprobe.misspelt import nearest
from emoprobe.settings_as_options import fields_by_option, option_of

from .settings import Programme, StudySettings
from .tables import TABLES
from .values import fitted

_TABLE = re.compile(r"\s*\[([^\[\]]+)\]")
_KEY = re.compile(r"""\s*(["']?)([\w-]+)\1\s*=""")
_LARGEST = 1_000_000  # bytes; no person writes that many settings

#: Told a table ("" for the top of the file) and a key, says where that stands.
Place = Callable[[str, str], str]


def read_programme(path: str | Path) -> Programme:
    """The programme that a file of settings describes.

    Parameters
    ----------
    path : path-like
        TOML, as ``emoprobe study --init`` writes it. What it does not say has its default.

    Raises
    ------
    UserError
        Naming file, line and key: of what is no TOML, no setting, or none of its values.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, and its name that of a file of settings: give a corpus as {path}/.")
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes and is no file of settings; name another")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or reason(error)}); emoprobe study {path} --init writes one"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: is not written in UTF-8; save it so") from error
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(
            f"{path} is no TOML: {reason(error)}; texts are in quotes, lists in [ ], and each key stands once"
        ) from error
    lines = _lines(text)

    def place(table: str, key: str) -> str:
        number = lines.get((table, key)) or lines.get((table, ""))
        return f"{path}, line {number}" if number else str(path)

    return programme_of(values, place)


def programme_of(values: Mapping[str, Any], place: Place, *, base: Programme | None = None) -> Programme:
    """A programme of values as TOML gives them.

    Parameters
    ----------
    values : mapping
        Settings by name, and tables of options by the table's name.
    place : callable
        Says where a key stands.
    base : Programme, optional
        What they change; the defaults if left out.

    Raises
    ------
    UserError
        Naming place and key.
    """
    base = base or Programme()
    hints = get_type_hints(StudySettings)
    keys, options = {field.name for field in fields(StudySettings)}, fields_by_option(StudySettings)
    defaults = {field.name: field.default for field in fields(StudySettings)}
    changes: dict[str, Any] = {}
    tables = {name: dict(table) for name, table in base.tables.items()}
    for key, value in values.items():
        if key in TABLES:
            if not isinstance(value, dict):
                raise UserError(f"{place('', key)}: {key} is a table: write [{key}], and its options below it")
            tables[key] = {**tables.get(key, {}), **_options(key, value, place)}
        elif key not in keys:
            of_table = [name for name, table in TABLES.items() if key.replace("-", "_") in table.fields()]
            hint = f"; it stands in the table [{of_table[0]}]" if of_table else _meant(key, [*keys, *TABLES])
            hint = f": did you mean {options[key].name!r}?" if key in options else hint
            raise UserError(f"{place('', key)}: there is no setting {key!r}{hint}")
        elif value == "" and defaults[key] is None:
            changes[key] = None
        else:
            changes[key] = _typed(key, value, hints[key], place("", key))
            _made(StudySettings, {key: changes[key]}, place("", key), only=key)
    settings = _made(StudySettings, {**asdict(base.settings), **changes}, place("", ""))
    for name, table in tables.items():
        _check_together(name, table, place(name, ""))
    return Programme(settings, {name: table for name, table in tables.items() if table})


def _options(name: str, values: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The fields that a table of options sets."""
    table = TABLES[name]
    changes: dict[str, Any] = {}
    known = table.fields(former=True)
    for key, value in values.items():
        where = place(name, key)
        option = key.replace("-", "_")
        if option not in known:
            named = {field.name: option_of(field) for kind in table.settings for field in fields(kind)}
            hint = f": did you mean {named[option]!r}?" if option in named else _meant(option, table.fields())
            hint = "; the study sets that itself" if option in table.not_here else hint
            raise UserError(f"{where}: [{name}] has no option {key!r}{hint}")
        kind, field = known[option]
        if value == "" and field.default is None:
            changes[field.name] = None
            continue
        changes[field.name] = _typed(key, value, table.hint(option), where)
        _made(kind, {field.name: changes[field.name], **_companions(field.name)}, where)
    return changes


def _companions(field: str) -> dict[str, Any]:
    """Without which a field is refused for a reason that is not in the table."""
    return {"dimensions": ("emotion",)} if field == "classes" else {}


def _check_together(name: str, values: Mapping[str, Any], where: str) -> None:
    for kind in TABLES[name].settings:
        names = {field.name for field in fields(kind)}
        own = {key: value for key, value in values.items() if key in names}
        more = [_companions(key) for key in own]
        _made(kind, {**own, **{key: value for one in more for key, value in one.items()}}, f"{where}, [{name}]")


def _typed(key: str, value: Any, hint: Any, where: str) -> Any:
    try:
        return fitted(value, hint)
    except ValueError as wanted:
        shown = ascii(value)
        shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
        raise UserError(f"{where}: {key!r} must be {wanted}, and is {shown}") from None


def _made(kind: type, values: Mapping[str, Any], where: str, *, only: str = "") -> Any:
    """The settings, or what is wrong with them, told with the place."""
    # A key alone is checked against usual settings: what only others of the file make wrong is told of the whole.
    usual = {"categories": True, "dimensions": ("arousal",)} if only else {}
    try:
        return kind(**{**{key: value for key, value in usual.items() if key != only}, **values})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _meant(given: str, known: Iterable[str]) -> str:
    near = nearest(given, known, cutoff=0.6)
    return f": did you mean {near!r}?" if near else f": there are {', '.join(sorted(known))}"


def _lines(text: str) -> dict[tuple[str, str], int]:
    """The line of each table, under the key "", and of each of its keys."""
    table = ""
    lines: dict[tuple[str, str], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.match(line):
            table = header[1].strip().strip("\"'")
            lines.setdefault((table, ""), number)
            lines.setdefault(("", table), number)
        elif key := _KEY.match(line):
            lines.setdefault((table, key[2]), number)
    return lines
