"""How freed memory is kept for what comes next, where a CPU computes with large arrays."""

from __future__ import annotations

import ctypes
import os
from functools import cache

#: Numbers of glibc's settings (malloc.h), and what they are set to.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_MOST_KEPT = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, up to 2 GiB at the end of its heap.

    By default glibc asks the system for each large array anew and gives it back at once. A model on a CPU makes
    hundreds of them in every pass, and each of their pages is then zeroed by the system and faulted in. One heap for
    all threads is needed too: those of glibc's other heaps end at 64 MiB.

    Returns
    -------
    bool
        Whether it was set: not where the C library is another one, nor where the user has set its allocator by the
        environment (``MALLOC_ARENA_MAX`` and its kin, ``GLIBC_TUNABLES``, ``LD_PRELOAD``).
    """
    own = [name for name in os.environ if name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD")]
    if own or not hasattr(os, "confstr") or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _MOST_KEPT))
    return all(mallopt(setting, value) == 1 for setting, value in wanted)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # another C library knows no such name
        return False
