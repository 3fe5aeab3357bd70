r"""Intervals that hold a new speaker's label as often as they say, whatever the errors are distributed as.

With the errors :math:`s_{ki}` of utterance i of speaker k, :math:`N_k` utterances of each of K speakers, the half width
of an interval of level :math:`1 - \alpha` is the quantile of

.. math:: \sum_{k=1}^{K} \sum_{i=1}^{N_k} \frac{1}{(K + 1) N_k}\, \delta_{s_{ki}} + \frac{1}{K + 1}\, \delta_{\infty}

at that level: utterances of one speaker err alike, so what counts is how many speakers there are. Where speakers are
exchangeable, and the utterances of each among themselves, an utterance of a new speaker lies within with a probability
of at least :math:`1 - \alpha` (Y. Lee, R. F. Barber and R. Willett, "Distribution-free inference with hierarchical
data", 2023, arXiv 2306.06342). With one utterance a speaker it is the split conformal interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emoprobe.errors import UserError

#: Levels that a saved model knows.
LEVELS = (0.5, 0.8, 0.9, 0.95)

#: Rounding of a sum of weights.
_ROUNDING = 1e-9


def half_width(errors: np.ndarray, speakers: np.ndarray, level: float) -> float:
    """Half of the width of an interval around a prediction.

    Parameters
    ----------
    errors : ndarray, shape (utterances,)
        Absolute differences of predictions and labels that the model was not trained on; NaN where there is no label.
    speakers : ndarray, shape (utterances,)
        Who speaks.
    level : float
        Of coverage, above 0 and below 1.

    Returns
    -------
    float
        Infinite where there are too few speakers for the level (fewer than ``level / (1 - level)``).

    Examples
    --------
    >>> half_width(np.array([0.1, 0.2, 0.3, 0.4]), np.arange(4), 0.6)
    0.3
    """
    there = ~np.isnan(errors)
    errors, (_, number, counts) = errors[there], np.unique(speakers[there], return_inverse=True, return_counts=True)
    if not len(errors):
        return math.inf
    order = np.argsort(errors, kind="stable")
    weights = 1.0 / ((len(counts) + 1) * counts[number])
    reached = np.cumsum(weights[order]) >= level - _ROUNDING
    return float(errors[order][reached.argmax()]) if reached.any() else math.inf


def fewest_speakers(level: float) -> int:
    """Speakers from which on an interval of that level is finite."""
    return math.ceil(level / (1 - level) - _ROUNDING)


def calibrated(
    truth: np.ndarray, predicted: np.ndarray, speakers: np.ndarray, dimensions: Sequence[str]
) -> dict[str, Any]:
    """Half widths at every level, as a saved model keeps them.

    Parameters
    ----------
    truth, predicted : ndarray, shape (utterances, dimensions)
        Of utterances that the model was not trained on, in the units of the labels; NaN where there is no label.
    speakers : ndarray, shape (utterances,)
    dimensions : sequence of str

    Returns
    -------
    dict
        `speakers`, `utterances`, and `half_widths` by dimension and level; None where one is infinite.
    """
    errors = np.abs(truth - predicted)
    labelled = ~np.isnan(errors).all(1)
    widths = {}
    for column, dimension in enumerate(dimensions):
        of_levels = {f"{level:g}": half_width(errors[:, column], speakers, level) for level in LEVELS}
        widths[dimension] = {level: width if math.isfinite(width) else None for level, width in of_levels.items()}
    return {
        "speakers": len(np.unique(speakers[labelled])),
        "utterances": int(labelled.sum()),
        "half_widths": widths,
    }


def held(truth: np.ndarray, predicted: np.ndarray, widths: Mapping[str, Any], dimensions: Sequence[str]) -> dict:
    """Share of labels that intervals hold, by dimension and level; None where there is no label, or no interval."""
    shares: dict[str, dict[str, float | None]] = {}
    for column, dimension in enumerate(dimensions):
        errors = np.abs(truth[:, column] - predicted[:, column])
        errors = errors[~np.isnan(errors)]
        shares[dimension] = {
            level: None if width is None or not len(errors) else float((errors <= width).mean())
            for level, width in widths["half_widths"][dimension].items()
        }
    return shares


def half_widths(config: Mapping[str, Any], level: float) -> dict[str, float]:
    """Half widths of a saved model at a level, by dimension.

    Parameters
    ----------
    config : mapping
        `config.json` of a saved model, or of its ONNX form.
    level : float
        Of :data:`LEVELS`.

    Raises
    ------
    UserError
        If the model knows none, no such level, or had too few speakers to be calibrated on.
    """
    kept = config.get("intervals")
    if not kept:
        raise UserError(
            f"{config['label']} knows no intervals: it was trained before they were kept; train it again, or leave "
            "--interval out"
        )
    name = f"{level:g}"
    if level not in LEVELS:
        raise UserError(f"--interval {name}: a model knows {', '.join(f'{known:g}' for known in LEVELS)}")
    widths = {dimension: of_levels.get(name) for dimension, of_levels in kept["half_widths"].items()}
    lacking = [dimension for dimension, width in widths.items() if width is None]
    if lacking:
        raise UserError(
            f"--interval {name}: {config['label']} was calibrated on {kept['speakers']} speakers, and an interval of "
            f"that level of {', '.join(lacking)} needs {fewest_speakers(level)}: ask for a lower level, or train with "
            "more speakers in the development part"
        )
    return widths
