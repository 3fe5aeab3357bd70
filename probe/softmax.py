"""Multinomial logistic regression with a ridge penalty, for every penalty in turn, each from the solution before.

Hidden states are collinear: along some directions they vary a thousand times as much as along others, and a solver that
takes all directions alike needs hundreds of steps. Here the states are turned into the directions in which they vary,
and each direction has the step that the curvature of the loss at equal probabilities asks for (Böhning 1992: that is
the largest it can be). In these coordinates L-BFGS of SciPy needs a few dozen steps whatever the penalty.

References
----------
D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics 44, 1992.
D. C. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization", 1989.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

#: A fit ends where no step in any direction would move the mean loss by more than about the square of this. Weights are
#: then about as near to the optimum as those of scikit-learn at its own default.
TOLERANCE = 1e-4

#: Steps after which a fit has not converged.
MOST_STEPS = 1000


@dataclass(frozen=True)
class Softmax:
    """One fit.

    Attributes
    ----------
    coef : ndarray, shape (width, classes)
    intercept : ndarray, shape (classes,)
    penalty : float
    converged : bool
    """

    coef: np.ndarray
    intercept: np.ndarray
    penalty: float
    converged: bool

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Logarithms of the classes' probabilities up to a constant of each row, shape (rows, classes)."""
        return x @ self.coef + self.intercept


def fit_softmax(
    x: np.ndarray, classes: np.ndarray, penalties: Sequence[float] | np.ndarray, *, tolerance: float = TOLERANCE
) -> list[Softmax]:
    r"""Minimise the balanced log loss plus half the penalty times the squared weights.

    .. math:: \sum_i \frac{n}{K n_{y_i}} \left(-\log p_{y_i}(x_i)\right) + \frac{\lambda}{2} \sum w^2

    which is what scikit-learn's ``LogisticRegression(C=1/λ, class_weight="balanced")`` minimises; as there, two classes
    have one vector of weights. At a tolerance of 1e-6 weights agree with it to 1e-3 of the largest, where it is run to
    1e-9 (`tests/probe/test_logistic.py`).

    Parameters
    ----------
    x : ndarray of float64, shape (rows, width)
        Near zero mean and unit variance. Where width is larger than rows, work is done in their span.
    classes : ndarray of int, shape (rows,)
        0 to K - 1; each occurs.
    penalties : sequence of float
        Positive.
    tolerance : float
        Largest gradient of the mean loss, in the coordinates described above, at which a fit ends.

    Returns
    -------
    list of Softmax
        One a penalty, in their order.
    """
    n, k = len(x), int(classes.max()) + 1
    basis, squares = _directions(x)
    shares = np.bincount(classes, minlength=k) / n
    data = _Data(basis.T @ x.T, classes, np.eye(k)[:, classes], 1 / (n * k * shares[classes]))
    fits: dict[float, Softmax] = {}
    start = np.zeros((k, basis.shape[1] + 1))
    for penalty in sorted(set(penalties), reverse=True):
        # One vector v for two classes is the pair v/2, -v/2, whose squares sum to half of those of v.
        ridge = penalty * (2 if k == 2 else 1) / n
        scale = 1 / np.sqrt(np.append(squares / (n * k) + ridge, 1 / k))
        options = {"maxiter": MOST_STEPS, "gtol": tolerance, "ftol": 1e-15, "maxcor": 10}
        ended = minimize(_loss, (start / scale).ravel(), (data, scale, ridge), "L-BFGS-B", jac=True, options=options)
        start = scale * ended.x.reshape(start.shape)
        converged = bool(np.abs(ended.jac).max() <= 10 * tolerance)
        fits[penalty] = Softmax(basis @ start[:, :-1].T, start[:, -1].copy(), penalty, converged)
    return [fits[penalty] for penalty in penalties]


class _Data(NamedTuple):
    """What a loss is of. Classes and directions come first: products of few rows by many columns are the quick ones.

    `z` holds the rows in the directions in which they vary, shape (directions, rows); `answers` ones where a class is
    that of the row, shape (classes, rows).
    """

    z: np.ndarray
    classes: np.ndarray
    answers: np.ndarray
    weight: np.ndarray


def _loss(flat: np.ndarray, data: _Data, scale: np.ndarray, ridge: float) -> tuple[float, np.ndarray]:
    """Mean loss and its gradient at weights (with intercepts in the last column) that are divided by `scale`."""
    weights = scale * flat.reshape(len(data.answers), -1)
    scores = weights[:, :-1] @ data.z
    scores += weights[:, -1:]
    scores -= scores.max(0)  # which changes no probability, and no exponential overflows
    of_truth = scores[data.classes, np.arange(scores.shape[1])]
    odds = np.exp(scores, out=scores)
    total = odds.sum(0)
    value = data.weight @ (np.log(total) - of_truth) + ridge / 2 * (weights[:, :-1] ** 2).sum()
    odds /= total
    residual = np.subtract(odds, data.answers, out=odds)
    residual *= data.weight
    gradient = np.empty_like(weights)
    np.matmul(residual, data.z.T, out=gradient[:, :-1])
    gradient[:, :-1] += ridge * weights[:, :-1]
    gradient[:, -1] = residual.sum(1)
    return value, (scale * gradient).ravel()


def _directions(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal directions in which the rows vary, shape (width, directions), and the sum of squares along each."""
    wide = len(x) < x.shape[1]
    squares, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    # The penalty leaves no weight where the rows have nothing.
    kept = squares > squares[-1] * 1e-12
    squares, vectors = squares[kept], vectors[:, kept]
    return (x.T @ (vectors / np.sqrt(squares)) if wide else vectors), squares
