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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from emoprobe.errors import UserError

from .layer_equations import Blocks, Columns, Fits, Reader, RidgeEquations
from .metrics import ccc_from_moments, pearson_from_moments
from .ridge_equations import CHUNK_ROWS, accumulate
from .splits import Fold, group_folds

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

#: Penalties tried by default, half a decade apart; of the scale of scikit-learn's `alpha`: added to a sum over rows.
PENALTIES = tuple(float(penalty) for penalty in np.logspace(-1, 5, 13))


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
    gains : ndarray, shape (folds, targets)
        What `rescale` has multiplied the coefficients by, which hold it; 1 without.
    """

    predictions: np.ndarray
    penalties: np.ndarray
    inner_scores: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    gains: np.ndarray


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


def solve(equations: RidgeEquations, *, penalties: Sequence[float] = PENALTIES, rescale: bool = False) -> RidgeResult:
    """Choose the penalties, fit and predict; :func:`ridge_probe` once the sums are there.

    Parameters
    ----------
    equations : RidgeEquations
        Of :func:`accumulate`.
    penalties, rescale
        See :func:`ridge_probe`.

    Returns
    -------
    RidgeResult
    """
    grid, folds = check_penalties(penalties), equations.folds
    fitted: dict[tuple[Blocks, Columns], Fits] = {}
    n_folds, n_targets = len(folds), equations.y.shape[1]
    inner_scores = np.full((n_folds, n_targets, len(grid)), np.nan)
    chosen = np.full((n_folds, n_targets), np.nan)
    gains = np.ones((n_folds, n_targets))
    coef, intercept = np.full((n_folds, n_targets, len(equations.shift)), np.nan), np.full((n_folds, n_targets), np.nan)
    predictions = np.full((len(equations.block_of_row), n_targets), np.nan)
    for f, fold in enumerate(folds):
        for columns in equations.target_sets():
            of_inner = []
            for train, validation in fold.inner:
                key = (equations.blocks_of(train), columns)
                if key not in fitted:
                    # Leaving out i for the score and j for the penalty, or j and i, is the same fit.
                    fitted[key] = equations.fit(*key, grid)
                of_inner.append(equations.score(fitted[key], equations.blocks_of(validation), columns))
            sums = np.sum(of_inner, axis=0)
            by = pearson_from_moments(sums) if rescale else ccc_from_moments(sums)
            inner_scores[f, list(columns)] = by.T
            best = choose(by.T)
            key = (equations.blocks_of(fold.train), columns)
            wanted = np.unique(best)
            final = fitted.get(key)
            if final is None:
                final = equations.fit(*key, grid[wanted])
                best_at = np.searchsorted(wanted, best)
            else:
                best_at = best
            for k, column in enumerate(columns):
                weights, offset = final[0][best_at[k], :, k], final[1][best_at[k], k]
                if rescale:
                    gain, shift = rescaling(sums[best[k], k])
                    weights, offset = weights * gain, offset * gain + shift
                    gains[f, column] = gain
                chosen[f, column] = grid[best[k]]
                coef[f, column], intercept[f, column] = equations.in_units(weights, offset, column)
    arrays = equations.arrays
    for f, fold in enumerate(folds):
        # Centred before the product: a feature far from zero would cost the digits that matter.
        slope = arrays.take((coef[f] * equations.spread).T)
        offset = arrays.take(intercept[f] + coef[f] @ equations.shift)
        for rows in fold.tests.values():
            for some, x in equations.chunks(rows):
                predictions[some] = arrays.back(x @ slope + offset)
    return RidgeResult(predictions, chosen, inner_scores, coef, intercept, gains)


def check_penalties(penalties: Sequence[float] | np.ndarray) -> np.ndarray:
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

    def __init__(
        self,
        *,
        penalties: Sequence[float] = PENALTIES,
        folds: int = 5,
        rescale: bool = False,
        random_state: int = 0,
    ) -> None:
        self.penalties = penalties
        self.folds = folds
        self.rescale = rescale
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> RidgeProbe:
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
        features, numbers = validate_data(self, X, complete, multi_output=True, y_numeric=True)
        targets = np.array(numbers, dtype=np.float64)
        if missing is not None:
            targets[missing.reshape(targets.shape)] = np.nan
        one = targets.ndim == 1
        targets = targets.reshape(len(features), -1)
        rows = np.flatnonzero(~np.isnan(targets).all(1))
        every = np.arange(len(features)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        group = every[rows]
        if len(np.unique(group)) < 2:
            raise ValueError(f"n_samples={len(rows)} from one group: the penalty needs 2 groups to be chosen on")
        fold = group_folds(group, min(self.folds, len(np.unique(group))), seed=self.random_state)
        inner = tuple((rows[fold != k], rows[fold == k]) for k in range(fold.max() + 1))
        plan = [Fold("all", rows, inner, {})]
        solved = ridge_probe(lambda some: features[some], targets, plan, penalties=self.penalties, rescale=self.rescale)
        self.coef_, self.intercept_, self.penalty_ = solved.coef[0], solved.intercept[0], solved.penalties[0]
        if one:
            self.coef_, self.intercept_, self.penalty_ = self.coef_[0], self.intercept_[0], self.penalty_[0]
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the targets of `X`, shape (utterances, targets), or (utterances,) after a one-dimensional y."""
        check_is_fitted(self)
        features = validate_data(self, X, reset=False)
        return features @ self.coef_.T + self.intercept_
