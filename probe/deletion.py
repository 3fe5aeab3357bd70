"""What ridge probes would have predicted without each speaker: refits by an update of the sums that are there.

A score varies because other speakers could have been tested, and because others could have been trained on. An interval
that resamples the tested speakers around fixed predictions knows of the first alone. Here each unit (a speaker, or a
group where groups are resampled, see :mod:`.units`) is taken out of every training set, and what remains of the scored
rows is predicted anew; of that the six sums of `metrics.moments` are kept, from which every score, and every difference
of scores, follows without that unit (:mod:`.jackknife`).

The penalty of each fit stays, and so does the unit in which it weighs each feature, the standard deviation of all
training rows: both are choices made before. With `rescale`, mean and spread that the predictions are given stay too.

With more than :data:`MOST` units, blocks of them are left out together (the delete-a-group jackknife), drawn by the
seed; the name of a block tells its members apart from those of another draw. A unit is trained on, tested, or both, in
each split that is scored, and only by its labelled rows; the members of a block are alike in that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .arrays import Array, Arrays
from .layer_equations import RidgeEquations
from .ridge import RidgeResult
from .splits import Fold

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 2

#: Most sets that are left out, one after the other.
MOST = 100

#: What a deletion takes from a split: training rows, tested rows, or both.
TRAINING, TESTED, BOTH = "train", "test", "both"


@dataclass(frozen=True)
class Deletions:
    """What is left out.

    Attributes
    ----------
    block : ndarray of int, shape (utterances,)
        Number of the set that each row is left out with; -1 for rows that stay.
    names : tuple of str
        Of the sets, by number: of the unit, or of the block of units.
    trained : ndarray of bool, shape (sets, targets)
        Which have a labelled row to train on.
    tested : dict of str to ndarray of bool, shape (sets, targets)
        By the name of the split: which have a labelled row to score.
    """

    block: np.ndarray
    names: tuple[str, ...]
    trained: np.ndarray
    tested: dict[str, np.ndarray]

    @classmethod
    def of(cls, folds: Sequence[Fold], units: Sequence[str], targets: np.ndarray, *, seed: int = 0) -> Deletions:
        """What to leave out of some folds: every unit that is trained on, and where any of them is tested all that are.

        Parameters
        ----------
        folds : sequence of Fold
        units : sequence of str, shape (utterances,)
            Name of the unit of each row.
        targets : ndarray, shape (utterances, targets)
            NaN where there is no label.
        seed : int
            Of the blocks.
        """
        labelled = ~np.isnan(targets)
        splits = list(dict.fromkeys(name for fold in folds for name in fold.tests))
        parts = [np.unique(np.concatenate([fold.train for fold in folds]))]
        parts += [_rows_of(name, folds) for name in splits]
        there, member = np.unique(np.asarray(units, dtype=object).astype(str), return_inverse=True)
        owned = np.stack([_owners(member[rows], labelled[rows], len(there)) for rows in parts])  # of units
        trained, tested = owned[0].any(-1), owned[1:].any(-1)
        left = trained | ((trained & tested).any(1, keepdims=True) & tested).any(0)
        units_left, flags = there[left], owned[:, left]
        if len(units_left) <= MOST:
            number, blocks = np.arange(len(units_left)), tuple(map(str, units_left))
        else:
            _, alike = np.unique(flags.any(-1), axis=1, return_inverse=True)
            number = _dealt(alike.reshape(-1), seed)
            n_sets = number.max() + 1
            blocks = tuple(_block_name(k, n_sets, units_left[number == k]) for k in range(n_sets))
        block = np.full(len(there), -1)
        block[left] = number
        of_sets = [_owners(number, of_units, len(blocks)) for of_units in flags]
        return cls(block[member], blocks, of_sets[0], dict(zip(splits, of_sets[1:], strict=True)))

    def of_target(self, column: int) -> Deletions:
        """Those of one of the targets."""
        tested = {name: flags[:, [column]] for name, flags in self.tested.items()}
        return Deletions(self.block, self.names, self.trained[:, [column]], tested)

    def parts(self, split: str) -> np.ndarray:
        """What each set takes from a split of the first target: a part, or "" where it has no labelled row of it.

        Shape (sets,). Tested units are told only where one is trained on too: else they vary independently of those
        that are trained on, and what a score would be without each follows from the predictions.
        """
        trained, tested = self.trained[:, 0], self.tested[split][:, 0]
        if not (trained & tested).any():
            return np.where(trained, TRAINING, "")
        return np.select([trained & tested, trained, tested], [BOTH, TRAINING, TESTED], "")


def samples(parts: np.ndarray, without: np.ndarray, tested: Callable[[], np.ndarray]) -> list[np.ndarray]:
    """Divide what is left without each set into the samples of :func:`.jackknife.spread`.

    Parameters
    ----------
    parts : ndarray of str, shape (sets,)
        What each takes from the split (:meth:`Deletions.parts`).
    without : ndarray, shape (sets, ...)
        Scores, or the sums that they follow from, fitted again without each set.
    tested : callable
        The same of the fits as they are, without each tested unit; asked only where nobody is on both sides.

    Returns
    -------
    list of ndarray
        One of units that are all on both sides; two of trained and of tested ones; or three, the last of those on both.
    """
    if (parts == BOTH).all():
        return [without]
    if (parts != BOTH).all():
        return [without[parts == TRAINING], tested()]
    return [without[parts == part] for part in (TRAINING, TESTED, BOTH)]


def _owners(member: np.ndarray, labelled: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` sets has anything labelled, shape (sets, targets); `member` is the set of each row."""
    owners = np.zeros((count, labelled.shape[1]), dtype=bool)
    np.logical_or.at(owners, member, labelled)
    return owners


def _dealt(kinds: np.ndarray, seed: int) -> np.ndarray:
    """Number of the block of each unit: about :data:`MOST` blocks of units of one kind, of even size."""
    order = np.random.default_rng([seed, len(kinds)]).permutation(len(kinds))
    dealt, start = np.empty(len(kinds), dtype=int), 0
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        count = min(len(members), max(2, round(MOST * len(members) / len(kinds))))
        dealt[members] = start + np.argsort(np.argsort(order[members])) % count
        start += count
    return dealt


def _block_name(number: int, blocks: int, members: np.ndarray) -> str:
    digest = hashlib.sha256("\x1f".join(members).encode()).hexdigest()[:12]
    return f"block {number + 1} of {blocks}: {len(members)} units ({digest})"


def is_block(name: str) -> bool:
    """Whether a set is a block of units, by its name."""
    return _BLOCK.fullmatch(name) is not None


_BLOCK = re.compile(r"block \d+ of \d+: \d+ units \([0-9a-f]{12}\)")


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
        return LeftOut(self.deletions.of_target(column), {name: sums[:, column] for name, sums in self.sums.items()})


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
    n_sets, n_targets, arrays = len(deletions.names), targets.shape[1], equations.arrays
    names = list(dict.fromkeys(name for fold in equations.folds for name in fold.tests))
    origins = {name: arrays.take(_mean(targets[_rows_of(name, equations.folds)])) for name in names}
    sums = {name: arrays.zeros(n_sets, n_targets, 6) for name in names}
    truth, fitted = arrays.take(targets), arrays.take(solved.predictions)
    block, numbers = arrays.take(deletions.block), arrays.take(np.arange(n_sets))
    for f, fold in enumerate(equations.folds):
        slope, offset = _changes(equations, solved, f, deletions)
        flat = slope.reshape(len(slope), -1)
        for name, rows in fold.tests.items():
            for some, x in equations.chunks(rows):
                there = arrays.take(some)
                change = (x @ flat).reshape(len(some), n_sets, n_targets) + offset
                predicted = fitted[there][:, None] + change - origins[name]
                kept = (block[there][:, None] != numbers)[..., None]
                sums[name] += _sums(arrays, truth[there] - origins[name], predicted, kept)
    return {name: arrays.back(each) for name, each in sums.items()}


def _rows_of(name: str, folds: Sequence[Fold]) -> np.ndarray:
    return np.concatenate([fold.tests[name] for fold in folds if name in fold.tests])


def _mean(labels: np.ndarray) -> np.ndarray:
    there = ~np.isnan(labels)
    return np.where(there, labels, 0.0).sum(0) / np.maximum(there.sum(0), 1)


def _sums(arrays: Arrays, truth: Array, predicted: Array, kept: Array) -> Array:
    """The six sums (sets, targets, 6) over rows; `truth` is (rows, targets), the others (rows, sets, targets or 1)."""
    xp = arrays.xp
    weight = arrays.cast(kept & ~xp.isnan(truth)[:, None], xp.float64)
    t = xp.nan_to_num(truth)
    weighted = xp.where(weight > 0, predicted, 0.0)
    return xp.stack(
        [
            weight.sum(0),
            xp.einsum("nbt,nt->bt", weight, t),
            weighted.sum(0),
            xp.einsum("nbt,nt->bt", weight, t * t),
            xp.einsum("nbt,nbt->bt", weighted, weighted),
            xp.einsum("nbt,nt->bt", weighted, t),
        ],
        -1,
    )


def _changes(equations: RidgeEquations, solved: RidgeResult, f: int, deletions: Deletions) -> tuple[Array, Array]:
    """Change of the predictions of a fold: slope (width, sets, targets), offset (sets, targets); of no row, none."""
    train = equations.folds[f].train
    blocks = equations.blocks_of(train)
    penalties, n_sets = solved.penalties[f], len(deletions.names)
    fits = [
        (tuple(column for column in columns if penalties[column] == penalty), float(penalty))
        for columns in equations.target_sets()
        for penalty in np.unique(penalties[list(columns)])
    ]
    take, zeros = equations.arrays.take, equations.arrays.zeros
    slope, offset = zeros(len(equations.shift), n_sets, len(penalties)), zeros(n_sets, len(penalties))
    used = train[equations.block_of_row[train] >= 0]  # the others have no label at all
    sets = [used[deletions.block[used] == k] for k in range(n_sets)]
    # In a cross-validation the units that a fold tests are not in its training set: they change nothing.
    some = [k for k in range(n_sets) if len(sets[k])]
    for k, changes in zip(some, equations.removals(blocks, fits, [sets[k] for k in some]), strict=True):
        for (columns, _), (of_features, of_intercept) in zip(fits, changes, strict=True):
            unit = take(equations.unit_y[list(columns), 1] * solved.gains[f, list(columns)])
            slope[:, k, list(columns)] = of_features * unit
            offset[k, list(columns)] = of_intercept * unit
    return slope, offset
