"""A session on a Ray cluster: one that is there, or one that is started on this machine for as long as it is needed."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from emoprobe.errors import UserError, reason

T = TypeVar("T")

#: Where the work is done.
ENGINES = ("local", "ray")

#: What of the libraries must be the same on every machine, for the same numbers.
SAME_EVERYWHERE = ("python", "emoprobe", "torch", "torchaudio", "transformers", "numpy", "soundfile", "scikit-learn")


#: How often work is given to another worker where one died over it, before it is taken to be what kills them.
TRIES_AGAIN = 5

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
        ``"ray://HOST:PORT"``. None for what ``RAY_ADDRESS`` says, else for a cluster of this machine alone.
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
        _reach(settings.address)
        of_our_own = settings.address is None and not os.environ.get("RAY_ADDRESS")
        ray.init(
            address=settings.address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=False if of_our_own else None,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = settings.address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise UserError(
            f"there is no Ray cluster at {where} ({reason(error)[:200]}): start one with `ray start --head`, or leave "
            "--address out to use this machine alone"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str | None) -> None:
    """Find out at once whether anybody answers; Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def machines(ray: ModuleType) -> str:
    """The machines of a cluster, in words."""
    names = sorted(node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"])
    return f"{len(names)} machine{'s' * (len(names) != 1)} ({', '.join(dict.fromkeys(names))})"


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
