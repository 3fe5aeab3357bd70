"""Penalised normal equations, for every penalty from one factorisation, and what they say without some rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .array_kinds import arrays_of
from .arrays import HOST, Array, Arrays, inverse

#: Equations from which on rows are taken out of a fit by conjugate gradients, and most of their steps. They stop where
#: the residual has shrunk to this, in the norm of the preconditioner.
MANY, STEPS, TOLERANCE = 512, 40, 1e-11

#: What predicts labels from features.
Predictor = Callable[[Array], Array]

#: Change of predictions: slope (width, targets) and offset (targets,).
Change = tuple[Array, Array]


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of a training set, its features standardised, or with `rows` their dual (on the CPU alone)."""

    matrix: Array
    right: Array
    mean: Array
    inverse: Array
    mean_y: Array
    rows: np.ndarray | None = None

    def primal(self) -> NormalEquations:
        """The same in the features, which are of any number; a copy, so that later equations leave it as it is."""
        if self.rows is None:
            return replace(self, matrix=self.matrix.copy())
        return replace(self, matrix=self.rows.T @ self.rows, right=self.rows.T @ self.right, rows=None)

    def fit(self, solution: Array) -> tuple[Array, Array]:
        """Coefficients and intercepts, leading axes as `solution` has them."""
        coef = solution if self.rows is None else self.rows.T @ solution
        coef = coef * self.inverse[:, None]
        return coef, self.mean_y - self.mean @ coef

    def change(self, step: Array, shift: Array) -> Change:
        """Change of predictions by a change of standardised coefficients: slope (width, targets), offset (targets,)."""
        slope = step * self.inverse[:, None]
        return slope, shift - self.mean @ slope

    def dual_removal(self, penalty: float) -> DualRemoval:
        """The fit with a penalty, from which rows can be taken out again; of the dual alone."""
        if self.rows is None:
            raise TypeError("these are no dual equations: Removal.of takes rows out of them")
        return DualRemoval.of(self.rows, self.matrix, self.right, penalty)

    def predictor(self, solution: Array) -> Predictor:
        """What predicts from features, in their precision; by the kernel where the solution is dual, in double."""
        rows = self.rows
        if rows is None:
            (coef, intercept), cast = self.fit(solution), arrays_of(solution).cast
            return lambda x: x @ cast(coef, x.dtype) + cast(intercept, x.dtype)
        return lambda x: ((x - self.mean) * self.inverse @ rows.T) @ solution + self.mean_y

    def explained(self, solution: Array, penalties: np.ndarray) -> np.ndarray:
        """Sum over the training rows of centred label times centred prediction, for each right-hand side."""
        arrays = arrays_of(solution)
        if self.rows is None:
            return arrays.back(arrays.dots(self.right, solution))
        # The kernel times the solution is the label less the penalty times the solution.
        return arrays.back(arrays.dots(self.right, self.right - penalties * solution))


class LabelSums:
    """Of each cell, the sums in which labels occur: Σxy, Σy, Σy²."""

    def __init__(self, cells: int, width: int, targets: int, arrays: Arrays = HOST) -> None:
        self.xy = arrays.zeros(cells, width, targets)
        self.y, self.yy = arrays.zeros(cells, targets), arrays.zeros(cells, targets)

    def add(self, c: int, x: Array, y: Array) -> None:
        """Add rows to a cell; products within them are in the precision of the labels."""
        arrays = arrays_of(x)
        self.xy[c] += arrays.cast(x.T, y.dtype) @ y
        self.y[c] += y.sum(0)
        self.yy[c] += arrays.dots(y, y)

    def take(self, columns: list[int]) -> LabelSums:
        """Those of some targets."""
        some = LabelSums(0, 0, 0)
        some.xy, some.y, some.yy = self.xy[:, :, columns], self.y[:, columns], self.yy[:, columns]
        return some


@dataclass(frozen=True)
class Removal:
    """A ridge fit from which rows can be taken out again, by an update of its factorisation instead of a new one.

    With rows Z (centred, and with the penalty as their fit has them), residuals r and matrix M = ZᵀZ + penalty·I, the
    coefficients without the rows u change by -(M - ZᵤᵀZᵤ)⁻¹ Zᵤᵀrᵤ. By the Woodbury identity that is -M⁻¹Zᵤᵀ(I - Hᵤ)⁻¹rᵤ
    with Hᵤ = Zᵤ M⁻¹ Zᵤᵀ: a system of as many equations as there are rows to take out. The intercept, which has no
    penalty, adds 1/n to all of H. The smaller of the two systems is solved; of :data:`MANY` equations or more by
    conjugate gradients with M⁻¹ as preconditioner, which needs few steps where few of the rows are taken out.

    Attributes
    ----------
    matrix : ndarray, shape (width, width)
        M.
    factor : ndarray, shape (width, width)
        Lower Cholesky factor of M.
    solution : ndarray, shape (width, targets)
    count : float
        Rows of the fit.
    """

    matrix: Array
    factor: Array
    solution: Array
    count: float

    @classmethod
    def of(cls, matrix: Array, right: Array, penalty: float, count: float) -> Removal:
        """From the normal equations without penalty, which are left as they are."""
        arrays = arrays_of(matrix)
        penalised = matrix + penalty * arrays.eye(len(matrix))
        factor = arrays.cholesky(penalised, penalty)
        return cls(penalised, factor, arrays.solve_factored(factor, right), count)

    def without(self, z: Array, y: Array) -> tuple[Array, Array]:
        """Change of coefficients (width, targets) and intercept (targets,) without some rows.

        Parameters
        ----------
        z : ndarray, shape (rows, width)
            Features of these rows, less the mean of the fit.
        y : ndarray, shape (rows, targets)
            Their labels, less the mean of the fit.

        Returns
        -------
        tuple of ndarray
            NaN where no row remains.
        """
        arrays = arrays_of(z)
        xp = arrays.xp
        residual = y - z @ self.solution
        remaining = self.count - len(z)
        total, missed = z.sum(0), residual.sum(0)
        if remaining < 1:
            return xp.full_like(self.solution, np.nan), xp.full_like(missed, np.nan)
        right = -(z.T @ residual + xp.outer(total, missed) / remaining)
        if min(z.shape) >= MANY and (step := self._in_steps(z, total / np.sqrt(remaining), right)) is not None:
            return step, (total @ step - missed) / remaining
        if len(z) <= len(self.matrix):
            half = arrays.solve_lower(self.factor, z.T)
            pull = arrays.solve(arrays.eye(len(z)) - half.T @ half - 1 / self.count, residual)
            step = arrays.solve_lower(self.factor, half @ pull, transposed=True)
            return -step, -pull.sum(0) / self.count
        step = arrays.solve(self.matrix - z.T @ z - xp.outer(total, total) / remaining, right)
        return step, (total @ step - missed) / remaining

    @cached_property
    def _preconditioner(self) -> Array:
        """M⁻¹ in single precision: a product with it is quicker than two triangular solves of few columns."""
        arrays = arrays_of(self.matrix)
        return arrays.cast(arrays.inverse(self.matrix, 0.0), arrays.xp.float32)

    def _in_steps(self, z: Array, total: Array, right: Array) -> Array | None:
        """Solve (M - ZᵤᵀZᵤ - total·totalᵀ) step = right by conjugate gradients, all targets side by side.

        None where :data:`STEPS` of them do not suffice.
        """
        arrays = arrays_of(z)
        xp, dots = arrays.xp, arrays.dots

        def preconditioned(v: Array) -> Array:
            return arrays.cast(self._preconditioner @ arrays.cast(v, xp.float32), xp.float64)

        def product(v: Array) -> Array:
            return self.matrix @ v - z.T @ (z @ v) - xp.outer(total, total @ v)

        def quotient(a: Array, b: Array, where: Array) -> Array:
            # What is solved already stands still: 0 / 0 would move it to nowhere.
            return xp.where(where, a / xp.where(where, b, 1.0), 0.0)

        solution, residual = xp.zeros_like(right), right
        direction = ahead = preconditioned(residual)
        left = dots(residual, ahead)
        enough = left * TOLERANCE**2
        for _ in range(STEPS):
            if (left <= enough).all():
                return solution
            moved = product(direction)
            curved = dots(direction, moved)
            length = quotient(left, curved, (left > enough) & (curved > 0))
            solution += length * direction
            residual = residual - length * moved
            ahead = preconditioned(residual)
            before, left = left, dots(residual, ahead)
            direction = ahead + quotient(left, before, before > 0) * direction
        return None


@dataclass(frozen=True)
class DualRemoval:
    """:class:`Removal` for a fit that was solved from the kernel of its rows, all of which are at hand.

    Attributes
    ----------
    rows : ndarray, shape (rows, width)
        Z.
    inverse : ndarray, shape (rows, rows)
        Of the kernel and penalty·I, so that H = I - penalty·inverse + 1/n.
    solution : ndarray, shape (rows, targets)
        Residuals over the penalty.
    penalty : float
    """

    rows: np.ndarray
    inverse: np.ndarray
    solution: np.ndarray
    penalty: float

    @classmethod
    def of(cls, rows: np.ndarray, kernel: np.ndarray, right: np.ndarray, penalty: float) -> DualRemoval:
        """From the kernel without penalty."""
        inverted = inverse(kernel, penalty)
        return cls(rows, inverted, inverted @ right, penalty)

    def without(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change of coefficients (width, targets) and intercept (targets,) without the rows at some places."""
        count, residual = len(self.rows), self.penalty * self.solution[places]
        if len(places) == count:
            return np.full((self.rows.shape[1], residual.shape[1]), np.nan), np.full(residual.shape[1], np.nan)
        pull = HOST.solve(self.penalty * self.inverse[np.ix_(places, places)] - 1 / count, residual)
        return -self.rows.T @ (self.inverse[:, places] @ pull), -pull.sum(0) / count
