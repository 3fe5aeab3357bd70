"""Centroid and slope of one curve over layers, on one scale, from sums over speakers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from emoprobe.probe import jackknife
from emoprobe.probe.bootstrap import leave_one_out, resampled
from emoprobe.probe.drawing import limits
from emoprobe.probe.refits import Refit

from .scales import SCALES, Scale, noise_bias

#: What the CCC of a layer is weighed by where there is no null.
ABOVE_ZERO = "CCC above 0"

#: Share of resamples that must have a value for there to be an interval.
_DEFINED = 0.9


@dataclass(frozen=True)
class Estimate:
    """A number with what its interval is made of.

    Attributes
    ----------
    value : float
        On all utterances; NaN where it is not defined.
    drawn, left_out : ndarray, shapes (resamples,) and (units,)
        On each resample of the units, and without each of them; NaN where it is not defined.
    samples : tuple of ndarray, shape (units,)
        Without each unit, the probes fitted again; one array for each independent sample (`probe.jackknife`), none
        where there are no refits.
    refitted : str
        What an interval of the samples is called.
    """

    value: float
    drawn: np.ndarray
    left_out: np.ndarray
    samples: tuple[np.ndarray, ...] = ()
    refitted: str = jackknife.REFITTED

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference, on the same resamples and without the same units."""
        samples: tuple[np.ndarray, ...] = ()
        if len(self.samples) == len(other.samples):
            samples = tuple(one - two for one, two in zip(self.samples, other.samples, strict=True))
        refitted = jackknife.least_known((self.refitted, other.refitted))
        left_out = self.left_out - other.left_out
        return Estimate(self.value - other.value, self.drawn - other.drawn, left_out, samples, refitted)

    def moved(self, *, by: float, over: float) -> Estimate:
        """The same in another unit."""
        samples = tuple((sample + by) / over for sample in self.samples)
        left_out = (self.left_out + by) / over
        return Estimate((self.value + by) / over, (self.drawn + by) / over, left_out, samples, self.refitted)

    @property
    def defined(self) -> float:
        """Share of the resamples that have a value."""
        return float(np.isfinite(self.drawn).mean()) if len(self.drawn) else 0.0

    def limits(self) -> tuple[float, float, float, str]:
        """95 % interval, p of zero, and what they know of: refits, or else resamples that are moved to the estimate.

        NaN and no word where there is no interval.
        """
        if not np.isfinite(self.value) or self.defined < _DEFINED:
            return float("nan"), float("nan"), float("nan"), ""
        if self.samples:
            refitted = jackknife.limits(np.array([self.value]), [sample[:, None] for sample in self.samples])
            if np.isfinite(refitted).all():
                low, high, p = (float(number[0]) for number in refitted)
                return low, high, p, self.refitted
        # A ratio, a square or odds of what is uncertain are biased. The resamples carry that bias once more than the
        # estimate.
        moved = self.drawn - self.drawn[np.isfinite(self.drawn)].mean() + self.value
        low, high, p = (float(number[0]) for number in limits(moved[:, None], self.left_out[:, None]))
        return low, high, p, jackknife.FIXED if np.isfinite(low) else ""


@dataclass(frozen=True)
class Drawn:
    """What is resampled.

    Attributes
    ----------
    units : tuple of str
        Names: speakers, or groups of them.
    speakers : int
        How many there are.
    unit : str
        What a unit is: "speaker" or "group".
    """

    units: tuple[str, ...] = ()
    speakers: int = 0
    unit: str = "speaker"


@dataclass(frozen=True)
class Centroid:
    """Centroid and slope of a curve over layers, on one scale.

    Attributes
    ----------
    depth : Estimate
        The centroid; not defined where the weights do not sum to more than 0.
    slope : Estimate
        Change of the weights from the first layer to the last, over their mean; not defined for one layer.
    scale : str
        A name of :data:`.scales.SCALES`.
    weighted_by : str
        The weight, in words.
    over : Drawn
        What is resampled.
    refit : Refit or None
        The layers without each unit, their probes fitted again.
    """

    depth: Estimate
    slope: Estimate
    scale: str
    weighted_by: str
    over: Drawn
    refit: Refit | None = None

    def row(self) -> dict[str, object]:
        """As the table has it."""
        low, high, _, kind = self.depth.limits()
        slope = dict(zip(("slope_low", "slope_high", "slope_p"), self.slope.limits()[:3], strict=True))
        low, high = (float(np.clip(end, 0, 1)) for end in (low, high))
        return self._row(self.depth, low, high, kind) | {"slope": self.slope.value, **slope}

    def less(self, other: Centroid) -> dict[str, object]:
        """The difference of two centroids on the same resamples, empty where they are weighed by different things."""
        if self.weighted_by != other.weighted_by:
            nothing = Estimate(float("nan"), np.empty(0), np.empty(0))
            different = f"not compared: {self.weighted_by}, and {other.weighted_by}"
            return self._row(nothing, float("nan"), float("nan"), "") | {"weighted_by": different}
        paired = self.refit is not None and other.refit is not None and self.refit.pairs_with(other.refit)
        one, two = (depth if paired else replace(depth, samples=()) for depth in (self.depth, other.depth))
        difference = one - two
        low, high, p, kind = difference.limits()
        low, high = (float(np.clip(end, -1, 1)) for end in (low, high))
        return self._row(difference, low, high, kind) | {"p": p}

    def _row(self, depth: Estimate, low: float, high: float, interval: str) -> dict[str, object]:
        return {
            "scale": self.scale,
            "speakers": self.over.speakers,
            "centroid": depth.value,
            "low": low,
            "high": high,
            "weighted_by": self.weighted_by,
            "defined": depth.defined,
            "unit": self.over.unit,
            "units": len(self.over.units),
            "interval": interval,
        }


def centroid_of_sums(
    sums: np.ndarray,
    depth: np.ndarray,
    *,
    scale: Scale = SCALES["ccc"],
    null: np.ndarray | float = 0.0,
    refit: Refit | None = None,
    predicted: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
    weighted_by: str = ABOVE_ZERO,
    over: Drawn = Drawn(),
) -> Centroid:
    """Centroid and slope from the sums of each unit and layer; see :func:`.centroid.relevance_centroids`.

    Parameters
    ----------
    sums : ndarray, shape (units, layers, 6)
        Of `probe.bootstrap.moments_by_speaker`.
    depth : ndarray, shape (layers,)
        0 to 1.
    scale : Scale
    null : ndarray, shape (layers,), or float
        Weight that counts as nothing.
    refit : Refit, optional
        Moments of the same rows without each unit, the probes fitted again.
    predicted : ndarray, shape (units, layers, 6), optional
        `sums` of the predictions as they are, which is what refits keep, where `sums` takes them from the mean of their
        training labels. What that makes of the weights is then part of what counts as nothing.
    resamples, seed : int
        Of the bootstrap.
    weighted_by, over
        See :class:`Centroid`.

    Returns
    -------
    Centroid
    """
    whole, fixed = scale.weights(sums.sum(0)), leave_one_out(sums)
    if scale.decides:
        null = null + noise_bias(whole, scale.weights(fixed))

    def of(summed: np.ndarray, more: np.ndarray | float = 0.0) -> np.ndarray:
        weight = scale.weights(summed) - null - more
        total = weight.sum(-1)
        # A sum just above 0 gives ratios without bound, of which a single one would move the mean of all resamples.
        return np.clip(weight @ depth / np.where(total > 0, total, np.nan), -1, 2)

    kept = sums if predicted is None else predicted
    centroid = Estimate(
        float(np.clip(of(sums.sum(0)), 0, 1)),
        resampled(sums, {"": of}, resamples=resamples, seed=seed)[""] if resamples else np.empty(0),
        of(fixed),
        () if refit is None else tuple(refit.samples(partial(of, more=scale.weights(kept.sum(0)) - whole), kept)),
        jackknife.REFITTED if refit is None else refit.interval,
    )
    return Centroid(
        depth=centroid,
        slope=centroid.moved(by=-float(depth.mean()), over=float(depth.var()) or float("nan")),
        scale=scale.name,
        weighted_by=weighted_by,
        over=over,
        refit=refit,
    )
