"""Logistic probes for categories, by scikit-learn; the penalty is chosen by UAR on held-out speakers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from emoprobe.errors import UserError

from .metrics import confusion, uar_from_confusion
from .ridge import check_penalties, choose
from .ridge_equations import Reader
from .splits import Fold

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

#: Penalties tried by default: 1/C of scikit-learn. Each is an iterative fit, so there are fewer than a ridge tries.
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)


@dataclass(frozen=True)
class LogisticResult:
    """What was found for one layer.

    Attributes
    ----------
    predictions : ndarray of int, shape (utterances,)
        Predicted class; -1 where no fold scores the row.
    penalties : ndarray, shape (folds,)
    inner_scores : ndarray, shape (folds, penalties)
        UAR pooled over the inner validation rows.
    notes : tuple of str
        What did not go as it should.
    """

    predictions: np.ndarray
    penalties: np.ndarray
    inner_scores: np.ndarray
    notes: tuple[str, ...]


def logistic_probe(
    read: Reader, classes: np.ndarray, folds: Sequence[Fold], *, penalties: Sequence[float] = PENALTIES
) -> LogisticResult:
    """Fit and score multinomial logistic probes of one layer.

    Features are standardised by the training rows of each fit and classes weigh the same whatever their size, as in
    the measure (UAR).

    Parameters
    ----------
    read : callable
        ``read(rows)`` returns features, shape (len(rows), width).
    classes : ndarray of int, shape (utterances,)
        Class numbers from 0; -1 where the label is missing.
    folds : sequence of Fold
    penalties : sequence of float
        1/C of scikit-learn.

    Returns
    -------
    LogisticResult

    Raises
    ------
    UserError
        If fewer than two classes have labels.
    """
    classes = np.asarray(classes)
    penalties = check_penalties(penalties)
    n_classes = int(classes.max(initial=-1)) + 1
    if len(np.unique(classes[classes >= 0])) < 2:
        raise UserError("a logistic probe needs at least two categories with labels")
    labelled = np.flatnonzero(classes >= 0)
    features = np.full((len(classes), 0), np.nan)
    some = np.asarray(read(labelled), dtype=np.float64)
    features = np.full((len(classes), some.shape[1]), np.nan)
    features[labelled] = some
    if not np.isfinite(some).all():
        raise UserError("a hidden state is not a finite number: extract the cache anew")

    predictions = np.full(len(classes), -1)
    chosen = np.empty(len(folds))
    inner_scores = np.full((len(folds), len(penalties)), np.nan)
    fitted: dict = {}
    notes: list[str] = []
    for f, fold in enumerate(folds):
        counts = np.zeros((len(penalties), n_classes, n_classes))
        for train, validation in fold.inner:
            train, validation = _with(train, classes), _with(validation, classes)
            key = train.tobytes()
            if key not in fitted:
                fitted[key] = _Path(features, classes, train, penalties, notes)
            if len(validation):
                counts += confusion(classes[validation], fitted[key].predict(features[validation]), n_classes)
        inner_scores[f] = uar_from_confusion(counts)
        best = int(choose(inner_scores[f]))
        chosen[f] = penalties[best]
        train = _with(fold.train, classes)
        final = fitted.get(train.tobytes())
        if final is None:
            final, best = _Path(features, classes, train, penalties[best : best + 1], notes), 0
        for rows in fold.tests.values():
            rows = _with(rows, classes)
            if len(rows):
                predictions[rows] = final.predict(features[rows])[best]
    return LogisticResult(predictions, chosen, inner_scores, tuple(dict.fromkeys(notes)))


def _with(rows, classes):
    return rows[classes[rows] >= 0]


class _Path:
    """Fits of one training set with every penalty, from the largest down, each starting from the one before."""

    def __init__(self, features, classes, train, penalties, notes):
        if not len(train):
            raise UserError("a fold has no labelled utterance to train on: ask for fewer --folds")
        x, y = features[train], classes[train]
        self.mean, spread = x.mean(0), x.std(0)
        self.inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12 * np.abs(self.mean))
        x = (x - self.mean) * self.inverse
        self.basis = None
        if len(x) < x.shape[1]:
            # With fewer rows than features the weights lie in the span of the rows (the penalty sees to it), so the
            # fit in its coordinates is the same fit, and smaller.
            values, vectors = np.linalg.eigh(x @ x.T)
            kept = values > values[-1] * 1e-12
            self.basis = x.T @ (vectors[:, kept] / np.sqrt(values[kept]))
            x = x @ self.basis
        self.only = int(y[0]) if len(np.unique(y)) == 1 else None
        self.models: list = [None] * len(penalties)
        if self.only is not None:
            notes.append("a training set holds one category only: its predictions are that category")
            return
        model = LogisticRegression(class_weight="balanced", warm_start=True, max_iter=1000, tol=1e-4)
        for k in range(len(penalties) - 1, -1, -1):
            model.C = 1 / penalties[k]
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                model.fit(x, y)
            if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
                notes.append(f"a fit with penalty {penalties[k]:g} did not converge in {model.max_iter} iterations")
            self.models[k] = (model.coef_.copy(), model.intercept_.copy(), model.classes_)

    def predict(self, x) -> np.ndarray:
        """Class of each row, shape (penalties, rows)."""
        if self.only is not None:
            return np.full((len(self.models), len(x)), self.only)
        x = (x - self.mean) * self.inverse
        if self.basis is not None:
            x = x @ self.basis
        found = []
        for coef, intercept, names in self.models:
            decision = x @ coef.T + intercept
            which = decision.argmax(1) if decision.shape[1] > 1 else (decision[:, 0] > 0).astype(int)
            found.append(names[which])
        return np.stack(found)
