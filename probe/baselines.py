"""What a layer has to beat: the mean of the training labels, and acoustic statistics without any network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .splits import Fold


def mean_predictor(targets: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """Predict the mean label of each fold's training rows.

    Parameters
    ----------
    targets : ndarray, shape (utterances, targets)
        NaN where the label is missing.
    folds : sequence of Fold

    Returns
    -------
    ndarray, shape (utterances, targets)
        NaN where no fold scores the row.
    """
    predictions = np.full(targets.shape, np.nan)
    for fold in folds:
        labels = targets[fold.train]
        count = (~np.isnan(labels)).sum(0)
        mean = np.divide(np.nansum(labels, 0), count, out=np.full(targets.shape[1], np.nan), where=count > 0)
        for rows in fold.tests.values():
            predictions[rows] = mean
    return predictions


def commonest_category(classes: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """Predict the commonest category of each fold's training rows (the lowest number of those that tie).

    Parameters
    ----------
    classes : ndarray of int, shape (utterances,)
        -1 where the label is missing.
    folds : sequence of Fold

    Returns
    -------
    ndarray of int, shape (utterances,)
        -1 where no fold scores the row.
    """
    predictions = np.full(len(classes), -1)
    for fold in folds:
        labels = classes[fold.train]
        commonest = int(np.bincount(labels[labels >= 0], minlength=1).argmax())
        for rows in fold.tests.values():
            predictions[rows] = commonest
    return predictions
