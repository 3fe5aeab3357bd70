"""Where the layers of a probe are fitted: here, on a device or by several processes, or as tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypeVar

from emoprobe.errors import UserError
from emoprobe.extract.cluster import EngineSettings, in_tasks, session
from emoprobe.parallel import ProcessSettings, shared_out

if TYPE_CHECKING:
    from .settings import FitSettings

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


@contextmanager
def ridge_device(
    settings: FitSettings, engine: EngineSettings, *, workers: int | None, say: Callable[[str], None]
) -> Iterator[None]:
    """Answer for the device that ridge probes are asked to run on, and give its memory back at the end.

    Parameters
    ----------
    settings : FitSettings
    engine : EngineSettings
    workers : int, optional
    say : callable
        Told what is not as it was asked for.

    Raises
    ------
    UserError
        If there is no such device, or a cluster is asked for too.
    """
    device, ridge = settings.device, "ridge" in settings.probes
    if not ridge or device in ("auto", "cpu"):
        yield
        return
    from emoprobe.extract.devices import choose_device

    from .on_device import forget

    choose_device(device)
    if settings.ridge_device == "cpu":
        say(f"ridge probes stay on the CPU: --device {device} has no double precision")
        yield
        return
    if engine.on_ray:
        raise UserError(
            f"--device {device} fits ridge probes on this machine, --engine ray on a cluster: leave one of them out"
        )
    if (workers or 1) > 1:
        say(f"layers of ridge probes are fitted one after the other on {device}, whatever --workers is")
    try:
        yield
    finally:
        forget()


def _as_tasks(ray: ModuleType, fit: Callable[[int], T], layers: Sequence[int], bar: Bar) -> Iterator[T]:
    """A task of one processor for each layer; they are waited for in their order."""
    with closing(in_tasks(ray, fit, layers, what="layer")) as tasks:
        for _, made in zip(bar(layers, "layer"), tasks, strict=True):
            yield made
