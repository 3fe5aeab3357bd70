"""Work shared out among processes of this machine, where there is enough of it to pay for starting them.

Whoever shares work out says how many processes may run; each computes with one thread, and so does this one
meanwhile. A piece of work comes out the same, bit for bit, wherever it is done.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from emoprobe.errors import UserError

T = TypeVar("T")
U = TypeVar("U")

#: Seconds of work from which on processes are started: each needs about two.
WORTH = 4.0

#: prctl(2): the signal that a process is sent when its parent ends.
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """How many processes share the work of a command; no number depends on it.

    Attributes
    ----------
    workers : int or None
        None for one for each processor.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: give the number of processes, 1 or more")


def processors() -> int:
    """How many processors this process may use: affinity and the limits of a container are heeded."""
    from joblib import cpu_count

    return int(cpu_count())


def shared_out(
    work: Callable[[T], U], items: Sequence[T], *, workers: int | None = None, pays: bool | None = None
) -> Iterator[U]:
    """Do a piece of work for each item, several at once where that pays.

    Parameters
    ----------
    work : callable
        It is sent to other processes, and so are the items.
    items : sequence
    workers : int, optional
        Processes; one for each processor by default. With 1 all is done here, with as many threads as the libraries
        take.
    pays : bool, optional
        Whether it pays to start processes. By default the first piece is done here, and by the time that it took the
        rest is judged.

    Yields
    ------
    object
        What came of each item, in their order.

    Raises
    ------
    UserError
        If `work` does, or a process is killed.
    """
    workers = min(processors() if workers is None else workers, len(items))
    if workers <= 1:
        yield from map(work, items)
        return
    if pays is None:
        begun = time.monotonic()
        yield _by_one_thread(work, items[0])
        items = items[1:]
        pays = (time.monotonic() - begun) * len(items) >= WORTH
    if pays:
        yield from _by_processes(work, items, workers)
        return
    for item in items:
        yield _by_one_thread(work, item)


def _by_one_thread(work: Callable[[T], U], item: T) -> U:
    """Here, as a process would."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return work(item)


def _by_processes(work: Callable[[T], U], items: Sequence[T], workers: int) -> Iterator[U]:
    """By joblib's processes, which stay for what comes next."""
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with parallel_config(backend="loky", inner_max_num_threads=1, initializer=_subordinate):
        pool = Parallel(n_jobs=workers, return_as="generator", batch_size=1, pre_dispatch="all", max_nbytes=None)
    try:
        with warnings.catch_warnings():
            # Said of every process that has grown, ended itself between two pieces of work, and was replaced.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
            yield from pool(delayed(work)(item) for item in items)
    except TerminatedWorkerError as error:
        raise UserError(
            "a process that computes has died, perhaps for want of memory: run the same command again with fewer "
            "--workers; what was finished is kept"
        ) from error


def _subordinate() -> None:
    """Leave Ctrl-C, which reaches the whole group, to the parent; and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
