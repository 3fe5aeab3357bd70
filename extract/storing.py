"""Write what is extracted while more is computed, and show how far it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from emoprobe.progress import progress_bar

from .pipeline import Extracted
from .writer import CacheWriter


class Progress:
    """A bar in hours of audio, with the speed as times real time."""

    def __init__(self, seconds: np.ndarray, todo: list[tuple[int, np.ndarray]], *, show: bool) -> None:
        # Whole numbers, so that the parts add up to the whole in whatever order.
        self._milliseconds = np.rint(np.asarray(seconds) * 1000).astype(np.int64)
        total = int(self._milliseconds.sum())
        self._bar = progress_bar(
            total=total,
            initial=total - sum(int(self._milliseconds[rows].sum()) for _, rows in todo),
            show=show,
            unit="h",
            unit_scale=1 / 3_600_000,
            bar_format="extracting {percentage:3.0f}%|{bar}| {n:.2f} of {total:.2f} h [{elapsed}<{remaining}{postfix}]",
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, rows: np.ndarray) -> None:
        """Count a batch that is on disk."""
        self._bar.update(int(self._milliseconds[rows].sum()))
        elapsed = self._bar.format_dict["elapsed"]
        if elapsed:
            speed = (self._bar.n - self._bar.initial) / 1000 / elapsed
            self._bar.set_postfix_str(f"{speed:.0f} x real time", refresh=False)


def store(extracted: Iterable[Callable[[], Extracted]], writer: CacheWriter, bar: Progress) -> None:
    """Fetch batches and write them in a thread of its own, one after the other, and mark them in another.

    The disk says late that it has something: meanwhile the next batches are written, and all that were share its
    next answer.

    Parameters
    ----------
    extracted : iterable of callable
        Each gives what came of a batch; the next one is asked for while a batch is written.
    writer : CacheWriter
    bar : Progress
    """
    with ExitStack() as threads:
        marks = threads.enter_context(ThreadPoolExecutor(1, thread_name_prefix="mark"))  # whatever is written is marked
        disk = ThreadPoolExecutor(1, thread_name_prefix="write")
        threads.callback(disk.shutdown, cancel_futures=True)
        writing: deque[Future[Future[list[int]]]] = deque()
        marking: deque[Future[list[int]]] = deque()

        def write(fetch: Callable[[], Extracted]) -> Future[list[int]]:
            fetch().write(writer)
            return marks.submit(writer.commit)

        def wait(*, most: int) -> None:
            while len(writing) > most:
                marking.append(writing.popleft().result())
            while len(marking) > most:
                bar.advance(np.array(marking.popleft().result(), dtype=int))

        for fetch in extracted:
            writing.append(disk.submit(write, fetch))
            # One batch may wait for the disk while the next is computed; more would only take memory.
            wait(most=1)
        wait(most=0)
