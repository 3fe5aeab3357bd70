"""Where the layers of a probe are fitted: here, by several processes, or each as a task of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Protocol, TypeVar

from emoprobe.errors import UserError
from emoprobe.extract.cluster import EngineSettings, in_tasks, session
from emoprobe.parallel import ProcessSettings, shared_out

T = TypeVar("T")

#: ``bar(items, unit)`` returns the items, and may show how far they are.
Bar = Callable[[Iterable, str], Iterable]


class Spread(Protocol):
    """Fits layers."""

    def __call__(self, fit: Callable[[int], T], layers: Sequence[int], bar: Bar) -> Iterator[T]:
        """Fit each layer; what came of them, in their order.

        Parameters
        ----------
        fit : callable
            From the number of a layer to what came of it; it is sent to other processes where there are any.
        layers : sequence of int
        bar : callable
            Shows how far it is.
        """


def in_turn(fit: Callable[[int], T], layers: Sequence[int], bar: Bar) -> Iterator[T]:
    """In this process, one after the other."""
    for layer in bar(layers, "layer"):
        yield fit(layer)


def _by_processes(workers: int | None, fit: Callable[[int], T], layers: Sequence[int], bar: Bar) -> Iterator[T]:
    """Several at once on this machine, where that pays."""
    for _, made in zip(bar(layers, "layer"), shared_out(fit, layers, workers=workers), strict=True):
        yield made


@contextmanager
def spread_over(engine: EngineSettings, *, workers: int | None = None) -> Iterator[Spread]:
    """Open where layers are fitted, and close it at the end.

    Parameters
    ----------
    engine : EngineSettings
    workers : int, optional
        Processes of this machine, where no cluster is asked for; one for each processor by default.

    Raises
    ------
    UserError
        If there is no such cluster, or nobody to work.
    """
    ProcessSettings(workers=workers)  # refuses what is none
    if engine.on_ray and workers is not None:
        raise UserError(
            f"--workers {workers} is of one machine, and a cluster has its own: leave it or --engine ray out"
        )
    if not engine.on_ray:
        yield partial(_by_processes, workers)
        return
    with session(engine) as ray:
        yield partial(_as_tasks, ray)


def _as_tasks(ray: ModuleType, fit: Callable[[int], T], layers: Sequence[int], bar: Bar) -> Iterator[T]:
    """A task of one processor for each layer; they are waited for in their order."""
    for _, made in zip(bar(layers, "layer"), in_tasks(ray, fit, layers, what="layer"), strict=True):
        yield made
