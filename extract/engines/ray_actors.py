"""Actors of a Ray cluster: they answer items, and none is left when that ends, whatever ends it.

Ray places them, starts one that died anew and repeats what it was at; an actor whose machine is gone is put on another
one. Everything else happens in the thread that asks for the next answer: nothing is left to a thread or to the garbage
collector, which could end it in the middle of another run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, Protocol, TypeVar

from ..cluster import TRIES_AGAIN, told_of_loss

Item_contra = TypeVar("Item_contra", contravariant=True)

#: Items that an actor is given: one that it works on, and one to begin with as soon as that is done.
_GIVEN = 2

#: Answers that an actor may be ahead of whoever takes them, so that they do not fill the memory of its machine.
_AHEAD = 4


class Answering(Protocol[Item_contra]):
    """What an actor is made of."""

    def ready(self) -> None:
        """Return as soon as it is there."""

    def answer(self, item: Item_contra) -> Generator[Any, None, None]:
        """Work on an item."""


def in_actors(
    ray: ModuleType,
    made_of: type[Answering[Item_contra]],
    given: Sequence[Any],
    items: Iterable[Item_contra],
    *,
    what: str,
    workers: int,
    cpus: int = 1,
    gpus: int = 0,
) -> Generator[Any, None, None]:
    """Have actors answer items; their answers, in the order in which they come.

    All actors are killed before it ends: when nothing is left to do, by an exception, or by ``close``, which whoever
    stops early must call (:func:`contextlib.closing`).

    Parameters
    ----------
    ray : module
        Connected.
    made_of : type
    given : sequence
        What it is made with. It should be small: it is kept for actors that are started anew.
    items : iterable
    what : str
        What an item is, in a word.
    workers : int
        Actors at most.
    cpus, gpus : int
        Of each.

    Yields
    ------
    object
        An answer. Of an item that was begun anew elsewhere, one may come twice.

    Raises
    ------
    UserError
        If actors died again and again.
    """
    waiting = deque(items)
    pool = _Pool(ray, waiting)
    try:
        made = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=TRIES_AGAIN)(made_of)
        for _ in range(min(workers, len(waiting))):
            with told_of_loss(ray, what):
                pool.add(made.remote(*given))
        while pool.busy:
            # Around this alone: what is raised where an answer is used is none of the cluster's.
            with told_of_loss(ray, what):
                answers = pool.take()
            yield from answers
    finally:
        pool.end()


class _Pool:
    """Actors, and what is waited for of each."""

    def __init__(self, ray: ModuleType, waiting: deque[Any]) -> None:
        self._ray, self._waiting = ray, waiting
        self._asked: dict[Any, Any] = {}  # a reference or generator of Ray -> the actor
        self._actors: list[Any] = []

    @property
    def busy(self) -> bool:
        """Whether anything is left to do; actors that have found no place by then need none."""
        return bool(self._waiting) or not all(isinstance(one, self._ray.ObjectRef) for one in self._asked)

    def add(self, actor: Any) -> None:
        """It gets an item once it is there: it may have to wait for its place until others have done all the work."""
        self._actors.append(actor)
        self._asked[actor.ready.remote()] = actor

    def take(self) -> list[Any]:
        """Wait for whoever is first; its answer, or nothing where it came up or has done an item."""
        (first, *_), _ = self._ray.wait(list(self._asked), num_returns=1)
        if isinstance(first, self._ray.ObjectRef):
            self._ray.get(first)
        elif (reference := next(first, None)) is not None:
            return [self._ray.get(reference)]
        actor = self._asked.pop(first)
        self._give(actor)
        return []

    def _give(self, actor: Any) -> None:
        """Keep an actor supplied; one that has nothing to do any more makes room for others."""
        theirs = sum(one is actor for one in self._asked.values())
        coming = sum(isinstance(one, self._ray.ObjectRef) for one in self._asked)
        # Enough is left for those that are to come, each of which needs one before another needs a second one.
        while self._waiting and theirs < (_GIVEN if len(self._waiting) > coming else 1):
            task = actor.answer.options(num_returns="streaming", _generator_backpressure_num_objects=_AHEAD)
            self._asked[task.remote(self._waiting.popleft())] = actor
            theirs += 1
        if not theirs:
            self._kill(actor)

    def _kill(self, actor: Any) -> None:
        self._actors.remove(actor)
        self._ray.kill(actor)

    def end(self) -> None:
        """Kill whoever is left; whoever has lost the cluster has lost them with it."""
        asked, self._asked = list(self._asked), {}
        # What is cancelled first is not said to have failed, and to be tried again.
        for task in asked:
            self._tell(self._ray.cancel, task)
        for actor in list(self._actors):
            self._tell(self._kill, actor)

    def _tell(self, what: Callable[[Any], None], of: Any) -> None:
        if self._ray.is_initialized():
            with suppress(self._ray.exceptions.RayError):
                what(of)
