"""Processes that share the work of making speech."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from emoprobe.errors import UserError


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes, which share nothing with this one: eSpeak NG keeps a state of its own.

    Parameters
    ----------
    count : int

    Raises
    ------
    UserError
        If one of them is killed.
    """
    spawn = multiprocessing.get_context("spawn")
    # Ctrl-C reaches the whole group: this process answers for the others.
    pool = ProcessPoolExecutor(count, spawn, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            "a process that makes speech has died, perhaps for want of memory: run the same command again; what was "
            "finished is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
