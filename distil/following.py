"""Teach a given student by any teacher: each chosen layer of the one tells a layer of the other.

Unlike a DistilHuBERT student (:mod:`.distiller`), which begins as its teacher's first blocks, this one has weights of
its own to go on from, and its teacher may be of any family, width and frame rate: Whisper's encoder, which hears
windows of 30 s, teaches a HuBERT.  What the teacher says is computed once (:mod:`.targets`) and standardised by layer
and dimension; a linear head a pair tells it (:mod:`.matching`).  The heads are left out of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from emoprobe.claims import alone, claim
from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE

from .distiller import Crops
from .matching import Matching
from .settings import DistillSettings, Running
from .targets import Grid, Targets, grid_of, make_targets
from .training import RUN_FILES, Reporting, checked, is_over, last_checkpoint, load_weights, of_speech, trainer_for

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from transformers import PreTrainedModel

    from emoprobe.extract.encoders.speech import Backbone

#: Pairs of layers where the settings name none.
_PAIRS = 4


def pairs_at_depth(student: int, teacher: int) -> tuple[tuple[int, int], ...]:
    """Pairs of layers at the same depth of a student and a teacher of so many blocks: four at most, and the last two.

    Examples
    --------
    >>> pairs_at_depth(12, 4)
    ((3, 1), (6, 2), (9, 3), (12, 4))
    """
    count = min(_PAIRS, student, teacher)
    return tuple((round(student * k / count), round(teacher * k / count)) for k in range(1, count + 1))


def pairs_of(settings: DistillSettings, student: Backbone, teacher: Backbone) -> tuple[tuple[int, int], ...]:
    """The map of layers that settings ask for.

    Raises
    ------
    UserError
        If a model has no such layer.
    """
    pairs = settings.pairs() or pairs_at_depth(student.n_layers - 1, teacher.n_layers - 1)
    for asked, told in pairs:
        for model, layer in ((student, asked), (teacher, told)):
            if not 0 <= layer < model.n_layers:
                raise UserError(f"--map {asked}:{told}: {model.label} has layers 0 to {model.n_layers - 1}")
    return pairs


class TaughtCrops(Crops):
    """Batch i of the run, with what the teacher says of it; a function of the seed and i alone.

    Parameters
    ----------
    lengths, read, settings
        As of :class:`.distiller.Crops`.
    student : Backbone
    grid : Grid
        Of the student's frames.
    targets : Targets
    longest : int or None
        Samples that the teacher hears of an utterance.
    """

    def __init__(
        self,
        lengths: ArrayLike,
        read: Callable[[int], np.ndarray],
        settings: DistillSettings,
        *,
        student: Backbone,
        grid: Grid,
        targets: Targets,
        longest: int | None,
    ) -> None:
        heard = np.minimum(lengths, longest or np.max(lengths))
        super().__init__(heard, read, settings, prepare=student.prepare, shortest=grid.field)
        self.grid, self.targets = grid, targets

    def start(self, rng: np.random.Generator, spare: int) -> int:
        """On the grid of the whole utterance, where the targets are."""
        return super().start(rng, spare) // self.grid.hop * self.grid.hop

    def batch(self, rng: np.random.Generator, parts: list[tuple[int, int]], waves: np.ndarray) -> dict[str, Any]:
        """The waveforms with noise, and the targets (batch, frames, layers, width)."""
        frames = self.grid.frames(waves.shape[1])
        told = [self.targets.part(index, start // self.grid.hop, frames) for index, start in parts]
        if rng.random() < self.settings.noise:
            level = 10 ** (-rng.uniform(10, 40) / 20) * waves.std()
            waves = waves + level * rng.standard_normal(waves.shape).astype(np.float32)
        return super().batch(rng, parts, waves.astype(np.float32)) | {"targets": torch.from_numpy(np.stack(told))}


class Follower(Reporting):
    """A student with a head for each pair of layers.

    Parameters
    ----------
    student : Backbone
        Taken where its layers arise, as a probe takes them.
    pairs : tuple of (int, int)
        Student's layer, teacher's layer.
    teacher_width : int
    cosine_weight : float
    """

    def __init__(
        self, student: Backbone, pairs: tuple[tuple[int, int], ...], teacher_width: int, *, cosine_weight: float
    ) -> None:
        super().__init__()
        student.keep_every_block()
        self.student = student.model
        self.matching = Matching(pairs, student.width, teacher_width, cosine_weight=cosine_weight)
        # In a list, so that it is no part of this module and of its checkpoints.
        self.backbone = [student]

    def forward(self, waves: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of waveforms (batch, samples) and targets (batch, frames, teacher's layers, width)."""
        self.heard += waves.numel() / SAMPLE_RATE
        states: dict[int, torch.Tensor] = {}
        self.backbone[0].forward(waves, None, states.__setitem__)
        loss, measured = self.matching(states, targets.unbind(2))
        for name, (value, _) in measured.items():
            sums = self.tally.setdefault(name, [0.0, 0.0])
            sums[0] += value
            sums[1] += 1.0
        return {"loss": loss}

    def report(self) -> dict[str, float]:
        """Mean distance and cosine of each pair since the last report."""
        means = {name: round(total / count, 4) for name, (total, count) in sorted(self.tally.items())}
        self.tally.clear()
        return means


def follow(
    teacher: Backbone,
    student: Backbone,
    lengths: ArrayLike,
    read: Callable[[int], np.ndarray],
    run: Path,
    settings: DistillSettings = DistillSettings(),
    *,
    running: Running = Running(),
    say: Callable[[str], None] = lambda line: None,
) -> PreTrainedModel:
    """Teach a student, or go on teaching it, in a run folder that is its own.

    Parameters
    ----------
    teacher, student : emoprobe.extract.encoders.speech.Backbone
        The student reads the waveform; it is changed.
    lengths : sequence of int
        Samples of each utterance.
    read : callable
        From number to waveform.
    run : Path
        Holds checkpoints, targets, ``log.jsonl`` and ``settings.json``. A run goes on with the same settings, models
        and speech alone.
    settings : DistillSettings
        Its `blocks` and `layers` are those of a student that is made of the teacher, and not of this one.
    running : Running
        How it is run; of this the weights depend on the precision, and on a budget of seconds.
    say : callable
        Told each line of the log.

    Returns
    -------
    transformers.PreTrainedModel
        The student without heads.

    Raises
    ------
    UserError
        If the folder is of another run or in use, or a model has no layer that the map names.
    """
    if not student.reads_waveform:
        raise UserError(f"{student.label} takes log-mel features; give a student that reads the waveform, as HuBERT")
    pairs = pairs_of(settings, student, teacher)
    run = Path(run)
    with alone(run, option="--run"):
        claim(
            run,
            asdict(settings)
            | {
                "pairs": [list(pair) for pair in pairs],
                "teacher": teacher.provenance(),
                "student": student.provenance(),
                "speech": of_speech(lengths, read),
                "budget": running.budget,
                "bf16": running.bf16,
            },
            record="settings.json",
            own=RUN_FILES,
            also=["targets/**"],
            free=("versions", "budget"),
            option="--run",
        )
        torch.manual_seed(settings.seed)
        model = Follower(student, pairs, teacher.width, cosine_weight=settings.cosine_weight)
        grid = grid_of(student)
        if torch.cuda.is_available() and not running.use_cpu:
            teacher.to("cuda")
        targets = make_targets(run / "targets", teacher, model.matching.teacher_layers, lengths, read, grid, say=say)
        newest = last_checkpoint(run, say=say)
        if newest and is_over(run, newest, stop=settings.steps, budget=running.budget):
            load_weights(model, newest)
        else:
            batches = TaughtCrops(
                lengths, read, settings, student=student, grid=grid, targets=targets, longest=teacher.longest
            )
            trainer = trainer_for(model, batches, run, settings, stop=settings.steps, running=running, say=say)
            record, device = run / "precision.json", trainer.args.device
            with checked(model.student, batches, record, device=device, bf16=running.bf16, say=say):
                trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    return model.student.cpu().eval()
