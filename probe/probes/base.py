"""What a probe is: the targets it takes, the features it reads, what its numbers depend on, and how it is fitted.

A probe is light to import: what it computes with is loaded when it is fitted, so that a command can list the probes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from emoprobe.extract.corpora.cells import EMOTION

if TYPE_CHECKING:
    import numpy as np

    from emoprobe.extract.cache import HiddenStateCache

    from ..deletion import Deletions, LeftOut
    from ..mdl import OnlineCode
    from ..settings import FitSettings
    from ..splits import Fold, Split
    from ..targets import Labels


@dataclass(frozen=True)
class Inputs:
    """What a cache holds for probes to read.

    Attributes
    ----------
    statistics : tuple of str
        Of the states of every layer.
    baselines : dict of str to dict
        Names of what is known without the model, each with what made it.
    """

    statistics: tuple[str, ...]
    baselines: dict[str, dict]


@dataclass(frozen=True)
class Task:
    """What a probe is fitted on: targets that share their folds, and one set of features.

    Attributes
    ----------
    targets : tuple of str
        Dimensions, or "emotion" alone.
    features : str
        Statistics of the cache joined by "+", the name of a baseline, or "".
    split : Split
        That of each of the targets.
    bar : callable
        ``bar(items, unit)`` returns the items, and may show how far they are.
    """

    cache: HiddenStateCache
    settings: FitSettings
    features: str
    targets: tuple[str, ...]
    labels: Labels
    split: Split
    bar: Callable[[Iterable, str], Iterable]

    @property
    def folds(self) -> tuple[Fold, ...]:
        """Fits to be made."""
        return self.split.folds

    @property
    def of_categories(self) -> bool:
        """Whether the target is categories."""
        return self.targets == (EMOTION,)

    def ratings(self) -> np.ndarray:
        """Labels of the dimensions, shape (utterances, targets); NaN where there is none."""
        return self.labels.ratings(self.targets)

    def deletions(self) -> Deletions:
        """Whom to leave out of the training sets, one after the other."""
        from ..deletion import Deletions
        from ..units import unit_names

        ids = self.labels.table["id"].tolist()
        names = unit_names(ids, self.labels.speakers, self.split.units.names)
        return Deletions.of(self.folds, names, self.ratings(), seed=self.settings.seed)

    def states(self, rows: np.ndarray, layers: int | slice | None = None) -> np.ndarray:
        """Features of some layers, statistics side by side, shape (layers, rows, width); of one, (rows, width)."""
        import numpy as np

        some = _as_slice(rows)
        parts = [self.cache.states(name, layers=layers, rows=some) for name in self.features.split("+")]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


@dataclass(frozen=True)
class Fit:
    """One fit of a probe to all targets of a task: of a layer, a baseline, or a seed.

    Attributes
    ----------
    layer : int or None
        -1 for what belongs to no layer, None for what belongs to all.
    seed : int
    predictions : ndarray, shape (utterances, targets)
        NaN, or -1 for categories, where no fold scores the row.
    penalties : ndarray, shape (folds, targets), optional
        Chosen penalty.
    nulls : dict of str to ndarray, shape (permutations, targets), optional
        Scores for permuted labels by the name of the split.
    tested : dict of str to ndarray, shape (targets,), optional
        What the nulls are of, by the name of the split, where that is not CCC of these predictions.
    code : OnlineCode, optional
        Description length of the labels.
    left_out : LeftOut, optional
        What the fits would have predicted without each speaker.
    """

    layer: int | None
    seed: int
    predictions: np.ndarray
    penalties: np.ndarray | None = None
    nulls: dict[str, np.ndarray] | None = None
    code: OnlineCode | None = None
    tested: dict[str, np.ndarray] | None = None
    left_out: LeftOut | None = None


@dataclass(frozen=True)
class Fitted:
    """All fits of a task.

    Attributes
    ----------
    fits : list of Fit
    notes : dict of str to list of str
        What is to be said of each target.
    weights : list of dict
        Learned weights: `dimension`, `layer`, `seed`, `weight`, `weight_normed`, `weight_by_norm`.
    """

    fits: list[Fit]
    notes: dict[str, list[str]] = field(default_factory=dict)
    weights: list[dict] = field(default_factory=list)


class Probe(ABC):
    """A kind of probe.

    Attributes
    ----------
    name : str
        The column `probe` of the results.
    about : str
        A few words for the help of the command.
    for_categories : str, optional
        Name of the probe that takes the categories where this one is asked for.
    """

    name: str
    about: str = ""
    for_categories: str | None = None

    @abstractmethod
    def takes(self, target: str) -> bool:
        """Whether the probe can be fitted to a dimension, or to "emotion"."""

    @abstractmethod
    def feature_sets(self, asked: Sequence[str], inputs: Inputs) -> list[str]:
        """Feature sets to read: those `asked` for that it can, or its own choice of what the cache holds.

        Raises
        ------
        UserError
            If it can read none of them.
        """

    @abstractmethod
    def versions(self, settings: FitSettings, target: str) -> dict[str, int]:
        """Versions of the methods by which its numbers are made, besides those of every probe."""

    @abstractmethod
    def identity(self, settings: FitSettings, target: str, inputs: Inputs) -> dict:
        """Settings on which its numbers depend, besides those of every probe, as JSON."""

    @abstractmethod
    def fit(self, task: Task) -> Fitted:
        """Fit the probe.

        Raises
        ------
        UserError
            If a feature is not a finite number, or a fold cannot be fitted.
        """


def versions_of(*methods: ModuleType) -> dict[str, int]:
    """Version of each method by the name of its file."""
    return {method.__name__.rpartition(".")[2]: method.VERSION for method in methods}


def single_layer_features(asked: Sequence[str], inputs: Inputs) -> list[str]:
    """Feature sets of probes of single layers: those asked for, or mean and spread as far as they are there."""
    return list(asked) or [features_by_default(inputs.statistics)]


def features_by_default(statistics: Sequence[str]) -> str:
    """Mean and spread together, as far as a cache holds them; else the first statistic that it has."""
    return "+".join(name for name in ("mean", "std") if name in statistics) or statistics[0]


def _as_slice(rows: np.ndarray) -> np.ndarray | slice:
    """A slice where the rows follow each other: the cache reads that in one piece."""
    import numpy as np

    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
