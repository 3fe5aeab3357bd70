"""What the figures read: results from memory or disk, and the rows that one figure needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emoprobe.probe.results import Results

METRICS = {
    "ccc": "CCC",
    "pearson": "Pearson r",
    "rmse": "RMSE",
    "uar": "UAR",
    "macro_f1": "Macro F1",
}
"""The scores that can be drawn, with the names that the axes show."""

CATEGORY_METRICS = ("uar", "macro_f1")
LOWER_IS_BETTER = ("rmse",)
BASELINE_LAYER = -1
WEIGHTED = "weighted"
END_TO_END = "end-to-end"

BASELINE_NAMES = {
    "mean": "mean label",
    "duration": "duration",
    "mfcc": "MFCC",
    "logmel": "log-mel",
    "egemaps": "eGeMAPS",
    "text": "words",
}
"""Names of the baselines as figures show them, in the order of every figure."""

_DIMENSION_ORDER = ("arousal", "valence", "dominance", "emotion")
_SPLIT_ORDER = ("test", "cross-validation")
_LAST_SPLITS = ("development", "train")
_SCORE_COLUMNS = ("model", "corpus", "dimension", "probe", "layer", "fold", "seed", "split")
_WEIGHT_COLUMNS = ("model", "corpus", "dimension", "layer", "seed", "weight", "weight_normed")


@dataclass(frozen=True)
class Tables:
    """The parts of a results folder.

    Parameters
    ----------
    scores : pandas.DataFrame
        One row a fit.
    weights : pandas.DataFrame
        One row a layer and seed of each weighted-sum probe.
    protocol : list of dict
        How each number came about.
    predictions : pandas.DataFrame
        Of every utterance that was scored; empty where a table of scores alone was given.
    """

    scores: pd.DataFrame
    weights: pd.DataFrame
    protocol: list[dict] = field(default_factory=list)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)


def read_tables(source: Any) -> Tables:
    """Tables of `source`, whatever form the results have.

    Parameters
    ----------
    source : Results, pandas.DataFrame, path, or a sequence of results and paths
        What :func:`emoprobe.load_results` or :func:`emoprobe.fit_layers` returns; a table of scores or of weights
        alone; a folder that ``probe-fit`` wrote. Of several, runs of the same key come from the last.

    Returns
    -------
    Tables

    Raises
    ------
    UserError
        If a folder holds no results, a file is damaged, or a table lacks a column.
    """
    if isinstance(source, pd.DataFrame):
        weights = "weight" in source.columns
        tables = Tables(pd.DataFrame(), source) if weights else Tables(source, pd.DataFrame())
        return _checked(tables)
    if isinstance(source, Tables):
        return source
    if isinstance(source, (str, Path)):
        source = _read_folder(Path(source))
    elif isinstance(source, Sequence) and len(source):
        parts = [_read_folder(Path(part)) if isinstance(part, (str, Path)) else part for part in source]
        source = parts[0]
        for part in parts[1:]:
            source = source.updated(part)
    if not hasattr(source, "scores"):
        raise UserError(
            f"cannot draw {type(source).__name__}: give the object that emoprobe.load_results returns, "
            "a table of scores, or a results folder"
        )
    return _checked(Tables(source.scores, source.weights, list(source.protocol), source.predictions))


def _read_folder(folder: Path) -> Results:
    from emoprobe.probe.results import KEY, load_results

    results = load_results(folder)
    # A table that was cut short can still be read; the protocol knows what it held.
    scored = set(zip(*(results.scores[name].astype(str) for name in KEY), strict=True))
    lost = [run for run in results.protocol if tuple(str(run[name]) for name in KEY) not in scored]
    if lost:
        path = folder / "scores.parquet"
        path = path if path.exists() else path.with_suffix(".csv")
        raise UserError(
            f"{path} lacks {len(lost)} of the {len(results.protocol)} runs that protocol.json lists, the first "
            f"{lost[0]['probe']} of {lost[0]['dimension']}, {lost[0]['model']} on {lost[0]['corpus']}: bring it back, "
            "or fit again with probe-fit --overwrite"
        )
    return results


def _checked(tables: Tables) -> Tables:
    for name, table, columns in (
        ("scores", tables.scores, _SCORE_COLUMNS),
        ("weights", tables.weights, _WEIGHT_COLUMNS),
    ):
        missing = [column for column in columns if column not in table.columns]
        if missing and len(table.columns):
            raise UserError(
                f"the table of {name} lacks the column(s) {', '.join(missing)}: read it with emoprobe.load_results, "
                "or write it anew with probe-fit"
            )
    return replace(tables, scores=_plain(tables.scores), weights=_plain(tables.weights))


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """A copy whose names are strings and whose numbers are floats, whichever file form they came from."""
    table = table.copy()
    if not len(table.columns):
        return table
    for column, absent in (("features", ""), ("probe", WEIGHTED)):
        if column not in table.columns:
            table[column] = absent
    for column in ("model", "corpus", "dimension", "probe", "features", "split", "fold"):
        if column in table.columns:
            table[column] = table[column].astype(object).where(table[column].notna(), "").map(str)
    if "weight" in table.columns:
        table["probe"] = table["probe"].replace("", WEIGHTED)
    numbers = ["layer", "n", "speakers", "weight", "weight_normed"]
    for metric in METRICS:
        numbers += [metric, f"{metric}_low", f"{metric}_high"]
    for column in numbers:
        if column in table.columns:
            table[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
    return table


@dataclass(frozen=True)
class Subject:
    """A model on a corpus: what a figure, or one of its panels or lines, is about."""

    model: str
    corpus: str


def subjects(table: pd.DataFrame) -> list[Subject]:
    """Each model and corpus of `table`, in its order."""
    if not len(table):
        return []
    pairs = table[["model", "corpus"]].drop_duplicates()
    return [Subject(model, corpus) for model, corpus in pairs.itertuples(index=False)]


def one_subject(table: pd.DataFrame, model: str | None, corpus: str | None) -> Subject:
    """The one model and corpus asked for.

    Raises
    ------
    UserError
        If none or several fit.
    """
    found = [
        subject for subject in subjects(table) if model in (None, subject.model) and corpus in (None, subject.corpus)
    ]
    if len(found) == 1:
        return found[0]
    have = "; ".join(f"model={subject.model!r} corpus={subject.corpus!r}" for subject in subjects(table))
    if not have:
        raise UserError("there is nothing to draw: the table is empty")
    problem = "several models and corpora fit" if found else f"no row for model={model!r} corpus={corpus!r}"
    raise UserError(f"{problem}: choose by model= and corpus= among {have}")


def ordered_dimensions(found: Iterable[str]) -> list[str]:
    """Names of dimensions in the order of every figure: arousal, valence, dominance, then the rest."""
    found = set(found)
    return [name for name in _DIMENSION_ORDER if name in found] + sorted(found.difference(_DIMENSION_ORDER))


def ordered_splits(found: Iterable[str]) -> list[str]:
    """Names of splits, the one to report first."""

    def rank(split: str) -> tuple:
        if split in _SPLIT_ORDER:
            return (_SPLIT_ORDER.index(split) * 2, split)
        return (3 if split in _LAST_SPLITS else 1, split)

    return sorted(set(found), key=rank)


def ordered_baselines(found: Iterable[str]) -> list[str]:
    """Names of baselines in the order of every figure, those that it does not know last."""
    found = set(found)
    return [name for name in BASELINE_NAMES if name in found] + sorted(found.difference(BASELINE_NAMES))


def ordered_features(found: Iterable[str]) -> list[str]:
    """Names of features (what was pooled), the plain ones first."""
    return sorted(set(found), key=lambda name: (name.endswith("_ln"), len(name), name))


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
    n_seeds, n_folds : int
        Seeds averaged; folds averaged (0 where the table holds the score pooled over folds).
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

    @property
    def has_interval(self) -> bool:
        """Whether any layer has an interval."""
        return bool(np.any(np.isfinite(self.low) & np.isfinite(self.high)))


@dataclass(frozen=True)
class Point:
    """One score without a layer: a baseline or a weighted sum."""

    value: float
    low: float
    high: float
    n_seeds: int


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
        By default the first of :func:`ordered_splits` and :func:`ordered_features` that the table holds.

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
        **columns,
    )


def null_limits(scores: pd.DataFrame, curve: Curve) -> NDArray[np.float64]:
    """CCC that permuted labels stay below 95 times in 100, for each layer of a curve; NaN where the table has none."""
    limits = np.full(len(curve.values), np.nan)
    if curve.metric != "ccc" or "null_high" not in scores.columns:
        return limits
    rows = _of(scores, curve.subject)
    for column in ("dimension", "probe", "features", "split"):
        rows = rows[rows[column] == getattr(curve, column)]
    rows = rows[rows["fold"].isin(["all", ""]) & (rows["layer"] >= 0)]
    limits[rows["layer"].to_numpy(dtype=int)] = pd.to_numeric(rows["null_high"], errors="coerce")
    return limits


def random_twin(scores: pd.DataFrame, subject: Subject) -> Subject | None:
    """The same architecture with random weights on the same corpus, told by its label; None where there is none."""
    named = re.compile(re.escape(subject.model) + r" \(random \d+\)")
    twins = [other for other in subjects(scores) if other.corpus == subject.corpus and named.fullmatch(other.model)]
    return twins[0] if twins else None


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
    left = {name: _point(part, metric) for name, part in baselines.groupby("probe", sort=False)}
    right = {}
    for probe, fits in rows[rows["layer"].isna()].groupby("probe"):
        for position, features in enumerate(ordered_features(fits["features"])):
            name = f"{probe} {features}" if position or probe == END_TO_END else probe
            right[name] = _point(fits[fits["features"] == features], metric)
    return left, right


def _point(rows: pd.DataFrame, metric: str) -> Point:
    rows, n_folds = _pooled(rows)
    ends = []
    for column in (f"{metric}_low", f"{metric}_high"):
        known = column in rows.columns and not n_folds
        ends.append(float(rows[column].mean()) if known else np.nan)
    return Point(float(rows[metric].mean()), *ends, n_seeds=rows["seed"].nunique(dropna=False))


def _pooled(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows scored over all folds at once; where there are none, every fold, and how many they are."""
    pooled = rows[rows["fold"].isin(["all", ""])]
    if len(pooled):
        return pooled, 0
    return rows, rows["fold"].nunique()


def _one_kind(rows: pd.DataFrame, split: str | None, features: str | None) -> tuple[pd.DataFrame, str, str]:
    split = next(iter(ordered_splits(rows["split"])), "") if split is None else split
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
    """

    subject: Subject
    dimension: str
    probe: str
    features: str
    raw: NDArray[np.float64]
    normed: NDArray[np.float64]


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
    return LayerWeights(subject, dimension, probe, features, *arrays)
