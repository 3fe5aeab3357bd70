"""Waiting for the workers of a Ray cluster: for a place for them, and what is said where they are lost."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from emoprobe.errors import Note, UserError, reason

#: How often work is given to another worker where one died over it, before it is taken to be what kills them.
TRIES_AGAIN = 5

#: Seconds without any answer after which it is looked whether there is a place for a worker, again and again.
_LOOK_AGAIN = 15.0


def machines(ray: ModuleType) -> str:
    """The machines of a cluster, in words."""
    names = sorted(node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"])
    return f"{len(names)} machine{'s' * (len(names) != 1)} ({', '.join(dict.fromkeys(names))})"


class Waiting:
    """Waits for what workers do: for a place for the first of them too, and says so once.

    Parameters
    ----------
    ray : module
        Connected.
    cpus, gpus : int
        Of each worker.
    """

    def __init__(self, ray: ModuleType, *, cpus: int, gpus: int) -> None:
        self._ray, self._cpus, self._gpus = ray, cpus, gpus
        self._told = False

    def first(self, waited: Sequence[Any], *, begun: bool) -> Any:
        """Whichever is ready first.

        Parameters
        ----------
        waited : sequence
            References and generators of Ray.
        begun : bool
            Whether a worker is known to be there.

        Raises
        ------
        UserError
            If no machine that is left could ever hold a worker.
        """
        while True:
            ready, _ = self._ray.wait(list(waited), num_returns=1, timeout=_LOOK_AGAIN)
            if ready:
                return ready[0]
            self._look(begun=begun)

    def _look(self, *, begun: bool) -> None:
        living = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        one = f"{self._cpus} processor{'s' * (self._cpus != 1)}" + " and a GPU" * bool(self._gpus)
        if not any(node.get("CPU", 0) >= self._cpus and node.get("GPU", 0) >= self._gpus for node in living):
            raise UserError(
                f"no place for a worker is left: none of {machines(self._ray)} has {one}; start others with `ray start "
                "--address HOST:PORT` and run the same command again, what is finished is kept"
            )
        if not (begun or self._told):
            self._told = True
            told = (
                f"no worker is up yet: one starts, or waits for {one} to be free on {machines(self._ray)}; "
                "`ray status` tells, Ctrl-C ends the wait"
            )
            warnings.warn(told, Note, stacklevel=2)


def losses(ray: ModuleType) -> tuple[type[Exception], ...]:
    """What Ray raises where workers or machines are lost; a fault of this program is none of them."""
    lost = ray.exceptions
    return (lost.RayActorError, lost.WorkerCrashedError, lost.NodeDiedError, lost.LocalRayletDiedError,
            lost.ObjectLostError, lost.OutOfMemoryError)  # fmt: skip


@contextmanager
def told_of_loss(ray: ModuleType, what: str) -> Iterator[None]:
    """Say what to do where workers or machines are lost for good; a fault of this program is shown as one.

    Parameters
    ----------
    ray : module
        Connected.
    what : str
        What a worker does, in a word.
    """
    try:
        yield
    except losses(ray) as error:
        raise UserError(
            f"the cluster gave up ({reason(error)[:300]}): a worker died {TRIES_AGAIN + 1} times over the same {what}, "
            "or there was none left (memory? ray status tells); run the same command again, what is finished is kept"
        ) from error
