"""The one error that a user can cause, and how a command tells it and ends."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TextIO


class UserError(ValueError):
    """Something the user can mend: the message names the file or option, and the remedy.

    Commands print it as one line and exit with status 2; in Python it is an ordinary ``ValueError``.
    """


class Note(UserWarning):
    """Something the user should know and need not mend: a command prints it as a line that begins with ``note:``."""


class _Terminated(BaseException):
    """The system asks the command to end, as a cluster does whose time is over; no handler of errors may hold it up."""


#: Of a shell, after the signals SIGINT, SIGPIPE and SIGTERM.
_INTERRUPTED, _PIPE_CLOSED, _TERMINATED = 130, 141, 143

_KEPT = "what was finished is kept; run the same command again to go on"

_DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Writers in Rust and C++ pass on a text alone; those of torch do not even say why (they write, and find less there).
_SAYS_DISK_IS_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large")
_SAYS_WRITE_FAILED = re.compile(
    r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|basic_ios::clear: iostream error"
)


def reason(error: BaseException) -> str:
    """All that an exception says, on one line."""
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__


def is_full_disk(error: BaseException) -> bool:
    """Whether an error is that of a write for which there was no room, or may be, whichever library wrote."""
    if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
        return True
    return any(pattern.search(str(error)) for pattern in (_SAYS_DISK_IS_FULL, _SAYS_WRITE_FAILED))


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
        The status of `command`; 2 after a :class:`UserError`, when the system refused a file or the disk is full; 130
        when interrupted from the keyboard, 143 when terminated, 141 when nobody reads standard output any more.
    """
    try:
        with _raising_at_sigterm(), _notes_as_lines():
            status = command()
            sys.stdout.flush()
            return status
    except BrokenPipeError:
        _give_up_output()
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        return _tell(f"interrupted: {_KEPT}", _INTERRUPTED)
    except _Terminated:
        return _tell(f"terminated: {_KEPT}", _TERMINATED)
    except UserError as error:
        return _tell(f"error: {error}", 2)
    except UnicodeEncodeError as error:
        # Names that are no UTF-8 reach Python as lone surrogates; any other text can be written.
        if not any("\ud800" <= letter <= "\udfff" for letter in error.object):
            raise
        return _tell(
            f"error: {error.object[:200]!a} holds bytes that are no UTF-8, and cannot be written; rename the file "
            "or folder (mv)",
            2,
        )
    except Exception as error:
        if is_full_disk(error):
            return _tell(f"error: {_full_disk(error)}", 2)
        if isinstance(error, OSError):
            return _tell(f"error: {error}", 2)
        raise


def _tell(line: str, status: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(plain(line), file=sys.stderr)
    return status


def _full_disk(error: Exception) -> str:
    if _SAYS_WRITE_FAILED.search(str(error)):
        return f"a file could not be written to its end ({reason(error)}), as on a full disk: free some space; {_KEPT}"
    name = getattr(error, "filename", None)
    return f"no space left on the disk{f' for {name}' if name else ''} ({reason(error)}): free some; {_KEPT}"


def _give_up_output() -> None:
    """Say that standard output is closed, and keep Python from writing the rest of it at its end."""
    _tell(f"stopped, since nobody reads the output any more (a closed pipe): {_KEPT}", _PIPE_CLOSED)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def _raising_at_sigterm() -> Iterator[None]:
    """Unwind at the first SIGTERM, so that locks and temporary files go; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # only that one can be told
        yield
        return

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
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
                print(f"note: {plain(str(message))}", file=sys.stderr)
            else:
                before(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        warnings.simplefilter("default", Note)
        yield
