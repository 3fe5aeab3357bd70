"""How freed memory is kept for what comes next, while a CPU computes with large arrays."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Numbers of glibc's settings (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8

#: While memory is kept: one heap for all threads (others end at 64 MiB), no array outside it, and nothing given back.
_KEEPING = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1))

#: Afterwards: what glibc comes to by itself in a process that has freed large arrays.
_USUAL = ((_ARENA_MAX, 0), (_MMAP_MAX, 65536), (_MMAP_THRESHOLD, 2**25), (_TRIM_THRESHOLD, 2**26))

_lock, _users = threading.Lock(), 0


@contextmanager
def keeping_memory(device: str = "cpu") -> Iterator[bool]:
    """Let this process keep the memory that it frees, and give it back at the end.

    By default glibc asks the system for each large array anew and gives it back at once. A model on a CPU makes
    hundreds of them in every pass, and each of their pages is then zeroed by the system and faulted in. Meanwhile the
    process holds as much as it has held at most, and somewhat more where lengths vary. It is best asked for before any
    thread begins: a thread may take a heap that an earlier one has left, which gives large arrays back as ever.

    Parameters
    ----------
    device : str
        What computes, such as ``"cuda"``; nothing is done for another than the CPU.

    Yields
    ------
    bool
        Whether memory is kept: not where the C library is another one, nor where the user has set its allocator by the
        environment (``MALLOC_ARENA_MAX`` and its kin, ``GLIBC_TUNABLES``, ``LD_PRELOAD``).
    """
    global _users  # noqa: PLW0603 - it is a setting of the process, whoever asks for it
    library = _glibc() if device == "cpu" else None
    if library is None:
        yield False
        return
    with _lock:
        _users += 1
        _set(library, _KEEPING)
    try:
        yield True
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _set(library, _USUAL)
                library.malloc_trim(0)  # what is free in the middle of the heap too


def _set(library: ctypes.CDLL, settings: tuple[tuple[int, int], ...]) -> None:
    for setting, value in settings:
        library.mallopt(setting, value)


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc as it comes."""
    if any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ):
        return None
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") else None
    except (ValueError, OSError):  # another C library knows no such name
        return None
    return ctypes.CDLL(None) if version and version.startswith("glibc") else None
