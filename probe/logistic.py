"""Logistic probes for categories; the penalty is chosen by UAR on held-out speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoprobe.errors import UserError

from .layer_equations import Reader, check_finite
from .metrics import confusion, uar_from_confusion
from .ridge import check_penalties, choose
from .softmax import MOST_STEPS, fit_softmax
from .splits import Fold

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 2

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
    the measure (UAR). The fits are those of scikit-learn (:func:`.softmax.fit_softmax`), solved in fewer steps.

    Parameters
    ----------
    read : callable
        ``read(rows)`` returns features, shape (len(rows), width); asked for each part of each fit, so that no more
        than one part is held in double precision.
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
    tried = check_penalties(penalties)
    n_classes = int(classes.max(initial=-1)) + 1
    if len(np.unique(classes[classes >= 0])) < 2:
        raise UserError("a logistic probe needs at least two categories with labels")
    labelled = np.flatnonzero(classes >= 0)
    check_finite(np.asarray(read(labelled)), labelled)
    predictions = np.full(len(classes), -1)
    chosen = np.empty(len(folds))
    inner_scores = np.full((len(folds), len(tried)), np.nan)
    fitted: dict[bytes, _Path] = {}
    notes: list[str] = []

    def those_with_label(rows: np.ndarray) -> np.ndarray:
        return rows[classes[rows] >= 0]

    for f, fold in enumerate(folds):
        counts = np.zeros((len(tried), n_classes, n_classes))
        for train, validation in (map(those_with_label, pair) for pair in fold.inner):
            key = train.tobytes()
            if key not in fitted:
                fitted[key] = _Path(read, classes, train, tried, notes)
            if len(validation):
                counts += confusion(classes[validation], fitted[key].predict(validation), n_classes)
        inner_scores[f] = uar_from_confusion(counts)
        best = int(choose(inner_scores[f]))
        chosen[f] = tried[best]
        train = those_with_label(fold.train)
        final = fitted.get(train.tobytes())
        if final is None:
            final, best = _Path(read, classes, train, tried[best : best + 1], notes), 0
        for rows in map(those_with_label, fold.tests.values()):
            if len(rows):
                predictions[rows] = final.predict(rows)[best]
    return LogisticResult(predictions, chosen, inner_scores, tuple(dict.fromkeys(notes)))


class _Path:
    """Fits of one training set with every penalty."""

    def __init__(
        self, read: Reader, classes: np.ndarray, train: np.ndarray, penalties: np.ndarray, notes: list[str]
    ) -> None:
        if not len(train):
            raise UserError("a fold has no labelled utterance to train on: ask for fewer --folds")
        self.read = read
        self.names, y = np.unique(classes[train], return_inverse=True)
        self.n_penalties = len(penalties)
        if len(self.names) == 1:
            notes.append("a training set holds one category only: its predictions are that category")
            return
        x = np.array(read(train), dtype=np.float64)
        self.mean = x.mean(0)
        x -= self.mean
        spread = np.sqrt(np.einsum("nk,nk->k", x, x) / len(x))
        self.inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12 * np.abs(self.mean))
        x *= self.inverse
        self.fits = fit_softmax(x, y, penalties)
        notes += [
            f"a fit with penalty {fit.penalty:g} did not converge in {MOST_STEPS} steps"
            for fit in self.fits
            if not fit.converged
        ]

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Class of each of `rows`, shape (penalties, rows)."""
        if len(self.names) == 1:
            return np.full((self.n_penalties, len(rows)), self.names[0])
        x = np.array(self.read(rows), dtype=np.float64)
        x -= self.mean
        x *= self.inverse
        return np.stack([self.names[fit.scores(x).argmax(1)] for fit in self.fits])
