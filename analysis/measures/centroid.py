"""How deep a dimension of emotion lies, and whether it rises or falls with depth, each with an interval.

Two numbers tell of a curve over layers: where it lies (its *centroid*), and whether it rises or falls (its *slope*, as
a share of its mean height). They are the same number in two units: the slope is above 0 exactly where the centroid is
above 0.5. Both are given on each scale of :mod:`.scales`. What may be claimed of two dimensions is the rule of
:mod:`.directions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError

from .scales import SCALES, Scale, noise_bias

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.probe.results import Results


#: What the CCC of a layer is weighed by, where the results have a null of permuted labels, and where not.
ABOVE_NULL, ABOVE_ZERO = "CCC above the mean of {}", "CCC above 0"

COLUMNS = (
    "model", "corpus", "features", "split", "dimension", "scale", "speakers", "centroid", "low", "high", "p",
    "slope", "slope_low", "slope_high", "slope_p", "weighted_by", "defined", "unit", "units",
)  # fmt: skip


def relevance_centroids(
    results: Results,
    *,
    probe: str = "ridge",
    split: str | None = None,
    ceilings: Mapping[str, float] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean relative depth and slope of each dimension, on each scale; differences of dimensions and of models.

    With w_k the weight of layer k of L, the centroid is Σ w_k (k / L) / Σ w_k: 0 is the input of the first block, 1 the
    output of the last, and a flat curve gives 0.5. The slope is that of a straight line through the weights, over
    their mean: from the first layer to the last they change by so many times their mean. The weight is CCC less the
    mean CCC of permuted labels (where the results have it), explained variance, or its odds (:mod:`.scales`), the
    latter two less what noise adds to a square (:func:`.scales.noise_bias`).

    A layer below its null counts against: taken as 0 instead, the noise of layers that know little would not average
    out, and draw a weak curve to 0.5. A curve whose sum is not above 0 has no centroid; one whose sum is above 0 in too
    few resamples has no interval of it. A ratio beyond 0 or 1 is taken as that end.

    Parameters
    ----------
    results : Results
        With predictions of every layer.
    probe : str
        A probe of single layers.
    split : str, optional
        Such as "test"; by default the first test split, or cross-validation.
    ceilings : mapping of str to float, optional
        Share of the variance of a dimension's labels that could be explained at all, 1 by default. Label noise then
        bends the odds no more.
    resamples, seed : int
        Of the bootstrap over speakers. One resample serves every layer, dimension and model, so differences are paired.

    Returns
    -------
    DataFrame
        `model` (or "student − teacher" for a difference), `corpus`, `features`, `split`, `dimension` (or
        "valence − arousal" for a difference), `scale` ("ccc", "r2" or "odds"), `speakers`, `centroid`, `low`, `high`
        (95 % interval of the bootstrap, about the estimate, widened for few speakers), `p` (two-sided, of no
        difference; empty for a centroid), `slope`, `slope_low`, `slope_high`, `slope_p` (of no slope; empty for a
        difference), `weighted_by`, `defined`, the share of resamples that have a centroid at all (below 0.9 there is
        no interval), and `unit` ("speaker" or "group"), what is resampled, with how many `units` there are. A
        difference of sides that are weighed by different things, such as nulls of different kinds, is empty, and
        `weighted_by` says so.

    Notes
    -----
    A difference of centroids says that two curves have different shapes on that scale. It does not say that the
    dimensions differ in depth: the same profile, read with unequal strength, has two centroids on every scale here
    (`tests/test_calibration.py` counts it).

    Raises
    ------
    UserError
        If there are no predictions of single layers, or an option is out of range.
    """
    import pandas as pd

    from emoprobe.extract.options import check_count, check_seed

    check_count("resamples", resamples)
    check_seed(seed)
    ceilings = dict(ceilings or {})
    for dimension, ceiling in ceilings.items():
        if not 0 < ceiling <= 1:
            raise UserError(f"ceilings: the share of {dimension} that can be explained is {ceiling}: give 0 to 1")
    table = _of_single_layers(results, probe, split)
    rows: list[dict[str, object]] = []
    differences: list[dict[str, object]] = []
    for (corpus, features, name), of_corpus in table.groupby(["corpus", "features", "split"], sort=False):
        curves: dict[tuple[str, str], dict[str, Centroid]] = {}
        for _, part in of_corpus.groupby(["model", "dimension"], sort=False):
            model, dimension = str(part["model"].iloc[0]), str(part["dimension"].iloc[0])
            curves[model, dimension] = _centroids(results, part, ceilings.get(dimension, 1.0), resamples, seed)
        about = {"corpus": corpus, "features": features, "split": name}
        pairs = [
            (one, other)
            for i, one in enumerate(curves)
            for other in list(curves)[i + 1 :]
            # Paired only where both were scored on the same speakers.
            if curves[one]["ccc"].over.units == curves[other]["ccc"].over.units
        ]
        for model in dict.fromkeys(model for model, _ in curves):
            for (of, dimension), scales in curves.items():
                if of == model:
                    rows += [{"model": model, **about, "dimension": dimension, **one.row()} for one in scales.values()]
            for one, other in pairs:
                if one[0] == other[0] == model:
                    named = {"model": model, **about, "dimension": f"{other[1]} − {one[1]}"}
                    rows += [{**named, **row} for row in _less(curves[other], curves[one])]
        for one, other in pairs:
            if one[0] != other[0] and one[1] == other[1]:
                named = {"model": f"{other[0]} − {one[0]}", **about, "dimension": one[1]}
                differences += [{**named, **row} for row in _less(curves[other], curves[one])]
    return pd.DataFrame(rows + differences, columns=list(COLUMNS))


def _of_single_layers(results: Results, probe: str, split: str | None) -> pd.DataFrame:
    """Predictions of the layers by a probe, on the split that is asked for or reported."""
    from emoprobe.probe.schema import CATEGORIES
    from emoprobe.probe.selecting import on_reported_split

    table = results.predictions
    table = table[(table["probe"] == probe) & table["layer"].notna() & (table["dimension"] != CATEGORIES)]
    table = table[table["layer"] >= 0]
    if not len(table):
        raise UserError(f"the results hold no predictions of single layers by {probe}; run probe-fit --probe {probe}")
    if split is None:
        return on_reported_split(table)
    for _, part in table.groupby(["corpus", "features"], sort=False):
        if split not in set(part["split"]):
            raise UserError(f"no predictions on {split!r}; there are {', '.join(dict.fromkeys(part['split']))}")
    return table[table["split"] == split]


def _less(one: Mapping[str, Centroid], other: Mapping[str, Centroid]) -> list[dict[str, object]]:
    """Rows of the differences, a scale each."""
    return [one[scale].less(other[scale]) for scale in SCALES]


# One curve ------------------------------------------------------------------------------------------------------------

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
    """

    value: float
    drawn: np.ndarray
    left_out: np.ndarray

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference, on the same resamples."""
        return Estimate(self.value - other.value, self.drawn - other.drawn, self.left_out - other.left_out)

    def moved(self, *, by: float, over: float) -> Estimate:
        """The same in another unit."""
        return Estimate((self.value + by) / over, (self.drawn + by) / over, (self.left_out + by) / over)

    @property
    def defined(self) -> float:
        """Share of the resamples that have a value."""
        return float(np.isfinite(self.drawn).mean()) if len(self.drawn) else 0.0

    def limits(self) -> tuple[float, float, float]:
        """95 % interval and p of zero, from resamples that are moved to the estimate; NaN where there is none."""
        from emoprobe.probe.drawing import limits

        if not np.isfinite(self.value) or self.defined < _DEFINED:
            return float("nan"), float("nan"), float("nan")
        # A ratio, a square or odds of what is uncertain are biased. The resamples carry that bias once more than the
        # estimate.
        moved = self.drawn - self.drawn[np.isfinite(self.drawn)].mean() + self.value
        low, high, p = limits(moved[:, None], self.left_out[:, None])
        return float(low[0]), float(high[0]), float(p[0])


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
    """

    depth: Estimate
    slope: Estimate
    scale: str
    weighted_by: str
    over: Drawn

    def row(self) -> dict[str, object]:
        """As the table has it."""
        low, high, _ = self.depth.limits()
        slope = dict(zip(("slope_low", "slope_high", "slope_p"), self.slope.limits(), strict=True))
        low, high = (float(np.clip(end, 0, 1)) for end in (low, high))
        return self._row(self.depth, low, high) | {"slope": self.slope.value, **slope}

    def less(self, other: Centroid) -> dict[str, object]:
        """The difference of two centroids on the same resamples, empty where they are weighed by different things."""
        if self.weighted_by != other.weighted_by:
            nothing = Estimate(float("nan"), np.empty(0), np.empty(0))
            different = f"not compared: {self.weighted_by}, and {other.weighted_by}"
            return self._row(nothing, float("nan"), float("nan")) | {"weighted_by": different}
        difference = self.depth - other.depth
        low, high, p = difference.limits()
        low, high = (float(np.clip(end, -1, 1)) for end in (low, high))
        return self._row(difference, low, high) | {"p": p}

    def _row(self, depth: Estimate, low: float, high: float) -> dict[str, object]:
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
        }


def _null(results: Results, part: pd.DataFrame) -> pd.Series | None:
    """Mean CCC of permuted labels by layer; None where the table of scores does not have it for every layer."""
    scores, first = results.scores, part.iloc[0]
    if "null_mean" not in scores:
        return None
    same = scores["fold"] == "all"
    for column in ("model", "corpus", "dimension", "probe", "features", "split"):
        same &= scores[column] == first[column]
    null = scores[same].groupby("layer")["null_mean"].mean()
    null = null.reindex(sorted(part["layer"].unique()))
    return null if null.notna().all() else None


def _permuted(results: Results, part: pd.DataFrame) -> str:
    """What the null is made of, as far as the protocol says it."""
    first = part.iloc[0]
    for run in results.protocol:
        if all(run.get(name) == first[name] for name in ("model", "corpus", "dimension", "probe", "features")):
            among = run.get("settings", {}).get("permuted")
            return f"labels permuted {among}" if among else "permuted labels"
    return "permuted labels"


def training_means(truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Mean label of the rows that each row's fold was trained on: those of all other folds.

    Parameters
    ----------
    truth : ndarray, shape (rows,)
    folds : ndarray of str, shape (rows,)

    Returns
    -------
    ndarray, shape (rows,)
        The mean of all where there is one fit.
    """
    names, member = np.unique(folds, return_inverse=True)
    if len(names) < 2:
        return np.full(len(truth), truth.mean())
    count, total = np.bincount(member), np.bincount(member, weights=truth)
    return ((total.sum() - total) / (count.sum() - count))[member]


def _centroids(results: Results, part: pd.DataFrame, ceiling: float, resamples: int, seed: int) -> dict[str, Centroid]:
    """Of one model and dimension, by scale."""
    from emoprobe.probe.bootstrap import moments_by_speaker
    from emoprobe.probe.units import speaker_groups, unit_names, unit_of, with_groups

    null = _null(results, part)
    # An utterance of unknown speaker counts as a speaker of its own.
    wide = part.pivot(index="id", columns="layer", values="prediction")
    known = with_groups(part).drop_duplicates("id").set_index("id").reindex(wide.index)
    speaker, talks = known["speaker"].tolist(), known["group"].tolist()
    names = unit_names(wide.index.tolist(), speaker, talks, before="speaker ")
    units, group = np.unique(np.array(names), return_inverse=True)
    truth, predictions = known["truth"].to_numpy(float), wide.to_numpy().T
    sums = {
        True: moments_by_speaker(truth, predictions - training_means(truth, known["fold"].to_numpy(str)), group),
        False: moments_by_speaker(truth, predictions, group),
    }
    over = Drawn(tuple(units), len(np.unique(speaker_groups(speaker))), unit_of(talks))
    by_scale = {}
    for name, scale in SCALES.items():
        by = scale.in_words
        if name == "ccc":
            by = ABOVE_ZERO if null is None else ABOVE_NULL.format(_permuted(results, part))
        by_scale[name] = centroid_of_sums(
            sums[scale.from_training_mean],
            np.asarray(wide.columns, dtype=float) / max(*wide.columns, 1),
            scale=scale,
            ceiling=ceiling,
            null=null.to_numpy(float) if name == "ccc" and null is not None else 0.0,
            resamples=resamples,
            seed=seed,
            weighted_by=by,
            over=over,
        )
    return by_scale


def centroid_of_sums(
    sums: np.ndarray,
    depth: np.ndarray,
    *,
    scale: Scale = SCALES["ccc"],
    ceiling: float = 1.0,
    null: np.ndarray | float = 0.0,
    left_out: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
    weighted_by: str = ABOVE_ZERO,
    over: Drawn = Drawn(),
) -> Centroid:
    """Centroid and slope from the sums of each unit and layer; see :func:`relevance_centroids`.

    Parameters
    ----------
    sums : ndarray, shape (units, layers, 6)
        Of `probe.bootstrap.moments_by_speaker`.
    depth : ndarray, shape (layers,)
        0 to 1.
    scale : Scale
    ceiling : float
        Share of the labels' variance that can be explained at all.
    null : ndarray, shape (layers,), or float
        Weight that counts as nothing.
    left_out : ndarray, shape (units, layers, 6), optional
        Moments without each unit, such as those of probes that were fitted anew without it; by default, of the same
        fits.
    resamples, seed : int
        Of the bootstrap.
    weighted_by, over
        See :class:`Centroid`.

    Returns
    -------
    Centroid
    """
    from emoprobe.probe.bootstrap import leave_one_out, resampled

    def weights(summed: np.ndarray) -> np.ndarray:
        return scale.weights(summed, ceiling)

    fixed = leave_one_out(sums)
    if scale.decides:
        null = null + noise_bias(weights(sums.sum(0)), weights(fixed))

    def of(summed: np.ndarray) -> np.ndarray:
        weight = weights(summed) - null
        total = weight.sum(-1)
        # A sum just above 0 gives ratios without bound, of which a single one would move the mean of all resamples.
        return np.clip(weight @ depth / np.where(total > 0, total, np.nan), -1, 2)

    centroid = Estimate(
        float(np.clip(of(sums.sum(0)), 0, 1)),
        resampled(sums, {"": of}, resamples=resamples, seed=seed)[""] if resamples else np.empty(0),
        of(fixed if left_out is None else left_out),
    )
    return Centroid(
        depth=centroid,
        slope=centroid.moved(by=-float(depth.mean()), over=float(depth.var()) or float("nan")),
        scale=scale.name,
        weighted_by=weighted_by,
        over=over,
    )
