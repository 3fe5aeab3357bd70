"""Actors of a Ray cluster: they answer items, and none is left when that ends, whatever ends it.

Ray places them. One that died, or whose machine does not answer, is replaced by another, wherever Ray finds a place,
and what the lost one was at is begun anew. Everything happens in the thread that asks for the next answer: nothing is
left to a thread or to the garbage collector, which could end it in the middle of another run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, TypeVar

from ..waiting import TRIES_AGAIN, Waiting, losses, told_of_loss

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
        What it is made with.
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
        If actors died again and again, or no machine has a place for one.
    """
    waiting = deque(_Work(item) for item in items)
    # The pool starts and repeats: Ray would count each try to reach a machine that is gone as one to do the work.
    made = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(made_of)
    pool = _Pool(ray, lambda: made.remote(*given), waiting, Waiting(ray, cpus=cpus, gpus=gpus))
    try:
        for _ in range(min(workers, len(waiting))):
            with told_of_loss(ray, what):
                pool.add(_Work())
        while pool.busy:
            # Around this alone: what is raised where an answer is used is none of the cluster's.
            with told_of_loss(ray, what):
                answers = pool.take()
            yield from answers
    finally:
        pool.end()


@dataclass(eq=False)
class _Work:
    """An item, or coming up, and how many actors died over it."""

    item: Any = None
    deaths: int = 0


class _Pool:
    """Actors, and what is waited for of each."""

    def __init__(self, ray: ModuleType, make: Callable[[], Any], waiting: deque[_Work], patience: Waiting) -> None:
        self._ray, self._make, self._waiting, self._patience = ray, make, waiting, patience
        self._asked: dict[Any, tuple[Any, _Work]] = {}  # a generator of Ray, or the reference of one that comes up
        self._actors: list[Any] = []

    @property
    def busy(self) -> bool:
        """Whether anything is left to do; actors that have found no place by then need none."""
        return bool(self._waiting) or self._working

    @property
    def _working(self) -> bool:
        return not all(map(self._comes_up, self._asked))

    def _comes_up(self, asked: Any) -> bool:
        return isinstance(asked, self._ray.ObjectRef)

    def add(self, coming_up: _Work) -> None:
        """Start one. It gets an item once it is there: it may have to wait until others have done all the work."""
        actor = self._make()
        self._actors.append(actor)
        self._asked[actor.ready.remote()] = actor, coming_up

    def take(self) -> list[Any]:
        """Wait for whoever is first; its answer, or nothing where it came up, has done an item or is lost."""
        first = self._patience.first(list(self._asked), begun=self._working)
        try:
            if self._comes_up(first):
                self._ray.get(first)
            elif (reference := next(first, None)) is not None:
                return [self._ray.get(reference)]
        except losses(self._ray) as error:
            self._replace(self._asked[first][0], error)
        else:
            actor, _ = self._asked.pop(first)
            self._give(actor)
        return []

    def _replace(self, actor: Any, error: Exception) -> None:
        """Have another actor do what one was given; it died over the first of that.

        One that is unavailable counts too: it may be dead, or its machine. The next one is started where Ray finds a
        machine that answers, so that a loss counts once.
        """
        lost = {asked: work for asked, (one, work) in self._asked.items() if one is actor}
        for asked in lost:
            del self._asked[asked]
        first = next(iter(lost.values()))
        first.deaths += 1
        if first.deaths > TRIES_AGAIN:
            raise error
        self._kill(actor)
        if any(map(self._comes_up, lost)):
            self.add(first)
        else:
            self._waiting.extendleft(reversed(lost.values()))
            self.add(_Work())

    def _give(self, actor: Any) -> None:
        """Keep an actor supplied; one that has nothing to do any more makes room for others."""
        theirs = sum(one is actor for one, _ in self._asked.values())
        coming = sum(map(self._comes_up, self._asked))
        # Enough is left for those that are to come, each of which needs one before another needs a second one.
        while self._waiting and theirs < (_GIVEN if len(self._waiting) > coming else 1):
            task = actor.answer.options(num_returns="streaming", _generator_backpressure_num_objects=_AHEAD)
            work = self._waiting.popleft()
            self._asked[task.remote(work.item)] = actor, work
            theirs += 1
        if not theirs:
            self._kill(actor)

    def _kill(self, actor: Any) -> None:
        self._actors.remove(actor)
        self._ray.kill(actor)

    def end(self) -> None:
        """Kill whoever is left; whoever has lost the cluster has lost them with it."""
        self._asked = {}
        for actor in list(self._actors):
            if self._ray.is_initialized():
                with suppress(self._ray.exceptions.RayError):
                    self._kill(actor)
