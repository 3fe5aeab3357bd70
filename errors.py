"""The one error that a user can cause, and how a command tells it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Something the user can mend: the message names the file or option, and the remedy.

    Commands print it as one line and exit with status 2; in Python it is an ordinary ``ValueError``.
    """


def reason(error: BaseException) -> str:
    """All that an exception says, on one line."""
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__


#: Characters of a line that quotes what a file or an argument holds: of a longer one, begin and end.
_LONGEST, _BEGIN, _END = 2_000, 1_200, 700


def plain(text: str) -> str:
    r"""A text on one line that any terminal shows: white space is one space, what cannot be printed is ``\x0f``.

    Bytes of a file name that is not UTF-8 are written in the same way. Of a very long text the middle is left out.
    """
    text = re.sub(r"\s+", " ", text).strip().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    if len(text) > _LONGEST:
        return f"{text[:_BEGIN]} … ({len(text) - _BEGIN - _END:,} characters) … {text[-_END:]}"
    return text


def run_command(command: Callable[[], int]) -> int:
    """Run the body of a command; tell what its user can mend without a traceback.

    Parameters
    ----------
    command : callable
        Takes nothing and returns the exit status.

    Returns
    -------
    int
        The status of `command`; 2 after a :class:`UserError`, or when the system refused a file; 130 when
        interrupted from the keyboard.
    """
    try:
        return command()
    except (UserError, OSError) as error:
        print(f"error: {plain(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; run the same command again to go on", file=sys.stderr)
        return 130
