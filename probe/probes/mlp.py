"""One hidden layer on each layer's states, trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from emoprobe.extract.corpora.cells import EMOTION

from .base import Fit, Fitted, Inputs, Probe, Task, single_layer_features, versions_of

if TYPE_CHECKING:
    from ..settings import FitSettings


class MLP(Probe):
    """One hidden layer on each layer's states."""

    name, about = "mlp", "one hidden layer"

    def takes(self, target: str) -> bool:
        """Dimensions."""
        return target != EMOTION

    def feature_sets(self, asked: Sequence[str], inputs: Inputs) -> list[str]:
        """See :class:`.base.Probe`."""
        return single_layer_features(asked, inputs)

    def versions(self, settings: FitSettings, target: str) -> dict[str, int]:
        """See :class:`.base.Probe`."""
        from .. import mlp, training

        return versions_of(training, mlp)

    def identity(self, settings: FitSettings, target: str, inputs: Inputs) -> dict:
        """See :class:`.base.Probe`."""
        from ..mlp import MLPSettings

        return {"training": asdict(MLPSettings())}

    def fit(self, task: Task) -> Fitted:
        """See :class:`.base.Probe`."""
        from ..mlp import MLPSettings, mlp_probe

        predictions = mlp_probe(
            task.states,
            task.cache.n_layers,
            task.ratings(),
            task.folds,
            seed=task.settings.seed,
            settings=MLPSettings(),
            device=task.settings.device,
            bar=lambda items: task.bar(items, "fold"),
        )
        return Fitted([Fit(layer, task.settings.seed, of_layer) for layer, of_layer in enumerate(predictions)])
