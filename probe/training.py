"""What the trained probes share: the CCC loss, early stopping of many fits at once, batches, targets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from emoprobe.errors import UserError

from .metrics import ccc_from_moments, moments

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1


def ccc_loss(prediction: torch.Tensor, truth: torch.Tensor, trust: torch.Tensor | None = None) -> torch.Tensor:
    """One minus the concordance correlation coefficient (population form), differentiable.

    Parameters
    ----------
    prediction : Tensor, shape (..., utterances, targets)
    truth : Tensor, shape (utterances, targets)
        NaN where the label is missing; that utterance then takes no part in that target.
    trust : Tensor, shape (utterances, targets), optional
        How much each label counts in means and covariances; all alike by default.

    Returns
    -------
    Tensor, shape (..., targets)
        1 where nothing is labelled, or where both sides are constant.

    References
    ----------
    L. I. Lin, Biometrics 45(1), 1989; as a loss: B. T. Atmaja and M. Akagi, APSIPA 2020.
    """
    present = ~torch.isnan(truth)
    if trust is None:
        weight = present / present.sum(0).clamp(min=1)
    else:
        counted = torch.where(present, trust, 0.0)
        weight = counted / counted.sum(0).clamp(min=torch.finfo(counted.dtype).tiny)
    truth = torch.where(present, truth, 0.0)
    mean_t, mean_p = (weight * truth).sum(-2), (weight * prediction).sum(-2)
    off_t, off_p = truth - mean_t, prediction - mean_p.unsqueeze(-2)
    covariance = (weight * off_t * off_p).sum(-2)
    spread = (weight * off_t**2).sum(-2) + (weight * off_p**2).sum(-2) + (mean_t - mean_p) ** 2
    tiny = torch.finfo(spread.dtype).tiny
    return 1 - 2 * covariance / spread.clamp(min=tiny)


class EarlyStopping:
    """Keep the best parameters of every fit, each by its own validation score.

    A fit whose score has not risen for `patience` epochs is over: what comes later does not change it, so that a fit
    does not depend on which others are trained beside it.

    Parameters
    ----------
    parameters : list of Tensor
        Each of shape (*shape, ...), one slice a fit.
    shape : tuple of int
        Of the fits.
    patience : int
    """

    def __init__(self, parameters: list[torch.Tensor], shape: tuple[int, ...], patience: int) -> None:
        self.parameters, self.patience = parameters, patience
        self.best = [parameter.detach().clone() for parameter in parameters]
        self.score = np.full(shape, -np.inf)
        self.epoch = np.full(shape, -1)
        self.over = np.zeros(shape, bool)

    def update(self, epoch: int, score: np.ndarray) -> bool:
        """Take note of an epoch's scores (of `shape`); return whether every fit is over."""
        better = ~self.over & (np.nan_to_num(score, nan=-np.inf) > self.score)
        self.score = np.where(better, score, self.score)
        self.epoch = np.where(better, epoch, self.epoch)
        with torch.no_grad():
            for kept, parameter in zip(self.best, self.parameters, strict=True):
                mask = torch.as_tensor(better, device=kept.device)
                kept.copy_(torch.where(mask.reshape(mask.shape + (1,) * (kept.ndim - mask.ndim)), parameter, kept))
        self.over |= epoch - np.maximum(self.epoch, 0) >= self.patience
        return bool(self.over.all())

    def restore(self) -> None:
        """Put the best parameters back.

        Raises
        ------
        UserError
            If a fit was never scored, so that its parameters would be the random ones of the start.
        """
        if (self.epoch < 0).any():
            raise UserError(
                "training has no score to stop by: the rows on which it stops have no label, or only one value, of a "
                "dimension (fit that one with --probe ridge), or a state is not a finite number (extract it anew)"
            )
        with torch.no_grad():
            for kept, parameter in zip(self.best, self.parameters, strict=True):
                parameter.copy_(kept)


def batches(rows: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Positions in `rows`, shuffled, in batches of nearly equal size, at most `size`; each batch ascending."""
    count = max(1, -(-len(rows) // size))
    for part in np.array_split(rng.permutation(len(rows)), count):
        yield np.sort(part)


def standardise_targets(targets: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets in units of the training rows' mean and standard deviation.

    Returns
    -------
    tuple of ndarray
        Standardised targets (utterances, targets), mean and standard deviation (targets,). A target that is constant
        on the training rows keeps its unit.
    """
    labels = targets[train]
    count = np.maximum((~np.isnan(labels)).sum(0), 1)
    mean = np.nansum(labels, 0) / count
    spread = np.sqrt(np.nansum((labels - mean) ** 2, 0) / count)
    spread = np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1e-300), spread, 1.0)
    return (targets - mean) / spread, mean, spread


def validation_score(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """CCC of predictions (..., utterances, targets) with labels (utterances, targets), shape (..., targets)."""
    return ccc_from_moments(moments(np.swapaxes(truth, -1, -2), np.swapaxes(prediction, -1, -2)))
