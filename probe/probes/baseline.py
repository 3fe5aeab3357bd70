"""What every layer has to beat: the mean of the labels, and linear probes of what is known without the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import Fit, Fitted, Inputs, Probe, Task
from .linear import LinearProbe, Logistic, Ridge

if TYPE_CHECKING:
    import numpy as np

    from emoprobe.extract.baselines.base import Baseline

    from ..settings import FitSettings

_LINEAR: tuple[LinearProbe, ...] = (Ridge(), Logistic())


def _version(name: str) -> dict[str, int]:
    from ..baselines import VERSIONS

    return {f"baseline {name}": VERSIONS[name]}


class Mean(Probe):
    """The mean label of the training rows, or their commonest category."""

    name = "mean"

    def takes(self, target: str) -> bool:
        """Everything."""
        return True

    def feature_sets(self, asked: Sequence[str], inputs: Inputs) -> list[str]:
        """It reads nothing."""
        return [""]

    def versions(self, settings: FitSettings, target: str) -> dict[str, int]:
        """See :class:`.base.Probe`."""
        return _version(self.name)

    def identity(self, settings: FitSettings, target: str, inputs: Inputs) -> dict:
        """See :class:`.base.Probe`."""
        return {}

    def fit(self, task: Task) -> Fitted:
        """See :class:`.base.Probe`."""
        from ..baselines import commonest_category, mean_predictor

        if task.of_categories:
            predictions = commonest_category(task.labels.classes, task.folds)[:, None]
        else:
            predictions = mean_predictor(task.ratings(), task.folds)
        return Fitted([Fit(-1, task.settings.seed, predictions)])


class FeatureBaseline(Probe):
    """A linear probe of features that the model has no part in.

    Parameters
    ----------
    baseline : Baseline
    """

    def __init__(self, baseline: Baseline) -> None:
        self.name, self.cleaning = baseline.name, baseline.cleaning

    def takes(self, target: str) -> bool:
        """What a linear probe takes."""
        return any(linear.takes(target) for linear in _LINEAR)

    def feature_sets(self, asked: Sequence[str], inputs: Inputs) -> list[str]:
        """Its own, where the cache has it."""
        return [self.name] if self.name in inputs.baselines else []

    def versions(self, settings: FitSettings, target: str) -> dict[str, int]:
        """See :class:`.base.Probe`."""
        return {**_linear(target).versions(settings, target), **_version(self.name)}

    def identity(self, settings: FitSettings, target: str, inputs: Inputs) -> dict:
        """See :class:`.base.Probe`."""
        about = inputs.baselines[self.name]
        return {
            **({"baseline": about} if about else {}),
            **self.cleaning,
            **_linear(target).identity(settings, target, inputs),
        }

    def fit(self, task: Task) -> Fitted:
        """See :class:`.base.Probe`."""
        from ..baselines import probe_features

        values = task.cache.baseline(self.name)
        notes = {target: self._gaps(values, task.labels.labelled(target)) for target in task.targets}
        features = probe_features(self.name, values, task.folds)
        linear = _linear(task.targets[0])
        fit = linear.fit_features(lambda rows: features[rows], task, notes, layer=-1, where="baseline")
        return Fitted([fit], notes)

    def _gaps(self, values: np.ndarray, labelled: np.ndarray) -> list[str]:
        import numpy as np

        lacking = int(np.isnan(values[labelled]).any(1).sum())
        if not lacking:
            return []
        return [
            f"{lacking} of {int(labelled.sum())} labelled utterances lack the baseline '{self.name}': the mean over "
            "the training utterances stands in for it"
        ]


def _linear(target: str) -> LinearProbe:
    return next(linear for linear in _LINEAR if linear.takes(target))
