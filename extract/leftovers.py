"""What killed commands have left below a folder, as far as it is proven to be ours and of no use any more.

Three kinds. A file that was being written has a name that tells the machine and the process (:mod:`emoprobe.storage`):
it is a leftover once that process is gone. A lock is an empty file that nobody holds, beside a file or in a folder that
is ours. A journal keeps what was finished for a run that goes on: it is a leftover once its output stands there, as it
was written, and no study goes on from it. All else is let be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emoprobe.claims import is_claimed
from emoprobe.locks import LockHeld, hold_lock
from emoprobe.ownership import MARK
from emoprobe.storage import is_abandoned

from .journal import is_journal, is_written
from .layout import is_cache

_LOCK, _JOURNAL = ".lock", ".journal"


@dataclass(frozen=True)
class Leftover:
    """A file that can go.

    Attributes
    ----------
    path : Path
    reason : str
        What it is, and why nobody needs it.
    """

    path: Path
    reason: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.lstat().st_size

    def remove(self) -> None:
        """Remove it, unless somebody has taken it up again."""
        if self.path.name.endswith(_LOCK):
            try:
                with hold_lock(self.path):  # which removes it at its end
                    pass
            except LockHeld:
                return
        else:
            self.path.unlink(missing_ok=True)


def find_leftovers(folder: Path, *, journals: bool = False) -> Iterator[Leftover]:
    """Walk through a folder; links are not followed, and folders whose names begin with a dot are passed over.

    Parameters
    ----------
    folder : Path
    journals : bool
        Those of finished outputs too. Without its journal an output is no longer gone on with.

    Yields
    ------
    Leftover
        Each folder's in the order of their names.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not path.is_symlink() and path.is_file() and (reason := _why(path, journals=journals)):
                yield Leftover(path, reason)


def _why(path: Path, *, journals: bool) -> str:
    """Why a file is a leftover; empty where it is none, or nothing proves it."""
    if is_abandoned(path):
        return "was being written by a process that is gone"
    if path.name.endswith(_LOCK) and path.stat().st_size == 0 and _locks_ours(path) and not _is_held(path):
        return "a lock that nobody holds"
    if journals and path.name.endswith(_JOURNAL) and is_journal(path) and is_written(path) and not _is_of_study(path):
        return f"the journal of {path.name.removesuffix(_JOURNAL)}, which is finished"
    return ""


def _is_of_study(path: Path) -> bool:
    """Whether a study goes on from a file: it asks each of its commands again, and they look into their journals."""
    return any((folder / "study.json").is_file() for folder in path.absolute().parents[:2])


def _locks_ours(path: Path) -> bool:
    """Whether a lock is that of a file or folder which is ours."""
    if path.name == _LOCK:
        return is_claimed(path.parent) or (path.parent / MARK).is_file()
    locked = path.with_name(path.name.removesuffix(_LOCK))
    journal = locked.with_name(f"{locked.name}{_JOURNAL}")
    return (locked.is_file() and is_cache(locked)) or (journal.is_file() and is_journal(journal))


def _is_held(path: Path) -> bool:
    """Whether another process holds a lock, without taking or removing it."""
    try:
        import fcntl
    except ImportError:  # no POSIX system: nothing tells
        return True
    if path.with_name(f"{path.name}.owner").exists():  # of a file system without locks: its holder may be elsewhere
        return True
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
