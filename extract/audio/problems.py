"""Why one file, or one part of it, cannot be used."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Iterator

from emoprobe.errors import UserError

STATUSES = (
    "missing",
    "unreadable",
    "empty",
    "truncated",
    "silent",
    "non-finite",
    "too short",
    "too long",
    "outside",
)


class AudioProblem(ValueError):
    """One file that cannot be used; the run lists it and goes on.

    Attributes
    ----------
    status : str
        One of :data:`STATUSES`.
    reason : str
        What was found, for a person.
    """

    def __init__(self, status: str, reason: str) -> None:
        if status not in STATUSES:
            raise ValueError(f"status {status!r} is none of {STATUSES}")
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason

    def __reduce__(self) -> tuple[type[AudioProblem], tuple[str, str]]:
        """As it is sent to another process: it is made anew of its status and reason."""
        return AudioProblem, (self.status, self.reason)


class BehindEnd(AudioProblem):
    """A part of a file that lies behind its end."""

    def __init__(self, reason: str) -> None:
        super().__init__("outside", reason)


def refuse_vanished(folder: str | os.PathLike) -> None:
    """Refuse to go on where a folder that held audio is no longer there, or holds nothing at all.

    Parameters
    ----------
    folder : path-like
        A path inside a shard is no folder that could vanish: its shard says what is wrong.

    Raises
    ------
    UserError
    """
    try:
        with os.scandir(os.fspath(folder) or os.curdir) as entries:
            why = "it is empty" if next(entries, None) is None else ""
    except (PermissionError, NotADirectoryError):  # its files can be read by name all the same
        return
    except OSError as problem:
        why = problem.strerror or str(problem)
    if why:
        raise UserError(
            f"{folder} is gone while its audio is read ({why}): bring it back (is its disk mounted?), then run the "
            "same command again; what was finished is kept"
        )


@contextlib.contextmanager
def told_as_problems() -> Iterator[None]:
    """Turn what the system says into a reason."""
    try:
        yield
    except AudioProblem:
        raise
    except (FileNotFoundError, NotADirectoryError) as problem:
        if problem.filename is not None and os.path.islink(problem.filename):  # noqa: PTH114 - path is text
            raise AudioProblem("missing", "a symbolic link that leads nowhere") from None
        raise AudioProblem("missing", f"no such file{_other_form(problem.filename)}") from None
    except PermissionError:
        raise AudioProblem("unreadable", "no permission to read the file") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise AudioProblem("unreadable", getattr(problem, "strerror", None) or str(problem)) from None


def _other_form(path: str | None) -> str:
    """Whether the file is there under the same name in another form of Unicode, as copies between systems leave it."""
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, path or "")
        if path and other != path and os.path.exists(other):  # noqa: PTH110 - path is text
            return f"; the disk has the name in another form of Unicode ({form}): rename the file, or write it so"
    return ""
