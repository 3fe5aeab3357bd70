"""Run a command that keeps a journal in a process that can be killed, at a moment or in the middle of a line."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import time

# Each run starts from a process that has imported everything and computed nothing: quick to start, safe to kill.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        "emoprobe.endtoend.prediction",
        "emoprobe.transcribe.transcription",
        "transformers.models.hubert.modeling_hubert",
        "tests.killed_journal",
    ]
)


def _run(module: str, arguments: list[str], die_at: int | None) -> None:
    from emoprobe.extract.journal import Journal

    if die_at is not None:
        append, count = Journal.append, 0

        def append_and_die(journal: Journal, results: dict) -> None:
            nonlocal count
            count += 1
            before = journal.path.stat().st_size
            append(journal, results)
            if count == die_at:
                os.truncate(journal.path, (before + journal.path.stat().st_size) // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        Journal.append = append_and_die
    os._exit(importlib.import_module(module).main(arguments))


def finish(module: str, arguments: list[str], *, die_at: int | None = None, after: float | None = None) -> int:
    """Run ``main(arguments)`` of a module; returns the exit status, or minus the signal.

    `die_at` kills it with half of its batch of that number in the journal, `after` when so many seconds have passed.
    """
    process = _processes.Process(target=_run, args=(module, arguments, die_at))
    process.start()
    if after is not None:
        time.sleep(after)
        process.kill()
    process.join()
    return process.exitcode
