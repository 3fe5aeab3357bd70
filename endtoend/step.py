"""One step of training: its loss over all batches of the step, and the signs that nothing is learned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from emoprobe.errors import UserError
from emoprobe.extract.devices import WIDER_TYPES

from .model import AudioTextModel
from .settings import TrainingSettings

# Gradients that overflow in a row under float16, each halving the scale of the loss, until it cannot be the scale.
_OVERFLOWS = 30
# Steps without a gradient until a training stops, where an epoch has as many.
_STEPS_IN_VAIN = 100
# Share of the steps that may teach nothing of a dimension without a word.
_UNNOTED = 0.1


@dataclass(frozen=True)
class Part:
    """What a batch has in the loss of its step.

    Attributes
    ----------
    gradient : Tensor, (utterances, dimensions)
        Of the step's loss, by the batch's predictions.
    random : list of Tensor
        State of the generators before the batch was predicted, so that dropout falls the same again.
    """

    gradient: torch.Tensor
    random: list[torch.Tensor]


def joint_gradients(
    model: torch.nn.Module, batches: Sequence[dict[str, torch.Tensor]], bare: AudioTextModel
) -> tuple[torch.Tensor, list[Part]]:
    """The loss over the predictions of several batches, and its gradient by each: exact, in the memory of one.

    A CCC over many utterances is no mean of CCCs over a few. The predictions of all batches are made without keeping
    what a backward pass needs; the loss's gradient by each prediction follows from them. A second pass, batch by
    batch and with the same dropout, carries these gradients to the weights (the chain rule, in two halves).

    Parameters
    ----------
    model : Module
        In training mode; what wraps `bare`, or `bare` itself.
    batches : sequence of dict
        Arguments of :meth:`AudioTextModel.forward`, with labels.
    bare : AudioTextModel

    Returns
    -------
    losses : Tensor, (dimensions,)
        Weighted.
    parts : list of Part
        One a batch.
    """
    random, logits = [], []
    device = batches[0]["labels"].device
    with torch.no_grad():
        for batch in batches:
            random.append(random_state(device))
            logits.append(predict(model, batch))
    sizes = [len(part) for part in logits]
    joined = torch.cat(logits).requires_grad_()
    losses = bare.losses(joined, torch.cat([batch["labels"] for batch in batches]))
    (gradient,) = torch.autograd.grad(losses.sum(), joined)
    return losses.detach(), [Part(*part) for part in zip(gradient.split(sizes), random, strict=True)]


def predict(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits (utterances, dimensions) float32 of a batch, its labels unseen."""
    return model(**{name: values for name, values in batch.items() if name != "labels"})["logits"].float()


def random_state(device: torch.device) -> list[torch.Tensor]:
    """States of the generators that a forward pass on the device draws from."""
    own = [] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state()]
    return [torch.get_rng_state(), *own]


def restore_random_state(state: list[torch.Tensor], device: torch.device) -> None:
    """Put back what :func:`random_state` returned."""
    torch.set_rng_state(state[0])
    for own in state[1:]:
        torch.get_device_module(device).set_rng_state(own)


def steps_in_vain(labels: np.ndarray, *, batch: int, accumulate: int, processes: int = 1) -> tuple[np.ndarray, int]:
    """Steps of an epoch in which a dimension has fewer than two different labels: its CCC is constant there.

    Parameters
    ----------
    labels : ndarray, (utterances, dimensions)
        In the order of the epoch; NaN where one is missing.
    batch, accumulate, processes : int

    Returns
    -------
    in_vain : ndarray of int, (dimensions,)
    steps : int
        Of all processes together.
    """
    batches = [labels[start : start + batch] for start in range(0, len(labels), batch)]
    steps = [
        np.concatenate(own[start : start + accumulate])
        for own in (batches[process::processes] for process in range(processes))
        for start in range(0, len(own), accumulate)
    ]
    in_vain = [[not varies(column) for column in step.T] for step in steps]
    return np.sum(in_vain, axis=0), len(steps)


def varies(labels: np.ndarray) -> bool:
    """Whether there are two different labels, in the precision of training; NaN is none."""
    known = labels[~np.isnan(labels)].astype(np.float32)
    return len(known) > 1 and bool(known.min() < known.max())


def refuse_steps_in_vain(in_vain: np.ndarray, steps: int, dimensions: Sequence[str]) -> list[str]:
    """Notes on dimensions that some steps teach nothing of.

    Raises
    ------
    UserError
        If no step of the epoch teaches a dimension.
    """
    remedy = "a larger --batch or --accumulate puts more into a step"
    for name, count in zip(dimensions, in_vain, strict=True):
        if count == steps:
            raise UserError(
                f"{name}: no step of the first epoch holds two different labels of it, and a CCC needs them; "
                f"{remedy}, or leave it out with --dim"
            )
    return [
        f"{name}: {count} of the {steps} steps of the first epoch hold fewer than two different labels, which "
        f"teach nothing of it; {remedy}"
        for name, count in zip(dimensions, in_vain, strict=True)
        if count > _UNNOTED * steps
    ]


class Watch:
    """Stops a training that learns nothing or has lost its way.

    Parameters
    ----------
    dimensions : sequence of str
    training : TrainingSettings
    steps : int
        Of an epoch.
    place : str
        Which training it is, for the message.
    """

    def __init__(self, dimensions: Sequence[str], training: TrainingSettings, *, steps: int, place: str) -> None:
        self.dimensions, self.training, self.place = tuple(dimensions), training, place
        self.patience = max(1, min(steps, _STEPS_IN_VAIN))
        self.zeros = self.overflows = 0

    def losses(self, losses: Iterable[float], step: int) -> None:
        """Take the losses of a step, one a dimension.

        Raises
        ------
        UserError
            If one is not finite.
        """
        lost = [name for name, loss in zip(self.dimensions, losses, strict=True) if not math.isfinite(loss)]
        if lost:
            raise UserError(f"{self.place}: the loss of {', '.join(lost)} is not finite at step {step}; {self._slower}")

    def gradient(self, norm: float, step: int) -> None:
        """Take the norm of the gradient of a step.

        Raises
        ------
        UserError
            If it is not finite, or has been zero for as long as is a pattern.
        """
        self.zeros = self.zeros + 1 if norm == 0 else 0
        self.overflows = 0 if math.isfinite(norm) else self.overflows + 1
        if self.zeros >= self.patience:
            raise UserError(
                f"{self.place}: the gradient is zero in {self.zeros} steps, up to step {step}, and nothing is learned "
                f"of {', '.join(self.dimensions)}: raise --batch or --accumulate, so that a step holds more utterances"
            )
        # Under float16 the scale of the loss is found by trial, and a step that overflows is not taken.
        if self.overflows > (_OVERFLOWS if self.training.precision == "float16" else 0):
            raise UserError(
                f"{self.place}: the gradient of {', '.join(self.dimensions)} is not finite at step {step}; "
                f"{self._slower}"
            )

    @property
    def _slower(self) -> str:
        rates = ", ".join(f"--{part}-rate {getattr(self.training, f'{part}_rate'):g}" for part in _PARTS)
        wider = WIDER_TYPES.get(self.training.precision)
        return (f"take --precision {wider}, or " if wider else "") + f"lower the learning rates ({rates})"


_PARTS = ("head", "audio", "text")
