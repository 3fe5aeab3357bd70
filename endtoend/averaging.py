"""A running average of the weights of a training: what is scored on the development part, and kept in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from emoprobe.errors import UserError

#: In each checkpoint, beside the weights that training goes on from.
FILE = "average.safetensors"
_STEPS = "steps averaged"


class RunningAverage:
    r"""Exponential average of what a model learns, :math:`\bar w \leftarrow d\,\bar w + (1 - d)\,w` after each step.

    Its first steps forget faster, :math:`d_t = \min(d, (1 + t) / (10 + t))`, so that it does not remember where the
    weights began (as in TensorFlow's ``ExponentialMovingAverage``).

    Parameters
    ----------
    model : Module
        Whose parameters that are trained are averaged; buffers and frozen ones are what they are.
    decay : float
        What stays of the average at a step, below 1.

    References
    ----------
    B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control and
    Optimization 30(4), 1992.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._weights = _trained(model)
        self._average = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        kept = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, average in self._average.items():
            average.lerp_(self._weights[name].detach(), 1 - kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the averages meanwhile."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            weight = self._weights[name]
            learned = weight.detach().clone()
            weight.copy_(average)
            average.copy_(learned)

    def save(self, folder: Path) -> None:
        """Write it to the folder of a checkpoint."""
        averages = {name: average.contiguous().cpu() for name, average in self._average.items()}
        save_file({**averages, _STEPS: torch.tensor(self.steps)}, str(folder / FILE))

    def load(self, folder: Path) -> None:
        """Go on from the one of a checkpoint.

        Raises
        ------
        UserError
            If it is missing or damaged, or that of another model.
        """
        kept = _read(folder)
        self.steps = int(kept.pop(_STEPS, torch.tensor(0)))
        _copy(kept, self._average, folder)


def take_average(model: nn.Module, folder: Path) -> None:
    """Give a model the averages of a checkpoint.

    Raises
    ------
    UserError
        If they are missing or damaged, or those of another model.
    """
    kept = _read(folder)
    kept.pop(_STEPS, None)
    _copy(kept, _trained(model), folder)


def _trained(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _read(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(str(folder / FILE))
    except (OSError, SafetensorError) as error:
        raise UserError(_remedy(folder, f"cannot be read ({str(error).strip().splitlines()[0]})")) from error


@torch.no_grad()
def _copy(kept: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], folder: Path) -> None:
    if {name: value.shape for name, value in kept.items()} != {name: value.shape for name, value in weights.items()}:
        raise UserError(_remedy(folder, "is not of this model"))
    for name, value in kept.items():
        weights[name].copy_(value)


def _remedy(folder: Path, problem: str) -> str:
    run = folder.parents[1]  # of this seed and fold
    return f"{folder / FILE} {problem}: remove {run}, and the same command trains this seed and fold again"


class AveragingTrainer(Trainer):
    """Trainer that scores a running average of the weights, and keeps it in each checkpoint; none with a decay of 0.

    Parameters
    ----------
    decay : float
    **kwargs
        Of `transformers.Trainer`.
    """

    model: nn.Module

    def __init__(self, *, decay: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._average = RunningAverage(self.model, decay) if decay else None
        if self._average is not None:
            self.add_callback(_Update(self._average))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the average."""
        if self._average is None:
            return super().evaluate(*args, **kwargs)
        with self._average.in_place():
            return super().evaluate(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self._average is not None:
            self._average.save(Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._average is not None:
            self._average.load(Path(resume_from_checkpoint))


class _Update(TrainerCallback):
    """Take in the weights of every step."""

    def __init__(self, average: RunningAverage) -> None:
        self._average = average

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - as transformers has it
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """After the weights have moved."""
        self._average.update()
