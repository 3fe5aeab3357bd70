"""Batches side by side on a CPU: a few at a time, each with its share of the threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import TypeVar

import torch

from emoprobe.allocation import keeping_memory

from .devices import whole_float32
from .encoders.replica import replica_of
from .encoders.speech import Backbone
from .precision import run_in_float32

T = TypeVar("T")
U = TypeVar("U")

#: Most batches at a time: each takes memory of its own.
MOST = 4

#: Does with a model what is to be done with something.
Compute = Callable[[Backbone, T], U]


class Lanes:
    """Where batches are computed: in the calling thread, or in a few of their own.

    Parameters
    ----------
    backbones : sequence of Backbone
        One for each batch at a time; with one alone the calling thread computes.
    """

    def __init__(self, backbones: Sequence[Backbone]) -> None:
        self._first, self._count = backbones[0], len(backbones)
        self._free: SimpleQueue[Backbone] = SimpleQueue()
        for backbone in backbones:
            self._free.put(backbone)

    def in_order(self, things: Iterable[T], compute: Compute[T, U]) -> Iterator[U]:
        """What `compute` makes of each thing, in their order; an error is raised where its answer would come."""
        if self._count == 1:
            yield from (compute(self._first, thing) for thing in things)
            return
        threads = ThreadPoolExecutor(self._count, thread_name_prefix="compute")
        under_way: deque[Future[U]] = deque()
        try:
            for thing in things:
                under_way.append(threads.submit(self._compute, compute, thing))
                # One more than there are lanes, so that none waits while what is done is taken away.
                if len(under_way) > self._count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)

    def _compute(self, compute: Compute[T, U], thing: T) -> U:
        backbone = self._free.get()
        try:
            return compute(backbone, thing)
        finally:
            self._free.put(backbone)


@contextmanager
def lanes(backbone: Backbone, device: torch.device, *, in_float32: Sequence[str]) -> Iterator[Lanes]:
    """As many lanes as suit the device: one for a GPU, up to :data:`MOST` for the threads of a CPU.

    Meanwhile torch takes fewer threads for each operation, float32 is float32 (:func:`.devices.whole_float32`), and on
    a CPU the process keeps the memory that it frees.

    Parameters
    ----------
    backbone : Backbone
        On its device.
    device : torch.device
    in_float32 : sequence of str
        Modules that run in float32 whatever the precision (:func:`.precision.run_in_float32`).
    """
    threads = torch.get_num_threads()
    count = min(MOST, threads) if device.type == "cpu" else 1
    backbones = [backbone, *(replica_of(backbone) for _ in range(count - 1))]
    with ExitStack() as stack:
        stack.enter_context(keeping_memory(device.type))
        for each in backbones:
            stack.enter_context(run_in_float32(each.model, in_float32))
        if count > 1:
            stack.enter_context(whole_float32())
            stack.callback(torch.set_num_threads, threads)
            torch.set_num_threads(threads // count)
        yield Lanes(backbones)
