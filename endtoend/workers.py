"""Processes that decode audio: how many the shared memory has room for, and what a dead one is told as."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emoprobe.errors import UserError

#: Where torch's processes hand batches to each other on Linux. Docker gives it 64 MB.
SHARED_MEMORY = Path("/dev/shm")

# Batches that each process makes ahead (torch's default).
_AHEAD = 2
_MIB = 2**20


def free_shared_memory() -> float:
    """Bytes that processes can share; infinite where the system names no limit."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else float("inf")


def fitting_workers(asked: int, *, batch_bytes: int, accumulate: int, free: float) -> tuple[int, str]:
    """How many of the processes asked for have room, and a note where not all have.

    Parameters
    ----------
    asked : int
    batch_bytes : int
        The largest batch.
    accumulate : int
        Batches of a step, which are held together.
    free : float
        Bytes of shared memory.

    Returns
    -------
    workers : int
    note : str
        "" where there is room.
    """

    def need(workers: int) -> int:
        # What is made ahead, what the step in work holds, and one fetched before it is asked for.
        return (_AHEAD * workers + accumulate + 1) * batch_bytes if workers else 0

    workers = next(count for count in range(asked, -1, -1) if need(count) <= free)
    if workers == asked:
        return asked, ""
    return workers, (
        f"{SHARED_MEMORY} has {free / _MIB:.0f} MiB free, and {asked} processes that decode need "
        f"{need(asked) / _MIB:.0f} MiB: training goes on with {workers or 'none'} of them (for more, "
        f"docker run --shm-size={_gib(need(asked))}g, or a smaller --batch)"
    )


def _gib(size: int) -> int:
    return max(1, -(-2 * size // 2**30))


def local_processes() -> int:
    """Trainings on this machine that share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def told_of_dead_workers() -> Iterator[None]:
    """Turn the death of a process that decodes into what to do about it.

    Raises
    ------
    UserError
        If one was killed, had no shared memory left, or raised a UserError itself.
    """
    try:
        yield
    except UserError as error:
        if "Original Traceback" not in str(error):
            raise
        # Raised in a process that decodes, and wrapped in its traceback.
        raise UserError(_last_line(error).removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")) from error
    except RuntimeError as error:
        said = str(error)
        full = "shared memory" in said
        if not full and (said.startswith("Caught ") or "DataLoader worker" not in said):
            raise
        raise UserError(
            f"a process that decodes audio {'could not hand it over' if full else 'has died'} ({_last_line(error)}): "
            f"{SHARED_MEMORY} is full, or memory ran out; what was finished is kept: run the same command again with "
            "fewer --workers (0 decodes in the training itself)"
        ) from error


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rstrip(".")
