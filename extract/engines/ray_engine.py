"""The workers of a Ray cluster: the same batches, computed wherever there is a device and written here.

Actors compute chunks of the plan. Ray holds them back where the writer does not keep up. The chunk of one that died is
begun anew by another, and a batch that came twice is written once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from emoprobe.errors import UserError

from ..cluster import EngineSettings, Place, Refusal, answered, in_tasks
from ..encoders.speech import Backbone, load_backbone
from ..pipeline import Extracted, Files, stop_at_problem
from ..precision import PrecisionCheck
from ..settings import ExtractionSettings
from ..versions import versions
from .base import Engine, Site
from .local import LocalEngine
from .ray_actors import in_actors

#: Most batches of a chunk. Within one, audio is decoded ahead; a worker that dies costs its chunk.
_CHUNK = 16

#: Chunks for each worker, at least, so that none waits long for the last.
_CHUNKS_A_WORKER = 4


@dataclass(frozen=True)
class Recipe:
    """How a worker makes the model, and what shows that it is the same.

    Attributes
    ----------
    name, revision, random_init, normalise, label
        As :func:`..encoders.speech.load_backbone` takes them.
    weights_sha256 : str
    """

    name: str
    revision: str | None
    random_init: int | None
    normalise: bool
    label: str
    weights_sha256: str

    @classmethod
    def of(cls, backbone: Backbone) -> Recipe:
        """Of a model that is loaded here."""
        about = backbone.provenance()
        told = {name: about[name] for name in ("revision", "random_init", "normalise", "label", "weights_sha256")}
        # A worker has another current folder.
        name = str(Path(about["name"]).resolve()) if Path(about["name"]).is_dir() else about["name"]
        return cls(name=name, **told)

    def make(self) -> Backbone:
        """Load it.

        Raises
        ------
        UserError
            If this machine has another model of that name.
        """
        backbone = load_backbone(
            self.name,
            revision=self.revision,
            random_init=self.random_init,
            normalise=self.normalise,
            label=self.label,
        )
        if backbone.provenance()["weights_sha256"] != self.weights_sha256:
            raise UserError(f"{self.name} has other weights there than where the run was started")
        return backbone


@dataclass(frozen=True)
class Delivered:
    """What came of a batch, and from where."""

    extracted: Extracted
    machine: str


@dataclass(frozen=True)
class Chunk:
    """Batches that a worker computes one after the other, and the audio that they need."""

    todo: list[tuple[int, np.ndarray]]
    files: Files


def chunks(todo: Sequence[tuple[int, np.ndarray]], files: Files, *, workers: int) -> list[Chunk]:
    """Divide a plan: many batches a chunk, several chunks a worker."""
    size = max(1, min(_CHUNK, len(todo) // (_CHUNKS_A_WORKER * workers)))
    parts = [list(todo[start : start + size]) for start in range(0, len(todo), size)]
    return [Chunk(part, files.of(np.concatenate([rows for _, rows in part]))) for part in parts]


def _opened(recipe: Recipe, settings: ExtractionSettings) -> LocalEngine:
    """The engine of a worker's own machine."""
    return LocalEngine(recipe.make(), settings)


def _with_engine(work: Callable[[LocalEngine], Any], recipe: Recipe, settings: ExtractionSettings) -> Any:
    """Do something with it."""
    return work(_opened(recipe, settings))


def _site(engine: LocalEngine) -> Site:
    return engine.site


def _check(engine: LocalEngine, *, waveforms: Sequence[np.ndarray], in_float32: Sequence[str] | None) -> PrecisionCheck:
    return engine.check(waveforms, in_float32)


class Worker:
    """An actor: loads the model once, then computes chunks."""

    def __init__(
        self, recipe: Recipe, settings: ExtractionSettings, in_float32: Sequence[str], wanted: dict[str, str]
    ) -> None:
        self._recipe, self._settings, self._in_float32, self._wanted = recipe, settings, in_float32, wanted
        self._engine: LocalEngine | None = None

    def ready(self) -> None:
        """Return as soon as it is there."""

    def answer(self, item: Chunk) -> Generator[Delivered | Refusal, None, None]:
        """Compute the batches of a chunk."""
        machine = socket.gethostname()
        if self._engine is None:
            opened = answered(_opened, self._wanted, self._recipe, self._settings)
            if isinstance(opened, Refusal):
                yield opened
                return
            self._engine = opened
        try:
            for fetch in self._engine.extract(item.todo, item.files, self._in_float32):
                yield Delivered(fetch(), machine)
        except UserError as error:
            yield Refusal(str(error), machine)


class RayEngine(Engine):
    """Computes on the workers of a cluster.

    Parameters
    ----------
    backbone : Backbone
    settings : ExtractionSettings
    ray : module
        Connected (:func:`..cluster.session`).
    engine : EngineSettings

    Raises
    ------
    UserError
        If the cluster has not what is asked for, or its machines have other libraries or another model.
    """

    def __init__(
        self, backbone: Backbone, settings: ExtractionSettings, ray: ModuleType, engine: EngineSettings
    ) -> None:
        super().__init__(backbone, settings)
        address = engine.address or os.environ.get("RAY_ADDRESS", "")
        if address.startswith("ray://"):
            raise UserError(
                f"{address}: states do not come through Ray's client: run the command on a machine of the cluster, "
                "with --address auto or HOST:PORT"
            )
        self._ray = ray
        self._place = Place.on(ray, engine, device=settings.device, threads=settings.workers)
        # On a worker's own machine; its decoding threads are those that Ray counts, and what stops is decided here.
        self._there = replace(settings, device=self._place.device, workers=self._place.cpus, strict=False)
        self._recipe = Recipe.of(backbone)
        self._where = self._ask(_site)

    @property
    def site(self) -> Site:
        """See :class:`.base.Engine`; of the first worker that answered."""
        return self._where

    def __str__(self) -> str:
        return str(self._place)

    def check(self, waveforms: Sequence[np.ndarray], in_float32: Sequence[str] | None) -> PrecisionCheck:
        """See :class:`.base.Engine`; on one worker."""
        return self._ask(partial(_check, waveforms=list(waveforms), in_float32=in_float32))

    def _ask(self, work: Callable[[LocalEngine], Any]) -> Any:
        place, work = self._place, partial(_with_engine, work, self._recipe)
        (answer,) = in_tasks(self._ray, work, [self._there], what="work", cpus=place.cpus, gpus=place.gpus)
        return answer

    def extract(
        self, todo: Sequence[tuple[int, np.ndarray]], files: Files, in_float32: Sequence[str]
    ) -> Generator[Callable[[], Extracted], None, None]:
        """See :class:`.base.Engine`; in the order in which workers are done."""
        delivered: set[int] = set()
        place = self._place
        answers = in_actors(
            self._ray,
            Worker,
            (self._recipe, self._there, tuple(in_float32), versions()),
            chunks(todo, files, workers=place.workers),
            what="work",
            workers=place.workers,
            cpus=place.cpus,
            gpus=place.gpus,
        )
        with closing(answers):
            for answer in answers:
                if isinstance(answer, Refusal):
                    raise answer.error()
                _refuse_unseen(answer, files)
                if self.settings.strict:
                    stop_at_problem((files.paths[row], *problem) for row, problem in answer.extracted.problems.items())
                if answer.extracted.index not in delivered:
                    delivered.add(answer.extracted.index)
                    yield partial(_already_here, answer.extracted)
        if lacking := len(todo) - len(delivered):
            raise UserError(
                f"{lacking} of {len(todo)} batches did not come back from {place.machines}: run the same command "
                "again, what is finished is kept"
            )


def _already_here(extracted: Extracted) -> Extracted:
    return extracted


def _refuse_unseen(answer: Delivered, files: Files) -> None:
    """Tell a machine that does not see the audio from audio that is not there."""
    for row, (status, _) in answer.extracted.problems.items():
        path = files.paths[row]
        if status == "missing" and os.path.exists(path):  # noqa: PTH110 - path is text
            raise UserError(
                f"{path} is here, and {answer.machine} does not see it: the audio must lie on a file system that every "
                "machine mounts at the same place"
            )
