"""Measures of agreement, vectorised over leading axes, and the sums that they follow from.

Every measure of a dimension follows from six sums over utterances (:func:`moments`), every measure of categories from
a confusion matrix. Sums add up: those of speakers give the score of any resample of speakers, those of folds the
pooled score, and neither needs the predictions again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1


def _pairs(truth: ArrayLike, prediction: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = np.broadcast_arrays(np.asarray(truth, np.float64), np.asarray(prediction, np.float64))
    if truth.ndim == 0:
        raise ValueError("a measure needs at least one axis of utterances, got two numbers")
    return truth, prediction


def moments(truth: ArrayLike, prediction: ArrayLike, *, origin: float | np.ndarray = 0.0) -> np.ndarray:
    """Six sums over the last axis: n, Σt, Σp, Σt², Σp², Σtp.

    Parameters
    ----------
    truth, prediction : array_like, shape (..., utterances)
        An utterance whose truth is NaN (no label) is left out of every sum; a NaN prediction makes its sums NaN.
    origin : float or array_like of shape (...), default 0
        Subtracted from both before summing. No measure depends on it; a value near the mean keeps the sums precise.

    Returns
    -------
    ndarray, shape (..., 6)
    """
    truth, prediction = _pairs(truth, prediction)
    labelled = ~np.isnan(truth)
    origin = np.asarray(origin, np.float64)[..., None]
    t = np.where(labelled, truth - origin, 0.0)
    p = np.where(labelled, prediction - origin, 0.0)
    return np.stack(
        [labelled.sum(-1, dtype=np.float64), t.sum(-1), p.sum(-1), (t * t).sum(-1), (p * p).sum(-1), (t * p).sum(-1)],
        axis=-1,
    )


def _central(sums: ArrayLike) -> tuple[np.ndarray, ...]:
    """Means, biased variances and covariance; a variance at the size of its rounding error is zero."""
    n, t, p, tt, pp, tp = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_t, mean_p = t / n, p / n
        # Σt²/n − mean² loses all its digits when the values are (nearly) constant: what is left is noise of the
        # size n·eps·mean square, and a correlation computed from it would be a number that means nothing.
        noise = 4 * np.finfo(np.float64).eps * np.maximum(n, 1)
        var_t, var_p = tt / n - mean_t**2, pp / n - mean_p**2
        var_t = np.where(var_t <= noise * tt / n, 0.0, var_t)
        var_p = np.where(var_p <= noise * pp / n, 0.0, var_p)
        cov = np.where((var_t == 0) | (var_p == 0), 0.0 * mean_t * mean_p + 0.0, tp / n - mean_t * mean_p)
    return n, mean_t, mean_p, var_t, var_p, cov


def ccc_from_moments(sums: ArrayLike) -> np.ndarray:
    """Concordance correlation coefficient from the sums of :func:`moments`, shape (...)."""
    _, mean_t, mean_p, var_t, var_p, cov = _central(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = var_t + var_p + (mean_t - mean_p) ** 2
        return np.where(below > 0, 2 * cov / below, np.nan)


def pearson_from_moments(sums: ArrayLike) -> np.ndarray:
    """Pearson's correlation from the sums of :func:`moments`, shape (...); NaN where either side is constant."""
    *_, var_t, var_p, cov = _central(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.sqrt(var_t) * np.sqrt(var_p)
        return np.where(below > 0, np.clip(cov / below, -1.0, 1.0), np.nan)


def rmse_from_moments(sums: ArrayLike) -> np.ndarray:
    """Root mean squared error from the sums of :func:`moments`, shape (...), in the unit of the labels."""
    n, _, _, tt, pp, tp = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 0, np.sqrt(np.maximum(tt - 2 * tp + pp, 0.0) / n), np.nan)


def _two_pass(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Moments about the mean of each truth, so that large offsets cost no digits."""
    truth, prediction = _pairs(truth, prediction)
    labelled = ~np.isnan(truth)
    count = labelled.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        origin = np.where(labelled, truth, 0.0).sum(-1) / count
    # The mean of a constant can be off by a rounding; its first value is exact, and then every difference is zero.
    first = np.take_along_axis(truth, labelled.argmax(-1)[..., None], -1)[..., 0] if truth.shape[-1] else origin
    constant = (np.where(labelled, truth, first[..., None]) == first[..., None]).all(-1)
    return moments(truth, prediction, origin=np.where(count == 0, 0.0, np.where(constant, first, origin)))


def ccc(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    r"""Concordance correlation coefficient (Lin 1989), population form.

    .. math:: \frac{2 \sigma_{tp}}{\sigma_t^2 + \sigma_p^2 + (\mu_t - \mu_p)^2}

    with biased variances and covariance.

    Parameters
    ----------
    truth, prediction : array_like, shape (..., utterances)
        Utterances without label (NaN in `truth`) are left out.

    Returns
    -------
    ndarray, shape (...)
        NaN where nothing is labelled, and where both sides are the same constant (0/0). A constant prediction of a
        truth that varies has no concordance: 0.

    References
    ----------
    L. I. Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45(1), 1989.

    Examples
    --------
    >>> float(ccc([1, 2, 3], [2, 3, 4]).round(4))
    0.5714
    """
    return ccc_from_moments(_two_pass(truth, prediction))


def pearson(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Pearson's correlation coefficient over the last axis.

    Parameters
    ----------
    truth, prediction : array_like, shape (..., utterances)
        Utterances without label (NaN in `truth`) are left out.

    Returns
    -------
    ndarray, shape (...)
        NaN where either side is constant.

    Examples
    --------
    >>> float(pearson([1, 2, 3], [2, 3, 4]).round(4))
    1.0
    """
    return pearson_from_moments(_two_pass(truth, prediction))


def rmse(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Root mean squared error over the last axis, in the unit of the labels.

    Parameters
    ----------
    truth, prediction : array_like, shape (..., utterances)
        Utterances without label (NaN in `truth`) are left out.

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> float(rmse([1, 2, 3], [2, 3, 4]).round(4))
    1.0
    """
    truth, prediction = _pairs(truth, prediction)
    labelled = ~np.isnan(truth)
    squares = np.where(labelled, truth - prediction, 0.0) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(squares.sum(-1) / labelled.sum(-1))


def confusion(truth: ArrayLike, prediction: ArrayLike, n_classes: int) -> np.ndarray:
    """Count utterances of each true class (rows) and predicted class (columns).

    Parameters
    ----------
    truth, prediction : array_like of int, shape (..., utterances)
        Class numbers from 0; an utterance whose truth is negative has no label and is left out.
    n_classes : int

    Returns
    -------
    ndarray of float64, shape (..., n_classes, n_classes)
    """
    truth, prediction = np.broadcast_arrays(np.asarray(truth), np.asarray(prediction))
    lead = truth.shape[:-1]
    truth, prediction = truth.reshape(-1, truth.shape[-1]), prediction.reshape(-1, truth.shape[-1])
    labelled = truth >= 0
    if (prediction[labelled] < 0).any() or (np.maximum(truth, prediction)[labelled] >= n_classes).any():
        raise ValueError(f"classes must be 0 to {n_classes - 1}")
    which = np.arange(len(truth))[:, None] * n_classes**2 + truth * n_classes + prediction
    counts = np.bincount(which[labelled], minlength=len(truth) * n_classes**2)
    return counts.reshape(*lead, n_classes, n_classes).astype(np.float64)


def recalls_from_confusion(counts: ArrayLike) -> np.ndarray:
    """Recall of each class from confusion matrices (rows for the truth), shape (..., classes); NaN where absent."""
    counts = np.asarray(counts, np.float64)
    return _ratios(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1))


def f1_from_confusion(counts: ArrayLike) -> np.ndarray:
    """F1 of each class from confusion matrices, shape (..., classes); NaN where neither true nor predicted."""
    counts = np.asarray(counts, np.float64)
    return _ratios(2 * np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1) + counts.sum(-2))


def uar_from_confusion(counts: ArrayLike, classes: np.ndarray | None = None) -> np.ndarray:
    """Unweighted average recall from confusion matrices; classes absent from the truth do not count.

    Parameters
    ----------
    counts : array_like, shape (..., classes, classes)
        Rows for the truth.
    classes : ndarray of bool, shape (classes,), optional
        Those to average; all by default.

    Returns
    -------
    ndarray, shape (...)
        NaN where none of them is in the truth.
    """
    return mean_of_classes(recalls_from_confusion(counts), classes)


def macro_f1_from_confusion(counts: ArrayLike, classes: np.ndarray | None = None) -> np.ndarray:
    """Macro F1 from confusion matrices; the mean is over classes in the truth or in the prediction.

    Parameters and result as of :func:`uar_from_confusion`.
    """
    return mean_of_classes(f1_from_confusion(counts), classes)


def mean_of_classes(values: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Mean over the last axis of what is not NaN, shape (...); of the classes that are asked for, or all."""
    there = ~np.isnan(values) if classes is None else ~np.isnan(values) & classes
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there, values, 0.0).sum(-1) / there.sum(-1)


def _ratios(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _as_numbers(truth: ArrayLike, prediction: ArrayLike) -> tuple[np.ndarray, np.ndarray, int]:
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    names, numbers = np.unique(np.concatenate([truth.ravel(), prediction.ravel()]), return_inverse=True)
    split = truth.size
    return numbers[:split].reshape(truth.shape), numbers[split:].reshape(prediction.shape), len(names)


def uar(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Unweighted average recall (balanced accuracy): the mean over true classes of the share found.

    Parameters
    ----------
    truth, prediction : array_like of str or int, shape (..., utterances)

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> float(uar(["sad", "sad", "angry"], ["sad", "angry", "angry"]))
    0.75
    """
    return uar_from_confusion(confusion(*_as_numbers(truth, prediction)))


def macro_f1(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Unweighted mean over classes of the harmonic mean of precision and recall.

    Parameters
    ----------
    truth, prediction : array_like of str or int, shape (..., utterances)

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> float(macro_f1(["sad", "sad", "angry"], ["sad", "angry", "angry"]).round(4))
    0.6667
    """
    return macro_f1_from_confusion(confusion(*_as_numbers(truth, prediction)))


#: What is measured of dimensions, from sums of shape (..., 6), and of categories, from confusion matrices.
DIMENSION_MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ccc": ccc_from_moments,
    "pearson": pearson_from_moments,
    "rmse": rmse_from_moments,
}
CATEGORY_MEASURES: dict[str, Callable[..., np.ndarray]] = {
    "uar": uar_from_confusion,
    "macro_f1": macro_f1_from_confusion,
}
