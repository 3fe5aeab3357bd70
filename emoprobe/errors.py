"""The one error that a user can cause, notes, and how either reads on a terminal."""

from __future__ import annotations

import errno
import re


class UserError(ValueError):
    """Something the user can mend: the message names the file or option, and the remedy.

    Commands print it as one line and exit with status 2; in Python it is an ordinary ``ValueError``.
    """


class Note(UserWarning):
    """Something the user should know and need not mend: a command prints it as a line that begins with ``note:``."""


_DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Writers in Rust and C++ pass on a text alone; those of torch do not even say why (they write, and find less there).
_SAYS_DISK_IS_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large")
SAYS_WRITE_FAILED = re.compile(
    r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|basic_ios::clear: iostream error"
)


def reason(error: BaseException) -> str:
    """All that an exception says, on one line."""
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__


def is_full_disk(error: BaseException) -> bool:
    """Whether an error is that of a write for which there was no room, or may be, whichever library wrote."""
    if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
        return True
    return any(pattern.search(str(error)) for pattern in (_SAYS_DISK_IS_FULL, SAYS_WRITE_FAILED))


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
