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
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except UnicodeEncodeError as error:
        # Names that are no UTF-8 reach Python as lone surrogates; any other text can be written.
        if not any("\ud800" <= letter <= "\udfff" for letter in error.object):
            raise
        print(
            f"error: {error.object[:200]!a} holds bytes that are no UTF-8, and cannot be written; rename the file "
            "or folder (mv)",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; run the same command again to go on", file=sys.stderr)
        return 130
