r"""The null of permuted categories: what a linear probe of categories scores when its labels are other utterances'.

Fitting a logistic probe anew for every permutation would cost a thousand times the fit. Permutations are therefore
tested on another linear classifier, which shares one Gram matrix among all of them as the ridge of a dimension does
(`permutation`): the nearest class mean, as distances are under the penalised covariance of the training rows. That is
linear discriminant analysis with classes of equal weight, as in UAR, and with the covariance of all rows in place of
that within classes: the first does not change when labels are permuted. It follows from least squares on one column of
zeros and ones a class. With :math:`\hat y_k(x)` the prediction, :math:`\pi_k` the class's share of the n training rows
and :math:`e_k` the sum over these of centred label times centred prediction, the answer is the class of the highest

.. math:: \frac{\hat y_k(x) - \pi_k}{\pi_k} - \frac{e_k}{2 n \pi_k^2}

(The prediction alone would never answer with a class whose mean lies between two others.)

The score of the true labels that is compared with this null is of the same classifier (`tested` in the results), never
that of the logistic probe: a permutation test is valid where both sides are computed alike. It tests whether features
and labels are independent, whichever linear classifier is reported. Penalty of each fold, permutations and their seed
are as for the dimensions; at 5 % it rejects no more than 5 % of true nulls (`tests/probe/test_category_null.py`).

The recall of a category of two utterances is 0, a half or 1, and would drown the others'. A category of fewer than
`recalls.FEWEST_ROWS` labelled utterances takes no part in the test, and one with fewer among the scored rows of a part
is not averaged there. Both are counts that no permutation changes, so the test stays valid.

References
----------
T. Hastie, R. Tibshirani and J. Friedman, "The elements of statistical learning", 2009, 4.2 (least squares on classes,
and what it masks) and 4.3 (linear discriminant analysis). J. Friedman, "Regularized discriminant analysis", 1989. What
is exchangeable: see `permutation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .layer_equations import Reader, RidgeEquations
from .metrics import confusion, uar_from_confusion
from .permutation import at_once, permutations
from .recalls import FEWEST_ROWS
from .ridge import PENALTIES, check_penalties, choose
from .ridge_equations import accumulate
from .splits import Fold

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1


@dataclass(frozen=True)
class CategoryNull:
    """UAR of the nearest class mean, pooled over folds, by the name of the split that is scored.

    Attributes
    ----------
    tested : dict of str to float
        For the true labels.
    permuted : dict of str to ndarray, shape (permutations,)
    penalties : ndarray, shape (folds,)
        Chosen on the true labels, and kept.
    """

    tested: dict[str, float]
    permuted: dict[str, np.ndarray]
    penalties: np.ndarray


def category_null(
    read: Reader,
    classes: np.ndarray,
    folds: Sequence[Fold],
    sets: np.ndarray,
    *,
    count: int = 1000,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
) -> CategoryNull:
    """Score the nearest class mean in one layer for the true labels and for permuted ones.

    Parameters
    ----------
    read : callable
        ``read(rows)`` returns features, shape (len(rows), width). It is called once for each fold and chunk of
        permutations: hold the features in memory where that is slow.
    classes : ndarray of int, shape (utterances,)
        Class numbers from 0; -1 where the label is missing: such a row takes no part.
    folds : sequence of Fold
    sets : ndarray of int, shape (utterances,)
        Of :func:`.permutation.exchangeable`.
    count, seed : int
        See :func:`.permutation.permutations`.
    penalties : sequence of float
        To choose from, by UAR on the inner validation rows.

    Returns
    -------
    CategoryNull

    Raises
    ------
    UserError
        If a fit has no labelled row, or a feature is not finite.
    """
    classes = _without_rare(np.asarray(classes))
    present = classes >= 0
    targets = np.where(present[:, None], classes[:, None] == np.arange(classes.max() + 1), np.nan)
    equations = accumulate(read, targets, folds)
    chosen = _penalties(equations, classes, check_penalties(penalties))

    def scored(order: np.ndarray) -> dict[str, np.ndarray]:
        return _uar(equations, classes[order], chosen)

    tested = {name: float(score[0]) for name, score in scored(np.arange(len(classes))[None]).items()}
    permuted: dict[str, list] = {name: [] for name in tested}
    size = at_once(equations, targets.shape[1], len(classes))
    for order in permutations(np.where(present, sets, -1), count, seed=seed, chunk=size):
        for name, scores in scored(order).items():
            permuted[name].append(scores)
    return CategoryNull(tested, {name: np.concatenate([np.empty(0), *of]) for name, of in permuted.items()}, chosen)


def _without_rare(classes: np.ndarray) -> np.ndarray:
    """Numbers of the classes that take part, in their order; -1 for rows of others.

    All take part where fewer than two would.
    """
    counts = np.bincount(classes[classes >= 0])
    taken = counts >= FEWEST_ROWS
    taken = taken if taken.sum() > 1 else counts > 0
    numbers = np.append(np.where(taken, np.cumsum(taken) - 1, -1), -1)
    return numbers[classes]


def _penalties(equations: RidgeEquations, classes: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """The penalty of highest UAR, pooled over the inner validation rows, of each fold."""
    labels = np.tile(classes, (len(penalties), 1))
    right = _right_sides(equations, labels)
    n_classes = len(equations.unit_y)
    chosen = []
    for fold in equations.folds:
        counts = np.zeros((len(penalties), n_classes, n_classes))
        for train, validation in fold.inner:
            answer = _nearest(equations, train, labels[:, train], penalties, right)
            for rows, x in equations.chunks(validation[classes[validation] >= 0]):
                counts += confusion(classes[rows], answer(x).T, n_classes)
        chosen.append(penalties[choose(uar_from_confusion(counts))])
    return np.array(chosen)


def _uar(equations: RidgeEquations, labels: np.ndarray, penalties: np.ndarray) -> dict[str, np.ndarray]:
    """UAR of each of many labels, shape (labels,), by the name of the split.

    Parameters
    ----------
    equations : RidgeEquations
    labels : ndarray of int, shape (labels, utterances)
    penalties : ndarray, shape (folds,)
    """
    right = _right_sides(equations, labels)
    n_classes = len(equations.unit_y)
    hits: dict[str, np.ndarray] = {}
    support: dict[str, np.ndarray] = {}
    for fold, penalty in zip(equations.folds, penalties, strict=True):
        answer = _nearest(equations, fold.train, labels[:, fold.train], np.full(len(labels), penalty), right)
        for name, rows in fold.tests.items():
            for some, x in equations.chunks(rows[labels[0, rows] >= 0]):
                truth = labels[:, some].T
                hit = answer(x) == truth
                of_class = [truth == k for k in range(n_classes)]
                hits[name] = hits.get(name, 0) + np.stack([(mask & hit).sum(0) for mask in of_class], -1)
                support[name] = support.get(name, 0) + np.stack([mask.sum(0) for mask in of_class], -1)
    return {name: _mean_recall(hits[name], support[name]) for name in hits}


def _right_sides(equations: RidgeEquations, labels: np.ndarray) -> Any:
    """One right-hand side a class and row of `labels`: all those of the first class, then of the second."""
    units = equations.unit_y

    def draw(rows: np.ndarray) -> np.ndarray:
        given = labels[:, rows].T
        return np.concatenate([((given == k) - mean) / spread for k, (mean, spread) in enumerate(units)], axis=1)

    return equations.labels_from(draw, len(units) * len(labels))


def _nearest(
    equations: RidgeEquations, train: np.ndarray, labels: np.ndarray, penalties: np.ndarray, right: Any
) -> Callable[[np.ndarray], np.ndarray]:
    """What answers with a class of each row of features for each of many labels, shape (rows, labels).

    Parameters
    ----------
    equations : RidgeEquations
    train : ndarray of int, shape (rows,)
    labels : ndarray of int, shape (labels, rows)
        Of these rows; below 0 where there is none.
    penalties : ndarray, shape (labels,)
    right
        Of :func:`_right_sides`.
    """
    size, n_classes = len(labels), len(equations.unit_y)
    mean, spread = (unit[:, None] for unit in equations.unit_y.T)
    n = (labels >= 0).sum(1)
    share = np.stack([(labels == k).sum(1) for k in range(n_classes)]) / np.maximum(n, 1)
    predict, explained = equations.refit_explained(
        equations.blocks_of(train), tuple(range(n_classes)), np.tile(penalties, n_classes), right
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        # A class that no training row has is never the answer.
        shift = (mean - share) / share - explained.reshape(n_classes, size) * spread**2 / (2 * n * share**2)
        shift, scale = np.where(share > 0, shift, -np.inf), np.where(share > 0, spread / share, 0.0)

    def answer(x: np.ndarray) -> np.ndarray:
        scores = predict(x).reshape(len(x), n_classes, size)
        scores *= scale
        scores += shift
        return scores.argmax(1)

    return answer


def _mean_recall(hits: np.ndarray, support: np.ndarray) -> np.ndarray:
    """UAR, shape (...), from hits and number of each class, shape (..., classes), of the classes with enough rows."""
    there = support >= FEWEST_ROWS
    there = np.where(there.sum(-1, keepdims=True) > 1, there, support > 0)
    return np.where(there, hits / np.maximum(support, 1), 0.0).sum(-1) / np.maximum(there.sum(-1), 1)
