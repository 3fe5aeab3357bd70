"""Systems side by side: baselines, best layers, learned sums, models trained end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions
from emoprobe.probe.selecting import best_layer, is_pooled, reported_split

from ..figures.canvas import of_categories
from ..tables import (
    BASELINE_LAYER,
    BASELINE_NAMES,
    CATEGORY_METRICS,
    END_TO_END,
    METRICS,
    WEIGHTED,
    explained_share,
    named_parts,
    ordered_baselines,
    ordered_features,
    read_tables,
)

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.probe.results import Results


COLUMNS = (
    "corpus", "split", "kind", "model", "system", "dimension", "probe", "features", "layer", "chosen_on", "seeds", "n",
    "speakers", "value", "low", "high", "highest_layer", "highest", "unit", "units",
    "interval",
)  # fmt: skip
_RUN = ["model", "corpus", "dimension", "probe", "features", "split"]
_LINEAR = ("ridge", "logistic")


def compare_systems(
    results: Any,
    *,
    metric: str = "ccc",
    dimensions: Sequence[str] | None = None,
    corpus: str | None = None,
    split: str | None = None,
) -> pd.DataFrame:
    """The score of every system: one row a system and dimension.

    A system is a baseline (the same for every model of a corpus, so that it stands once), the best layer of a probe of
    single layers, a learned sum of all layers, or a model trained end to end.

    Parameters
    ----------
    results : results, pandas.DataFrame or path
        As for :func:`emoprobe.plot_layers`.
    metric : str
        ``ccc``, ``pearson``, ``rmse``, ``share``; ``uar`` or ``macro_f1`` for categories.
    dimensions : sequence of str, optional
        All that have the metric, by default.
    corpus : str, optional
        All, by default.
    split : str, optional
        By default the first held-out part of each corpus.

    Returns
    -------
    DataFrame
        `corpus, split`; `kind` (``baseline``, ``layer``, ``sum``, ``end to end``); `model` (empty for a baseline);
        `system`, its name beside that of the model; `dimension, probe, features`; `layer`, where the system is one,
        and the split that it was `chosen_on` (the development part where that has a score of each layer; else the
        scored rows themselves, with hindsight); `seeds`; `n, speakers`; `value`, the mean over seeds, with the limits
        `low, high` of its 95 % interval: over speakers and seeds together where the results hold the predictions, else
        the mean of the seeds' limits; `highest_layer` and `highest`, the layer that is best on the scored rows,
        whatever was chosen, and its score, with hindsight; `unit` ("speaker" or "group"), what is resampled, with how
        many `units` there are; `interval`, what the limits know of (`probe.jackknife`). In the order of the figure.

    Raises
    ------
    UserError
        If the results hold no such score.
    """
    import pandas as pd

    results = read_tables(results)
    scores = results.scores
    if not len(scores):
        raise UserError("there is nothing to compare: the table of scores is empty")
    metric, _ = of_categories(scores["dimension"] if dimensions is None else dimensions, metric, "ridge")
    if metric not in METRICS:
        raise UserError(f"no score is called {metric!r}: choose one of {', '.join(METRICS)}")
    wanted = ordered_dimensions(scores["dimension"]) if dimensions is None else list(dimensions)
    pooled = scores[is_pooled(scores) & scores["dimension"].isin(wanted)]
    pooled = pooled[np.isfinite(pooled[metric])] if metric in pooled else pooled.iloc[:0]
    rows: list[dict] = []
    for name in dict.fromkeys(pooled["corpus"]) if corpus is None else [corpus]:
        of_corpus = pooled[pooled["corpus"] == name]
        part = reported_split(of_corpus["split"]) if split is None else split
        rows += [{"corpus": name, "split": part} | row for row in _systems(of_corpus, part, metric)]
    if not rows:
        raise UserError(
            f"no {METRICS[metric]} of {', '.join(wanted)}"
            f"{f' on {corpus!r}' if corpus else ''}{f' in the part {split!r}' if split else ''}: "
            "fit it with probe-fit, or choose another metric=, dimensions=, corpus= or split="
        )
    systems = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"layer": "Int64", "highest_layer": "Int64"})
    return _with_limits_over_seeds(systems, results, metric)


def _with_limits_over_seeds(systems: pd.DataFrame, results: Results, metric: str) -> pd.DataFrame:
    """Limits of systems with several seeds over speakers and seeds together, where there are predictions of them."""
    import pandas as pd

    from emoprobe.probe.significance import score_intervals

    if metric in CATEGORY_METRICS or not len(results.predictions):
        return systems
    there = {tuple(key) for key in results.predictions[_RUN].drop_duplicates().itertuples(index=False)}
    for place in systems.index[systems["seeds"] > 1]:
        run = systems.loc[place, _RUN].to_dict()
        if tuple(run.values()) in there:
            layer = systems.loc[place, "layer"]
            run["layer"] = None if pd.isna(layer) else int(layer)
            of_share = metric == "share"
            scored = "pearson" if of_share else metric
            (row,) = score_intervals(results, metric=scored, **run).to_dict("records")
            limits = [explained_share(row[end]) if of_share else row[end] for end in ("low", "high")]
            systems.loc[place, ["low", "high", "interval"]] = *limits, row["interval"]
    return systems


def _systems(scores: pd.DataFrame, split: str, metric: str) -> Iterator[dict]:
    """Rows of one corpus: the baselines, then model by model."""
    scored = scores[scores["split"] == split]
    dimensions = ordered_dimensions(scored["dimension"])
    baselines = scored[scored["layer"] == BASELINE_LAYER]
    for probe in ordered_baselines(baselines["probe"]):
        yield from _baseline(baselines[baselines["probe"] == probe], probe, dimensions, metric)
    others = scored[scored["layer"] != BASELINE_LAYER]
    for model in dict.fromkeys(others["model"]):
        of_model = others[others["model"] == model]
        for kind, name, rows in _kinds(of_model):
            for dimension in dimensions:
                fits = rows[rows["dimension"] == dimension]
                if not len(fits):
                    continue
                about = {"kind": kind, "model": model, "system": name, "dimension": dimension}
                if kind == "layer":
                    choice = best_layer(scores, fits, metric)
                    fits = fits[fits["layer"] == choice.best]
                    about |= {"layer": choice.best, "chosen_on": choice.chosen_on}
                    about |= {"highest_layer": choice.highest, "highest": choice.highest_score}
                yield about | _score(fits, metric)


def _baseline(rows: pd.DataFrame, probe: str, dimensions: Sequence[str], metric: str) -> Iterator[dict]:
    """A baseline once, unless models have different ones (other words' encoder, other files that could be read)."""
    by_model: dict[tuple, str] = {}
    for (model,), part in named_parts(rows, "model"):
        key = tuple(part.groupby("dimension")[metric].mean().round(6).items())
        by_model.setdefault(key, model)
    for model in by_model.values():
        name = BASELINE_NAMES.get(probe, probe) if metric not in CATEGORY_METRICS or probe != "mean" else "majority"
        name = name if len(by_model) == 1 else f"{name} ({model})"
        for dimension in dimensions:
            fits = rows[(rows["model"] == model) & (rows["dimension"] == dimension)]
            if len(fits):
                yield {"kind": "baseline", "model": "", "system": name, "dimension": dimension} | _score(fits, metric)


def _kinds(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The systems of a model: kind, name, and their rows."""
    layered = rows[rows["layer"] >= 0]
    whole = rows[rows["layer"].isna()]
    for kind, part in (("layer", layered), ("sum", whole[whole["probe"] != END_TO_END])):
        probes = sorted(set(part["probe"]), key=lambda probe: (probe not in _LINEAR, probe != WEIGHTED, probe))
        for probe in probes:
            for position, features in enumerate(ordered_features(part.loc[part["probe"] == probe, "features"])):
                name = {"layer": "best layer", "sum": "weighted sum"}[kind]
                name += f", {probe.upper() if probe == 'mlp' else probe}" if probe not in (*_LINEAR, WEIGHTED) else ""
                name += f" ({'layer-normed' if features == 'mean_ln' else features})" if position else ""
                yield kind, name, part[(part["probe"] == probe) & (part["features"] == features)]
    trained = whole[whole["probe"] == END_TO_END]
    for features in sorted(set(trained["features"]), key=lambda features: (features.count("+"), features)):
        yield "end to end", f"end to end, {features}", trained[trained["features"] == features]


def _score(fits: pd.DataFrame, metric: str) -> dict:
    """Columns of one system's score."""
    row: dict = {"probe": fits["probe"].iloc[0], "features": fits["features"].iloc[0]}
    row["seeds"] = int(fits["seed"].nunique(dropna=False))
    row["unit"] = str(fits["unit"].iloc[0]) if "unit" in fits else ""
    row["interval"] = str(fits["interval"].iloc[0]) if "interval" in fits else ""
    for column in ("n", "speakers", "units"):
        row[column] = int(fits[column].iloc[0]) if column in fits and fits[column].notna().iloc[0] else None
    row["value"] = float(fits[metric].mean())
    for end in ("low", "high"):
        column = f"{metric}_{end}"
        row[end] = float(fits[column].mean()) if column in fits else np.nan
    return row
