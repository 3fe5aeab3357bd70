"""A session on a Ray cluster: one that is there, or one that is started on this machine for as long as it is needed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, TypeVar

from emoprobe.errors import UserError, reason

from .waiting import TRIES_AGAIN, Waiting, machines, told_of_loss

Item = TypeVar("Item")
T = TypeVar("T")

#: Where the work is done.
ENGINES = ("local", "ray")

#: What of the libraries must be the same on every machine, for the same numbers.
SAME_EVERYWHERE = ("python", "emoprobe", "torch", "torchaudio", "transformers", "numpy", "soundfile", "scikit-learn")

#: Seconds that a cluster may take to answer.
_PATIENCE = 20.0


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Where the work is done; no number depends on it beyond the kind of device.

    Attributes
    ----------
    engine : str
        Of :data:`ENGINES`.
    address : str or None
        Of a Ray cluster: ``"auto"`` for the one that this machine is part of, ``"HOST:PORT"``,
        ``"ray://HOST:PORT"`` (not for states). None for what ``RAY_ADDRESS`` says, else for a cluster of this machine
        alone.
    gpus : str, int or None
        GPUs to compute on, a worker each: a number, ``"all"``, or 0 for CPUs alone. None for all that there are. It is
        kept as a text.
    """

    engine: str = "local"
    address: str | None = None
    gpus: str | int | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UserError(f"no engine {self.engine!r}; there is {', '.join(ENGINES)}")
        if self.gpus is not None:
            object.__setattr__(self, "gpus", str(self.gpus))
        if self.gpus is not None and self.gpus != "all" and not str(self.gpus).isdecimal():
            raise UserError(f"--gpus {self.gpus} is neither a number nor all")

    @property
    def on_ray(self) -> bool:
        """Whether a cluster is asked for, by name or by what only a cluster has."""
        return self.engine == "ray" or self.address is not None or self.gpus is not None

    def workers_of(self, there: int, *, machines: str) -> int:
        """How many GPUs are to be used of those that are there; 0 for CPUs.

        Raises
        ------
        UserError
            If there are fewer than are asked for.
        """
        asked = there if self.gpus in (None, "all") else int(self.gpus or 0)
        if asked > there or (self.gpus == "all" and not there):
            raise UserError(
                f"--gpus {self.gpus}: Ray sees {there} GPUs on {machines}; ask for those, or for --gpus 0 to compute "
                "on CPUs"
            )
        return asked


@contextmanager
def session(settings: EngineSettings) -> Iterator[ModuleType]:
    """Connect to a cluster, or start one on this machine; left as it was found at the end.

    Parameters
    ----------
    settings : EngineSettings

    Yields
    ------
    module
        ``ray``, connected.

    Raises
    ------
    UserError
        If Ray is not installed, or there is no cluster at the address.
    """
    # Ray tells its makers how it is used, unless it is told not to: what a corpus is about is nobody's business.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(f"the engine ray needs Ray ({error}): pip install 'emoprobe[cluster]'") from None
    if ray.is_initialized():  # in a notebook, say: whoever connected disconnects
        yield ray
        return
    try:
        _connect(ray, settings.address or os.environ.get("RAY_ADDRESS"))
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: ModuleType, address: str | None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address)
        ray.init(
            # Without an address Ray would take the last cluster that anybody began on this machine, and die with it.
            address=address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=None if address else False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"there is no Ray cluster at {address or 'this machine'} ({reason(error)[:200]}): start one with "
            "`ray start --head`, or leave --address out to use this machine alone"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Ray ends the process at this signal, and prints where it was; here the command unwinds.
        signal.signal(signal.SIGTERM, before)


def _reach(address: str | None) -> None:
    """Find out at once whether anybody answers; Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


@dataclass(frozen=True)
class Place:
    """Where the workers of a cluster find room.

    Attributes
    ----------
    workers : int
    cpus, gpus : int
        Of each.
    machines : str
        In words.
    """

    workers: int
    cpus: int
    gpus: int
    machines: str

    @classmethod
    def on(
        cls, ray: ModuleType, engine: EngineSettings, *, device: str, threads: int, beside_gpu: int | None = None
    ) -> Place:
        """Find room on a cluster.

        Parameters
        ----------
        ray : module
            Connected.
        engine : EngineSettings
        device : str
            "auto", "cpu" or "cuda".
        threads : int
            Processors that a worker has at most.
        beside_gpu : int, optional
            The same of a worker that has a GPU, where that is another number.

        Raises
        ------
        UserError
            If the cluster has not what is asked for.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise UserError(f"--device {device} is of one machine: say cuda or cpu, and how many with --gpus")
        if (device, engine.gpus) == ("cuda", "0") or (device == "cpu" and engine.gpus not in (None, "0")):
            raise UserError(f"--device {device} and --gpus {engine.gpus} contradict each other: leave one out")
        if device == "cpu":
            engine = replace(engine, gpus="0")
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        there, where = sum(int(node.get("GPU", 0)) for node in nodes), machines(ray)
        if device == "cuda" and not there:
            raise UserError(f"--device cuda: Ray sees no GPU on {where}")
        asked = engine.workers_of(there, machines=where)
        threads = beside_gpu if asked and beside_gpu else threads
        workers, cpus = places(nodes, of_gpus=bool(asked), threads=threads)
        if not workers:
            raise UserError(f"no worker fits on {where}: there is no processor free beside the devices")
        return cls(min(workers, asked) if asked else workers, cpus, int(bool(asked)), where)

    @property
    def device(self) -> str:
        """Of a worker: "cuda" or "cpu"."""
        return "cuda" if self.gpus else "cpu"

    def __str__(self) -> str:
        device = "a GPU" if self.gpus else f"{self.cpus} processor{'s' * (self.cpus != 1)}"
        return f"{self.workers} worker{'s' * (self.workers != 1)} of {device} on {self.machines}"


def places(nodes: Sequence[Mapping[str, float]], *, of_gpus: bool, threads: int) -> tuple[int, int]:
    """How many workers find a place on the machines of a cluster, and how many processors each one has.

    Parameters
    ----------
    nodes : sequence of mapping
        ``"CPU"`` and ``"GPU"`` of each machine, where it has any.
    of_gpus : bool
        Whether a worker is one of a GPU.
    threads : int
        Processors that a worker has at most.

    Returns
    -------
    workers, processors : int
        No worker where none finds a place. A worker has no more processors than the machine with fewest can give each
        of its own.
    """
    has = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    has = [(cpus, gpus) for cpus, gpus in has if cpus and (gpus or not of_gpus)]
    if not has:
        return 0, 1
    each = max(1, min(threads, *(cpus // gpus if of_gpus else cpus for cpus, gpus in has)))
    return sum(min(gpus, cpus // each) if of_gpus else cpus // each for cpus, gpus in has), each


def in_tasks(
    ray: ModuleType, work: Callable[[Item], T], items: Iterable[Item], *, what: str, cpus: int = 1, gpus: int = 0
) -> Generator[T, None, None]:
    """Do a piece of work for each item as a task of a cluster; what came of them, in their order.

    Parameters
    ----------
    ray : module
        Connected.
    work : callable
        From an item; it is sent to other processes.
    items : iterable
    what : str
        What an item is, in a word.
    cpus, gpus : int
        Of each task.

    Raises
    ------
    UserError
        If a task says so, naming its machine, workers died again and again, or no machine has a place for one.
    """
    from .versions import versions

    with_room = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES_AGAIN)
    task, patience = with_room(answered), Waiting(ray, cpus=cpus, gpus=gpus)
    shared = ray.put(work)
    waiting = [with_room(_begin).remote()]
    try:
        with told_of_loss(ray, what):
            patience.first(waiting, begun=False)
        waiting = [task.remote(shared, versions(), item) for item in items]
        for reference in list(waiting):
            with told_of_loss(ray, what):
                answer = ray.get(patience.first([reference], begun=True))
            waiting.remove(reference)
            if isinstance(answer, Refusal):
                raise answer.error()
            yield answer
    finally:
        for reference in waiting:
            ray.cancel(reference)


def _begin() -> None:
    """Show that there is a place for a task."""


@dataclass(frozen=True)
class Refusal:
    """What stops the work, told by a machine of the cluster."""

    reason: str
    machine: str

    def error(self) -> UserError:
        """As it is told to the user."""
        return UserError(f"{self.machine}: {self.reason}")


def answered(work: Callable[..., T], wanted: dict[str, str], *given: Any) -> T | Refusal:
    """Do a piece of work on a machine of the cluster, where it has the libraries that are wanted.

    Parameters
    ----------
    work : callable
    wanted : dict of str to str
        Versions where the work was given out.
    *given
        What `work` is called with.
    """
    from .versions import versions

    machine = socket.gethostname()
    if differ := differing(wanted, versions()):
        return Refusal(f"the libraries differ ({differ}): install the same on every machine", machine)
    try:
        return work(*given)
    except UserError as error:
        return Refusal(str(error), machine)


def differing(here: dict[str, str], there: dict[str, str]) -> str:
    """Which libraries of two machines differ in what numbers depend on, in words; empty where none does."""
    return ", ".join(
        f"{name} {there.get(name, 'none')} there, {here.get(name, 'none')} here"
        for name in SAME_EVERYWHERE
        if here.get(name) != there.get(name)
    )
