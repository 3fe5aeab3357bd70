"""What a user may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: Most names that are listed where none is near, and beside one that is.
_MOST, _FEW = 30, 5


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.75) -> str | None:
    """The known name that is nearly this one, whatever its case and its ``-`` or ``_``; None where there is none.

    Examples
    --------
    >>> nearest("Arousel", ["arousal", "valence"]), nearest("joy", ["arousal", "valence"])
    ('arousal', None)
    """
    plain = {_folded(each): each for each in known}
    close = get_close_matches(_folded(name), plain, n=1, cutoff=cutoff)
    return plain[close[0]] if close else None


def meant(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the one that was meant, and all that there are, where they are few.

    Examples
    --------
    >>> meant("ridg", ["ridge", "mlp"])
    'did you mean ridge? There are ridge, mlp'
    >>> meant("tree", ["ridge", "mlp"])
    'there are ridge, mlp'
    """
    known = list(known)
    rest = f" and {len(known) - _MOST} more" if len(known) > _MOST else ""
    there = f"here {'are' if len(known) > 1 else 'is'} {', '.join(known[:_MOST])}{rest}"
    near = nearest(name, known, cutoff=0.6)
    if near is None:
        return f"t{there}"
    return f"did you mean {near}?" + (f" T{there}" if len(known) <= _FEW else "")


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")
