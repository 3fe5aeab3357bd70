"""A probe with one hidden layer, trained on a CCC loss: every layer and target in the same matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from emoprobe.extract.devices import choose_device

from .splits import Fold
from .training import EarlyStopping, batches, ccc_loss, standardise_targets, validation_score

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1


@dataclass(frozen=True)
class MLPSettings:
    """How the probes are trained.

    Parameters
    ----------
    hidden : int
        Width of the hidden layer of each target.
    epochs, patience : int
        At most so many epochs; a fit is over when its validation CCC has not risen for `patience` of them.
    batch : int
        Utterances in a batch.
    rate, decay : float
        Learning rate and weight decay (AdamW).
    dropout : float
        Of the hidden units.
    memory : float
        GiB of pooled states in memory at once: so many layers are trained together.
    """

    hidden: int = 64
    epochs: int = 200
    patience: int = 20
    batch: int = 256
    rate: float = 1e-3
    decay: float = 1.0
    dropout: float = 0.2
    memory: float = 2.0


def mlp_probe(
    read: Callable[..., np.ndarray],
    n_layers: int,
    targets: np.ndarray,
    folds: Sequence[Fold],
    *,
    seed: int = 0,
    settings: MLPSettings = MLPSettings(),
    device: str = "auto",
    bar: Callable[[Iterable], Iterable] = iter,
) -> np.ndarray:
    """Train one probe a layer and target, and predict the rows to score.

    Features are standardised by the training rows. Each fold trains on the rows of :attr:`.Fold.stopping` and
    stops on that pair's validation rows.

    Parameters
    ----------
    read : callable
        ``read(rows, layers=slice)`` returns the states of ascending `rows`, shape (layers, len(rows), width).
    n_layers : int
    targets : ndarray, shape (utterances, targets)
        NaN where the label is missing.
    folds : sequence of Fold
    seed : int
        A layer's first values depend on this and on its number, not on the layers that are trained beside it.
    settings : MLPSettings
    device : str
        "auto", "cpu", "cuda", "mps".
    bar : callable
        Wraps the pairs of fold and layers to show progress.

    Returns
    -------
    ndarray, shape (layers, utterances, targets)
        NaN where no fold scores the row.
    """
    where = choose_device(device)
    targets = np.asarray(targets, dtype=np.float64)
    predictions = np.full((n_layers, *targets.shape), np.nan)
    rows = np.unique(np.concatenate([r for fold in folds for r in (*fold.stopping, *fold.tests.values())]))
    one = read(rows[:1], layers=slice(0, 1))
    at_once = max(1, int(settings.memory * 2**30 // max(one.nbytes * len(rows), 1)))
    place = np.zeros(rows[-1] + 1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    groups = [range(start, min(start + at_once, n_layers)) for start in range(0, n_layers, at_once)]

    @lru_cache(maxsize=1)
    def states_of(layers: range) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(read(rows, layers=slice(layers[0], layers[-1] + 1)))).to(where)

    for layers, fold in bar([(layers, fold) for layers in groups for fold in folds]):
        for part, values in _fit(states_of(layers), place, layers, targets, fold, seed, settings):
            predictions[layers[0] : layers[-1] + 1, part] = values
    return predictions


def _fit(
    states: torch.Tensor,
    place: np.ndarray,
    layers: range,
    targets: np.ndarray,
    fold: Fold,
    seed: int,
    settings: MLPSettings,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Train the probes of some layers on one fold; yield the rows of each test and their predictions."""
    train, validation = fold.stopping
    device, width, n_targets, hidden = states.device, states.shape[-1], targets.shape[1], settings.hidden
    standard, mean, spread = standardise_targets(targets, train)
    truth = torch.from_numpy(standard[train]).float().to(device)

    def at(rows: np.ndarray) -> torch.Tensor:
        return states[:, torch.as_tensor(place[rows], device=device)]

    centre = at(train).mean(1, keepdim=True)
    scale = at(train).std(1, keepdim=True, correction=0)
    # The rounding of a mean in single precision: a feature below it is constant, and is left at zero.
    inverse = torch.where(scale > 1e-5 * centre.abs(), 1 / scale.clamp(min=1e-30), 0.0)
    parameters = _first_values(layers, width, hidden, n_targets, seed, device)
    first, first_bias, last, bias = parameters

    def predict(rows: np.ndarray, keep: torch.Tensor | None = None) -> torch.Tensor:
        x = (at(rows) - centre) * inverse
        flat = first.transpose(1, 2).reshape(len(layers), width, n_targets * hidden)
        active = torch.nn.functional.gelu(x @ flat + first_bias.reshape(len(layers), 1, -1))
        if keep is not None:
            active = active * keep
        active = active.reshape(len(layers), len(rows), n_targets, hidden)
        return (active * last[:, None]).sum(-1) + bias[:, None]

    optimiser = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.decay)
    stopping = EarlyStopping(parameters, (len(layers), n_targets), settings.patience)
    rng = np.random.default_rng(seed)
    for epoch in range(settings.epochs):
        for batch in batches(train, settings.batch, rng):
            # One mask for all layers and targets, drawn on the CPU: neither the device nor the company changes a fit.
            kept = rng.random((len(batch), 1, hidden)) >= settings.dropout
            kept = np.broadcast_to(kept, (len(batch), n_targets, hidden)).reshape(len(batch), -1)
            mask = torch.from_numpy(kept / (1 - settings.dropout)).float().to(device)
            loss = ccc_loss(predict(train[batch], mask), truth[torch.as_tensor(batch, device=device)]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            score = validation_score(standard[validation], predict(validation).cpu().double().numpy())
        if stopping.update(epoch, score):
            break
    stopping.restore()
    for rows in fold.tests.values():
        with torch.no_grad():
            yield rows, predict(rows).cpu().double().numpy() * spread + mean


def _first_values(
    layers: range, width: int, hidden: int, n_targets: int, seed: int, device: torch.device
) -> list[torch.Tensor]:
    """Parameters with one slice a layer and target; the same first values for every target of a layer."""
    of_layers = []
    for layer in layers:
        generator = torch.Generator().manual_seed(seed * 1009 + layer)
        first = torch.randn(width, hidden, generator=generator) / width**0.5
        of_layers.append((first, torch.randn(hidden, generator=generator) / hidden**0.5))
    parameters = (
        torch.stack([first for first, _ in of_layers])[:, None].expand(-1, n_targets, -1, -1),
        torch.zeros(len(layers), n_targets, hidden),
        torch.stack([last for _, last in of_layers])[:, None].expand(-1, n_targets, -1),
        torch.zeros(len(layers), n_targets),
    )
    return [values.clone().to(device).requires_grad_() for values in parameters]
