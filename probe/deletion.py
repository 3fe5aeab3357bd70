"""What ridge probes would have predicted without each speaker: refits by an update of the sums that are there.

A score varies because other speakers could have been tested, and because others could have been trained on. An interval
that resamples the tested speakers around fixed predictions knows of the first alone. Here each unit (a speaker, or a
group where groups are resampled, see :mod:`.units`) is taken out of every training set, and what remains of the scored
rows is predicted anew; of that the six sums of `metrics.moments` are kept, from which every score, and every difference
of scores, follows without that unit (:mod:`.jackknife`).

The penalty of each fit stays, and so does the unit in which it weighs each feature, the standard deviation of all
training rows: both are choices made before. With `rescale`, mean and spread that the predictions are given stay too.

With more than :data:`MOST` units, blocks of them are left out together (the delete-a-group jackknife), drawn by the
seed; the name of a block tells its members apart from those of another draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ridge import RidgeResult
from .ridge_equations import RidgeEquations
from .splits import Fold

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

#: Most sets that are left out, one after the other.
MOST = 100

#: What a deletion takes away: a training unit, or a unit from both sides, where the same are trained on and tested.
TRAINING, BOTH = "train", "both"


@dataclass(frozen=True)
class Deletions:
    """What is left out.

    Attributes
    ----------
    block : ndarray of int, shape (utterances,)
        Number of the set that each row is left out with; -1 for rows that stay.
    names : tuple of str
        Of the sets, by number: of the unit, or of the block of units.
    part : str
        :data:`TRAINING` or :data:`BOTH`.
    """

    block: np.ndarray
    names: tuple[str, ...]
    part: str

    @classmethod
    def of(cls, folds: Sequence[Fold], units: Sequence[str], *, seed: int = 0) -> Deletions:
        """What to leave out of the training sets of some folds.

        Parameters
        ----------
        folds : sequence of Fold
        units : sequence of str, shape (utterances,)
            Name of the unit of each row.
        seed : int
            Of the blocks.
        """
        named = np.asarray(units, dtype=object)
        train = np.unique(np.concatenate([fold.train for fold in folds]))
        tests = np.unique(np.concatenate([rows for fold in folds for rows in fold.tests.values()]))
        both = bool(set(named[train]) & set(named[tests]))
        rows = np.union1d(train, tests) if both else train
        there, member = np.unique(named[rows].astype(str), return_inverse=True)
        block = np.full(len(named), -1)
        if len(there) <= MOST:
            block[rows] = member
            names = tuple(map(str, there))
        else:
            dealt = np.random.default_rng([seed, len(there)]).permutation(len(there)) % MOST
            block[rows] = dealt[member]
            names = tuple(_block_name(k, there[dealt == k]) for k in range(MOST))
        return cls(block, names, BOTH if both else TRAINING)


def _block_name(number: int, members: np.ndarray) -> str:
    digest = hashlib.sha256("\x1f".join(members).encode()).hexdigest()[:12]
    return f"block {number + 1} of {MOST}: {len(members)} units ({digest})"


@dataclass(frozen=True)
class LeftOut:
    """Sums of the rows that remain, each unit being left out.

    Attributes
    ----------
    deletions : Deletions
    sums : dict of str to ndarray, shape (sets, targets, 6)
        By the name of the split; see :func:`moments_without`.
    """

    deletions: Deletions
    sums: dict[str, np.ndarray]

    def of_target(self, column: int) -> LeftOut:
        """Those of one of the targets, shape (sets, 6)."""
        return LeftOut(self.deletions, {name: sums[:, column] for name, sums in self.sums.items()})


def moments_without(
    equations: RidgeEquations, solved: RidgeResult, targets: np.ndarray, deletions: Deletions
) -> dict[str, np.ndarray]:
    """Sums of labels and predictions of the rows that remain, each unit being left out.

    Parameters
    ----------
    equations : RidgeEquations
    solved : RidgeResult
        Of these equations.
    targets : ndarray, shape (utterances, targets)
        NaN where there is no label.
    deletions : Deletions

    Returns
    -------
    dict of str to ndarray, shape (sets, targets, 6)
        By the name of the split: the sums of `metrics.moments` over all its folds, about the mean label of the split.
        NaN where nothing would remain to train on.
    """
    n_sets, n_targets = len(deletions.names), targets.shape[1]
    names = list(dict.fromkeys(name for fold in equations.folds for name in fold.tests))
    origins = {name: _mean(targets[_rows_of(name, equations.folds)]) for name in names}
    sums = {name: np.zeros((n_sets, n_targets, 6)) for name in names}
    for f, fold in enumerate(equations.folds):
        slope, offset = _changes(equations, solved, f, deletions)
        flat = slope.reshape(len(slope), -1)
        for name, rows in fold.tests.items():
            for some, x in equations.chunks(rows):
                change = (x @ flat).reshape(len(some), n_sets, n_targets) + offset
                predicted = solved.predictions[some][:, None] + change - origins[name]
                kept = np.ones((len(some), n_sets, 1), dtype=bool)
                if deletions.part == BOTH:
                    kept[:, :, 0] = deletions.block[some][:, None] != np.arange(n_sets)
                sums[name] += _sums(targets[some] - origins[name], predicted, kept)
    return sums


def _rows_of(name: str, folds: Sequence[Fold]) -> np.ndarray:
    return np.concatenate([fold.tests[name] for fold in folds if name in fold.tests])


def _mean(labels: np.ndarray) -> np.ndarray:
    there = ~np.isnan(labels)
    return np.where(there, labels, 0.0).sum(0) / np.maximum(there.sum(0), 1)


def _sums(truth: np.ndarray, predicted: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The six sums (sets, targets, 6) over rows; `truth` is (rows, targets), the others (rows, sets, targets or 1)."""
    weight = (kept & ~np.isnan(truth)[:, None]).astype(np.float64)
    t = np.nan_to_num(truth)
    weighted = np.where(weight > 0, predicted, 0.0)
    return np.stack(
        [
            weight.sum(0),
            np.einsum("nbt,nt->bt", weight, t),
            weighted.sum(0),
            np.einsum("nbt,nt->bt", weight, t * t),
            np.einsum("nbt,nbt->bt", weighted, weighted),
            np.einsum("nbt,nt->bt", weighted, t),
        ],
        axis=-1,
    )


def _changes(
    equations: RidgeEquations, solved: RidgeResult, f: int, deletions: Deletions
) -> tuple[np.ndarray, np.ndarray]:
    """Change of the predictions of a fold: slope (width, sets, targets), offset (sets, targets); of no row, none."""
    train = equations.folds[f].train
    blocks = equations.blocks_of(train)
    penalties, n_sets = solved.penalties[f], len(deletions.names)
    fits = [
        (tuple(column for column in columns if penalties[column] == penalty), float(penalty))
        for columns in equations.target_sets()
        for penalty in np.unique(penalties[list(columns)])
    ]
    slope = np.zeros((len(equations.shift), n_sets, len(penalties)))
    offset = np.zeros((n_sets, len(penalties)))
    used = train[equations.block_of_row[train] >= 0]  # the others have no label at all
    sets = [used[deletions.block[used] == k] for k in range(n_sets)]
    # In a cross-validation the units that a fold tests are not in its training set: they change nothing.
    some = [k for k in range(n_sets) if len(sets[k])]
    for k, changes in zip(some, equations.removals(blocks, fits, [sets[k] for k in some]), strict=True):
        for (columns, _), (of_features, of_intercept) in zip(fits, changes, strict=True):
            unit = equations.unit_y[list(columns), 1] * solved.gains[f, list(columns)]
            slope[:, k, list(columns)] = of_features * unit
            offset[k, list(columns)] = of_intercept * unit
    return slope, offset
