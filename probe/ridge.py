"""Ridge probes in closed form: one set of sums serves every target, penalty and fold.

The rows of a layer are read twice, in chunks. The first pass adds up, for every *block* of rows that the folds never
separate, its count, Σx, Σxxᵀ, Σxy. Every training set is a union of blocks, so its Gram matrix, and the mean and
standard deviation that standardise its features, are sums of what is there; so are the scores of every penalty on
every validation block, without a prediction. The second pass predicts the rows to score. Memory grows with width
squared times blocks, not with utterances. A layer with fewer rows than features is solved from its kernel instead.

Solver (`ridge_probe`) and estimator (`RidgeProbe`) are apart: the first knows folds and readers of a cache, the second
scikit-learn's contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from emoprobe.errors import UserError

from .metrics import ccc_from_moments, moments, pearson_from_moments
from .splits import Fold, group_folds

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

#: Penalties tried by default, half a decade apart; of the scale of scikit-learn's `alpha`: added to a sum over rows.
PENALTIES = tuple(float(penalty) for penalty in np.logspace(-1, 5, 13))

#: Rows read at once: large enough for BLAS to be at its peak, small beside the Gram matrices.
CHUNK_ROWS = 2048

Reader = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RidgeResult:
    """What the solver found for one layer.

    Attributes
    ----------
    predictions : ndarray, shape (utterances, targets)
        In the unit of the targets; NaN where no fold scores the row.
    penalties : ndarray, shape (folds, targets)
        Chosen penalty.
    inner_scores : ndarray, shape (folds, targets, penalties)
        What the penalty was chosen by: CCC pooled over the inner validation rows (Pearson with `rescale`).
    coef : ndarray, shape (folds, targets, width)
        In the unit of the features.
    intercept : ndarray, shape (folds, targets)
    """

    predictions: np.ndarray
    penalties: np.ndarray
    inner_scores: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray


def ridge_probe(
    read: Reader,
    targets: np.ndarray,
    folds: Sequence[Fold],
    *,
    penalties: Sequence[float] = PENALTIES,
    rescale: bool = False,
    chunk_rows: int = CHUNK_ROWS,
) -> RidgeResult:
    """Fit and score the ridge probes of one layer: all targets, penalties and folds.

    Features are standardised by the training rows of each fit. For each fold and target the penalty is the one with
    the best CCC over the pooled inner validation rows; the fit with it uses all training rows of the fold. A row
    without a label of a target (NaN) takes no part in that target.

    Parameters
    ----------
    read : callable
        ``read(rows)`` returns the features of ascending `rows`, shape (len(rows), width).
    targets : ndarray of float, shape (utterances, targets)
    folds : sequence of Fold
        The rows scored by one fold are scored by no other.
    penalties : sequence of float
        Positive; added to the Gram matrix of standardised features, as scikit-learn's ``Ridge(alpha)`` does.
    rescale : bool
        Give the predictions the mean and spread of the labels, by a linear map fitted on the inner validation rows:
        a ridge shrinks, and CCC punishes that. The penalty is then the one with the best CCC after rescaling, which
        is Pearson's correlation.
    chunk_rows : int
        Rows read at once.

    Returns
    -------
    RidgeResult

    Raises
    ------
    UserError
        If a fit has no labelled row, a penalty is not positive, or a feature is not finite.
    """
    return solve(accumulate(read, targets, folds, chunk_rows=chunk_rows), penalties=penalties, rescale=rescale)


def solve(system: System, *, penalties: Sequence[float] = PENALTIES, rescale: bool = False) -> RidgeResult:
    """Choose the penalties, fit and predict; :func:`ridge_probe` once the sums are there.

    Parameters
    ----------
    system : System
        Of :func:`accumulate`.
    penalties, rescale
        See :func:`ridge_probe`.

    Returns
    -------
    RidgeResult
    """
    penalties = check_penalties(penalties)
    folds = system.folds
    fitted: dict = {}
    n_folds, n_targets = len(folds), system.y.shape[1]
    inner_scores = np.full((n_folds, n_targets, len(penalties)), np.nan)
    chosen = np.full((n_folds, n_targets), np.nan)
    coef, intercept = None, np.full((n_folds, n_targets), np.nan)
    predictions = np.full((len(system.block_of_row), n_targets), np.nan)
    for f, fold in enumerate(folds):
        for columns in system.target_sets():
            sums = 0.0
            for train, validation in fold.inner:
                key = (system.blocks_of(train), columns)
                if key not in fitted:
                    # Leaving out i for the score and j for the penalty, or j and i, is the same fit.
                    fitted[key] = system.fit(*key, penalties)
                sums = sums + system.score(fitted[key], system.blocks_of(validation), columns)
            by = pearson_from_moments(sums) if rescale else ccc_from_moments(sums)
            inner_scores[f, list(columns)] = by.T
            best = choose(by.T)
            key = (system.blocks_of(fold.train), columns)
            wanted = np.unique(best)
            final = fitted.get(key)
            if final is None:
                final = system.fit(*key, penalties[wanted])
                best_at = np.searchsorted(wanted, best)
            else:
                best_at = best
            for k, column in enumerate(columns):
                weights, offset = final[0][best_at[k], :, k], final[1][best_at[k], k]
                if rescale:
                    gain, shift = rescaling(sums[best[k], k])
                    weights, offset = weights * gain, offset * gain + shift
                if coef is None:
                    coef = np.full((n_folds, n_targets, len(weights)), np.nan)
                chosen[f, column] = penalties[best[k]]
                coef[f, column], intercept[f, column] = system.in_units(weights, offset, column)
    for f, fold in enumerate(folds):
        for rows in fold.tests.values():
            for some, x in system.chunks(rows):
                # Centred before the product: a feature far from zero would cost the digits that matter.
                predictions[some] = x @ (coef[f] * system.spread).T + (intercept[f] + coef[f] @ system.shift)
    return RidgeResult(predictions, chosen, inner_scores, coef, intercept)


def check_penalties(penalties) -> np.ndarray:
    """Penalties as a sorted array.

    Raises
    ------
    UserError
        If there is none, or one is not a positive number.
    """
    values = np.unique(np.asarray(penalties, dtype=np.float64))
    if values.size == 0 or not (np.isfinite(values).all() and values[0] > 0):
        raise UserError(f"penalties must be positive numbers, got {list(np.atleast_1d(penalties))}")
    return values


def choose(scores: np.ndarray) -> np.ndarray:
    """Index of the best penalty along the last axis; the largest of those that tie, the last where none has a score.

    Scores within 1e-12 of the best tie: what separates them is rounding, which differs between machines.
    """
    filled = np.where(np.isnan(scores), -np.inf, scores)
    tied = filled >= filled.max(-1, keepdims=True) - 1e-12
    return scores.shape[-1] - 1 - np.flip(tied, -1).argmax(-1)


def rescaling(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and shift that give predictions the mean and standard deviation of their labels.

    Parameters
    ----------
    sums : ndarray, shape (..., 6)
        Of `metrics.moments`.

    Returns
    -------
    tuple of ndarray, shape (...)
    """
    n, t, p, tt, pp, _ = np.moveaxis(sums, -1, 0)
    spread_t, spread_p = np.maximum(tt / n - (t / n) ** 2, 0.0), np.maximum(pp / n - (p / n) ** 2, 0.0)
    constant = spread_p <= 1e-20 * np.maximum(spread_t, 1e-300)  # a constant prediction has no spread to match
    gain = np.where(constant, 1.0, np.sqrt(spread_t / np.where(constant, 1.0, spread_p)))
    return gain, np.where(constant, 0.0, t / n - gain * p / n)


def accumulate(read: Reader, targets: np.ndarray, folds: Sequence[Fold], *, chunk_rows: int = CHUNK_ROWS) -> System:
    """First pass: blocks, units and sums (or, for fewer rows than features, the rows themselves).

    Parameters
    ----------
    read, targets, folds, chunk_rows
        See :func:`ridge_probe`.

    Returns
    -------
    System
        What every fit on these rows follows from.

    Raises
    ------
    UserError
        If no row to train on has a label, or a feature is not finite.
    """
    targets = np.asarray(targets, dtype=np.float64)
    n_rows = len(targets)
    parts = [fold.train for fold in folds]
    parts += [rows for fold in folds for pair in fold.inner for rows in pair]
    membership = np.zeros((n_rows, len(parts)), dtype=np.uint8)
    for column, rows in enumerate(parts):
        membership[rows, column] = 1
    present = ~np.isnan(targets)
    used = np.flatnonzero(membership.any(1) & present.any(1))
    if not len(used):
        raise UserError("no utterance to train on has a label")
    _, block = np.unique(np.packbits(membership[used], axis=1), axis=0, return_inverse=True)
    patterns, pattern = np.unique(present[used], axis=0, return_inverse=True)
    # A cell holds the rows of one block that have the same labels missing: targets that differ in their rows still
    # share every cell that both have.
    cells, cell = np.unique(np.stack([block.ravel(), pattern.ravel()], 1), axis=0, return_inverse=True)
    block_of_row = np.full(n_rows, -1)
    block_of_row[used] = block.ravel()

    y = targets[used]
    unit_y = np.array([_unit(column[~np.isnan(column)]) for column in y.T])

    first = np.asarray(read(used[:chunk_rows]), dtype=np.float64)
    check_finite(first, used[:chunk_rows])
    shift, spread = first.mean(0), first.std(0)
    kind = _Rows if len(used) <= len(shift) else _Sums
    system = kind(
        read=read,
        folds=folds,
        chunk_rows=chunk_rows,
        rows=used,
        y=np.where(np.isnan(y), 0.0, (y - unit_y[:, 0]) / unit_y[:, 1]),
        cell=cell.ravel(),
        cells=cells,
        present=patterns[cells[:, 1]],
        block_of_row=block_of_row,
        unit_y=unit_y,
        shift=shift,
        # A feature that is constant here may vary later; one unit is as good as another, this only keeps sums near 1.
        spread=np.where(spread > 0, spread, 1.0),
    )
    for rows, x in system.chunks(used, first):
        check_finite(x, rows)
        system.add(x, slice(*np.searchsorted(used, [rows[0], rows[-1] + 1])))
    return system


def _unit(values: np.ndarray) -> tuple[float, float]:
    """Mean and spread that bring labels near 0 and 1; predictions do not depend on them, digits do."""
    if not len(values):
        return 0.0, 1.0
    spread = values.std()
    return float(values.mean()), float(spread) if spread > 0 else 1.0


def check_finite(x: np.ndarray, rows: np.ndarray) -> None:
    """Refuse features that are no numbers, naming the utterance."""
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise UserError(f"feature {column} of utterance {rows[row]} is not a finite number: extract the cache anew")


class System:
    """What every fit on a layer follows from: which cells make up a training set, sums or rows, and the units.

    Labels are the right-hand sides of its equations. Its own are `labels`; :meth:`labels_from` reads the features
    again to make others for the same rows, which any fit and score then takes instead. A system is made by
    :func:`accumulate`.
    """

    def __init__(self, *, read, folds, chunk_rows, rows, y, cell, cells, present, block_of_row, unit_y, shift, spread):
        self.read, self.folds, self.chunk_rows, self.rows = read, folds, chunk_rows, rows
        self.y, self.cell, self.cells, self.present = y, cell, cells, present
        self.block_of_row, self.unit_y, self.shift, self.spread = block_of_row, unit_y, shift, spread
        self._blocks: dict = {}
        self._scratch = None

    def chunks(self, rows: np.ndarray, first: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows, a chunk at a time, with their features in the units of the system; `first` if it was read already."""
        for start in range(0, len(rows), self.chunk_rows):
            some = rows[start : start + self.chunk_rows]
            given = start == 0 and first is not None
            x = first if given else np.array(self.read(some), dtype=np.float64)
            x -= self.shift
            x /= self.spread
            yield some, x

    def target_sets(self) -> list[tuple[int, ...]]:
        """Targets whose labels are missing in the same rows, together: they share every factorisation."""
        sets: dict = {}
        for target, column in enumerate(self.present.T):
            sets.setdefault(column.tobytes(), []).append(target)
        return [tuple(columns) for columns in sets.values()]

    def blocks_of(self, rows: np.ndarray) -> frozenset:
        """Blocks that make up `rows`."""
        key = (len(rows), rows[:1].tobytes(), rows.tobytes())
        if key not in self._blocks:
            found = np.unique(self.block_of_row[rows])
            self._blocks[key] = frozenset(found[found >= 0].tolist())
        return self._blocks[key]

    def fit(self, blocks, columns, penalties):
        """Coefficients (penalty, width, target) and intercepts (penalty, target) in the units of the system."""
        equations = self._equations(blocks, columns, self._own(columns))
        return equations.fit(solve_penalties(equations.matrix, equations.right, penalties, scratch=self._scratch))

    def refit(self, blocks, columns, penalties, labels) -> Callable[[np.ndarray], np.ndarray]:
        """Fit other labels, each with the one penalty given for it; return what predicts them from features."""
        equations = self._equations(blocks, columns, labels)
        solution = np.empty_like(equations.right)
        for penalty in np.unique(penalties):
            which = penalties == penalty
            right = equations.right[:, which]
            if right.shape[1] > len(right):
                # Products run at the machine's peak and triangular solves do not; a null needs no last digit.
                solution[:, which] = inverse(equations.matrix, penalty) @ right
            else:
                solution[:, which] = solve_penalties(equations.matrix, right, [penalty], scratch=self._scratch)[0]
        return equations.predictor(solution)

    def _cells(self, blocks: frozenset, columns: tuple[int, ...]) -> np.ndarray:
        return np.flatnonzero(np.isin(self.cells[:, 0], list(blocks)) & self.present[:, columns[0]])

    def in_units(self, weights, offset, target):
        """Weights and intercept in the units of features and labels."""
        mean, spread = self.unit_y[target]
        weights = weights * spread / self.spread
        return weights, offset * spread + mean - weights @ self.shift


@dataclass(frozen=True)
class _Equations:
    """Normal equations of a training set, its features standardised, or with `rows` their dual."""

    matrix: np.ndarray
    right: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray
    mean_y: np.ndarray
    rows: np.ndarray | None = None

    def fit(self, solution):
        """Coefficients and intercepts, leading axes as `solution` has them."""
        coef = solution if self.rows is None else self.rows.T @ solution
        coef = coef * self.inverse[:, None]
        return coef, self.mean_y - self.mean @ coef

    def predictor(self, solution):
        """What predicts from features; by the kernel where the solution is dual, without the coefficients."""
        if self.rows is None:
            coef, intercept = self.fit(solution)
            return lambda x: x @ coef + intercept
        return lambda x: ((x - self.mean) * self.inverse @ self.rows.T) @ solution + self.mean_y


class _LabelSums:
    """Of each cell, the sums in which labels occur: Σxy, Σy, Σy²."""

    def __init__(self, cells: int, width: int, targets: int):
        self.xy = np.zeros((cells, width, targets))
        self.y, self.yy = np.zeros((cells, targets)), np.zeros((cells, targets))

    def add(self, c: int, x: np.ndarray, y: np.ndarray) -> None:
        self.xy[c] += x.T @ y
        self.y[c] += y.sum(0)
        self.yy[c] += np.einsum("nt,nt->t", y, y)

    def take(self, columns) -> _LabelSums:
        some = _LabelSums(0, 0, 0)
        some.xy, some.y, some.yy = self.xy[:, :, columns], self.y[:, columns], self.yy[:, columns]
        return some


class _Sums(System):
    """Normal equations from the sums of each cell."""

    def __init__(self, **common):
        super().__init__(**common)
        n_cells, width = len(self.cells), len(self.shift)
        self.count = np.bincount(self.cell, minlength=n_cells).astype(np.float64)
        self.x = np.zeros((n_cells, width))
        self.xx = np.zeros((n_cells, width, width))
        self.labels = _LabelSums(n_cells, width, self.y.shape[1])
        self._scratch = np.empty((width, width))
        self._matrix = np.empty((width, width))

    def add(self, x, rows):
        cell, y = self.cell[rows], self.y[rows]
        for c in np.unique(cell):
            part = x[cell == c]
            self.x[c] += part.sum(0)
            self.xx[c] += np.matmul(part.T, part, out=self._scratch)
            self.labels.add(c, part, y[cell == c])

    def labels_from(self, draw, targets):
        """Other labels of the same rows; ``draw(rows)`` gives them, shape (rows, targets)."""
        found = _LabelSums(len(self.cells), len(self.shift), targets)
        for rows, x in self.chunks(self.rows):
            cell = self.cell[np.searchsorted(self.rows, rows)]
            for c in np.unique(cell):
                found.add(c, x[cell == c], draw(rows[cell == c]))
        return found

    def _own(self, columns):
        return self.labels.take(list(columns))

    def _equations(self, blocks, columns, labels):
        cells = self._cells(blocks, columns)
        n = self.count[cells].sum()
        if n == 0:
            raise UserError("a fold has no labelled utterance to train on: ask for fewer --folds")
        mean = self.x[cells].sum(0) / n
        mean_y = labels.y[cells].sum(0) / n
        matrix = self._matrix
        matrix[:] = self.xx[cells[0]]
        right = labels.xy[cells[0]] - n * np.outer(mean, mean_y)
        for c in cells[1:]:
            matrix += self.xx[c]
            right += labels.xy[c]
        variance = np.diagonal(matrix) / n - mean**2
        # The rounding of a sum of n terms: below it a feature is constant on these rows, and has nothing to say.
        varies = variance > 4 * n * np.finfo(np.float64).eps * (np.diagonal(matrix) / n)
        inverse = np.zeros_like(mean)
        inverse[varies] = 1 / np.sqrt(variance[varies])
        matrix -= np.multiply.outer(n * mean, mean, out=self._scratch)
        matrix *= inverse
        matrix *= inverse[:, None]
        right *= inverse[:, None]
        return _Equations(matrix, right, mean, inverse, mean_y)

    def score(self, fit, blocks, columns):
        """Moments (penalty, target, 6) of labels and predictions on `blocks`, from the sums alone."""
        (coef, intercept), cells = fit, self._cells(blocks, columns)
        n = self.count[cells].sum()
        if n == 0:
            return np.zeros((*intercept.shape, 6))
        labels = self._own(columns)
        x = self.x[cells].sum(0)
        y, yy = labels.y[cells].sum(0), labels.yy[cells].sum(0)
        n_penalties, width, n_targets = coef.shape
        flat = coef.transpose(1, 0, 2).reshape(width, -1)
        product, xy = self.xx[cells[0]] @ flat, labels.xy[cells[0]].copy()
        for c in cells[1:]:
            product += self.xx[c] @ flat
            xy += labels.xy[c]
        square = (flat * product).sum(0).reshape(n_penalties, n_targets)
        linear = np.einsum("w,pwt->pt", x, coef)
        p = linear + n * intercept
        pp = square + 2 * intercept * linear + n * intercept**2
        yp = np.einsum("wt,pwt->pt", xy, coef) + intercept * y
        full = np.ones_like(p)
        return np.stack([n * full, y * full, p, yy * full, pp, yp], -1)


class _Rows(System):
    """The same from the rows themselves, where there are fewer of them than features: a kernel is smaller."""

    def __init__(self, **common):
        super().__init__(**common)
        self.features = np.empty((len(self.y), len(self.shift)))

    def add(self, x, rows):
        self.features[rows] = x

    def labels_from(self, draw, targets):
        """Other labels of the same rows; ``draw(rows)`` gives them, shape (rows, targets)."""
        return draw(self.rows)

    def _own(self, columns):
        return self.y[:, list(columns)]

    def _equations(self, blocks, columns, labels):
        rows = np.isin(self.cell, self._cells(blocks, columns))
        if not rows.any():
            raise UserError("a fold has no labelled utterance to train on: ask for fewer --folds")
        x, y = self.features[rows], labels[rows]
        mean, mean_y = x.mean(0), y.mean(0)
        x -= mean
        variance = (x**2).mean(0)
        varies = variance > 4 * len(x) * np.finfo(np.float64).eps * (variance + mean**2)
        inverse = np.zeros_like(mean)
        inverse[varies] = 1 / np.sqrt(variance[varies])
        x *= inverse
        return _Equations(x @ x.T, y - mean_y, mean, inverse, mean_y, rows=x)

    def score(self, fit, blocks, columns):
        coef, intercept = fit
        rows = np.isin(self.cell, self._cells(blocks, columns))
        predicted = np.einsum("nw,pwt->ptn", self.features[rows], coef, optimize=True) + intercept[..., None]
        return moments(self._own(columns)[rows].T, predicted)


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


class RidgeProbe(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression on standardised features, the penalty chosen by CCC on speaker-grouped folds.

    Parameters
    ----------
    penalties : sequence of float
    folds : int
        Folds among which the penalty of each target is chosen.
    rescale : bool
        See :func:`ridge_probe`.
    random_state : int
        Seed of the folds.

    Attributes
    ----------
    coef_ : ndarray, shape (targets, width), or (width,) for a one-dimensional y
    intercept_ : ndarray, shape (targets,), or float
    penalty_ : ndarray, shape (targets,), or float
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, speaker = rng.standard_normal((60, 4)), np.arange(60) // 6
    >>> probe = RidgeProbe().fit(x, x @ [1.0, 0.0, -1.0, 2.0], groups=speaker)
    >>> bool(probe.score(x, x @ [1.0, 0.0, -1.0, 2.0]) > 0.99)
    True
    """

    def __init__(self, *, penalties=PENALTIES, folds=5, rescale=False, random_state=0):
        self.penalties = penalties
        self.folds = folds
        self.rescale = rescale
        self.random_state = random_state

    def fit(self, X, y, groups=None):
        """Choose the penalty and fit.

        Parameters
        ----------
        X : array_like, shape (utterances, width)
        y : array_like, shape (utterances,) or (utterances, targets)
            NaN is a missing label.
        groups : array_like, shape (utterances,), optional
            Speaker of each row; each row is its own by default.

        Returns
        -------
        RidgeProbe
        """
        # scikit-learn refuses NaN in y; here it is a missing label, so the check sees zeros in its place.
        missing = np.isnan(np.asarray(y)) if getattr(y, "dtype", np.dtype(object)).kind == "f" else None
        complete = y if missing is None else np.where(missing, 0.0, y)
        X, targets = validate_data(self, X, complete, multi_output=True, y_numeric=True)
        targets = np.array(targets, dtype=np.float64)
        if missing is not None:
            targets[missing.reshape(targets.shape)] = np.nan
        one = targets.ndim == 1
        targets = targets.reshape(len(X), -1)
        rows = np.flatnonzero(~np.isnan(targets).all(1))
        groups = np.arange(len(X)) if groups is None else np.unique(groups, return_inverse=True)[1]
        if len(np.unique(groups[rows])) < 2:
            raise ValueError(f"n_samples={len(rows)} from one group: the penalty needs 2 groups to be chosen on")
        fold = group_folds(groups[rows], min(self.folds, len(np.unique(groups[rows]))), seed=self.random_state)
        inner = tuple((rows[fold != k], rows[fold == k]) for k in range(fold.max() + 1))
        plan = [Fold("all", rows, inner, {})]
        found = ridge_probe(lambda some: X[some], targets, plan, penalties=self.penalties, rescale=self.rescale)
        self.coef_, self.intercept_, self.penalty_ = found.coef[0], found.intercept[0], found.penalties[0]
        if one:
            self.coef_, self.intercept_, self.penalty_ = self.coef_[0], self.intercept_[0], self.penalty_[0]
        return self

    def predict(self, X):
        """Predict the targets of `X`, shape (utterances, targets), or (utterances,) after a one-dimensional y."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return X @ self.coef_.T + self.intercept_
