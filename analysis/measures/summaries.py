"""What measures of similarity read of a matrix of many rows, in chunks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import lazy_loader as _lazy

from emoprobe.errors import UserError

if TYPE_CHECKING:
    import numpy as np
else:
    np = _lazy.load("numpy")

CHUNK_ROWS = 2048


class Matrix:
    """A matrix of shape (n, width), read in chunks of rows; its columns centred, and standardised where asked."""

    def __init__(self, read: Callable[[slice], np.ndarray], n: int, width: int, *, standardise: bool = False) -> None:
        self.read, self.n, self.width, self.standardise = read, n, width, standardise

    def starts(self) -> range:
        """First row of each chunk."""
        return range(0, self.n, CHUNK_ROWS)

    def part(self, start: int) -> np.ndarray:
        """One chunk of rows, from `start`, float64."""
        return (self._raw(start) - self.mean) / self.scale

    def whole(self) -> np.ndarray:
        """All rows."""
        return np.concatenate([self.part(start) for start in self.starts()])

    def _raw(self, start: int) -> np.ndarray:
        return np.asarray(self.read(slice(start, min(start + CHUNK_ROWS, self.n))), dtype=np.float64)

    @cached_property
    def mean(self) -> np.ndarray:
        """Of each column.

        Raises
        ------
        UserError
            If a value is not a finite number.
        """
        mean = sum(self._raw(start).sum(0) for start in self.starts()) / self.n
        if not np.isfinite(mean).all():
            raise UserError("a state or feature is not a finite number: extract the cache anew")
        return mean

    @cached_property
    def scale(self) -> np.ndarray | float:
        """What the centred columns are divided by; infinite for one that is constant, which stays zero."""
        if not self.standardise:
            return 1.0
        variance = sum(((self._raw(start) - self.mean) ** 2).sum(0) for start in self.starts()) / self.n
        # Below the rounding of a sum of n terms a column is constant.
        varies = variance > self.n * np.finfo(np.float64).eps * (variance + self.mean**2)
        return np.where(varies, np.sqrt(variance), np.inf)


@dataclass(frozen=True)
class Components:
    """The first k principal components of a matrix X, each of unit length.

    Attributes
    ----------
    basis : ndarray, shape (width, k) or (n, k)
        What makes them (times X, or, where there is a kernel, by itself).
    loadings : ndarray, shape (k, width)
        Their scalar products with the columns of X.
    """

    basis: np.ndarray
    loadings: np.ndarray


@dataclass(frozen=True)
class Summary:
    """What is kept of one matrix X.

    Attributes
    ----------
    norms : ndarray, shape (n,)
        Squared norms of the centred rows.
    square : float
        Squared Frobenius norm of the Gram matrix (or, which is the same, of the kernel).
    kernel : ndarray, shape (n, n)
        Only where rows are fewer than columns; else empty.
    components : Components or None
        Only where a measure reads them.
    """

    norms: np.ndarray
    square: float
    kernel: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    components: Components | None = None


def summary(matrix: Matrix, variance: float | None, *, by_rows: bool) -> Summary:
    """What measures read of a matrix.

    Parameters
    ----------
    matrix : Matrix
    variance : float or None
        Share of it that principal components keep; None for none of them.
    by_rows : bool
        Whether to keep the kernel, for fewer rows than columns.
    """
    return _of_rows(matrix, variance) if by_rows else _of_columns(matrix, variance)


def _of_columns(matrix: Matrix, variance: float | None) -> Summary:
    norms, gram = np.empty(matrix.n), np.zeros((matrix.width, matrix.width))
    for start in matrix.starts():
        x = matrix.part(start)
        norms[start : start + len(x)] = np.einsum("nw,nw->n", x, x)
        gram += x.T @ x
    square = float((gram**2).sum())
    if variance is None:
        return Summary(norms, square)
    values, vectors = _principal(gram, variance)
    components = Components(vectors / np.sqrt(values), np.sqrt(values)[:, None] * vectors.T)
    return Summary(norms, square, components=components)


def _of_rows(matrix: Matrix, variance: float | None) -> Summary:
    x = matrix.whole()
    kernel = x @ x.T
    norms, square = np.diagonal(kernel).copy(), float((kernel**2).sum())
    if variance is None:
        return Summary(norms, square, kernel)
    _, vectors = _principal(kernel, variance)
    return Summary(norms, square, kernel, Components(vectors, vectors.T @ x))


def _principal(matrix: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues that hold `variance` of the trace, and their vectors (size, k)."""
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1], vectors[:, ::-1]
    # What is below the rounding of the largest is no direction but noise.
    rank = int((values > len(values) * np.finfo(np.float64).eps * max(values[0], 0.0)).sum())
    if rank == 0:
        return values[:0], vectors[:, :0]
    share = np.cumsum(values[:rank]) / values[:rank].sum()
    kept = rank if variance >= 1 else int(np.searchsorted(share, variance)) + 1
    return values[: min(kept, rank)], vectors[:, : min(kept, rank)]
