"""What a training brings down: 1 − CCC, some of it squared error, some of it towards a teacher's predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from emoprobe.probe.training import ccc_loss


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss of each dimension over the utterances of a step.

    Parameters
    ----------
    mse_share : float
        Share of the mean squared error, in units of the labels' variance; 1 − CCC has the rest. A CCC over a few
        utterances says little of where each should lie, and a squared error does.
    teacher_share : float
        Share of the loss towards a teacher's predictions; that towards the labels has the rest.
    weighed : bool
        Whether training labels come with how much each counts.
    """

    mse_share: float = 0.0
    teacher_share: float = 0.0
    weighed: bool = False

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor, trust: torch.Tensor | None = None) -> torch.Tensor:
        """Loss of each dimension, (dimensions,).

        Parameters
        ----------
        logits : Tensor, (utterances, dimensions)
        targets : Tensor, (utterances, dimensions) or (utterances, 2 x dimensions)
            Labels in the unit of the logits, then a teacher's predictions where there are any; NaN where there is none.
        trust : Tensor, (utterances, dimensions), optional
            How much each label counts; all alike by default, and so do a teacher's predictions.
        """
        dimensions = logits.shape[1]
        loss = self._towards(logits, targets[:, :dimensions], trust)
        if targets.shape[1] == dimensions:
            return loss
        taught = self._towards(logits, targets[:, dimensions:], None)
        return (1 - self.teacher_share) * loss + self.teacher_share * taught

    def _towards(self, logits: torch.Tensor, targets: torch.Tensor, trust: torch.Tensor | None) -> torch.Tensor:
        loss = ccc_loss(logits, targets, trust)
        if not self.mse_share:
            return loss
        return (1 - self.mse_share) * loss + self.mse_share * squared_error(logits, targets, trust)


def squared_error(logits: torch.Tensor, targets: torch.Tensor, trust: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error of each dimension over those that have its target, (dimensions,); 0 where none has."""
    present = ~torch.isnan(targets)
    off = torch.where(present, logits - torch.where(present, targets, 0.0), 0.0)
    if trust is None:
        return (off**2).sum(0) / present.sum(0).clamp(min=1)
    counted = torch.where(present, trust, 0.0)
    return (counted * off**2).sum(0) / counted.sum(0).clamp(min=torch.finfo(counted.dtype).tiny)
