"""JSON as this package writes and reads it: strict, since NaN and infinity are no JSON and most readers refuse them."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(value: object, **options: Any) -> str:
    """Text of a value.

    Parameters
    ----------
    value : object
        What JSON can hold. A number that may be missing is None there: see :func:`null_for_nan`.
    **options
        Of :func:`json.dumps`, but `allow_nan`.

    Raises
    ------
    ValueError
        If it holds NaN or infinity.

    Examples
    --------
    >>> to_json({"ccc": None})
    '{"ccc": null}'
    """
    return json.dumps(value, allow_nan=False, **options)


def from_json(text: str | bytes) -> object:
    """Value of a text. NaN and infinity, which earlier versions wrote, are None, and so is a number beyond every float.

    Raises
    ------
    ValueError
        If it is no JSON, or nested deeper than any file that a person or a program means.

    Examples
    --------
    >>> from_json('{"ccc": NaN}')
    {'ccc': None}
    """
    try:
        return json.loads(text, parse_constant=lambda name: None, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def dict_from_json(text: str | bytes) -> dict[str, Any]:
    """The same of a text that holds names and values.

    Raises
    ------
    ValueError
        If it is no JSON, or holds anything else.

    Examples
    --------
    >>> dict_from_json('{"ccc": 0.5}')
    {'ccc': 0.5}
    """
    value = from_json(text)
    if not isinstance(value, dict):
        raise ValueError("it holds no table of names and values")
    return value


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def null_for_nan(value: object) -> object:
    """The same with None for every number that is not finite, in lists and dicts too.

    Examples
    --------
    >>> null_for_nan({"scores": [0.5, float("nan")]})
    {'scores': [0.5, None]}
    """
    if isinstance(value, dict):
        return {key: null_for_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [null_for_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
