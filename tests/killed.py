"""Run `probe-extract` in a process that can be killed, at a moment or in the middle of a write."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path

# Each run starts from a process that has imported everything and computed nothing: quick to start, safe to kill.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["emoprobe.extract.extraction", "transformers.models.hubert.modeling_hubert", "hdf5plugin", "tests.killed"]
)


def _run(arguments: list[str], die_at: int | None, file_limit: int | None, errors: Path | None) -> None:
    from emoprobe.cli.extract import main

    if errors is not None:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    if die_at is not None:
        write, count = os.pwrite, 0

        def write_and_die(fd: int, data: memoryview, offset: int) -> int:
            nonlocal count
            count += 1
            if count == die_at:
                write(fd, data[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return write(fd, data, offset)

        os.pwrite = write_and_die
    os._exit(main(arguments))


def start(
    arguments: list[str], *, die_at: int | None = None, file_limit: int | None = None, errors: Path | None = None
):
    """Start the command; `die_at` kills it half-way through its write of that number, `file_limit` is in bytes."""
    process = _processes.Process(target=_run, args=(arguments, die_at, file_limit, errors))
    process.start()
    return process


def finish(arguments: list[str], **options: int | Path) -> int:
    """The same, waited for; returns the exit status, or minus the signal."""
    process = start(arguments, **options)
    process.join()
    return process.exitcode
