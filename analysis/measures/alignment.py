"""Linear CKA without bias and PWCCA of two layers, from sums over utterances that are read in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lazy_loader as _lazy

from emoprobe.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")


MEASURES = ("cka", "pwcca")

#: Share of a layer's variance that PWCCA keeps by default, as SVCCA does.
VARIANCE = 0.99

CHUNK_ROWS = 2048


def linear_cka(x, y) -> float:
    r"""Linear centred kernel alignment of two matrices of the same rows, from unbiased estimates of HSIC.

    With K and L the kernels :math:`XX^\top` and :math:`YY^\top` with zeros on their diagonals,

    .. math::
        \mathrm{HSIC}_1 = \frac{1}{n (n - 3)} \left[ \mathrm{tr}(KL) + \frac{1^\top K 1 \; 1^\top L 1}{(n-1)(n-2)}
        - \frac{2}{n - 2} 1^\top K L 1 \right]

    and CKA is HSIC(K, L) divided by the root of HSIC(K, K) HSIC(L, L). It does not change when either side is shifted,
    rotated or scaled as a whole; it is 1 for matrices that differ in that alone, and about 0, on either side of it,
    for unrelated ones, even with more columns than rows, where the plain estimate is near 1.

    Parameters
    ----------
    x, y : array_like, shape (rows, width) and (rows, other width)
        No NaN.

    Returns
    -------
    float
        NaN for fewer than 4 rows, or where a side does not vary.

    References
    ----------
    S. Kornblith et al., "Similarity of neural network representations revisited", ICML 2019, equation 4.
    L. Song et al., "Feature selection via dependence maximization", JMLR 13, 2012, equation 5.
    T. Nguyen et al., "Do wide and deep networks learn the same things?", ICLR 2021, equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((50, 4))
    >>> round(linear_cka(x, 3 * x[:, ::-1] + 1), 6)
    1.0
    """
    return _compare_arrays(x, y, ("cka",), VARIANCE).cka


def pwcca(x, y, *, variance: float = VARIANCE) -> float:
    r"""Canonical correlations of two matrices, averaged with the weights that `x` gives them.

    The canonical directions :math:`h_i` of `x` are weighted by :math:`\alpha_i = \sum_j |\langle h_i, x_j \rangle|`
    over its columns :math:`x_j`. Weights come from `x` alone, so exchanging `x` and `y` gives another value: how much
    of what `x` holds is in `y`, as far as the narrower side reaches. With ``variance=1`` no invertible linear map of
    `y` changes it; a rotation of `x` does.

    Both sides are first reduced to the principal components that hold `variance`, as SVCCA does: directions of next to
    no variance correlate by chance. What chance remains is about the root of k / (n - 1), with k the components of the
    side that has more: the exact quadratic mean of the correlations when rows are paired at random.

    Parameters
    ----------
    x, y : array_like, shape (rows, width) and (rows, other width)
        No NaN.
    variance : float
        Share of the variance to keep, above 0 and up to 1.

    Returns
    -------
    float
        0 to 1; NaN where both sides together keep as many components as there are rows (some correlations are then 1
        whatever the values), or where a side does not vary.

    References
    ----------
    A. Morcos, M. Raghu, S. Bengio, "Insights on representational similarity in neural networks with canonical
    correlation", NeurIPS 2018, section 3.
    M. Raghu et al., "SVCCA", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((50, 4))
    >>> round(pwcca(x, 3 * x[:, ::-1] + 1), 6)
    1.0
    """
    return _compare_arrays(x, y, ("pwcca",), variance).pwcca


def _compare_arrays(x, y, measures, variance) -> _Pair:
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"two matrices of the same rows are needed, got shapes {x.shape} and {y.shape}")
    one, other = (Matrix(values.__getitem__, *values.shape) for values in (x, y))
    (pair,) = compare([one], [other], measures, variance)
    return pair


def check_settings(measures, variance) -> None:
    for name in measures:
        if name not in MEASURES:
            raise UserError(f"unknown measure '{name}': there is {', '.join(MEASURES)}")
    if not 0 < variance <= 1:
        raise UserError(f"--variance {variance:g} must be above 0 and up to 1")


# The measures --------------------------------------------------------------------------------------------------------


class Matrix:
    """A matrix of shape (n, width), read in chunks of rows; its columns centred, and standardised where asked."""

    def __init__(self, read: Callable[[slice], np.ndarray], n: int, width: int, *, standardise: bool = False):
        self.read, self.n, self.width, self.standardise = read, n, width, standardise
        self.mean = self.scale = None

    def starts(self) -> range:
        return range(0, self.n, CHUNK_ROWS)

    def part(self, start: int) -> np.ndarray:
        """One chunk of rows, from `start`, float64."""
        if self.mean is None:
            self._summarise()
        return (self._raw(start) - self.mean) / self.scale

    def whole(self) -> np.ndarray:
        """All rows."""
        return np.concatenate([self.part(start) for start in self.starts()])

    def _raw(self, start: int) -> np.ndarray:
        return np.asarray(self.read(slice(start, min(start + CHUNK_ROWS, self.n))), dtype=np.float64)

    def _summarise(self) -> None:
        mean = sum(self._raw(start).sum(0) for start in self.starts()) / self.n
        if not np.isfinite(mean).all():
            raise UserError("a state or feature is not a finite number: extract the cache anew")
        self.mean, self.scale = mean, 1.0
        if self.standardise:
            variance = sum((self.part(start) ** 2).sum(0) for start in self.starts()) / self.n
            # Below the rounding of a sum of n terms a column is constant, and stays zero.
            varies = variance > self.n * np.finfo(np.float64).eps * (variance + mean**2)
            self.scale = np.where(varies, np.sqrt(variance), np.inf)


@dataclass(frozen=True)
class _Pair:
    """What was found of matrix `i` of one side and `j` of the other; `pwcca_back` has the weights of `j`."""

    i: int
    j: int
    cka: float
    cka_reason: str
    pwcca: float
    pwcca_back: float
    pwcca_reason: str
    chance: float


@dataclass(frozen=True)
class _Summary:
    """What is kept of one matrix X.

    Attributes
    ----------
    norms : ndarray, shape (n,)
        Squared norms of the centred rows.
    square : float
        Squared Frobenius norm of the Gram matrix (or, which is the same, of the kernel).
    kernel : ndarray, shape (n, n), or None
        Only where rows are fewer than columns.
    basis : ndarray, shape (width, k) or (n, k), or None
        What makes the first k principal components, each of unit length, of X (times X, or, with a kernel, itself).
    loadings : ndarray, shape (k, width), or None
        Scalar products of these components with the columns of X.
    """

    norms: np.ndarray
    square: float
    kernel: np.ndarray | None = None
    basis: np.ndarray | None = None
    loadings: np.ndarray | None = None


def compare(
    one: list[Matrix],
    other: list[Matrix] | None,
    measures: Sequence[str],
    variance: float,
    *,
    bar: Callable[[Any], Any] = iter,
) -> Iterator[_Pair]:
    """Every matrix of one side with every one of the other; without another side, with itself and those after it."""
    n = one[0].n
    both = one if other is None else one + other
    by_rows = n <= max(matrix.width for matrix in both)
    reduced = variance if "pwcca" in measures else None
    summaries = [(_summary_by_rows if by_rows else _summary)(matrix, reduced) for matrix in both]
    first = summaries[: len(one)]
    second = first if other is None else summaries[len(one) :]
    against = one if other is None else other
    for i in bar(range(len(one))):
        partners = range(i if other is None else 0, len(against))
        if by_rows:
            products = None
        else:
            products = {j: np.zeros((one[i].width, against[j].width)) for j in partners}
            for start in one[i].starts():
                x = one[i].part(start)
                for j in partners:
                    products[j] += x.T @ (x if against[j] is one[i] else against[j].part(start))
        for j in partners:
            x, y = first[i], second[j]
            square = float(np.vdot(x.kernel, y.kernel) if by_rows else (products[j] ** 2).sum())
            cka, cka_reason = _cka(square, x, y)
            there = back = chance = float("nan")
            reason = ""
            if reduced is not None:
                middle = None if by_rows else products[j]
                there, back, chance, reason = _pwcca(x, y, middle, n)
            yield _Pair(i, j, cka, cka_reason, there, back, reason, chance)


def _summary(matrix: Matrix, variance: float | None) -> _Summary:
    norms, gram = np.empty(matrix.n), np.zeros((matrix.width, matrix.width))
    for start in matrix.starts():
        x = matrix.part(start)
        norms[start : start + len(x)] = np.einsum("nw,nw->n", x, x)
        gram += x.T @ x
    square = float((gram**2).sum())
    if variance is None:
        return _Summary(norms, square)
    values, vectors = _principal(gram, variance)
    return _Summary(norms, square, basis=vectors / np.sqrt(values), loadings=np.sqrt(values)[:, None] * vectors.T)


def _summary_by_rows(matrix: Matrix, variance: float | None) -> _Summary:
    x = matrix.whole()
    kernel = x @ x.T
    norms, square = np.diagonal(kernel).copy(), float((kernel**2).sum())
    if variance is None:
        return _Summary(norms, square, kernel)
    _, vectors = _principal(kernel, variance)
    return _Summary(norms, square, kernel, basis=vectors, loadings=vectors.T @ x)


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


def _hsic(square: float, norms: np.ndarray, other: np.ndarray) -> float:
    """Unbiased HSIC of centred features from the squared Frobenius norm of their product and their rows' norms.

    For centred columns the kernels' rows sum to zero, so with the diagonals left out 1ᵀK1 = -Σ norms, and the rows of
    K sum to -norms: the three terms of Song et al. collapse to what is below.
    """
    n = len(norms)
    return (square - n / (n - 2) * (norms @ other) + norms.sum() * other.sum() / ((n - 1) * (n - 2))) / (n * (n - 3))


def _cka(square: float, x: _Summary, y: _Summary) -> tuple[float, str]:
    n = len(x.norms)
    if n < 4:
        return float("nan"), f"{n} utterances: 4 are needed"
    if x.square == 0 or y.square == 0:
        return float("nan"), "one side does not vary"
    own, others = _hsic(x.square, x.norms, x.norms), _hsic(y.square, y.norms, y.norms)
    # Both terms of an estimate are of the size of the square; what is left at its rounding is no estimate.
    if own <= 1e-12 * x.square / n**2 or others <= 1e-12 * y.square / n**2:
        return float("nan"), "the estimate of one side's own HSIC is not positive: too few utterances"
    return float(_hsic(square, x.norms, y.norms) / np.sqrt(own * others)), ""


def _pwcca(x: _Summary, y: _Summary, product: np.ndarray | None, n: int) -> tuple[float, float, float, str]:
    """PWCCA with the weights of `x`, with those of `y`, the level of chance, and why there is none."""
    nothing = float("nan")
    sizes = x.basis.shape[1], y.basis.shape[1]
    if 0 in sizes:
        return nothing, nothing, nothing, "one side does not vary"
    if sum(sizes) > n - 1:
        reason = f"{sizes[0]} and {sizes[1]} components of {n} utterances: some correlate by counting alone"
        return nothing, nothing, nothing, reason
    middle = x.basis.T @ y.basis if product is None else x.basis.T @ product @ y.basis
    left, correlations, right = np.linalg.svd(middle, full_matrices=False)
    correlations = np.clip(correlations, 0.0, 1.0)
    there = np.abs(left.T @ x.loadings).sum(1)
    back = np.abs(right @ y.loadings).sum(1)
    chance = float(np.sqrt(max(sizes) / (n - 1)))
    return float(correlations @ there / there.sum()), float(correlations @ back / back.sum()), chance, ""
