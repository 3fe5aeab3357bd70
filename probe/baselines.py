"""What a layer has to beat: the mean of the training labels, and what is known of an utterance without the model.

The features are read by `HiddenStateCache.baseline`: the utterance's duration, acoustic statistics, the words alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emoprobe.extract.baselines.registry import BASELINES

from .splits import Fold

#: Of what is made of each baseline, and of the mean. Raise one with any change that moves its numbers beyond rounding;
#: kept ones are then made anew.
VERSIONS = {"mean": 1} | {name: baseline.version for name, baseline in BASELINES.items()}


def probe_features(name: str, features: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """Features of a baseline as a probe takes them: without gaps, and cleaned as the baseline asks for.

    Parameters
    ----------
    name : str
        Of the baseline.
    features : ndarray, shape (utterances, width)
        NaN where the baseline is missing, as for an utterance without transcript.
    folds : sequence of Fold
        What is put in a gap, and what counts as an outlier, is learned from the rows that are trained on.

    Returns
    -------
    ndarray, shape (utterances, width)
    """
    trained = np.unique(np.concatenate([fold.train for fold in folds]))
    clean = BASELINES[name].clean
    return _filled(features if clean is None else clean(features, trained), trained)


def _filled(features: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Put a value that says nothing where there is none: the mean over the rows that are trained on.

    Dropping these rows would score the baseline on other utterances than the layers it is compared with.
    """
    missing = np.isnan(features)
    if not missing.any():
        return features
    there = ~missing[trained]
    sums = np.where(there, features[trained], 0).sum(0, dtype=np.float64)
    mean = np.divide(sums, there.sum(0), out=np.zeros(features.shape[1]), where=there.any(0))
    return np.where(missing, mean, features)


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
