"""Penalised normal equations, for every penalty from one factorisation, and what they say without some rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from emoprobe.errors import UserError


def solve_penalties(matrix, right, penalties, *, scratch=None) -> np.ndarray:
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
class Removal:
    """A ridge fit from which rows can be taken out again, by an update of its factorisation instead of a new one.

    With rows Z (centred, and with the penalty as their fit has them), residuals r and matrix M = ZᵀZ + penalty·I, the
    coefficients without the rows u change by -(M - ZᵤᵀZᵤ)⁻¹ Zᵤᵀrᵤ. By the Woodbury identity that is -M⁻¹Zᵤᵀ(I - Hᵤ)⁻¹rᵤ
    with Hᵤ = Zᵤ M⁻¹ Zᵤᵀ: a system of as many equations as there are rows to take out. The intercept, which has no
    penalty, adds 1/n to all of H. The smaller of the two systems is solved.

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
        if len(z) <= len(self.matrix):
            half = linalg.solve_triangular(self.factor, z.T, lower=True, check_finite=False)
            pull = _solve(np.eye(len(z)) - half.T @ half - 1 / self.count, residual)
            step = linalg.solve_triangular(self.factor, half @ pull, lower=True, trans=1, check_finite=False)
            return -step, -pull.sum(0) / self.count
        total, missed = z.sum(0), residual.sum(0)
        matrix = self.matrix - z.T @ z - np.outer(total, total) / remaining
        step = -_solve(matrix, z.T @ residual + np.outer(total, missed) / remaining)
        return step, (total @ step - missed) / remaining


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
