"""How deep a dimension of emotion lies, and whether it rises or falls with depth, each with an interval.

Two numbers tell of a curve over layers: where it lies (its *centroid*), and whether it rises or falls (its *slope*, as
a share of its mean height). They are the same number in two units: the slope is above 0 exactly where the centroid is
above 0.5. Both are given on each scale of :mod:`.scales`. What may be claimed of two dimensions is the rule of
:mod:`.directions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError

from .curve_depth import ABOVE_ZERO, Centroid, Drawn, centroid_of_sums
from .scales import SCALES

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.probe.refits import Refits
    from emoprobe.probe.results import Results


#: What the CCC of a layer is weighed by, where the results have a null of permuted labels.
ABOVE_NULL = "CCC above the mean of {}"

COLUMNS = (
    "model", "corpus", "features", "split", "dimension", "scale", "speakers", "centroid", "low", "high", "p",
    "slope", "slope_low", "slope_high", "slope_p", "weighted_by", "defined", "unit", "units", "interval",
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
        no interval), and `unit` ("speaker" or "group"), what is resampled, with how many `units` there are. `interval`
        is "refitted" or "refitted in blocks" where it knows of other training speakers too (`probe.jackknife`), else
        "fixed probe". A difference of sides that are weighed by different things, such as nulls of different kinds, is
        empty, and `weighted_by` says so.

    Notes
    -----
    A difference of centroids says that two curves have different shapes on that scale. It does not say that the
    dimensions differ in depth: the same profile, read with unequal strength, has two centroids on every scale here
    (`tests/analysis/test_calibration_depth.py` counts it).

    Raises
    ------
    UserError
        If there are no predictions of single layers, or an option is out of range.
    """
    import pandas as pd

    from emoprobe.extract.options import check_count, check_seed
    from emoprobe.probe.refits import Refits

    from ..tables import named_parts

    check_count("resamples", resamples)
    check_seed(seed)
    ceilings = dict(ceilings or {})
    for dimension, ceiling in ceilings.items():
        if not 0 < ceiling <= 1:
            raise UserError(f"ceilings: the share of {dimension} that can be explained is {ceiling}: give 0 to 1")
    table = _of_single_layers(results, probe, split)
    refits = Refits(results.refits)
    rows: list[dict[str, object]] = []
    differences: list[dict[str, object]] = []
    for (corpus, features, name), of_corpus in table.groupby(["corpus", "features", "split"], sort=False):
        curves: dict[tuple[str, str], dict[str, Centroid]] = {}
        for (model, dimension), part in named_parts(of_corpus, "model", "dimension"):
            curves[model, dimension] = _centroids(
                results, part, refits, ceiling=ceilings.get(dimension, 1.0), resamples=resamples, seed=seed
            )
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


def _null(results: Results, part: pd.DataFrame) -> pd.Series | None:
    """Mean CCC of permuted labels by layer; None where the table of scores does not have it for every layer."""
    scores, first = results.scores, part.iloc[0]
    if "null_mean" not in scores:
        return None
    from emoprobe.probe.selecting import is_pooled

    same = is_pooled(scores)
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


def _centroids(
    results: Results, part: pd.DataFrame, refits: Refits, *, ceiling: float, resamples: int, seed: int
) -> dict[str, Centroid]:
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
    layers = wide.columns.astype(int).tolist()
    system = {str(column): value for column, value in part.iloc[0].items()}
    refit = refits.of_layers(system, layers, utterances=len(wide))
    over = Drawn(tuple(units), len(np.unique(speaker_groups(speaker))), unit_of(talks))
    by_scale = {}
    for name, scale in SCALES.items():
        by = scale.in_words
        if name == "ccc":
            by = ABOVE_ZERO if null is None else ABOVE_NULL.format(_permuted(results, part))
        by_scale[name] = centroid_of_sums(
            sums[scale.from_training_mean],
            np.asarray(layers, dtype=float) / max(*layers, 1),
            scale=scale.below(ceiling),
            null=null.to_numpy(float) if name == "ccc" and null is not None else 0.0,
            refit=refit,
            predicted=sums[False],
            resamples=resamples,
            seed=seed,
            weighted_by=by,
            over=over,
        )
    return by_scale
