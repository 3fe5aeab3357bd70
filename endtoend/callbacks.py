"""What happens beside the steps of a training: log, bar, checkpoints, a watch on its gradients."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    ProgressCallback,
    TrainerCallback,
)

from emoprobe.checkpoints import cut_log
from emoprobe.jsontext import null_for_nan, to_json

from .data import LengthGrouped
from .step import Watch


class EpochSampler(TrainerCallback):
    """Tell the sampler its epoch, which accelerate does not in every arrangement of processes."""

    def __init__(self, sampler: LengthGrouped):
        self.sampler = sampler

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.set_epoch(math.floor((state.epoch or 0.0) + 1e-6))


class LogLines(TrainerCallback):
    """Write what is logged as JSON lines, and one line an epoch to the screen.

    The first logs of a resumed run take the place of those that came after its checkpoint.
    """

    def __init__(self, path: Path, say: Callable[[str], None]):
        self.path, self.say = path, say
        self.began = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = time.monotonic()
        if state.is_world_process_zero:
            cut_log(self.path, step=state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or not logs:
            return
        # The loss of the development part is no CCC of that part, but a mean over its batches; that of a whole training
        # leaves out what came before a resumption.
        odd = ("eval_loss", "train_loss")
        kept = {name: value for name, value in logs.items() if "per_second" not in name and name not in odd}
        line = {"step": state.global_step, **kept}
        with self.path.open("a") as file:
            file.write(to_json(null_for_nan(line)) + "\n")
        if "eval_ccc" in logs:
            scores = ", ".join(
                f"{name.removeprefix('eval_ccc_')} {value:.3f}"
                for name, value in logs.items()
                if name.startswith("eval_ccc_")
            )
            elapsed = time.monotonic() - self.began
            self.say(f"  epoch {state.epoch:.0f}: development CCC {scores} ({elapsed:.0f} s)")


class QuietBar(ProgressCallback):
    """The Trainer's bars, without its printing of every log."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        pass


class CheckpointPause(TrainerCallback):
    """A checkpoint every so many steps within an epoch; at its end the Trainer writes one itself, once it is scored."""

    def __init__(self, steps: int):
        self.steps = steps

    def on_step_end(self, args, state, control, **kwargs):
        ends_epoch = abs(state.epoch - round(state.epoch)) < 1e-9
        if state.global_step % self.steps == 0 and not ends_epoch:
            control.should_save = True
        return control


class GradientWatch(TrainerCallback):
    """Tell the watch the norm of the gradient of every step, after clipping."""

    def __init__(self, watch: Watch):
        self.watch = watch

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).item() if gradients else 0.0
        self.watch.gradient(norm, state.global_step + 1)
