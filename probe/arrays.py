"""Where sums are made and solved: by numpy and LAPACK on the CPU, or by torch on a device, from one formulation.

numpy and torch agree in their operators, their slices and most of their functions, which `xp` gives by name. What they
do not agree in is a method of :class:`Arrays`. The CPU's are the reference: :mod:`.device_check` compares a device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from emoprobe.errors import UserError

#: An ndarray on the CPU, a tensor on a device; sums and solutions in double precision.
Array: TypeAlias = Any


class Arrays(ABC):
    """Operations that differ between numpy and torch.

    Attributes
    ----------
    xp : module
        numpy or torch: functions of the same name and arguments.
    """

    xp: Any

    @abstractmethod
    def take(self, values: np.ndarray) -> Array:
        """Values of this machine's memory, where the sums are; on the CPU the same object."""

    @abstractmethod
    def back(self, values: Array) -> np.ndarray:
        """The inverse of :meth:`take`."""

    @abstractmethod
    def features(self, values: Array) -> Array:
        """A copy in double precision, which may be written over."""

    @abstractmethod
    def zeros(self, *shape: int) -> Array:
        """Zeros in double precision."""

    @abstractmethod
    def eye(self, size: int) -> Array:
        """Identity, shape (size, size)."""

    @abstractmethod
    def cast(self, values: Array, dtype: Any) -> Array:
        """Values in another precision; the same object where they are in it."""

    @abstractmethod
    def dots(self, a: Array, b: Array) -> Array:
        """Sum over the rows of the products of two matrices, shape (columns,)."""

    @abstractmethod
    def pieces(
        self, draw: Callable[[int], Iterable[np.ndarray]], shape: tuple[int, int], key: tuple, rows: int
    ) -> Iterator[Array]:
        """What ``draw(rows)`` draws, as many rows at a time, where the sums are.

        Parameters
        ----------
        draw : callable
            Gives pieces of int32 that make up an array of `shape`.
        shape : tuple of int
        key : tuple
            What the draw depends on: a device keeps what was drawn for whoever asks for the same again.
        rows : int
        """

    @abstractmethod
    def solve_penalties(
        self,
        matrix: Array,
        right: Array,
        penalties: Sequence[float] | np.ndarray,
        *,
        scratch: Array | None = None,
    ) -> Array:
        """See :func:`solve_penalties`."""

    @abstractmethod
    def inverse(self, matrix: Array, penalty: float) -> Array:
        """See :func:`inverse`."""

    @abstractmethod
    def cholesky(self, matrix: Array, penalty: float) -> Array:
        """Lower factor of a matrix in which the penalty is."""

    @abstractmethod
    def solve_factored(self, factor: Array, right: Array) -> Array:
        """Solve a system by the lower factor of its matrix."""

    @abstractmethod
    def solve_lower(self, factor: Array, right: Array, *, transposed: bool = False) -> Array:
        """Solve a lower triangular system, or that of its transpose."""

    @abstractmethod
    def solve(self, matrix: Array, right: Array) -> Array:
        """Solve a positive definite system; NaN where rounding left it none, so that nothing is said of that fit."""


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
            raise too_small(penalty)
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
        raise too_small(penalty)
    return np.triu(half) + np.triu(half, 1).T


def too_small(penalty: float) -> UserError:
    """What is said where a penalised matrix is not positive definite."""
    return UserError(f"penalty {penalty:g} is too small for features this collinear: leave it out of --penalties")


class Host(Arrays):
    """numpy and LAPACK, on the CPU; see :class:`Arrays`."""

    xp = np
    solve_penalties = staticmethod(solve_penalties)
    inverse = staticmethod(inverse)

    def take(self, values: np.ndarray) -> np.ndarray:
        """The same object."""
        return values

    def back(self, values: np.ndarray) -> np.ndarray:
        """The same object."""
        return values

    def features(self, values: np.ndarray) -> np.ndarray:
        """See :class:`Arrays`."""
        return np.array(values, dtype=np.float64)

    def zeros(self, *shape: int) -> np.ndarray:
        """See :class:`Arrays`."""
        return np.zeros(shape)

    def eye(self, size: int) -> np.ndarray:
        """See :class:`Arrays`."""
        return np.eye(size)

    def cast(self, values: np.ndarray, dtype: Any) -> np.ndarray:
        """See :class:`Arrays`."""
        return values.astype(dtype, copy=False)

    def dots(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """See :class:`Arrays`."""
        return np.einsum("nk,nk->k", a, b)

    def pieces(
        self,
        draw: Callable[[int], Iterable[np.ndarray]],
        shape: tuple[int, int],  # noqa: ARG002
        key: tuple,  # noqa: ARG002
        rows: int,
    ) -> Iterator[np.ndarray]:
        """As they are drawn: nothing is kept."""
        yield from draw(rows)

    def cholesky(self, matrix: np.ndarray, penalty: float) -> np.ndarray:
        """See :class:`Arrays`."""
        try:
            return linalg.cholesky(matrix, lower=True, check_finite=False)
        except linalg.LinAlgError as error:
            raise too_small(penalty) from error

    def solve_factored(self, factor: np.ndarray, right: np.ndarray) -> np.ndarray:
        """See :class:`Arrays`."""
        return linalg.cho_solve((factor, True), right, check_finite=False)

    def solve_lower(self, factor: np.ndarray, right: np.ndarray, *, transposed: bool = False) -> np.ndarray:
        """See :class:`Arrays`."""
        return linalg.solve_triangular(factor, right, lower=True, trans=int(transposed), check_finite=False)

    def solve(self, matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
        """See :class:`Arrays`."""
        try:
            return linalg.solve(matrix, right, assume_a="pos", check_finite=False)
        except linalg.LinAlgError:
            return np.full_like(right, np.nan)


HOST = Host()
