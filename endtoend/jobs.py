"""The trainings of a run, one for each seed and fold: here, one after the other, or each as a task of a cluster."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.cluster import EngineSettings, Place, in_tasks, session
from emoprobe.fields import LARGEST
from emoprobe.jsontext import from_json
from emoprobe.ownership import remove
from emoprobe.probe.splits import POOLED, Fold

from .runs import Run, run_fold
from .saved import own_files, put_in_place, read_config
from .settings import refuse_float16

#: Processes that decode beside a GPU, where nobody says how many.
_DECODING = 4


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes
    ----------
    seed : int
    fold : Fold
    folder : Path
        With its checkpoints, log and results.
    """

    seed: int
    fold: Fold
    folder: Path

    def finished(self, dimensions: int) -> tuple[dict, np.ndarray] | None:
        """Its result and predictions, as :func:`finished`."""
        return finished(self.folder, (len(self.rows), dimensions))

    def refuse_unbounded(self, dimensions: int) -> tuple[dict, np.ndarray]:
        """:meth:`finished` of a training that has just ended: only predictions beyond any label can be amiss."""
        left = self.finished(dimensions)
        if left is None:
            raise UserError(
                f"{self.folder}: the predictions of this training are beyond {LARGEST:g}: lower the learning rates, "
                "and give --overwrite"
            )
        return left

    @property
    def rows(self) -> np.ndarray:
        """Rows that it scores."""
        return np.concatenate(list(self.fold.tests.values()))

    def __str__(self) -> str:
        return f"seed {self.seed}, fold {self.fold.name}"


def finished(folder: Path, shape: tuple[int, int]) -> tuple[dict, np.ndarray] | None:
    """What a training left in its folder: its result, and predictions (rows, dimensions).

    None where there is none, or it is damaged: then it is to be trained again.
    """
    try:
        result = from_json((folder / "result.json").read_text())
        predictions = np.load(folder / "predictions.npy", allow_pickle=False)
    except Exception:  # a damaged file raises nearly anything
        return None
    if not isinstance(result, dict) or not isinstance(result.get("development_ccc"), int | float):
        return None
    if predictions.shape != shape or predictions.dtype.kind != "f":
        return None
    # A changed byte can make any number of a prediction; one beyond all labels shows it.
    return None if (np.abs(predictions) > LARGEST).any() else (result, predictions)


def jobs_of(run: Run) -> list[Job]:
    """Every seed and fold of a run."""
    folds = run.material.split.folds
    # A corpus may call its folds anything: their folders are numbered.
    places = [str(number) for number in range(1, len(folds) + 1)] if len(folds) > 1 else [POOLED]
    return [
        Job(seed, fold, run.out / "runs" / f"seed{seed}-fold-{place}")
        for seed in range(run.training.seed, run.training.seed + run.training.seeds)
        for fold, place in zip(folds, places, strict=True)
    ]


def train_each(run: Run, engine: EngineSettings) -> tuple[np.ndarray, list[dict]]:
    """Train each seed and fold that is not finished; the best model is in `model` of the run's folder then.

    Parameters
    ----------
    run : Run
    engine : EngineSettings

    Returns
    -------
    predictions : ndarray, (seeds, utterances, dimensions)
        NaN for what is not scored.
    ended : list of dict
        How each ended.

    Raises
    ------
    UserError
        As :func:`.runs.run_fold` tells it, or if the cluster has not what is asked for.
    """
    jobs, dimensions = jobs_of(run), len(run.model.dimensions)
    lacking = [job for job in jobs if job.finished(dimensions) is None]
    if engine.on_ray and lacking:
        _train_on_cluster(run, engine, jobs, lacking)
    elif not engine.on_ray:
        for job in lacking:
            run.say(f"training {jobs.index(job) + 1} of {len(jobs)}: {job}")
            run_fold(run, job.fold, seed=job.seed, folder=job.folder)
            if run.leads:
                job.refuse_unbounded(dimensions)
    if not run.leads:
        return np.empty(0), []
    predictions = np.full((run.training.seeds, *run.material.labels.shape), np.nan)
    ended = []
    for job in jobs:
        # A kill may have come between the result and this.
        remove(job.folder / "checkpoints", ["checkpoint-*/**"])
        result, predictions[job.seed - run.training.seed, job.rows] = job.refuse_unbounded(dimensions)
        ended.append({"seed": job.seed, "fold": job.fold.name, **result})
    _keep_the_best(run.out / "model", [job.folder / "model" for job in jobs])
    return predictions, ended


# On a cluster --------------------------------------------------------------------------------------------------------


def _train_on_cluster(run: Run, engine: EngineSettings, jobs: list[Job], lacking: list[Job]) -> None:
    """Train each as a task; each keeps its model in its own folder, for several end at once."""
    training = run.training
    with session(engine) as ray:
        # A processor that trains, and one for each process that decodes: a GPU alone needs any where nobody says so.
        decoding, beside_gpu = (0, _DECODING) if training.workers is None else (training.workers, training.workers)
        place = Place.on(ray, engine, device=training.device, threads=1 + decoding, beside_gpu=1 + beside_gpu)
        refuse_float16(training, place.device)
        run.say(f"{len(lacking)} of {len(jobs)} trainings by {place}")
        run.say(f"each writes {run.out / 'runs'}/*/log.jsonl while it trains")
        there = replace(run, training=replace(training, device=place.device), progress=False, say=_unheard)
        work = partial(_in_its_place, str(Path.cwd()), there)
        tasks = in_tasks(ray, work, lacking, what="training", cpus=place.cpus, gpus=place.gpus)
        with closing(tasks) as told:
            for job, (machine, lines) in zip(lacking, told, strict=True):
                run.say(f"training {jobs.index(job) + 1} of {len(jobs)}: {job}, on {machine}")
                for line in lines:
                    run.say(line)
                if not (job.folder / "result.json").is_file():
                    raise UserError(
                        f"{job.folder}: {machine} has trained, and nothing of it is seen here: --out must lie on a "
                        "file system that every machine mounts at the same place"
                    )
                job.refuse_unbounded(len(run.model.dimensions))


def _unheard(line: str) -> None:
    """Say nothing; a run is sent to other processes with what it says."""


def _in_its_place(folder: str, run: Run, job: Job) -> tuple[str, list[str]]:
    """Train in the folder in which the command was started, which its paths begin at; the machine, and what it said."""
    machine = socket.gethostname()
    lines: list[str] = []
    try:
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be entered ({error.strerror}): start the command in a folder that every machine has"
        ) from error
    run_fold(replace(run, say=lines.append), job.fold, seed=job.seed, folder=job.folder, keep=job.folder / "model")
    return machine, lines


def _keep_the_best(best: Path, candidates: list[Path]) -> None:
    """Put the model with the highest development score in place of `best`, which stays where none is higher.

    The others are removed, and what a kill has left of one that was being removed.

    Raises
    ------
    UserError
        If there is none at all.
    """
    there = [folder for folder in candidates if folder.is_dir()]
    higher = best if best.is_dir() else None
    for folder in there:
        if (folder / "config.json").is_file() and (higher is None or _score(folder) > _score(higher)):
            higher = folder
    if higher is None:
        raise UserError(f"{best} is gone: bring it back from a copy, or train it anew with --overwrite")
    if higher != best:
        put_in_place(higher, best)
    for folder in there:
        remove(folder, own_files(folder))


def _score(folder: Path) -> float:
    return float(read_config(folder, of_a_run=True)["development_ccc"])
