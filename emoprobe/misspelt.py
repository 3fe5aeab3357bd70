"""What a user may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: Most names that are listed where none is near.
_MOST = 30


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
    """What to say of a name that is not known: the one that was meant, or all that there are.

    Examples
    --------
    >>> meant("ridg", ["ridge", "mlp"])
    'did you mean ridge?'
    >>> meant("tree", ["ridge", "mlp"])
    'there are ridge, mlp'
    """
    known = list(known)
    near = nearest(name, known, cutoff=0.6)
    if near is not None:
        return f"did you mean {near}?"
    rest = f" and {len(known) - _MOST} more" if len(known) > _MOST else ""
    return f"there {'are' if len(known) > 1 else 'is'} {', '.join(known[:_MOST])}{rest}"


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")
