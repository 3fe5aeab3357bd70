"""The one error that a user can cause, and how a command tells it."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


class UserError(ValueError):
    """Something the user can mend: the message names the file or option, and the remedy.

    Commands print it as one line and exit with status 2; in Python it is an ordinary ``ValueError``.
    """


class Note(UserWarning):
    """Something the user should know and need not mend: a command prints it as a line that begins with ``note:``."""


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
        with _notes_as_lines():
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


@contextmanager
def _notes_as_lines() -> Iterator[None]:
    """Show each :class:`Note` as a line, and other warnings as before."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, Note):
                print(f"note: {message}", file=sys.stderr)
            else:
                before(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        warnings.simplefilter("default", Note)
        yield
