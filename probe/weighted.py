r"""Learned weighted sum of the layers: a softmax over layers, and a head on the sum, trained on a CCC loss.

Mean pooling commutes with the sum, :math:`\overline{\sum_l w_l h_l} = \sum_l w_l \overline{h_l}`, so the pooled cache
is enough, exactly (S. Yang et al., "SUPERB", Interspeech 2021, trains the same sum on frames). It does not commute with
a layer norm of each frame: for that variant the cache pools the normed frames ("mean_ln").

All seeds and targets are trained together, on batches that each read the cache once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch

from emoprobe.extract.devices import choose_device

from .splits import Fold
from .training import EarlyStopping, batches, ccc_loss, standardise_targets, validation_score

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 2


@dataclass(frozen=True)
class WeightedSettings:
    """How a weighted sum is trained.

    Parameters
    ----------
    head : str
        "linear", or "mlp": one hidden layer.
    hidden : int
        Width of the hidden layer of the mlp.
    epochs, patience : int
        At most so many epochs; a fit is over when its validation CCC has not risen for `patience` of them.
    batch : int
        Utterances in a batch.
    rate, layer_rate : float
        Learning rate of the head and of the softmax over layers.
    decay : float
        Weight decay of the head (AdamW). Strong, because a corpus often has fewer utterances than a state has features.
    memory : float
        GiB of pooled states to keep in memory; a larger cache is read again for every batch.
    """

    head: str = "linear"
    hidden: int = 32
    epochs: int = 600
    patience: int = 50
    batch: int = 512
    rate: float = 2e-3
    layer_rate: float = 5e-2
    decay: float = 2.0
    memory: float = 2.0


@dataclass(frozen=True)
class WeightedResult:
    """What was learned, over seeds, folds and targets.

    Attributes
    ----------
    predictions : ndarray, shape (seeds, utterances, targets)
        NaN where no fold scores the row.
    weights : ndarray, shape (seeds, folds, targets, layers)
        Softmax weights; they sum to one.
    epochs : ndarray of int, shape (seeds, folds, targets)
        Epoch whose parameters were kept.
    coef : ndarray, shape (seeds, folds, targets, width), or None
        Linear head in the unit of the states: the prediction is ``intercept + coef @ sum over layers of weight·state``.
    intercept : ndarray, shape (seeds, folds, targets), or None
    lengths : ndarray, shape (folds, layers)
        Root mean square of the states of each layer as the sum takes them: less the layer's mean, over the scale that
        all layers share.
    """

    predictions: np.ndarray
    weights: np.ndarray
    epochs: np.ndarray
    coef: np.ndarray | None
    intercept: np.ndarray | None
    lengths: np.ndarray

    @property
    def corrected(self) -> np.ndarray:
        """The weights, each times the length of what it weighs; they sum to one."""
        return norm_corrected(self.weights, self.lengths[:, None])


def norm_corrected(weights: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Weight times the length of the layer's states, renormalised to sum to one.

    A layer whose states are twice as long says the same with half the weight. What counts is the length of what is
    summed: the states less their mean. A mean that all utterances share tells nothing, adds to the intercept alone, and
    is most of the norm in many models.

    Parameters
    ----------
    weights : ndarray, shape (..., layers)
    lengths : ndarray, shape (..., layers)
        Such as :attr:`WeightedResult.lengths`.

    Returns
    -------
    ndarray, shape (..., layers)
    """
    scaled = weights * lengths
    return scaled / scaled.sum(-1, keepdims=True)


def weighted_probe(
    read: Callable[[np.ndarray], np.ndarray],
    targets: np.ndarray,
    folds: Sequence[Fold],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    settings: WeightedSettings = WeightedSettings(),
    device: str = "auto",
    bar: Callable[[Iterable], Iterable] = iter,
) -> WeightedResult:
    """Train weighted sums: all seeds and targets of a fold together.

    Each fold trains on the rows of :attr:`.Fold.stopping` and stops on that pair's validation rows. A seed sets
    the head's first values; the order of the batches is that of the first seed, because a batch serves all of them.

    Parameters
    ----------
    read : callable
        ``read(rows)`` returns the states of ascending `rows`, shape (layers, len(rows), width).
    targets : ndarray, shape (utterances, targets)
        NaN where the label is missing.
    folds : sequence of Fold
    seeds : sequence of int
    settings : WeightedSettings
    device : str
        "auto", "cpu", "cuda", "mps".
    bar : callable
        Wraps the folds to show progress.

    Returns
    -------
    WeightedResult
    """
    where = choose_device(device)
    targets = np.asarray(targets, dtype=np.float64)
    states = _States(read, folds, settings.memory, where)
    n_seeds, n_targets, n_layers = len(seeds), targets.shape[1], states.n_layers
    predictions = np.full((n_seeds, *targets.shape), np.nan)
    weights = np.full((n_seeds, len(folds), n_targets, n_layers), np.nan)
    epochs = np.full((n_seeds, len(folds), n_targets), -1)
    lengths = np.full((len(folds), n_layers), np.nan)
    linear = settings.head == "linear"
    coef = np.full((n_seeds, len(folds), n_targets, states.width), np.nan)
    intercept = np.full((n_seeds, len(folds), n_targets), np.nan)
    for f, fold in enumerate(bar(folds)):
        train, validation = fold.stopping
        standard, mean, spread = standardise_targets(targets, train)
        scaled = states.standardised(train)
        lengths[f] = scaled.lengths
        model = _Model(n_layers, states.width, n_targets, seeds, settings, where)
        epochs[:, f] = _train(model, scaled, standard, train, validation, settings, seeds[0])
        weights[:, f] = _as_array(model.layer_weights()).reshape(n_seeds, n_targets, -1)
        for rows in fold.tests.values():
            predictions[:, rows] = _predict(model, scaled, rows, settings.batch) * spread + mean
        if linear:
            head = _as_array(model.parameters[1]) / _as_array(scaled.scale)
            offset = _as_array(model.parameters[2])
            centre = np.einsum("stl,lw->stw", weights[:, f], _as_array(scaled.mean))
            coef[:, f] = head * spread[:, None]
            intercept[:, f] = (offset - (centre * head).sum(-1)) * spread + mean
    if not linear:
        return WeightedResult(predictions, weights, epochs, None, None, lengths)
    return WeightedResult(predictions, weights, epochs, coef, intercept, lengths)


def _as_array(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


class _States:
    """States of rows as a tensor, from memory where they fit."""

    def __init__(
        self, read: Callable[[np.ndarray], np.ndarray], folds: Sequence[Fold], memory: float, device: torch.device
    ) -> None:
        self.read, self.device = read, device
        parts = [rows for fold in folds for rows in (*fold.stopping, *fold.tests.values())]
        self.rows = np.unique(np.concatenate(parts))
        probe = read(self.rows[:1])
        self.n_layers, _, self.width = probe.shape
        size = probe.nbytes * len(self.rows) / 2**30
        self.kept = torch.from_numpy(np.ascontiguousarray(read(self.rows))).to(device) if size <= memory else None
        self.place = np.zeros(self.rows[-1] + 1, dtype=np.int64)
        self.place[self.rows] = np.arange(len(self.rows))

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        """States of some rows, shape (layers, rows, width)."""
        if self.kept is not None:
            return self.kept[:, torch.as_tensor(self.place[rows], device=self.device)]
        return torch.from_numpy(np.ascontiguousarray(self.read(rows))).to(self.device)

    def standardised(self, train: np.ndarray, chunk: int = 2048) -> _Standardised:
        """The states in units of some training rows, in two passes: the first gives the mean."""
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        parts = [train[start : start + chunk] for start in range(0, len(train), chunk)]
        mean = reduce(add, (self(part).to(kind).sum(1) for part in parts)) / len(train)
        square = reduce(add, (((self(part).to(kind) - mean[:, None]) ** 2).sum(1) for part in parts)) / len(train)
        scale = square.mean(0).sqrt()
        scale = torch.where(scale > 1e-6 * mean.abs().amax(0).clamp(min=1e-30), scale, 1.0)
        lengths = (square / scale**2).mean(1).sqrt()
        return _Standardised(self, mean.float(), scale.float(), _as_array(lengths))


@dataclass(frozen=True)
class _Standardised:
    """States centred and scaled by the training rows of a fold.

    Every layer is centred by its own mean, and all layers are divided by one scale a feature: the head could do both
    by itself (its bias, its weights), so the layers' weights keep the meaning that they have on raw states, and
    training is as well conditioned as on standardised ones.

    Attributes
    ----------
    states : _States
    mean : Tensor, shape (layers, width)
    scale : Tensor, shape (width,)
    lengths : ndarray, shape (layers,)
        Root mean square of what is then standardised.
    """

    states: _States
    mean: torch.Tensor
    scale: torch.Tensor
    lengths: np.ndarray

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        return (self.states(rows) - self.mean[:, None]) / self.scale


class _Model:
    """Parameters and forward pass of all seeds and targets."""

    def __init__(
        self,
        n_layers: int,
        width: int,
        n_targets: int,
        seeds: Sequence[int],
        settings: WeightedSettings,
        device: torch.device,
    ) -> None:
        self.shape = (len(seeds), n_targets)
        self.linear = settings.head == "linear"

        def same_for_targets(draw: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
            # The same first values for every target, so that a target does not depend on which others are fitted.
            values = torch.stack([draw(torch.Generator().manual_seed(seed)) for seed in seeds])
            values = values[:, None].expand(len(seeds), n_targets, *values.shape[1:])
            return values.clone().to(device).requires_grad_()

        def zeros(*size: int) -> torch.Tensor:
            return torch.zeros(*self.shape, *size, device=device, requires_grad=True)

        logits = zeros(n_layers)
        if self.linear:
            head = same_for_targets(lambda g: 0.1 * torch.randn(width, generator=g) / width**0.5)
            self.parameters = [logits, head, zeros()]
        else:
            hidden = settings.hidden
            first = same_for_targets(lambda g: torch.randn(width, hidden, generator=g) / width**0.5)
            last = same_for_targets(lambda g: torch.randn(hidden, generator=g) / hidden**0.5)
            self.parameters = [logits, first, zeros(hidden), last, zeros()]

    def layer_weights(self) -> torch.Tensor:
        """Softmax over layers, shape (seeds × targets, layers)."""
        return self.parameters[0].flatten(0, 1).softmax(-1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Predict from states (layers, rows, width), shape (seeds, rows, targets)."""
        weights = self.layer_weights()
        if self.linear:
            # The head first: a number a layer and row, where summing first would be a state a fit and row.
            _, head, bias = self.parameters
            each = x @ head.flatten(0, 1).T
            out = torch.einsum("lnk,kl->kn", each, weights) + bias.flatten()[:, None]
        else:
            _, first, first_bias, last, bias = (p if k == 0 else p.flatten(0, 1) for k, p in enumerate(self.parameters))
            summed = (weights @ x.flatten(1)).reshape(-1, *x.shape[1:])
            hidden = torch.nn.functional.gelu(torch.baddbmm(first_bias[:, None], summed, first))
            out = (hidden @ last[:, :, None])[..., 0] + bias[:, None]
        return out.reshape(*self.shape, -1).transpose(1, 2)


def _train(
    model: _Model,
    states: _Standardised,
    targets: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    settings: WeightedSettings,
    seed: int,
) -> np.ndarray:
    truth = torch.from_numpy(targets[train]).float().to(states.mean.device)
    optimiser = torch.optim.AdamW(
        [
            {"params": model.parameters[:1], "lr": settings.layer_rate, "weight_decay": 0.0},
            {"params": model.parameters[1:], "lr": settings.rate, "weight_decay": settings.decay},
        ]
    )
    stopping = EarlyStopping(model.parameters, model.shape, settings.patience)
    rng = np.random.default_rng(seed)
    for epoch in range(settings.epochs):
        for batch in batches(train, settings.batch, rng):
            loss = ccc_loss(model(states(train[batch])), truth[torch.as_tensor(batch, device=truth.device)]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if stopping.update(
            epoch, validation_score(targets[validation], _predict(model, states, validation, settings.batch))
        ):
            break
    stopping.restore()
    return stopping.epoch


@torch.no_grad()
def _predict(model: _Model, states: _Standardised, rows: np.ndarray, size: int) -> np.ndarray:
    """Standardised predictions, shape (seeds, rows, targets)."""
    parts = [model(states(rows[start : start + size])) for start in range(0, len(rows), size)]
    if not parts:
        return np.empty((model.shape[0], 0, model.shape[1]))
    return torch.cat(parts, dim=1).cpu().double().numpy()
