"""Linear CKA without bias and PWCCA of two layers, from sums over utterances that are read in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lazy_loader as _lazy

from emoprobe.errors import UserError

from .summaries import Matrix, Summary, summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
else:
    np = _lazy.load("numpy")


#: Share of a layer's variance that PWCCA keeps by default, as SVCCA does.
VARIANCE = 0.99


def linear_cka(x: ArrayLike, y: ArrayLike) -> float:
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
    return compare_arrays(x, y, ("cka",))["cka"].value


def pwcca(x: ArrayLike, y: ArrayLike, *, variance: float = VARIANCE) -> float:
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
    return compare_arrays(x, y, ("pwcca",), variance=variance)["pwcca"].value


def compare_arrays(
    x: ArrayLike, y: ArrayLike, measures: Sequence[str], *, variance: float = VARIANCE
) -> dict[str, Score]:
    """Several measures of two matrices of the same rows, by name; see :func:`linear_cka` and :func:`pwcca`."""
    sides = np.asarray(x), np.asarray(y)
    if any(side.ndim != 2 for side in sides) or len(sides[0]) != len(sides[1]):
        raise ValueError(f"two matrices of the same rows are needed, got shapes {sides[0].shape} and {sides[1].shape}")
    one, other = (Matrix(side.__getitem__, *side.shape) for side in sides)
    (pair,) = compare([one], [other], measures, variance)
    return pair.scores


def check_settings(measures: Iterable[str], variance: float) -> None:
    """Refuse a measure that there is not, or a share of the variance that is none.

    Raises
    ------
    UserError
        If there is one.
    """
    for name in measures:
        if name not in MEASURES:
            raise UserError(f"unknown measure '{name}': there is {', '.join(MEASURES)}")
    if not 0 < variance <= 1:
        raise UserError(f"--variance {variance:g} must be above 0 and up to 1")


# The measures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """What a measure says of two matrices.

    Attributes
    ----------
    value, back : float
        With the weights of the first, and with those of the second; NaN where there is none.
    chance : float
        What to expect of unrelated rows.
    reason : str
        Why there is no value.
    """

    value: float
    back: float
    chance: float
    reason: str = ""


@dataclass(frozen=True)
class Pair:
    """What was found of matrix `i` of one side and `j` of the other, by the name of the measure."""

    i: int
    j: int
    scores: dict[str, Score]


def compare(
    one: list[Matrix],
    other: list[Matrix] | None,
    measures: Sequence[str],
    variance: float,
    *,
    bar: Callable[[Any], Any] = iter,
) -> Iterator[Pair]:
    """Every matrix of one side with every one of the other; without another side, with itself and those after it."""
    both = one if other is None else one + other
    by_rows = one[0].n <= max(matrix.width for matrix in both)
    reduced = variance if any(MEASURES[name].of_components for name in measures) else None
    summaries = [summary(matrix, reduced, by_rows=by_rows) for matrix in both]
    first = summaries[: len(one)]
    second = first if other is None else summaries[len(one) :]
    against = one if other is None else other
    for i in bar(range(len(one))):
        partners = range(i if other is None else 0, len(against))
        products = {} if by_rows else _products(one[i], {j: against[j] for j in partners})
        for j in partners:
            x, y, product = first[i], second[j], products.get(j)
            yield Pair(i, j, {name: MEASURES[name].between(x, y, product) for name in measures})


def _products(one: Matrix, others: dict[int, Matrix]) -> dict[int, np.ndarray]:
    """XᵀY of a matrix with each of the others, read in chunks together."""
    products = {j: np.zeros((one.width, other.width)) for j, other in others.items()}
    for start in one.starts():
        x = one.part(start)
        for j, other in others.items():
            products[j] += x.T @ (x if other is one else other.part(start))
    return products


def _hsic(square: float, norms: np.ndarray, other: np.ndarray) -> float:
    """Unbiased HSIC of centred features from the squared Frobenius norm of their product and their rows' norms.

    For centred columns the kernels' rows sum to zero, so with the diagonals left out 1ᵀK1 = -Σ norms, and the rows of
    K sum to -norms: the three terms of Song et al. collapse to what is below.
    """
    n = len(norms)
    return (square - n / (n - 2) * (norms @ other) + norms.sum() * other.sum() / ((n - 1) * (n - 2))) / (n * (n - 3))


def _cka(x: Summary, y: Summary, product: np.ndarray | None) -> Score:
    n, nothing = len(x.norms), float("nan")
    if n < 4:
        return Score(nothing, nothing, 0.0, f"{n} utterances: 4 are needed")
    if x.square == 0 or y.square == 0:
        return Score(nothing, nothing, 0.0, "one side does not vary")
    own, others = _hsic(x.square, x.norms, x.norms), _hsic(y.square, y.norms, y.norms)
    # Both terms of an estimate are of the size of the square; what is left at its rounding is no estimate.
    if own <= 1e-12 * x.square / n**2 or others <= 1e-12 * y.square / n**2:
        reason = "the estimate of one side's own HSIC is not positive: too few utterances"
        return Score(nothing, nothing, 0.0, reason)
    # tr(KL), from the kernels where there are no products.
    square = float(np.vdot(x.kernel, y.kernel) if product is None else (product**2).sum())
    value = float(_hsic(square, x.norms, y.norms) / np.sqrt(own * others))
    return Score(value, value, 0.0)


def _pwcca(x: Summary, y: Summary, product: np.ndarray | None) -> Score:
    nothing, n = float("nan"), len(x.norms)
    one, other = x.components, y.components
    if one is None or other is None:
        raise TypeError("PWCCA is of principal components, and these summaries hold none")
    sizes = one.basis.shape[1], other.basis.shape[1]
    if 0 in sizes:
        return Score(nothing, nothing, nothing, "one side does not vary")
    if sum(sizes) > n - 1:
        reason = f"{sizes[0]} and {sizes[1]} components of {n} utterances: some correlate by counting alone"
        return Score(nothing, nothing, nothing, reason)
    middle = one.basis.T @ other.basis if product is None else one.basis.T @ product @ other.basis
    left, correlations, right = np.linalg.svd(middle, full_matrices=False)
    correlations = np.clip(correlations, 0.0, 1.0)
    there = np.abs(left.T @ one.loadings).sum(1)
    back = np.abs(right @ other.loadings).sum(1)
    chance = float(np.sqrt(max(sizes) / (n - 1)))
    return Score(float(correlations @ there / there.sum()), float(correlations @ back / back.sum()), chance)


# What there is -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """A measure of similarity.

    Parameters
    ----------
    name : str
        In tables and options.
    short, label, in_words : str
        As columns of the report, axes, and captions call it.
    method : str
        How it is computed, for the methods of a report.
    cites : tuple of str
        Keys of the references.
    between : callable
        Given what is kept of both sides, and XᵀY unless there are kernels.
    of_components : bool
        Whether it reads principal components.
    weighted : bool
        Whether the weights of one side count, and chance is not 0.
    version : int
        Raise it with any change that moves its numbers beyond rounding; kept ones are then made anew.
    """

    name: str
    short: str
    label: str
    in_words: str
    method: str
    cites: tuple[str, ...]
    between: Callable[[Summary, Summary, np.ndarray | None], Score]
    of_components: bool = False
    weighted: bool = False
    version: int = 1


MEASURES = {
    measure.name: measure
    for measure in (
        Measure(
            "cka",
            "CKA",
            "Linear CKA",
            "linear CKA (unbiased)",
            "linear CKA from unbiased estimates of HSIC",
            ("kornblith2019similarity", "song2012feature"),
            _cka,
        ),
        Measure(
            "pwcca",
            "PWCCA",
            "PWCCA",
            "PWCCA of principal components",
            "projection-weighted canonical correlation of the principal components with "
            f"{100 * VARIANCE:g} % of the variance",
            ("morcos2018insights", "raghu2017svcca"),
            _pwcca,
            of_components=True,
            weighted=True,
        ),
    )
}
"""Every measure, by its name."""
