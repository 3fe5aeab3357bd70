"""What a band of features, such as the words, explains of the states of a layer themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emoprobe.probe.bootstrap import leave_one_out, sum_by_group
from emoprobe.probe.deletion import Deletions, samples
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.splits import Fold

#: Penalties to choose from, a decade apart; the last leaves next to nothing of the features.
PENALTIES = np.array([10.0**k for k in range(1, 8)])


def carried_errors(
    features: np.ndarray, states: np.ndarray, folds: Sequence[Fold], units: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, list[np.ndarray]]:
    r"""Squared errors of states that a ridge predicts from features, and of their mean.

    :math:`1 - \sum_{i, d} (x_{id} - \hat x_{id})^2 / \sum_{i, d} (x_{id} - \bar x_d)^2` is the share of the variance of
    the states that the features explain: dimensions of the states weigh as they vary. One penalty serves all of them,
    chosen on the inner folds by the same errors; it stays when a unit is left out.

    Parameters
    ----------
    features : ndarray, shape (utterances, width)
    states : ndarray, shape (utterances, dimensions)
    folds : sequence of Fold
    units : ndarray of int, shape (utterances,)
        What intervals leave out.
    seed : int
        Of the blocks of units, where there are many.

    Returns
    -------
    whole : ndarray, shape (2,)
        Of the mean of the training states, and of the ridge.
    left_out : list of ndarray, shape (units, 2)
        Without one unit each; see :class:`.partition.Errors`.
    """
    states = states.astype(np.float64)
    deletions = Deletions.of(folds, [str(unit) for unit in units], states[:, :1], seed=seed)
    equations = accumulate(lambda rows: features[rows], states, folds)
    columns = tuple(range(states.shape[1]))
    mean, spread = equations.unit_y.T
    truth, weight = (states - mean) / spread, spread**2
    whole, refitted = np.zeros(2), np.zeros((len(deletions.names), 2))
    squares: list[tuple[np.ndarray, np.ndarray]] = []
    solved: dict = {}
    for fold in folds:
        errors = np.zeros(len(PENALTIES))
        for train, held in fold.inner:
            key = equations.blocks_of(train)
            if key not in solved:
                solved[key] = equations.fit(key, columns, PENALTIES)
            sums = equations.score(solved[key], equations.blocks_of(held), columns)
            errors += (sums[..., 3] - 2 * sums[..., 5] + sums[..., 4]) @ weight
        penalty, blocks = PENALTIES[errors.argmin()], equations.blocks_of(fold.train)
        (coef,), (intercept,) = equations.fit(blocks, columns, np.array([penalty]))
        (rows,) = fold.tests.values()
        x = np.concatenate([x for _, x in equations.chunks(rows)])
        plain, total = x @ coef + intercept, truth[fold.train].sum(0)

        def of(predicted: np.ndarray, known: np.ndarray, rows: np.ndarray = rows) -> np.ndarray:
            """Squared errors (rows, 2) of the mean that is known, and of predictions."""
            return np.stack([((truth[rows] - one) ** 2) @ weight for one in (known, predicted)], axis=1)

        own = of(plain, total / len(fold.train))
        whole += own.sum(0)
        squares.append((units[rows], own))
        sets = [fold.train[deletions.block[fold.train] == k] for k in range(len(deletions.names))]
        changes = equations.removals(blocks, [(columns, float(penalty))], [some for some in sets if len(some)])
        for k, some in enumerate(sets):
            without = own
            if len(some):
                ((slope, offset),) = next(changes)
                known = (total - truth[some].sum(0)) / (len(fold.train) - len(some))
                without = of(plain + x @ slope + offset, known)
            refitted[k] += without[deletions.block[rows] != k].sum(0)
    ((split, _),) = folds[0].tests.items()
    tested, own = (np.concatenate(parts) for parts in zip(*squares, strict=True))
    return whole, samples(deletions.parts(split), refitted, lambda: leave_one_out(sum_by_group(own, tested)))
