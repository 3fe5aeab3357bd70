"""The workers of a Ray cluster: the same batches, computed wherever there is a device and written here.

Ray Data hands chunks of the plan to a pool of actors, holds back where the writer does not keep up, and gives the chunk
of an actor that died to another one. A batch that came twice is written once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from emoprobe.errors import UserError

from ..cluster import TRIES_AGAIN, EngineSettings, Place, Refusal, answered, told_of_loss
from ..encoders.speech import Backbone, load_backbone
from ..pipeline import Extracted, Files, stop_at_problem
from ..precision import PrecisionCheck
from ..settings import ExtractionSettings
from ..versions import versions
from .base import Engine, Site
from .local import LocalEngine

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

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Compute the chunks of a block."""
        for chunk in batch["chunk"]:
            for answer in self._compute(chunk):
                column = np.empty(1, dtype=object)
                column[0] = answer
                yield {"answer": column}

    def _compute(self, chunk: Chunk) -> Iterator[Delivered | Refusal]:
        machine = socket.gethostname()
        if self._engine is None:
            opened = answered(_opened, self._wanted, self._recipe, self._settings)
            if isinstance(opened, Refusal):
                yield opened
                return
            self._engine = opened
        try:
            for fetch in self._engine.extract(chunk.todo, chunk.files, self._in_float32):
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
        task = self._ray.remote(num_cpus=self._place.cpus, num_gpus=self._place.gpus, max_retries=TRIES_AGAIN)(answered)
        with told_of_loss(self._ray, "work"):
            answer = self._ray.get(task.remote(_with_engine, versions(), work, self._recipe, self._there))
        if isinstance(answer, Refusal):
            raise answer.error()
        return answer

    def extract(
        self, todo: Sequence[tuple[int, np.ndarray]], files: Files, in_float32: Sequence[str]
    ) -> Generator[Callable[[], Extracted], None, None]:
        """See :class:`.base.Engine`; in the order in which workers are done."""
        delivered: set[int] = set()
        for answer in self._answers(chunks(todo, files, workers=self._place.workers), in_float32):
            if isinstance(answer, Refusal):
                raise answer.error()
            _refuse_unseen(answer, files)
            if self.settings.strict:
                stop_at_problem((files.paths[row], *problem) for row, problem in answer.extracted.problems.items())
            if answer.extracted.index not in delivered:
                delivered.add(answer.extracted.index)
                yield partial(_already_here, answer.extracted)

    def _answers(self, plan: list[Chunk], in_float32: Sequence[str]) -> Iterator[Delivered | Refusal]:
        from ray import data

        context = data.DataContext.get_current()
        context.enable_progress_bars = False  # ours counts what is on disk
        context.execution_options.preserve_order = False
        # A row for each chunk, a block for each row.
        rows = data.from_items([{"chunk": chunk} for chunk in plan], override_num_blocks=len(plan))
        answers = rows.map_batches(
            Worker,
            batch_size=1,
            compute=data.ActorPoolStrategy(min_size=1, max_size=self._place.workers, initial_size=self._place.workers),
            fn_constructor_args=(self._recipe, self._there, tuple(in_float32), versions()),
            num_cpus=self._place.cpus,
            num_gpus=self._place.gpus,
            ray_remote_args_fn=_patience,
        )
        with told_of_loss(self._ray, "work"):
            for row in answers.iter_rows():
                yield row["answer"]


def _patience() -> dict[str, int]:
    """What an actor is made with: Ray Data itself would give a chunk to others for ever."""
    return {"max_task_retries": TRIES_AGAIN}


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
