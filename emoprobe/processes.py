"""Which process this is, and whether one that left its number behind still lives."""

from __future__ import annotations

import os
import socket


def here() -> str:
    """The machine, or the container on it, where we are: where a process number means the same process."""
    try:
        processes = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path, a name
    except OSError:
        processes = "-"
    return f"{socket.gethostname()} {processes}"


def is_alive(process: int) -> bool:
    """Whether a process of this number runs :func:`here`."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # none has a number beyond those of the system
        return False
    except PermissionError:  # somebody else's
        return True
    return True
