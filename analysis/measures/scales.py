"""The scales on which the curve of a dimension over layers is read: what a layer's score weighs.

A score is a bent image of what a layer holds. CCC and explained variance saturate: of two dimensions with the same
profile, the one that is read more strongly has the flatter curve. Label noise multiplies explained variance, and bends
its odds. A probe that learns from few utterances bends both, the weak layers downward. No scale undoes all of this,
but every one of them keeps the order of the layers: :mod:`.directions` rests on that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from emoprobe.probe.metrics import ccc_from_moments, pearson_from_moments

#: Largest share of what can be explained: odds have no bound, and one layer would be all the weight.
MOST_EXPLAINED = 0.99


@dataclass(frozen=True)
class Scale:
    """One way to weigh a layer.

    Parameters
    ----------
    name : str
    in_words : str
        What the weight is.
    weights : callable
        ``weights(moments)`` gives the weights, shape (...), from moments of shape (..., 6).
    from_training_mean : bool
        Whether predictions are taken from the mean of their training labels: in a cross-validation that mean is low
        where the held-out labels are high, so a probe that knows nothing has a correlation below 0.
    decides : bool
        Whether a direction must show on it.
    """

    name: str
    in_words: str
    weights: Callable[..., np.ndarray]
    from_training_mean: bool = True
    decides: bool = True

    def below(self, ceiling: float) -> Scale:
        """The same scale where so much of the labels' variance can be explained at all."""
        return replace(self, weights=partial(self.weights, ceiling=ceiling))


def concordance(moments: np.ndarray, ceiling: float = 1.0) -> np.ndarray:  # noqa: ARG001 - the signature of a scale
    """CCC; shape (...) from moments of shape (..., 6)."""
    return np.nan_to_num(ccc_from_moments(moments))


def explained(moments: np.ndarray, ceiling: float = 1.0) -> np.ndarray:
    """Explained variance r² over its ceiling, with the sign of r, so that the noise of an empty layer averages out."""
    r = np.nan_to_num(pearson_from_moments(moments))
    return r * np.abs(r) / ceiling


def odds(moments: np.ndarray, ceiling: float = 1.0) -> np.ndarray:
    """Odds of the explained variance, r² / (ceiling − r²), with the sign of r.

    Where a layer's signal-to-noise is a strength times a profile, and labels have no noise, the odds are proportional
    to the profile, whatever the strength.
    """
    share = np.clip(explained(moments, ceiling), -MOST_EXPLAINED, MOST_EXPLAINED)
    return share / (1 - np.abs(share))


#: By name, in the order of tables.
SCALES = {
    scale.name: scale
    for scale in (
        Scale("ccc", "CCC", concordance, from_training_mean=False, decides=False),
        Scale("r2", "explained variance", explained),
        Scale("odds", "odds of the explained variance", odds),
    )
}


def noise_bias(whole: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """What noise adds to each weight, by the jackknife: a square is too high by the variance of what is squared.

    Parameters
    ----------
    whole : ndarray, shape (layers,)
        Weights of all units.
    left_out : ndarray, shape (units, layers)
        Weights without each of them, the fit unchanged.

    Returns
    -------
    ndarray, shape (layers,)
        0 with fewer than 2 units.

    References
    ----------
    M. H. Quenouille, "Notes on bias in estimation", Biometrika 43, 1956.
    """
    units = len(left_out)
    return (units - 1) * (left_out.mean(0) - whole) if units > 1 else np.zeros_like(whole)
