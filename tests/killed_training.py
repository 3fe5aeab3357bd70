"""Train a model in a process that is killed at a step of its choice, or by whoever started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from emoprobe.endtoend.settings import ModelSettings, TrainingSettings

# Each run starts from a process that has imported everything and computed nothing: quick to start, safe to kill.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["emoprobe.endtoend.training", "tests.killed_training"])


def _run(corpus, model, training, out: Path, die_after: int | None, where: str, keep_results: bool) -> None:
    import torch

    from emoprobe.endtoend.trainer import EmotionTrainer
    from emoprobe.endtoend.training import train
    from emoprobe.extract.corpora import read_corpus

    torch.set_num_threads(1)
    step, count = getattr(EmotionTrainer, where), 0

    def step_or_die(self, *args, **kwargs):
        nonlocal count
        count += 1
        if die_after is not None and count > die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *args, **kwargs)

    setattr(EmotionTrainer, where, step_or_die)
    train(read_corpus(corpus), model, training, out=out, results=out / "results" if keep_results else None)


def finish(
    corpus: str,
    model: ModelSettings,
    training: TrainingSettings,
    out: Path,
    *,
    die_after: int | None = None,
    where: str = "training_step",
) -> int:
    """Train, killed in the call of the Trainer's method `where` that follows so many; exit status, or minus signal."""
    process = _processes.Process(target=_run, args=(corpus, model, training, out, die_after, where, False))
    process.start()
    process.join()
    return process.exitcode


def start(
    corpus: str, model: ModelSettings, training: TrainingSettings, out: Path
) -> multiprocessing.process.BaseProcess:
    """Begin to train, with the results in `out`/results."""
    process = _processes.Process(target=_run, args=(corpus, model, training, out, None, "training_step", True))
    process.start()
    return process
