"""The folder for what is converted once; apart, so that listing the packaged models needs no torch."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Folder for what is made once and can be made again: what EMOPROBE_HOME names, or ``~/.cache/emoprobe``."""
    named = os.environ.get("EMOPROBE_HOME")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "emoprobe"
