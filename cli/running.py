"""How a command runs and ends: exit status, what an error is told as, notes, signals, a closed pipe."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import TextIO

from emoprobe.errors import SAYS_WRITE_FAILED, Note, UserError, is_full_disk, plain, reason


class _Terminated(BaseException):
    """The system asks the command to end, as a cluster does whose time is over; no handler of errors may hold it up."""


#: Of a shell, after the signals SIGINT, SIGPIPE and SIGTERM.
_INTERRUPTED, _PIPE_CLOSED, _TERMINATED = 130, 141, 143

_KEPT = "what was finished is kept; run the same command again to go on"


def run_command(command: Callable[[], int], *, verbose: bool = False) -> int:
    """Run the body of a command; tell what its user can mend without a traceback.

    Parameters
    ----------
    command : callable
        Takes nothing and returns the exit status.
    verbose : bool
        Print what the libraries log, the place of an error, and at the end time and memory.

    Returns
    -------
    int
        The status of `command`; 2 after a :class:`UserError`, when the system refused a file or the disk is full; 130
        when interrupted from the keyboard, 143 when terminated, 141 when nobody reads standard output any more.
    """
    try:
        with _raising_at_sigterm(), _notes_as_lines(), _in_detail() if verbose else contextlib.nullcontext():
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
    except Exception as error:
        told = _in_words(error)
        if told is None:
            raise
        if verbose:
            traceback.print_exc()
        return _tell(f"error: {told}", 2)


@contextlib.contextmanager
def _in_detail() -> Iterator[None]:
    """Print what the libraries log, and at the end time and memory."""
    began, root = time.monotonic(), logging.getLogger()
    handler, level = logging.StreamHandler(), root.level
    handler.setFormatter(logging.Formatter("log: %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        _tell(f"took {time.monotonic() - began:.1f} s and at most {most / 1e6:,.0f} MB of memory", 0)


def _in_words(error: Exception) -> str | None:
    """What a user is told of an error; None of one that nobody can mend by the command's options."""
    if isinstance(error, UserError):
        return plain(str(error))
    if isinstance(error, UnicodeEncodeError):
        # Names that are no UTF-8 reach Python as lone surrogates; any other text can be written.
        surrogates = any("\ud800" <= letter <= "\udfff" for letter in error.object)
        said = f"{error.object[:200]!a} holds bytes that are no UTF-8, and cannot be written; rename the file or folder"
        return f"{said} (mv)" if surrogates else None
    if is_full_disk(error):
        return plain(_full_disk(error))
    return plain(str(error)) if isinstance(error, OSError) else None


def _tell(line: str, status: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr)
    return status


def _full_disk(error: Exception) -> str:
    if SAYS_WRITE_FAILED.search(str(error)):
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

    def end(*_: object) -> None:
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
