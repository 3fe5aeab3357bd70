"""Whether the disk has room for a cache, asked before anything is computed or copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from emoprobe.errors import UserError

from .layout import told_size


def check_room(out: Path, size: int, told: str, *, say: Callable[[str], None], or_else: str = "") -> None:
    """Tell what a cache will hold and what the disk has, and refuse one that it has no room for.

    Parameters
    ----------
    out : Path
        The cache.
    size : int
        Its bytes.
    told : str
        What it will hold, for a person.
    say : callable
        Told it.
    or_else : str
        What else there is to do about a full disk.

    Raises
    ------
    UserError
    """
    existing = out.parent
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    say(f"{told}; the disk has {told_size(free)} free")
    if size > free:
        raise UserError(
            f"{out}: the cache needs {told_size(size)} and the disk has {told_size(free)}: free "
            f"{told_size(size - free)}, {'or ' * (not or_else)}give another place with --out{or_else}"
        )
