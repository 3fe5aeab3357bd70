r"""What several sources explain of the same labels, each alone, together and in common: nested ridges, and their parts.

Three bands of features, a layer, acoustics and text, make seven models. In each every band has a penalty of its own (a
banded ridge), and an infinite one leaves it out. With :math:`R^2_S` of the model of the bands :math:`S`, on utterances
that were not trained on, the parts of the whole are those of commonality analysis: what a band adds to the other two is
its unique part, :math:`R^2_{LAT} - R^2_{AT}`; what two have in common, and the third has not, is :math:`R^2_{LT} +
R^2_{AT} - R^2_T - R^2_{LAT}` for layer and acoustics; the rest is what all three have in common. They sum to
:math:`R^2_{LAT}`.

:math:`R^2 = r |r|`, of Pearson's correlation of labels and predictions, both less the mean label of the training part;
0 for predictions that do not vary. It is the scale of the depth of curves, too. The other one, 1 less the squared error
over that of the mean, falls far below 0 for one voice unlike all that were trained on, and then says nothing of the
others. On new utterances a part can be negative: a unique one where the band tells less than what fitting it costs,
which is to be read as nothing; a common one where bands tell more together than the sum of what each tells
(suppression).

References
----------
K. F. Nimon and F. L. Oswald, "Understanding the results of multiple linear regression: beyond standardized regression
coefficients", Organizational Research Methods 16(4), 2013. W. A. de Heer et al., "The hierarchical cortical
organization of human speech processing", Journal of Neuroscience 37(27), 2017: the same parts on held-out data. T.
Dupré la Tour et al., "Feature-space selection with banded ridge regression", NeuroImage 264, 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from emoprobe.probe.arrays import solve_penalties
from emoprobe.probe.bootstrap import leave_one_out, sum_by_group
from emoprobe.probe.deletion import Deletions, samples
from emoprobe.probe.equations import NormalEquations, Removal
from emoprobe.probe.layer_equations import RidgeEquations
from emoprobe.probe.metrics import moments, pearson_from_moments
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.splits import Fold

LAYER, ACOUSTICS, TEXT = BANDS = ("layer", "acoustics", "text")

#: The nested models.
MODELS = ((LAYER,), (ACOUSTICS,), (TEXT,), (LAYER, ACOUSTICS), (LAYER, TEXT), (ACOUSTICS, TEXT), BANDS)

#: Penalties of each band, added to a sum over standardised rows: half a decade apart, of the words a decade.
OF_LAYER = tuple(10.0 ** (k / 2) for k in range(2, 11))
OF_ACOUSTICS = tuple(10.0 ** (k / 2) for k in range(2, 9))
OF_TEXT = tuple(10.0**k for k in range(1, 5))

#: Every combination of the three, infinity included, shape (combinations, 3).
GRID = np.array(list(product((*OF_LAYER, np.inf), (*OF_ACOUSTICS, np.inf), (*OF_TEXT, np.inf))))

#: Which combinations each model chooses from, shape (models, combinations): those that leave out what it has not.
ALLOWED = np.array([np.isinf(GRID[:, [band not in model for band in BANDS]]).all(1) for model in MODELS])


@dataclass(frozen=True)
class Scored:
    """Sums of labels and predictions of the nested models on the utterances that are scored.

    Attributes
    ----------
    whole : ndarray, shape (targets, models, 6)
        Of `metrics.moments`; labels in the unit of their spread.
    left_out : list of ndarray, shape (units, targets, models, 6)
        Without one unit each; the samples of :func:`emoprobe.probe.deletion.samples`.
    penalties : ndarray, shape (folds, targets, models, 3)
        Chosen.
    """

    whole: np.ndarray
    left_out: list[np.ndarray]
    penalties: np.ndarray


@dataclass
class NestedModels:
    """The nested models of one layer after another, on the same folds, acoustics and text.

    Parameters
    ----------
    targets : ndarray, shape (utterances, targets)
        Labels; those that folds name are all there.
    folds : sequence of Fold
        The rows scored by one fold are scored by no other.
    acoustics, text : ndarray, shape (utterances, width)
    units : ndarray of int, shape (utterances,)
        What intervals leave out: speakers, or groups of them.
    within : bool
        Take the mean of each unit from its labels and predictions before they are scored: what differs between speakers
        is then no part of it.
    seed : int
        Of the blocks of units, where there are many.
    """

    targets: np.ndarray
    folds: Sequence[Fold]
    acoustics: np.ndarray
    text: np.ndarray
    units: np.ndarray
    within: bool = False
    seed: int = 0
    # What a model without the layer predicts is the same for every layer.
    _without_layer: dict[tuple, np.ndarray] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.deletions = Deletions.of(self.folds, [str(unit) for unit in self.units], self.targets, seed=self.seed)

    def score(self, layer: np.ndarray) -> Scored:
        """Fit and score all models of a layer, and again without each unit.

        Penalties are chosen for each model and target by the squared error on the inner folds; they stay when a unit is
        left out.

        Parameters
        ----------
        layer : ndarray, shape (utterances, width)
        """
        features = np.concatenate([layer, self.acoustics, self.text], axis=1).astype(np.float64)
        widths = np.array([layer.shape[1], self.acoustics.shape[1], self.text.shape[1]])
        equations = accumulate(lambda rows: features[rows], self.targets, self.folds)
        columns = tuple(range(self.targets.shape[1]))
        chosen = self._chosen(equations, columns, widths)
        refitted = np.zeros((len(self.deletions.names), len(columns), len(MODELS), 6))
        by_unit: list[np.ndarray] = []
        for fold, best in zip(self.folds, chosen, strict=True):
            (rows,) = fold.tests.values()
            fit = _Trained.on(equations, fold.train, columns, widths)
            z, origin = fit.standardised(equations, rows), fit.equations.mean_y
            truth = self._truth(equations, rows) - origin
            sets = [fold.train[self.deletions.block[fold.train] == k] for k in range(len(self.deletions.names))]
            kept = self.deletions.block[rows] != np.arange(len(sets))[:, None]
            terms = np.empty((len(rows), *refitted.shape[1:]))
            for target, model in np.ndindex(refitted.shape[1:3]):
                penalties = GRID[best[target, model]]
                predicted = self._predicted(fit, equations, fold, z, target, penalties, sets) - origin[target]
                t, p = self._less_own_means(truth[:, target], rows), self._less_own_means(predicted, rows)
                terms[:, target, model] = np.stack([np.ones_like(t), t, p[0], t * t, p[0] ** 2, t * p[0]], axis=1)
                refitted[:, target, model] += moments(np.where(kept, t, np.nan), p[1:])
            by_unit.append(np.concatenate([self.units[rows, None], terms.reshape(len(rows), -1)], axis=1))
        own = np.concatenate(by_unit)
        sums = sum_by_group(own[:, 1:], own[:, 0].astype(np.int64)).reshape(-1, *refitted.shape[1:])
        ((split, _),) = self.folds[0].tests.items()
        left_out = samples(self.deletions.parts(split), refitted, lambda: leave_one_out(sums))
        return Scored(sums.sum(0), left_out, GRID[np.stack(chosen)])

    def _less_own_means(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Values (..., rows) less the mean of each unit, where that is asked for."""
        if not self.within:
            return values
        names, member = np.unique(self.units[rows], return_inverse=True)
        mean = np.eye(len(names))[member] / np.bincount(member)
        return values - (values @ mean)[..., member]

    def _chosen(self, equations: RidgeEquations, columns: tuple[int, ...], widths: np.ndarray) -> list[np.ndarray]:
        """Number of the combination of penalties, shape (targets, models), of each fold."""
        solved: dict = {}
        chosen = []
        for fold in self.folds:
            errors = np.zeros((len(GRID), len(columns)))
            for train, held in fold.inner:
                key = equations.blocks_of(train)
                if key not in solved:  # leaving out i to score and j to choose, or j and i, is the same fit
                    solved[key] = _Trained.on(equations, train, columns, widths).all_penalties()
                sums = equations.score(solved[key], equations.blocks_of(held), columns)
                errors += sums[..., 3] - 2 * sums[..., 5] + sums[..., 4]
            chosen.append(np.where(ALLOWED[:, :, None], errors, np.inf).argmin(1).T)
        return chosen

    def _truth(self, equations: RidgeEquations, rows: np.ndarray) -> np.ndarray:
        mean, spread = equations.unit_y.T
        return (self.targets[rows] - mean) / spread

    def _predicted(
        self,
        fit: _Trained,
        equations: RidgeEquations,
        fold: Fold,
        z: np.ndarray,
        target: int,
        penalties: np.ndarray,
        sets: Sequence[np.ndarray],
    ) -> np.ndarray:
        """Predictions of the scored rows, shape (1 + sets, rows): of the whole training part, and without each set."""
        key = (fold.name, target, *penalties) if np.isinf(penalties[0]) else None
        if key in self._without_layer:
            return self._without_layer[key]
        model = fit.banded(target, penalties)
        predicted = np.empty((1 + len(sets), len(z)))
        predicted[0] = model.predict(z)
        for k, rows in enumerate(sets, start=1):
            if len(rows):
                truth = self._truth(equations, rows)[:, [target]] - fit.equations.mean_y[target]
                predicted[k] = predicted[0] + model.change(z, fit.standardised(equations, rows), truth)
            else:  # a unit that is tested by this fold was not trained on
                predicted[k] = predicted[0]
        if key is not None:
            self._without_layer[key] = predicted
        return predicted


@dataclass(frozen=True)
class _Trained:
    """Normal equations of a training set, its features standardised, in bands of some widths."""

    equations: NormalEquations
    count: int
    widths: np.ndarray

    @classmethod
    def on(cls, equations: RidgeEquations, train: np.ndarray, columns: tuple[int, ...], widths: np.ndarray) -> _Trained:
        normal = equations.normal_equations(equations.blocks_of(train), columns)
        return cls(normal, len(train), widths)

    def standardised(self, equations: RidgeEquations, rows: np.ndarray) -> np.ndarray:
        parts = [(x - self.equations.mean) * self.equations.inverse for _, x in equations.chunks(rows)]
        return np.concatenate(parts)

    def all_penalties(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (combinations, width, targets) and intercepts, in units of the equations, for :data:`GRID`."""
        return self.equations.fit(_solutions(self.equations.matrix, self.equations.right, self.widths))

    def banded(self, target: int, penalties: np.ndarray) -> _Banded:
        """The fit of one target with a penalty a band."""
        each = np.repeat(penalties, self.widths)
        used = np.flatnonzero(np.isfinite(each))
        scale = 1 / np.sqrt(each[used])
        matrix = self.equations.matrix[np.ix_(used, used)] * scale * scale[:, None]
        right = self.equations.right[used, target : target + 1] * scale[:, None]
        # A penalty a band is the penalty 1 on features that are scaled band by band.
        return _Banded(used, scale, Removal.of(matrix, right, 1.0, self.count), self.equations.mean_y[target])


@dataclass(frozen=True)
class _Banded:
    """A banded ridge as a plain one on scaled features, from which rows can be taken out again."""

    used: np.ndarray
    scale: np.ndarray
    removal: Removal
    mean: float

    def predict(self, z: np.ndarray) -> np.ndarray:
        return z[:, self.used] @ (self.removal.solution[:, 0] * self.scale) + self.mean

    def change(self, z: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Change of the predictions of `z` without training rows; `labels` (rows, 1) are less their mean."""
        step, shift = self.removal.without(rows[:, self.used] * self.scale, labels)
        return z[:, self.used] @ (step[:, 0] * self.scale) + shift[0]


def _solutions(matrix: np.ndarray, right: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Solutions for every combination of :data:`GRID`, shape (combinations, width, targets); 0 for what is left out.

    Band after band is eliminated (Schur complements): the layer once a penalty of its own, then the text, so that only
    systems of the acoustics' width are left for every combination.
    """
    of_layer, of_acoustics, of_text = np.split(np.arange(len(matrix)), np.cumsum(widths)[:-1])
    rest = np.concatenate([of_acoustics, of_text])
    wide = len(of_acoustics)
    solutions = np.zeros((len(OF_LAYER) + 1, len(OF_ACOUSTICS) + 1, len(OF_TEXT) + 1, *right.shape))
    for i, (layer, system) in enumerate(_eliminated(matrix, right, of_layer, rest, OF_LAYER)):
        inner, inner_right = system
        text, acoustics = np.arange(wide, len(rest)), np.arange(wide)
        for k, (back, (last, last_right)) in enumerate(_eliminated(inner, inner_right, text, acoustics, OF_TEXT)):
            weights = solve_penalties(last, last_right, OF_ACOUSTICS)
            for j, w in enumerate([*weights, np.zeros_like(last_right)]):
                others = np.concatenate([w, _back(back, w)])
                solutions[i, j, k] = np.concatenate([_back(layer, others), others])
    return solutions.reshape(-1, *right.shape)


_Half = tuple[np.ndarray, np.ndarray]


def _eliminated(
    matrix: np.ndarray, right: np.ndarray, band: np.ndarray, rest: np.ndarray, penalties: Sequence[float]
) -> list[tuple[_Half, tuple[np.ndarray, np.ndarray]]]:
    """For each penalty of a band, and without it: what gives its weights from the others', and the others' system."""
    inside, across, plain = matrix[np.ix_(band, band)], matrix[np.ix_(band, rest)], matrix[np.ix_(rest, rest)]
    half = solve_penalties(inside, np.concatenate([across, right[band]], axis=1), penalties)
    eliminated: list[tuple[_Half, tuple[np.ndarray, np.ndarray]]] = []
    for one in half:
        of_rest, of_right = one[:, : len(rest)], one[:, len(rest) :]
        eliminated.append(((of_rest, of_right), (plain - across.T @ of_rest, right[rest] - across.T @ of_right)))
    nothing = (np.zeros_like(across), np.zeros_like(right[band]))
    return [*eliminated, (nothing, (plain, right[rest]))]


def _back(half: _Half, others: np.ndarray) -> np.ndarray:
    of_rest, of_right = half
    return of_right - of_rest @ others


# Parts --------------------------------------------------------------------------------------------------------------


def _weights(**models: float) -> np.ndarray:
    names = ["_".join(model) for model in MODELS]
    return np.array([models.get(name, 0.0) for name in names])


#: What is told of a layer, each a sum of R² of the seven models: alone and together, the seven parts that sum to
#: `total`, and the layer's own R² in two: what text explains as well, and what it adds to text.
PARTS: dict[str, np.ndarray] = {
    "layer": _weights(layer=1),
    "acoustics": _weights(acoustics=1),
    "text": _weights(text=1),
    "total": _weights(layer_acoustics_text=1),
    "unique layer": _weights(layer_acoustics_text=1, acoustics_text=-1),
    "unique acoustics": _weights(layer_acoustics_text=1, layer_text=-1),
    "unique text": _weights(layer_acoustics_text=1, layer_acoustics=-1),
    "layer & acoustics": _weights(layer_text=1, acoustics_text=1, text=-1, layer_acoustics_text=-1),
    "layer & text": _weights(layer_acoustics=1, acoustics_text=1, acoustics=-1, layer_acoustics_text=-1),
    "acoustics & text": _weights(layer_acoustics=1, layer_text=1, layer=-1, layer_acoustics_text=-1),
    "layer & acoustics & text": _weights(
        layer=1, acoustics=1, text=1, layer_acoustics=-1, layer_text=-1, acoustics_text=-1, layer_acoustics_text=1
    ),
    "beyond acoustics": _weights(layer_acoustics=1, acoustics=-1),
    "beyond text": _weights(layer_text=1, text=-1),
    "shared with text": _weights(layer=1, text=1, layer_text=-1),
}

#: The parts that sum to `total`.
WHOLE = (
    "unique layer", "layer & text", "layer & acoustics", "layer & acoustics & text",
    "unique acoustics", "acoustics & text", "unique text",
)  # fmt: skip


def explained(sums: np.ndarray) -> np.ndarray:
    """R² of the seven models from the sums (..., models, 6) of labels and predictions, shape (..., models)."""
    r = np.nan_to_num(pearson_from_moments(sums))
    return r * np.abs(r)


def parts_of(sums: np.ndarray) -> np.ndarray:
    """All :data:`PARTS` from sums (..., models, 6), shape (..., parts)."""
    return explained(sums) @ np.stack(list(PARTS.values())).T
