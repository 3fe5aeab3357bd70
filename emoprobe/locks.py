"""Let one process at a time write a file, on file systems that have no locks as well.

Where the system has locks, the kernel frees one when its holder dies. Where it has none (some network file systems), a
file beside says who writes; it is taken over when its process is known to be gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .processes import here, is_alive

#: What a system says that has no locks here: flock(2) of NFS without a lock daemon, of FUSE, of Lustre.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})
_PAUSE = 0.05  # seconds between two looks at a lock that is waited for
_GLANCE = 0.2  # seconds for which a lock is waited for in any case: whoever looks if it is held holds it for less


#: Seconds for which a short change of a file by another process is waited for; it takes less than one.
PATIENCE = 60.0


class LockHeld(Exception):
    """Another process holds the lock; the message says which, as far as that is known."""


@contextlib.contextmanager
def hold_lock(path: Path, *, wait: float = 0) -> Iterator[None]:
    """Hold the lock `path`, an empty file that is there for as long as it is held; its folder must be there.

    Parameters
    ----------
    path : Path
        Named after what is written, such as ``states.h5.lock``. Where the system has no locks, ``states.h5.lock.owner``
        is there as well. A process that is killed leaves both, and the next holder removes them.
    wait : float
        Seconds to wait for another holder. Have an end to it: where the system has no locks, the mark of a process that
        died on another machine stays.

    Raises
    ------
    LockHeld
        If another process holds it, and goes on to.
    OSError
        If the file cannot be made.
    """
    owner, until = path.with_name(f"{path.name}.owner"), time.monotonic() + max(wait, _GLANCE)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            with _closed_on_error(descriptor):
                has_locks = _lock(descriptor)
                if has_locks and not _is_at(path, descriptor):
                    raise _Removed
                # A holder on a machine that has no locks for this file system has left its name.
                if has_locks:
                    _refuse_owner(owner)
                else:
                    _become_owner(owner)
            break
        except _Removed:
            continue
        except LockHeld:
            if time.monotonic() >= until:
                raise
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        # While it is held: whoever opened it before finds, once it is free, that it is not there any more.
        with contextlib.suppress(OSError):  # a folder that can no longer be written to keeps an empty file
            path.unlink()
        if not has_locks:
            owner.unlink(missing_ok=True)
        os.close(descriptor)  # which frees the lock


class _Removed(Exception):
    """The file was opened before the holder of then removed it: a lock on it keeps nobody out."""


@contextlib.contextmanager
def _closed_on_error(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one that `path` names now."""
    try:
        there, opened = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)


def _lock(descriptor: int) -> bool:
    """Take the system's lock; False where the system has none."""
    try:
        import fcntl
    except ImportError:  # no POSIX system
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise LockHeld("another process") from None
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _become_owner(owner: Path) -> None:
    while True:
        _refuse_owner(owner)
        try:
            descriptor = os.open(owner, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # marked by another process in this instant
            continue
        try:
            os.write(descriptor, f"{os.getpid()} {here()}\n".encode())
        finally:
            os.close(descriptor)
        return


def _refuse_owner(owner: Path) -> None:
    """Raise if a living process, or one that cannot be seen from here, has marked the lock; remove a dead mark."""
    try:
        mark = owner.read_bytes()
    except FileNotFoundError:
        return
    number, _, place = mark.decode(errors="replace").strip().partition(" ")
    if number.isdecimal() and place == here() and not is_alive(int(number)):
        aside = owner.with_name(f"{owner.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            owner.replace(aside)
            if aside.read_bytes() != mark:  # and has marked it since: that is its own
                aside.replace(owner)
                raise LockHeld("another process")
            aside.unlink()
        return
    who = f"process {number} on {place.split(' ')[0]}" if number.isdecimal() and place else "another process"
    raise LockHeld(
        f"{who} (this file system has no locks, and {owner} says so; where that process has ended, remove that file)"
    )
