"""A training that a kill cannot lose: transformers' Trainer over ready batches, in a run folder that is its own."""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sized
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from emoprobe.checkpoints import cut_log, last_whole_checkpoint
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.precision import train_checked
from emoprobe.jsontext import null_for_nan, to_json

from .settings import Running

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from transformers import PreTrainedModel

#: What the training of a run writes.
RUN_FILES = ("log.jsonl", "precision.json", "precision_teacher.json", "checkpoints/checkpoint-*/**")


class Reporting(nn.Module, ABC):
    """A module whose forward pass gives ``{"loss": ...}``, and which keeps what else it measures until it is asked.

    Attributes
    ----------
    tally : dict of str to list of float
        Sums since the last report.
    heard : float
        Seconds of audio since the last line of the log, where the module counts them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tally: dict[str, list[float]] = {}
        self.heard = 0.0

    @abstractmethod
    def report(self) -> dict[str, float]:
        """Means of what was measured since the last report."""


class Schedule(Protocol):
    """What a training takes from its settings."""

    @property
    def steps(self) -> int:
        """Batches in all."""

    @property
    def warmup(self) -> int:
        """Steps over which the learning rate rises."""

    @property
    def decay(self) -> int:
        """Last steps, over which it falls to zero."""

    @property
    def learning_rate(self) -> float:
        """Between the two."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""

    @property
    def seed(self) -> int:
        """Of all that is drawn."""


def of_speech(samples: ArrayLike, read: Callable[[int], np.ndarray]) -> dict[str, int | str]:
    """What tells one set of utterances from another in the record of a run.

    Parameters
    ----------
    samples : sequence of int
        Length of each utterance.
    read : callable
        From number to waveform.

    Returns
    -------
    dict
        How many there are, and hashes of their lengths and of the sound of sixteen, spread over all.
    """
    lengths = np.ascontiguousarray(samples, "<i8")
    sound = hashlib.sha256()
    for index in np.unique(np.linspace(0, len(lengths) - 1, 16).astype(int)):
        sound.update(np.ascontiguousarray(read(int(index))).tobytes())
    return {
        "utterances": len(lengths),
        "lengths_sha256": hashlib.sha256(lengths.tobytes()).hexdigest(),
        "sound_sha256": sound.hexdigest(),
    }


def last_checkpoint(run: Path, *, say: Callable[[str], None] = lambda line: None) -> Path | None:
    """The newest finished checkpoint of a run; one that a kill or a full disk tore is removed, and `say` is told."""
    return last_whole_checkpoint(run / "checkpoints", stops_early=False, say=say)


def steps_of(checkpoint: Path) -> int:
    """After how many steps a checkpoint was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def trainer_for(
    model: Reporting,
    dataset: Dataset,
    run: Path,
    settings: Schedule,
    *,
    stop: int,
    running: Running = Running(),
    say: Callable[[str], None] = lambda line: None,
) -> Trainer:
    """Trainer of transformers over ready batches in their order, with a log in JSON lines, told to `say` too.

    Parameters
    ----------
    model : Reporting
    dataset : Dataset
        Of batches.
    run : Path
        Folder.
    settings : Schedule
    stop : int
        The step after which training is over.
    running : Running
        Checkpoints, lines of the log, precision, budget of seconds.
    say : callable
        Told each line of the log.
    """
    clock = Clock(run / "log.jsonl", running.budget)
    use_cpu = running.use_cpu or not torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(run / "checkpoints"),
        max_steps=settings.steps,
        per_device_train_batch_size=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": min(settings.decay, settings.steps - 1), "decay_type": "linear"},
        warmup_steps=min(settings.warmup, max(1, settings.steps // 5)),
        weight_decay=settings.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        save_steps=running.save_steps,
        save_total_limit=2,
        logging_steps=running.log_steps,
        bf16=running.bf16,
        use_cpu=use_cpu,
        seed=settings.seed,
        dataloader_pin_memory=not use_cpu,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        disable_tqdm=True,
    )
    return _InOrder(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=lambda rows: rows[0],
        callbacks=[_Log(model, run / "log.jsonl", stop, clock, say)],
        clock=clock,
        decay=settings.decay / settings.steps,
    )


class Clock:
    """Seconds that a run has trained, over all its starts.

    Parameters
    ----------
    log : Path
        Of the run, whose lines say how long each took.
    budget : float or None
        Seconds that it may train.
    """

    def __init__(self, log: Path, budget: float | None) -> None:
        self.log, self.budget = log, budget
        self.before, self.began = 0.0, time.time()

    def begin(self) -> None:
        """Start counting, from what the log says was trained before."""
        lines = self.log.read_text().splitlines() if self.log.is_file() else []
        self.before, self.began = sum(json.loads(line)["seconds"] for line in lines), time.time()

    @property
    def share(self) -> float:
        """Of the budget, that has been used; 0 without one."""
        return 0.0 if self.budget is None else (self.before + time.time() - self.began) / self.budget


def is_over(run: Path, newest: Path, *, stop: int, budget: float | None) -> bool:
    """Whether the newest checkpoint of a run is its last: all steps are done, or the budget of seconds is used up.

    It counts as used up when less than a hundredth is left, since the log rounds.
    """
    clock = Clock(run / "log.jsonl", budget)
    clock.begin()
    return steps_of(newest) >= stop or clock.share >= 0.99


class _InOrder(Trainer):
    """Every batch once, in their order; the learning rate falls by the clock where a budget is given."""

    def __init__(self, *, clock: Clock, decay: float, **options: Any) -> None:
        super().__init__(**options)
        self.clock, self.decay = clock, decay

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of transformers, or one by the clock."""
        optimizer = optimizer or self.optimizer
        if self.clock.budget is None or self.lr_scheduler is not None or optimizer is None:
            return super().create_scheduler(num_training_steps, optimizer)
        warmup = max(1, self.args.warmup_steps)

        def share(step: int) -> float:
            done = max(step / num_training_steps, self.clock.share)
            return min(1.0, (step + 1) / warmup, max(0.0, (1 - done) / max(self.decay, 1e-6)))

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_train_sampler(self, *_: Any, **__: Any) -> SequentialSampler:
        return SequentialSampler(cast(Sized, self.train_dataset))  # given above, and of a length


class _Log(TrainerCallback):
    """Keep the log of a training, and end it at a step."""

    def __init__(self, model: Reporting, log: Path, stop: int, clock: Clock, say: Callable[[str], None]) -> None:
        self.model, self.log, self.stop, self.clock, self.say = model, log, stop, clock, say
        self.began = time.time()

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the Trainer gives it, here and below
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Take back lines of steps that are done again."""
        cut_log(self.log, step=state.global_step)
        self.clock.begin()
        self.began = time.time()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Add a line."""
        if not logs or "loss" not in logs:
            return
        line = {"step": state.global_step, "loss": round(logs["loss"], 4), "learning_rate": logs.get("learning_rate")}
        now = time.time()
        seconds, self.began = now - self.began, now
        line |= self.model.report() | {"seconds": round(seconds, 3)}
        if self.model.heard:
            line["audio_per_second"] = round(self.model.heard / max(seconds, 1e-6), 1)
            self.model.heard = 0.0
        with self.log.open("a") as file:
            file.write(to_json(null_for_nan(line)) + "\n")
        self.say(to_json(null_for_nan(line)))

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Save, and end, at the last step."""
        if state.global_step >= self.stop or self.clock.share >= 1:
            control.should_log = control.should_save = control.should_training_stop = True


def checked(
    encoder: PreTrainedModel,
    batches: Dataset,
    record: Path,
    *,
    device: torch.device,
    bf16: bool,
    say: Callable[[str], None] = lambda line: None,
) -> AbstractContextManager[None]:
    """Context of a training under autocast to bfloat16, before which the encoder is compared with float32 on the CPU.

    Parameters
    ----------
    encoder : transformers.PreTrainedModel
    batches : Dataset
        Of the training; a short part of the first is computed both ways.
    record : Path
        Where the outcome is kept (:func:`emoprobe.extract.precision.train_checked`).
    device : torch.device
        Of the training.
    bf16 : bool
        Without it there is nothing to compare.
    say : callable
        Told of the outcome.

    Raises
    ------
    UserError
        If a layer is far off.
    """

    def states() -> dict[str, torch.Tensor]:
        short = batches[0]["waves"][:4, : 2 * SAMPLE_RATE]
        layers = encoder(short.to(encoder.device), output_hidden_states=True).hidden_states
        return {f"layer {k}": layer.flatten(0, 1) for k, layer in enumerate(layers)}

    return train_checked(
        encoder,
        states,
        record=record,
        device=device,
        precision="bfloat16" if bf16 else "float32",
        remedy=("Leave out --bf16" if bf16 else "Set CUDA_VISIBLE_DEVICES=-1 to train on the CPU")
        + ", and name another folder for the run",
        say=say,
    )


def load_weights(model: nn.Module, checkpoint: Path) -> None:
    """Read a checkpoint's weights into a model of the same settings; every weight, and no other."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(checkpoint / "model.safetensors"))
