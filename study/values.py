"""A value of TOML as the type of a setting, and the way back."""

from __future__ import annotations

import json
import math
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

_WORDS = {str: "a text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def fitted(value: Any, hint: Any) -> Any:
    """The value as a setting of that type holds it.

    Parameters
    ----------
    value : object
        As TOML gives it.
    hint : type
        ``str``, ``int``, ``float``, ``bool``, tuples of these, and their unions with None.

    Raises
    ------
    ValueError
        Saying in words what it must be.

    Examples
    --------
    >>> fitted(["ridge"], tuple[str, ...]), fitted(3, float | None)
    (('ridge',), 3.0)
    """
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        # Of several single types the first says what it must be.
        hint = next((kind for kind in kinds[1:] if isinstance(value, kind) and not isinstance(value, bool)), kinds[0])
    if get_origin(hint) is tuple:
        kind = get_args(hint)[0]
        if isinstance(value, list):
            return tuple(_single(one, kind, f"a list of which each is {_WORDS[kind]}") for one in value)
        return (_single(value, kind, f"a list of which each is {_WORDS[kind]}"),)
    return _single(value, hint, _WORDS[hint])


def _single(value: Any, kind: type, wanted: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(wanted)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(wanted)
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"{wanted}, on one line and without characters that cannot be shown")
    return value


def as_toml(value: Any) -> str:
    """A value as TOML has it; None, which TOML cannot say, is an empty text.

    Examples
    --------
    >>> print(as_toml(("a", "b")), as_toml(5e-05), as_toml(True))
    ["a", "b"] 5e-05 true
    """
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value or "", ensure_ascii=False).replace("\x7f", "\\u007f")
