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
    """

    mse_share: float = 0.0
    teacher_share: float = 0.0

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of each dimension, (dimensions,).

        Parameters
        ----------
        logits : Tensor, (utterances, dimensions)
        targets : Tensor, (utterances, dimensions) or (utterances, 2 x dimensions)
            Labels in the unit of the logits, then a teacher's predictions where there are any; NaN where there is none.
        """
        dimensions = logits.shape[1]
        loss = self._towards(logits, targets[:, :dimensions])
        if targets.shape[1] == dimensions:
            return loss
        return (1 - self.teacher_share) * loss + self.teacher_share * self._towards(logits, targets[:, dimensions:])

    def _towards(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = ccc_loss(logits, targets)
        if not self.mse_share:
            return loss
        return (1 - self.mse_share) * loss + self.mse_share * squared_error(logits, targets)


def squared_error(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each dimension over those that have its target, (dimensions,); 0 where none has."""
    present = ~torch.isnan(targets)
    off = torch.where(present, logits - torch.where(present, targets, 0.0), 0.0)
    return (off**2).sum(0) / present.sum(0).clamp(min=1)
