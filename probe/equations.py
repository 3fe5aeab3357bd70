"""Penalised normal equations, for every penalty from one factorisation, and what they say without some rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from emoprobe.errors import UserError

#: Equations from which on rows are taken out of a fit by conjugate gradients, and most of their steps. They stop where
#: the residual has shrunk to this, in the norm of the preconditioner.
MANY, STEPS, TOLERANCE = 512, 40, 1e-11

#: What predicts labels from features.
Predictor = Callable[[np.ndarray], np.ndarray]

#: Change of predictions: slope (width, targets) and offset (targets,).
Change = tuple[np.ndarray, np.ndarray]


def solve_penalties(
    matrix: np.ndarray,
    right: np.ndarray,
    penalties: Sequence[float] | np.ndarray,
    *,
    scratch: np.ndarray | None = None,
) -> np.ndarray:
    """Solve (matrix + penalty·I) w = right for every penalty, by Cholesky.

    One factorisation a penalty is as fast as one eigendecomposition for 13 of them at widths 768 to 1,024, keeps more
    cores busy, and needs no second matrix; `benchmarks/ridge.py` measures both.

    Parameters
    ----------
    matrix : ndarray, shape (width, width)
        Symmetric, positive semidefinite.
    right : ndarray, shape (width, targets)
    penalties : sequence of float
    scratch : ndarray, shape (width, width), optional
        Overwritten.

    Returns
    -------
    ndarray, shape (penalties, width, targets)
    """
    solutions = np.empty((len(penalties), *right.shape))
    scratch = np.empty_like(matrix) if scratch is None else scratch
    diagonal = np.einsum("ii->i", scratch)
    for k, penalty in enumerate(penalties):
        np.copyto(scratch, matrix)
        diagonal += penalty
        # The transpose of a symmetric matrix is itself, and is laid out as LAPACK wants it: no copy is made.
        _, solutions[k], info = lapack.dposv(scratch.T, right, lower=0, overwrite_a=1)
        if info:
            raise _too_small(penalty)
    return solutions


def inverse(matrix: np.ndarray, penalty: float) -> np.ndarray:
    """Inverse of matrix + penalty·I, for more right-hand sides than the matrix has rows.

    Parameters
    ----------
    matrix : ndarray, shape (width, width)
        Symmetric, positive semidefinite.
    penalty : float

    Returns
    -------
    ndarray, shape (width, width)
    """
    factor, info = lapack.dpotrf(matrix + penalty * np.eye(len(matrix)), lower=0)
    if not info:
        half, info = lapack.dpotri(factor, lower=0)
    if info:
        raise _too_small(penalty)
    return np.triu(half) + np.triu(half, 1).T


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of a training set, its features standardised, or with `rows` their dual."""

    matrix: np.ndarray
    right: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray
    mean_y: np.ndarray
    rows: np.ndarray | None = None

    def primal(self) -> NormalEquations:
        """The same in the features, which are of any number; a copy, so that later equations leave it as it is."""
        if self.rows is None:
            return replace(self, matrix=self.matrix.copy())
        return replace(self, matrix=self.rows.T @ self.rows, right=self.rows.T @ self.right, rows=None)

    def fit(self, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and intercepts, leading axes as `solution` has them."""
        coef = solution if self.rows is None else self.rows.T @ solution
        coef = coef * self.inverse[:, None]
        return coef, self.mean_y - self.mean @ coef

    def change(self, step: np.ndarray, shift: np.ndarray) -> Change:
        """Change of predictions by a change of standardised coefficients: slope (width, targets), offset (targets,)."""
        slope = step * self.inverse[:, None]
        return slope, shift - self.mean @ slope

    def dual_removal(self, penalty: float) -> DualRemoval:
        """The fit with a penalty, from which rows can be taken out again; of the dual alone."""
        if self.rows is None:
            raise TypeError("these are no dual equations: Removal.of takes rows out of them")
        return DualRemoval.of(self.rows, self.matrix, self.right, penalty)

    def predictor(self, solution: np.ndarray) -> Predictor:
        """What predicts from features, in their precision; by the kernel where the solution is dual, in double."""
        rows = self.rows
        if rows is None:
            coef, intercept = self.fit(solution)
            return lambda x: x @ coef.astype(x.dtype, copy=False) + intercept.astype(x.dtype, copy=False)
        return lambda x: ((x - self.mean) * self.inverse @ rows.T) @ solution + self.mean_y

    def explained(self, solution: np.ndarray, penalties: np.ndarray) -> np.ndarray:
        """Sum over the training rows of centred label times centred prediction, for each right-hand side."""
        if self.rows is None:
            return np.einsum("wk,wk->k", self.right, solution)
        # The kernel times the solution is the label less the penalty times the solution.
        return np.einsum("nk,nk->k", self.right, self.right - penalties * solution)


class LabelSums:
    """Of each cell, the sums in which labels occur: Σxy, Σy, Σy²."""

    def __init__(self, cells: int, width: int, targets: int) -> None:
        self.xy = np.zeros((cells, width, targets))
        self.y, self.yy = np.zeros((cells, targets)), np.zeros((cells, targets))

    def add(self, c: int, x: np.ndarray, y: np.ndarray) -> None:
        """Add rows to a cell; products within them are in the precision of the labels."""
        self.xy[c] += x.T.astype(y.dtype, copy=False) @ y
        self.y[c] += y.sum(0)
        self.yy[c] += np.einsum("nt,nt->t", y, y)

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

    matrix: np.ndarray
    factor: np.ndarray
    solution: np.ndarray
    count: float

    @classmethod
    def of(cls, matrix: np.ndarray, right: np.ndarray, penalty: float, count: float) -> Removal:
        """From the normal equations without penalty, which are left as they are."""
        penalised = matrix + penalty * np.eye(len(matrix))
        try:
            factor = linalg.cholesky(penalised, lower=True, check_finite=False)
        except linalg.LinAlgError as error:
            raise _too_small(penalty) from error
        return cls(penalised, factor, linalg.cho_solve((factor, True), right, check_finite=False), count)

    def without(self, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
        residual = y - z @ self.solution
        remaining = self.count - len(z)
        if remaining < 1:
            return np.full_like(self.solution, np.nan), np.full(y.shape[1], np.nan)
        total, missed = z.sum(0), residual.sum(0)
        right = -(z.T @ residual + np.outer(total, missed) / remaining)
        if min(z.shape) >= MANY and (step := self._in_steps(z, total / np.sqrt(remaining), right)) is not None:
            return step, (total @ step - missed) / remaining
        if len(z) <= len(self.matrix):
            half = linalg.solve_triangular(self.factor, z.T, lower=True, check_finite=False)
            pull = _solve(np.eye(len(z)) - half.T @ half - 1 / self.count, residual)
            step = linalg.solve_triangular(self.factor, half @ pull, lower=True, trans=1, check_finite=False)
            return -step, -pull.sum(0) / self.count
        step = _solve(self.matrix - z.T @ z - np.outer(total, total) / remaining, right)
        return step, (total @ step - missed) / remaining

    @cached_property
    def _preconditioner(self) -> np.ndarray:
        """M⁻¹ in single precision: a product with it is quicker than two triangular solves of few columns."""
        return inverse(self.matrix, 0.0).astype(np.float32)

    def _in_steps(self, z: np.ndarray, total: np.ndarray, right: np.ndarray) -> np.ndarray | None:
        """Solve (M - ZᵤᵀZᵤ - total·totalᵀ) step = right by conjugate gradients, all targets side by side.

        None where :data:`STEPS` of them do not suffice.
        """

        def preconditioned(v: np.ndarray) -> np.ndarray:
            return (self._preconditioner @ v.astype(np.float32)).astype(np.float64)

        def product(v: np.ndarray) -> np.ndarray:
            return self.matrix @ v - z.T @ (z @ v) - np.outer(total, total @ v)

        def dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.einsum("wt,wt->t", a, b)

        solution, residual = np.zeros_like(right), right.copy()
        direction = ahead = preconditioned(residual)
        left = dots(residual, ahead)
        enough = left * TOLERANCE**2
        for _ in range(STEPS):
            if (left <= enough).all():
                return solution
            moved = product(direction)
            curved = dots(direction, moved)
            # What is solved already stands still: 0 / 0 would move it to nowhere.
            length = np.divide(left, curved, out=np.zeros_like(left), where=(left > enough) & (curved > 0))
            solution += length * direction
            residual -= length * moved
            ahead = preconditioned(residual)
            before, left = left, dots(residual, ahead)
            direction = ahead + np.divide(left, before, out=np.zeros_like(left), where=before > 0) * direction
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
        pull = _solve(self.penalty * self.inverse[np.ix_(places, places)] - 1 / count, residual)
        return -self.rows.T @ (self.inverse[:, places] @ pull), -pull.sum(0) / count


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a positive definite system; NaN where rounding has left it none, so that nothing is said of that fit."""
    try:
        return linalg.solve(matrix, right, assume_a="pos", check_finite=False)
    except linalg.LinAlgError:
        return np.full_like(right, np.nan)


def _too_small(penalty: float) -> UserError:
    return UserError(f"penalty {penalty:g} is too small for features this collinear: leave it out of --penalties")
