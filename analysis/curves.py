"""What is drawn: a curve over layers, points beside it, learned weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.probe.jackknife import least_known
from emoprobe.probe.metrics import ccc, pearson, rmse
from emoprobe.probe.selecting import CHOSEN_ON, Choice, choose, headline_metric, is_pooled, reported_split

from .tables import (
    BASELINE_LAYER,
    END_TO_END,
    METRICS,
    WEIGHTED,
    Subject,
    explained_share,
    named_parts,
    ordered_features,
    subjects,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Fewest utterances of a speaker whose own line is drawn: of fewer, a line is noise.
FEWEST_OF_SPEAKER = 5

#: What scores the predictions of one speaker, by the name of the metric.
SCORE_OF_METRIC = {
    "ccc": ccc,
    "pearson": pearson,
    "rmse": rmse,
    "share": lambda truth, prediction: explained_share(pearson(truth, prediction)),
}


@dataclass(frozen=True)
class Curve:
    """One score a layer, as the table has it; NaN where the table has none.

    Parameters
    ----------
    subject : Subject
    dimension, probe, features, split, metric : str
    values, low, high : ndarray of shape (n_layers,)
        Layer 0 first. Means over seeds where there are several.
    n, speakers : tuple of int or None
        Fewest and most utterances scored, and their speakers; None where the table does not say.
    units : tuple of int or None
        Fewest and most of what is resampled.
    unit : str
        What that is: "speaker" or "group"; "" in a table of a version that knew speakers alone.
    n_seeds, n_folds : int
        Seeds averaged; folds averaged (0 where the table holds the score pooled over folds).
    interval : str
        What the intervals know of (`probe.jackknife`), that of the layer that knows least; "" where nobody says it.
    """

    subject: Subject
    dimension: str
    probe: str
    features: str
    split: str
    metric: str
    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: tuple[int, int] | None
    speakers: tuple[int, int] | None
    n_seeds: int
    n_folds: int
    unit: str = ""
    units: tuple[int, int] | None = None
    interval: str = ""

    @property
    def has_interval(self) -> bool:
        """Whether any layer has an interval."""
        return bool(np.any(np.isfinite(self.low) & np.isfinite(self.high)))


@dataclass(frozen=True)
class Point:
    """One score without a layer: a baseline or a weighted sum, and what it reads."""

    value: float
    low: float
    high: float
    n_seeds: int
    interval: str = ""
    features: str = ""


def n_layers(table: pd.DataFrame, subject: Subject) -> int:
    """Number of layers of a model: the last one that any row names, plus one."""
    layers = _of(table, subject)["layer"]
    layers = layers[np.isfinite(layers)]
    return int(layers.max()) + 1 if len(layers) else 0


def _of(table: pd.DataFrame, subject: Subject) -> pd.DataFrame:
    return table[(table["model"] == subject.model) & (table["corpus"] == subject.corpus)]


def _scored(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    if metric not in METRICS:
        raise UserError(f"no score is called {metric!r}: choose one of {', '.join(METRICS)}")
    if metric not in scores.columns:
        return scores.iloc[:0]
    return scores[np.isfinite(scores[metric])]


def layer_curve(
    scores: pd.DataFrame,
    subject: Subject,
    *,
    dimension: str,
    metric: str,
    probe: str,
    split: str | None = None,
    features: str | None = None,
) -> Curve | None:
    """The scores of one probe at each layer.

    Parameters
    ----------
    scores : pandas.DataFrame
        As :func:`read_tables` returns them.
    subject : Subject
    dimension, metric, probe : str
    split, features : str, optional
        By default the one that is reported and the first of :func:`ordered_features` that the table holds.

    Returns
    -------
    Curve or None
        None when the table has not one such score.
    """
    rows = _scored(_of(scores, subject), metric)
    rows = rows[(rows["dimension"] == dimension) & (rows["probe"] == probe) & (rows["layer"] >= 0)]
    rows, split, features = _one_kind(rows, split, features)
    if not len(rows):
        return None
    rows, n_folds = _pooled(rows)
    depth = n_layers(scores, subject)
    rows = rows.assign(layer=rows["layer"].astype(int))
    columns = {}
    for part, column in (("values", metric), ("low", f"{metric}_low"), ("high", f"{metric}_high")):
        # Intervals of single folds do not average to an interval of their mean.
        known = column in rows.columns and (part == "values" or not n_folds)
        series = rows.groupby("layer")[column].mean() if known else pd.Series(dtype=float)
        columns[part] = series.reindex(range(depth)).to_numpy(dtype=float)
    return Curve(
        subject=subject,
        dimension=dimension,
        probe=probe,
        features=features,
        split=split,
        metric=metric,
        n=_counts(rows, "n", n_folds),
        speakers=_counts(rows, "speakers", n_folds),
        n_seeds=rows["seed"].nunique(dropna=False),
        n_folds=n_folds,
        unit=str(rows["unit"].iloc[0]) if "unit" in rows else "",
        units=_counts(rows, "units", n_folds),
        interval=_interval(rows),
        **columns,
    )


def best_of_curve(scores: pd.DataFrame, curve: Curve) -> Choice:
    """The layer of a curve that is reported, by the rule of `emoprobe.probe.selecting`."""
    for part in CHOSEN_ON:
        chosen_by = layer_curve(
            scores, curve.subject, dimension=curve.dimension, metric=curve.metric, probe=curve.probe, split=part,
            features=curve.features,
        )  # fmt: skip
        if chosen_by:
            return choose(pd.Series(curve.values), pd.Series(chosen_by.values), curve.split, curve.metric, part=part)
    return choose(pd.Series(curve.values), pd.Series(dtype=float), curve.split, curve.metric)


def null_limits(scores: pd.DataFrame, curve: Curve) -> NDArray[np.float64]:
    """Score that permuted labels stay below 95 times in 100, for each layer of a curve; NaN where the table has none.

    Of CCC, and of UAR: that of the nearest class mean, with which categories are tested (`probe.category_null`).
    """
    limits = np.full(len(curve.values), np.nan)
    if curve.metric != headline_metric(curve.dimension) or "null_high" not in scores.columns:
        return limits
    rows = _of(scores, curve.subject)
    for column in ("dimension", "probe", "features", "split"):
        rows = rows[rows[column] == getattr(curve, column)]
    rows = rows[is_pooled(rows) & (rows["layer"] >= 0)]
    limits[rows["layer"].to_numpy(dtype=int)] = pd.to_numeric(rows["null_high"], errors="coerce")
    return limits


def random_twin(scores: pd.DataFrame, subject: Subject) -> Subject | None:
    """The same architecture with random weights on the same corpus, told by its label; None where there is none."""
    named = re.compile(re.escape(subject.model) + r" \(random \d+\)")
    twins = [other for other in subjects(scores) if other.corpus == subject.corpus and named.fullmatch(other.model)]
    return twins[0] if twins else None


def speaker_curves(predictions: pd.DataFrame, curve: Curve) -> tuple[dict[str, NDArray[np.float64]], int]:
    """The score of each speaker at each layer of a curve, from the predictions.

    Parameters
    ----------
    predictions : DataFrame
        Of the results.
    curve : Curve
        Of ratings.

    Returns
    -------
    curves : dict of str to ndarray, shape (n_layers,)
        By the name of the speaker; means over seeds.
    n_left_out : int
        Speakers of fewer than :data:`FEWEST_OF_SPEAKER` utterances, or without a name.
    """
    score = SCORE_OF_METRIC[curve.metric]
    rows = _of(predictions, curve.subject) if len(predictions) else predictions
    for column in ("dimension", "probe", "features", "split") if len(rows) else ():
        rows = rows[rows[column] == getattr(curve, column)]
    rows = rows[rows["layer"].ge(0).fillna(False).to_numpy(bool)] if len(rows) else rows
    curves: dict[str, NDArray[np.float64]] = {}
    left_out = 0
    for (name,), of_speaker in named_parts(rows, "speaker") if len(rows) else ():
        if not name or of_speaker["id"].nunique() < FEWEST_OF_SPEAKER:
            left_out += 1
            continue
        values = np.full(len(curve.values), np.nan)
        for layer, fits in of_speaker.groupby("layer"):
            scored = [
                float(score(one["truth"].to_numpy(float), one["prediction"].to_numpy(float)))
                for _, one in fits.groupby("seed", dropna=False)
            ]
            values[int(str(layer))] = np.mean(scored)
        curves[name] = values
    return curves, left_out


def side_points(
    scores: pd.DataFrame, subject: Subject, *, dimension: str, metric: str, split: str
) -> tuple[dict[str, Point], dict[str, Point]]:
    """Scores that belong to no layer: baselines and learned sums, each by its name.

    Parameters
    ----------
    scores : pandas.DataFrame
    subject : Subject
    dimension, metric, split : str

    Returns
    -------
    left, right : dict
        Name of the baseline, or of the probe over all layers, to its score. A probe on other features than its first,
        and every model trained end to end, is called ``PROBE FEATURES``.
    """
    rows = _scored(_of(scores, subject), metric)
    rows = rows[(rows["dimension"] == dimension) & (rows["split"] == split)]
    baselines = rows[rows["layer"] == BASELINE_LAYER]
    left = {name: _point(part, metric) for (name,), part in named_parts(baselines, "probe")}
    right = {}
    for (probe,), fits in named_parts(rows[rows["layer"].isna()], "probe", sort=True):
        for position, features in enumerate(ordered_features(fits["features"])):
            name = f"{probe} {features}" if position or probe == END_TO_END else probe
            right[name] = _point(fits[fits["features"] == features], metric)
    return left, right


def _point(rows: pd.DataFrame, metric: str) -> Point:
    rows, n_folds = _pooled(rows)
    low, high = (
        float(rows[column].mean()) if column in rows.columns and not n_folds else np.nan
        for column in (f"{metric}_low", f"{metric}_high")
    )
    seeds = rows["seed"].nunique(dropna=False)
    features = str(rows["features"].iloc[0])
    return Point(float(rows[metric].mean()), low, high, n_seeds=seeds, interval=_interval(rows), features=features)


def _interval(rows: pd.DataFrame) -> str:
    """What the intervals of some rows know of, that which knows least."""
    kinds = {kind for kind in rows["interval"] if isinstance(kind, str) and kind} if "interval" in rows else ()
    return least_known(kinds) if kinds else ""


def _pooled(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows scored over all folds at once; where there are none, every fold, and how many they are."""
    pooled = rows[is_pooled(rows)]
    if len(pooled):
        return pooled, 0
    return rows, rows["fold"].nunique()


def _one_kind(rows: pd.DataFrame, split: str | None, features: str | None) -> tuple[pd.DataFrame, str, str]:
    split = reported_split(rows["split"]) if split is None else split
    rows = rows[rows["split"] == split]
    features = next(iter(ordered_features(rows["features"])), "") if features is None else features
    return rows[rows["features"] == features], split, features


def _counts(rows: pd.DataFrame, column: str, n_folds: int) -> tuple[int, int] | None:
    if column not in rows.columns or n_folds or not rows[column].notna().any():
        return None
    return int(rows[column].min()), int(rows[column].max())


@dataclass(frozen=True)
class LayerWeights:
    """Learned weights of one dimension.

    Parameters
    ----------
    subject : Subject
    dimension, probe, features : str
    raw, normed : ndarray of shape (n_seeds, n_layers)
        As learned, and norm-corrected; NaN where the table has none.
    centred : tuple of bool
        For each seed, whether the length of centred states corrects it: a version before took the norm with the mean
        in it.
    """

    subject: Subject
    dimension: str
    probe: str
    features: str
    raw: NDArray[np.float64]
    normed: NDArray[np.float64]
    centred: tuple[bool, ...]


def layer_weights(
    weights: pd.DataFrame, subject: Subject, *, dimension: str, probe: str = WEIGHTED, features: str | None = None
) -> LayerWeights | None:
    """The learned weights of one dimension, a row a seed."""
    rows = _of(weights, subject)
    rows = rows[(rows["dimension"] == dimension) & (rows["probe"] == probe) & (rows["layer"] >= 0)]
    if features is None:
        features = next(iter(ordered_features(rows["features"])), "")
    rows = rows[rows["features"] == features]
    rows = rows[np.isfinite(rows["weight"]) | np.isfinite(rows["weight_normed"])]
    if not len(rows):
        return None
    rows = rows.assign(layer=rows["layer"].astype(int), seed=rows["seed"].astype(str))
    depth = range(n_layers(weights, subject))
    seeds = sorted(rows["seed"].unique())
    arrays = [
        rows.groupby(["seed", "layer"])[column]
        .mean()
        .unstack("layer")
        .reindex(index=seeds, columns=depth)
        .to_numpy(float)
        for column in ("weight", "weight_normed")
    ]
    # The version that corrects by the centred states keeps the other form beside it.
    known = rows["weight_by_norm"].notna() if "weight_by_norm" in rows else pd.Series(False, index=rows.index)
    centred = known.groupby(rows["seed"]).any().reindex(seeds)
    raw, normed = arrays
    return LayerWeights(subject, dimension, probe, features, raw, normed, tuple(map(bool, centred)))
