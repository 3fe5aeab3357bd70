"""Linear probes with a penalty, of one layer or one baseline: by ridge for dimensions, logistic for categories."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import EMOTION

from ..spreading import in_turn
from .base import Fit, Fitted, Inputs, Probe, Task, single_layer_features, versions_of

if TYPE_CHECKING:
    import numpy as np

    from ..deletion import LeftOut
    from ..layer_equations import Reader
    from ..mdl import OnlineCode
    from ..settings import FitSettings


@dataclass(frozen=True)
class Solved:
    """What a linear probe finds on one set of features; see :class:`.base.Fit`.

    Attributes
    ----------
    inner_scores : ndarray, shape (folds, targets, penalties)
        What the penalties were chosen by.
    notes : tuple of str
        What is to be said of all targets.
    """

    predictions: np.ndarray
    penalties: np.ndarray
    inner_scores: np.ndarray
    nulls: dict[str, np.ndarray] | None = None
    code: OnlineCode | None = None
    tested: dict[str, np.ndarray] | None = None
    left_out: LeftOut | None = None
    notes: tuple[str, ...] = ()


def _unwatched(items: Iterable, unit: str) -> Iterable:  # noqa: ARG001 - the unit of a bar that nobody sees
    return items


class LinearProbe(Probe):
    """A probe of one layer, or of a baseline's features, whose penalty is chosen on held-out speakers."""

    @abstractmethod
    def default_penalties(self) -> Sequence[float]:
        """Penalties to choose from where none are asked for."""

    @abstractmethod
    def solve(self, read: Reader, task: Task, penalties: Sequence[float]) -> Solved:
        """Fit every fold of a task to the features that `read` returns."""

    def penalties(self, settings: FitSettings) -> Sequence[float]:
        """Penalties to choose from."""
        from ..ridge import check_penalties

        return self.default_penalties() if settings.penalties is None else check_penalties(settings.penalties).tolist()

    def feature_sets(self, asked: Sequence[str], inputs: Inputs) -> list[str]:
        """See :class:`.base.Probe`."""
        return single_layer_features(asked, inputs)

    def alone(self, settings: FitSettings) -> bool:
        """Whether one process fits layer after layer, wherever others could."""
        return False

    def fit(self, task: Task) -> Fitted:
        """Fit one probe a layer."""
        spread = in_turn if self.alone(task.settings) else task.spread
        # Where it is sent to, nobody watches.
        fit = partial(self._fit_layer, replace(task, bar=_unwatched, spread=in_turn))
        fits: list[Fit] = []
        notes: dict[str, list[str]] = {target: [] for target in task.targets}
        for of_layer, said in spread(fit, range(task.cache.n_layers), task.bar):
            fits.append(of_layer)
            for target in task.targets:
                notes[target] += said[target]
        return Fitted(fits, notes)

    def _fit_layer(self, task: Task, layer: int) -> tuple[Fit, dict[str, list[str]]]:
        """The fit of one layer, and what is to be said of each target."""
        notes: dict[str, list[str]] = {target: [] for target in task.targets}
        read = partial(task.states, layers=layer)
        return self.fit_features(read, task, notes, layer=layer, where=f"layer {layer}"), notes

    def fit_features(self, read: Reader, task: Task, notes: dict[str, list[str]], *, layer: int, where: str) -> Fit:
        """Fit one set of features.

        Parameters
        ----------
        read : callable
            ``read(rows)`` returns features, shape (len(rows), width).
        task : Task
        notes : dict of str to list of str
            What is to be said of each target is added to it.
        layer : int
            -1 for a baseline.
        where : str
            The features in words.

        Returns
        -------
        Fit
        """
        import numpy as np

        penalties = self.penalties(task.settings)
        solved = self.solve(read, task, penalties)
        for column, target in enumerate(task.targets):
            notes[target] += solved.notes
            if np.isnan(solved.inner_scores[:, column]).all(-1).any():
                notes[target].append(
                    f"{where}: in a fold no penalty had a score to be chosen by; the largest was taken"
                )
            at_an_end = np.isin(solved.penalties[:, column], [penalties[0], penalties[-1]])
            if len(penalties) > 1 and at_an_end.any():
                notes[target].append(f"{where}: a chosen penalty is at the end of the grid")
        return Fit(
            layer,
            task.settings.seed,
            solved.predictions,
            penalties=solved.penalties,
            nulls=solved.nulls,
            code=solved.code,
            tested=solved.tested,
            left_out=solved.left_out,
        )


class Ridge(LinearProbe):
    """One ridge regression a layer, with its null and its description length."""

    name, about, for_categories = "ridge", "one linear probe a layer", "logistic"

    def takes(self, target: str) -> bool:
        """Dimensions."""
        return target != EMOTION

    def default_penalties(self) -> Sequence[float]:
        """See :class:`LinearProbe`."""
        from ..ridge import PENALTIES

        return PENALTIES

    def versions(self, settings: FitSettings, target: str) -> dict[str, int]:
        """See :class:`.base.Probe`."""
        from .. import deletion, jackknife, mdl, permutation, ridge

        return versions_of(
            ridge, deletion, jackknife, *[permutation] * bool(settings.permutations), *[mdl] * settings.mdl
        )

    def identity(self, settings: FitSettings, target: str, inputs: Inputs) -> dict:
        """See :class:`.base.Probe`."""
        return {
            "penalties": [float(penalty) for penalty in self.penalties(settings)],
            "rescale": settings.rescale,
            "mdl": settings.mdl,
            **_permuted(settings),
        }

    def alone(self, settings: FitSettings) -> bool:
        """On a device, which processes would have to share."""
        return settings.ridge_device != "cpu"

    def solve(self, read: Reader, task: Task, penalties: Sequence[float]) -> Solved:
        """See :class:`LinearProbe`; on a device if the settings name one."""
        if task.settings.ridge_device == "cpu":
            return self._solve(read, task, penalties)
        from ..device_check import checked_device
        from ..on_device import brought, working

        device = checked_device(task.settings.ridge_device)
        with working(device):
            return self._solve(brought(read, task.folds, device), task, penalties)

    def _solve(self, read: Reader, task: Task, penalties: Sequence[float]) -> Solved:
        from .. import permutation, ridge
        from ..deletion import LeftOut, moments_without

        settings, ratings = task.settings, task.ratings()
        said: tuple[str, ...] = ()
        equations = ridge.accumulate(read, ratings, task.folds)
        solved = ridge.solve(equations, penalties=penalties, rescale=settings.rescale)
        left_out = None
        if settings.resamples:
            deletions = task.deletions()
            left_out = LeftOut(deletions, moments_without(equations, solved, ratings, deletions))
        nulls = None
        if settings.permutations:
            sets, said = _exchangeable(task)
            nulls = permutation.permuted_scores(
                equations,
                ratings,
                solved,
                sets,
                count=settings.permutations,
                seed=settings.seed,
                rescale=settings.rescale,
            )
        code, notes = _online_code(read, ratings, task, penalties) if settings.mdl else (None, ())
        return Solved(
            solved.predictions,
            solved.penalties,
            solved.inner_scores,
            nulls=nulls,
            code=code,
            left_out=left_out,
            notes=(*said, *notes),
        )


def _online_code(
    read: Reader, ratings: np.ndarray, task: Task, penalties: Sequence[float]
) -> tuple[OnlineCode | None, tuple[str, ...]]:
    """Code of the labels given the features, of the training part or all rows of a cross-validation; or why not."""
    import numpy as np

    from ..mdl import online_code

    first = task.folds[0]
    rows = first.train
    if len(task.folds) > 1:
        rows = np.union1d(rows, np.concatenate(list(first.tests.values())))
    try:
        return online_code(read, ratings, rows, task.split.whole, penalties=penalties, seed=task.settings.seed), ()
    except UserError as error:  # too few labels of somebody to begin with; the scores do not depend on it
        return None, (f"no description length: {error}",)


class Logistic(LinearProbe):
    """One logistic regression a layer."""

    name, about = "logistic", "one logistic probe a layer, for categories"

    def takes(self, target: str) -> bool:
        """Categories."""
        return target == EMOTION

    def default_penalties(self) -> Sequence[float]:
        """See :class:`LinearProbe`."""
        from ..logistic import PENALTIES

        return PENALTIES

    def versions(self, settings: FitSettings, target: str) -> dict[str, int]:
        """See :class:`.base.Probe`."""
        from .. import category_null, logistic, permutation

        return versions_of(logistic, *[permutation, category_null] * bool(settings.permutations))

    def identity(self, settings: FitSettings, target: str, inputs: Inputs) -> dict:
        """See :class:`.base.Probe`."""
        return {
            "penalties": [float(penalty) for penalty in self.penalties(settings)],
            "rescale": False,
            **_permuted(settings),
            "null_of": "UAR of the nearest class mean" if settings.permutations else None,
        }

    def solve(self, read: Reader, task: Task, penalties: Sequence[float]) -> Solved:
        """See :class:`LinearProbe`."""
        import numpy as np

        from ..category_null import category_null
        from ..logistic import logistic_probe

        settings, classes = task.settings, task.labels.classes
        read = _held(read, np.flatnonzero(classes >= 0))
        solved = logistic_probe(read, classes, task.folds, penalties=penalties)
        nulls, tested = None, None
        said: tuple[str, ...] = ()
        if settings.permutations:
            sets, said = _exchangeable(task)
            null = category_null(read, classes, task.folds, sets, count=settings.permutations, seed=settings.seed)
            nulls = {name: scores[:, None] for name, scores in null.permuted.items()}
            tested = {name: np.array([score]) for name, score in null.tested.items()}
        return Solved(
            predictions=solved.predictions[:, None],
            penalties=solved.penalties[:, None],
            inner_scores=solved.inner_scores[:, None],
            nulls=nulls,
            tested=tested,
            notes=(*said, *solved.notes),
        )


def _held(read: Reader, rows: np.ndarray) -> Reader:
    """The same features of `rows`, ascending, read once."""
    import numpy as np

    features = read(rows)
    return lambda some: features[np.searchsorted(rows, some)]


def _exchangeable(task: Task) -> tuple[np.ndarray, tuple[str, ...]]:
    """Sets within which labels are permuted, and what is to be said of them."""
    from ..permutation import exchangeable, told

    units, within = task.split.units, bool(task.settings.permute_within_speakers)
    sets = exchangeable(task.folds, units.voices, within_speakers=within)
    return sets, told(task.folds, units, within_speakers=within)


def _permuted(settings: FitSettings) -> dict:
    """Settings of the null."""
    from ..permutation import FREE, WITHIN

    within = bool(settings.permute_within_speakers)
    return {
        "permutations": settings.permutations,
        "permuted": WITHIN if within else FREE,
        # In its hash, so that kept nulls in which these rows had their true labels are made anew.
        **({"unknown_speakers": "permuted among themselves"} if within else {}),
    }
