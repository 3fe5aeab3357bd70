"""Penalised normal equations, for every penalty from one factorisation."""

from __future__ import annotations

import numpy as np
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


def _too_small(penalty: float) -> UserError:
    return UserError(f"penalty {penalty:g} is too small for features this collinear: leave it out of --penalties")
