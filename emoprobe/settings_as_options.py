"""A setting as an option of a command: what the option is called, and the words that give it.

A command adds its options from the fields of a dataclass (:func:`.cli.command.add_setting`). Here is the way back: from
settings to the command line that has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

_OPTION, _NOTHING, _FORMER = "option", "nothing", "former"


def called(option: str, *, nothing: str = "", former: str = "") -> dict[str, str]:
    """Metadata of a field whose option is not named as the field, or has a word for no value at all.

    Parameters
    ----------
    option : str
        Without the dashes before it.
    nothing : str
        The word that stands for an empty list.
    former : str
        What the option was called in an earlier version, and is still known by.
    """
    return {_OPTION: option, _NOTHING: nothing, _FORMER: former}


def option_of(field: Field) -> str:
    """What a field's option is called, without the dashes before it."""
    return field.metadata.get(_OPTION, field.name).replace("_", "-")


def former_option_of(field: Field) -> str:
    """What the option was called in an earlier version, without the dashes before it; empty where it has one name."""
    return field.metadata.get(_FORMER, "").replace("_", "-")


def fields_by_option(settings: type, *, former: bool = False) -> dict[str, Field]:
    """The fields of a dataclass by the names of their options, with ``_`` for ``-``; by `former` names, too."""
    earlier = {former_option_of(field): field for field in fields(settings) if former and former_option_of(field)}
    named = {**earlier, **{option_of(field): field for field in fields(settings)}}
    return {name.replace("-", "_"): field for name, field in named.items()}


def words_of(settings: type, values: Mapping[str, Any]) -> list[str]:
    """The words of a command line that give these values; nothing for a value that is the default.

    Parameters
    ----------
    settings : type
        A dataclass whose options :func:`.cli.command.add_setting` adds.
    values : mapping
        By the name of a field.

    Examples
    --------
    >>> from emoprobe.probe.settings import FitSettings
    >>> words_of(FitSettings, {"seeds": 5, "mdl": False, "penalties": (1.0, 10.0), "folds": 5})
    ['--seeds', '5', '--penalties', '1.0', '10.0', '--no-mdl']
    """
    hints, words = get_type_hints(settings), []
    for field in fields(settings):
        value = values.get(field.name, field.default)
        if value == field.default or value is None:
            continue
        option = option_of(field)
        if isinstance(value, bool) and (isinstance(field.default, bool) or set(get_args(hints[field.name])) == _SWITCH):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            given = tuple(value) if isinstance(value, tuple | list) else (value,)
            words += [f"--{option}", *map(str, given or (field.metadata.get(_NOTHING),))]
    return words


_SWITCH = {bool, NoneType}
