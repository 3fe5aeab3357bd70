"""A learned weighted sum of all layers, once a seed, and the weights it learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import EMOTION

from .base import Fit, Fitted, Inputs, Probe, Task, versions_of

if TYPE_CHECKING:
    from ..settings import FitSettings
    from ..weighted import WeightedResult, WeightedSettings

#: Statistics of which a weighted sum of layers is the pooled weighted sum of their frames.
SUMMABLE = ("mean", "mean_ln")


class Weighted(Probe):
    """A weighted sum of the layers, and a head on the sum."""

    name, about = "weighted", "a learned weighted sum of layers"

    def takes(self, target: str) -> bool:
        """Dimensions."""
        return target != EMOTION

    def feature_sets(self, asked: Sequence[str], inputs: Inputs) -> list[str]:
        """See :class:`.base.Probe`."""
        summable = [name for name in asked or inputs.statistics if name in SUMMABLE]
        if not summable:
            raise UserError(
                f"a weighted sum of layers takes --features mean or mean_ln, not {', '.join(asked)}: "
                "other statistics of a sum are no sum of statistics"
            )
        return summable if asked else [min(summable, key=SUMMABLE.index)]

    def versions(self, settings: FitSettings, target: str) -> dict[str, int]:
        """See :class:`.base.Probe`."""
        from .. import training, weighted

        return versions_of(training, weighted)

    def identity(self, settings: FitSettings, target: str, inputs: Inputs) -> dict:
        """See :class:`.base.Probe`."""
        return {"seeds": _seeds(settings), "training": asdict(_training(settings))}

    def fit(self, task: Task) -> Fitted:
        """See :class:`.base.Probe`."""
        from ..weighted import weighted_probe

        seeds = _seeds(task.settings)
        learned = weighted_probe(
            task.states,
            task.ratings(),
            task.folds,
            seeds=seeds,
            settings=_training(task.settings),
            device=task.settings.device,
            bar=lambda items: task.bar(items, "fold"),
        )
        fits = [Fit(None, seed, predictions) for seed, predictions in zip(seeds, learned.predictions, strict=True)]
        return Fitted(fits, weights=_weights(task, learned))


def _seeds(settings: FitSettings) -> list[int]:
    return list(range(settings.seed, settings.seed + settings.seeds))


def _training(settings: FitSettings) -> WeightedSettings:
    from ..weighted import WeightedSettings

    return WeightedSettings(head=settings.head)


def _weights(task: Task, learned: WeightedResult) -> list[dict]:
    """Weights, corrected by the length of the centred states and by the norm of the frames: means over folds."""
    import numpy as np

    from ..weighted import norm_corrected

    norm = task.cache.layers["norm"].to_numpy(np.float64)
    # Layer-normed frames have one norm.
    by_norm = norm_corrected(learned.weights, np.ones_like(norm) if task.features == "mean_ln" else norm)
    corrected = learned.corrected
    return [
        {
            "dimension": dimension,
            "layer": layer,
            "seed": seed,
            "weight": learned.weights[k, :, column, layer].mean(),
            "weight_normed": corrected[k, :, column, layer].mean(),
            "weight_by_norm": by_norm[k, :, column, layer].mean(),
        }
        for column, dimension in enumerate(task.targets)
        for k, seed in enumerate(_seeds(task.settings))
        for layer in range(task.cache.n_layers)
    ]
