"""What happens beside the steps of a training: log, bar, checkpoints, a watch on its gradients."""
# ruff: noqa: ARG002 - the methods have the signatures of transformers' callbacks, whatever each of them uses

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from emoprobe.checkpoints import cut_log
from emoprobe.jsontext import null_for_nan, to_json
from emoprobe.progress import progress_bar

from .data import LengthGrouped
from .step import Watch


class EpochSampler(TrainerCallback):
    """Tell the sampler its epoch, which accelerate does not in every arrangement of processes."""

    def __init__(self, sampler: LengthGrouped) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch that begins."""
        self.sampler.set_epoch(math.floor((state.epoch or 0.0) + 1e-6))


class LogLines(TrainerCallback):
    """Write what is logged as JSON lines, and one line an epoch to the screen.

    The first logs of a resumed run take the place of those that came after its checkpoint.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self.say = path, say
        self.began = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock, and cut off what was logged after the checkpoint that training goes on from."""
        self.began = time.monotonic()
        if state.is_world_process_zero:
            cut_log(self.path, step=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write what was logged, and say the development scores where there are any."""
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


class StepBar(TrainerCallback):
    """A bar of the steps, as every other bar of this program is."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        show = state.is_world_process_zero
        self._bar = progress_bar(total=state.max_steps, initial=state.global_step, desc="training", show=show)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the step."""
        self._bar.update(state.global_step - self._bar.n)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        self._bar.close()


def tracker_callbacks(trackers: Sequence[str], folder: Path) -> list[TrainerCallback]:
    """What reports each epoch to the trackers of :data:`.settings.TRACKERS`, as the Trainer's own ``report_to`` does.

    Parameters
    ----------
    trackers : sequence of str
    folder : Path
        Of the training. TensorBoard's events go to ``tensorboard/`` in the folder of the run.
    """
    callbacks: list[TrainerCallback] = []
    for tracker in trackers:
        if tracker == "tensorboard":  # whose own folder, with the date in it, would lie among the checkpoints
            from torch.utils.tensorboard import SummaryWriter
            from transformers.integrations import TensorBoardCallback

            callbacks.append(TensorBoardCallback(SummaryWriter(str(folder.parents[1] / "tensorboard" / folder.name))))
        else:
            callbacks += [kind() for kind in get_reporting_integration_callbacks([tracker])]
            callbacks.append(RunOfItsOwn(tracker))
    return callbacks


class RunOfItsOwn(TrainerCallback):
    """End a tracker's run with the training, so that the next seed or fold begins another."""

    def __init__(self, tracker: str) -> None:
        self.tracker = tracker

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the run."""
        import_module(self.tracker).finish()


class CheckpointPause(TrainerCallback):
    """A checkpoint every so many steps within an epoch; at its end the Trainer writes one itself, once it is scored."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask for a checkpoint where one is due."""
        ends_epoch = abs(state.epoch - round(state.epoch)) < 1e-9
        if state.global_step % self.steps == 0 and not ends_epoch:
            control.should_save = True
        return control


class GradientWatch(TrainerCallback):
    """Tell the watch the norm of the gradient of every step, after clipping."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the norm of the gradient that the step will follow."""
        gradients = [parameter.grad for parameter in kwargs["model"].parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).item() if gradients else 0.0
        self.watch.gradient(norm, state.global_step + 1)
