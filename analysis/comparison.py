"""All systems of a corpus side by side: baselines, layers, learned sums, models trained end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError

from .captions import corpus_remarks
from .plots import _of_categories, _plain_ticks, _Sheet, _to_draw_on
from .style import (
    FONT_SIZE,
    FULL_WIDTH,
    NEUTRAL,
    SMALL_FONT_SIZE,
    dimension_look,
    printable,
    publication_style,
    text_width,
)
from .tables import (
    BASELINE_LAYER,
    BASELINE_NAMES,
    CATEGORY_METRICS,
    END_TO_END,
    LOWER_IS_BETTER,
    METRICS,
    WEIGHTED,
    Tables,
    ordered_baselines,
    ordered_dimensions,
    ordered_features,
    ordered_splits,
    read_tables,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = (
    "corpus", "split", "kind", "model", "system", "dimension", "probe", "features", "layer", "chosen_on", "seeds", "n",
    "speakers", "value", "low", "high",
)  # fmt: skip

_ROW = 0.165  # height of one system in the figure, in inches
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
        ``ccc``, ``pearson``, ``rmse``; ``uar`` or ``macro_f1`` for categories.
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
        and the split that it was `chosen_on` (the development part where that was scored; else the scored rows
        themselves, with hindsight); `seeds`; `n, speakers`; `value`, the mean over seeds, with the limits `low, high`
        of its 95 % interval: over speakers and seeds together where the results hold the predictions, else the mean of
        the seeds' limits. In the order of the figure.

    Raises
    ------
    UserError
        If the results hold no such score.
    """
    import pandas as pd

    tables = read_tables(results)
    scores = tables.scores
    if not len(scores):
        raise UserError("there is nothing to compare: the table of scores is empty")
    metric, _ = _of_categories(scores["dimension"] if dimensions is None else dimensions, metric, "ridge")
    if metric not in METRICS:
        raise UserError(f"no score is called {metric!r}: choose one of {', '.join(METRICS)}")
    wanted = ordered_dimensions(scores["dimension"]) if dimensions is None else list(dimensions)
    pooled = scores[scores["fold"].isin(["all", ""]) & scores["dimension"].isin(wanted)]
    pooled = pooled[np.isfinite(pooled[metric])] if metric in pooled else pooled.iloc[:0]
    rows: list[dict] = []
    for name in dict.fromkeys(pooled["corpus"]) if corpus is None else [corpus]:
        of_corpus = pooled[pooled["corpus"] == name]
        part = next(iter(ordered_splits(of_corpus["split"])), None) if split is None else split
        rows += [{"corpus": name, "split": part} | row for row in _systems(of_corpus, part, metric)]
    if not rows:
        raise UserError(
            f"no {METRICS[metric]} of {', '.join(wanted)}"
            f"{f' on {corpus!r}' if corpus else ''}{f' in the part {split!r}' if split else ''}: "
            "fit it with probe-fit, or choose another metric=, dimensions=, corpus= or split="
        )
    found = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"layer": "Int64"})
    return _with_limits_over_seeds(found, tables, metric)


def _with_limits_over_seeds(found: pd.DataFrame, tables: Tables, metric: str) -> pd.DataFrame:
    """Limits of systems with several seeds over speakers and seeds together, where there are predictions of them."""
    import pandas as pd

    from emoprobe.probe.results import Results
    from emoprobe.probe.significance import score_intervals

    if metric in CATEGORY_METRICS or not len(tables.predictions):
        return found
    results = Results(tables.scores, tables.weights, tables.protocol, tables.predictions)
    there = {tuple(key) for key in tables.predictions[_RUN].drop_duplicates().itertuples(index=False)}
    for place in found.index[found["seeds"] > 1]:
        run = found.loc[place, _RUN].to_dict()
        if tuple(run.values()) in there:
            layer = found.loc[place, "layer"]
            run["layer"] = None if pd.isna(layer) else int(layer)
            (row,) = score_intervals(results, metric=metric, **run).to_dict("records")
            found.loc[place, ["low", "high"]] = row["low"], row["high"]
    return found


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
                    layer, chosen_on = _best_layer(scores, fits, metric)
                    fits = fits[fits["layer"] == layer]
                    about |= {"layer": layer, "chosen_on": chosen_on}
                yield about | _score(fits, metric)


def _baseline(rows: pd.DataFrame, probe: str, dimensions: Sequence[str], metric: str) -> Iterator[dict]:
    """A baseline once, unless models have different ones (other words' encoder, other files that could be read)."""
    by_model: dict[tuple, str] = {}
    for model, part in rows.groupby("model", sort=False):
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


def _best_layer(scores: pd.DataFrame, fits: pd.DataFrame, metric: str) -> tuple[int, str]:
    """The layer to report, and the split that it was chosen on: not the one that is scored, where there is another."""
    first = fits.iloc[0]
    same = scores["layer"] >= 0
    for column in ("model", "dimension", "probe", "features"):
        same &= scores[column] == first[column]
    development = scores[same & (scores["split"] == "development")]
    chosen_from = development if len(development) and first["split"] != "development" else fits
    by_layer = chosen_from.groupby("layer")[metric].mean()
    by_layer = by_layer[by_layer.index.isin(fits["layer"])]
    best = by_layer.idxmin() if metric in LOWER_IS_BETTER else by_layer.idxmax()
    return int(best), str(chosen_from["split"].iloc[0])


def _score(fits: pd.DataFrame, metric: str) -> dict:
    """Columns of one system's score."""
    row: dict = {"probe": fits["probe"].iloc[0], "features": fits["features"].iloc[0]}
    row["seeds"] = int(fits["seed"].nunique(dropna=False))
    for column in ("n", "speakers"):
        row[column] = int(fits[column].iloc[0]) if column in fits and np.isfinite(fits[column].iloc[0]) else None
    row["value"] = float(fits[metric].mean())
    for end in ("low", "high"):
        column = f"{metric}_{end}"
        row[end] = float(fits[column].mean()) if column in fits else np.nan
    return row


def plot_comparison(
    results: Any,
    *,
    metric: str = "ccc",
    dimensions: Sequence[str] | None = None,
    corpus: str | None = None,
    split: str | None = None,
    caption: bool = True,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw all systems of a corpus as dots with their intervals: a row a system, a panel a dimension.

    Parameters
    ----------
    results, metric, dimensions, corpus, split
        As for :func:`compare_systems`; the corpus is needed where the results hold several.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        One a dimension. A number beside a dot is the layer; the dotted line is the best baseline.

    Raises
    ------
    UserError
        If the results hold no such score, or several corpora and none is named.
    """
    tables = read_tables(results)
    found = compare_systems(tables, metric=metric, dimensions=dimensions, corpus=corpus, split=split)
    corpora = list(dict.fromkeys(found["corpus"]))
    if len(corpora) > 1:
        raise UserError(f"scores on different corpora do not compare: choose by corpus= among {', '.join(corpora)}")
    metric, _ = _of_categories(found["dimension"], metric, "ridge")
    if metric in ("ccc", "pearson"):  # the mean label has a CCC of zero by definition, and takes a row
        found = found[found["probe"] != "mean"]
    if not len(found):
        raise UserError("the results hold no system but the mean label: fit more with probe-fit")
    panels = ordered_dimensions(found["dimension"])
    lines = _lines(found)
    figure = _to_draw_on(None, figure)
    title = printable(corpora[0]) or "unnamed corpus"
    with_predictions = metric not in CATEGORY_METRICS and len(tables.predictions) > 0
    text = _caption(found, metric, tables.protocol, with_predictions=with_predictions) if caption else ""
    with publication_style():
        sheet = _Sheet.open(
            None, figure, width=FULL_WIDTH, panel_height=max(1.0, _ROW * (len(lines) + 1)), n_columns=len(panels),
            titles=[""], caption=text, share_x=True, share_y=True,
        )  # fmt: skip
        for axes, dimension in zip(sheet.axes, panels, strict=True):
            _draw_panel(axes, found[found["dimension"] == dimension], lines, metric)
            axes.set_title(printable(dimension), loc="left")
            axes.set_xlabel(METRICS[metric] + (" in label units" if metric == "rmse" else ""), fontsize=FONT_SIZE)
        first = sheet.axes[0]
        first.set_yticks(range(len(lines)), [_shortened(label, FULL_WIDTH / 3) for label, *_ in lines])
        first.set_ylim(len(lines) - 0.4, -0.6)
        for axes in sheet.axes:
            _plain_ticks(axes)
            axes.tick_params(axis="y", length=0)
        for label, (_, bold, _) in zip(first.get_yticklabels(), lines, strict=True):
            label.set_fontweight("bold" if bold else "normal")
        figure.suptitle(title, x=0.06 / FULL_WIDTH, ha="left", fontweight="bold", fontsize=FONT_SIZE)
        sheet.caption_below(text)
    return sheet.axes


def _lines(found: pd.DataFrame) -> list[tuple[str, bool, tuple[str, str] | None]]:
    """The rows of the figure: label, whether it is a heading, and the model and system that it shows."""
    lines: list[tuple[str, bool, tuple[str, str] | None]] = []
    for model in dict.fromkeys(found["model"]):
        lines.append((printable(model) or ("baselines" if model == "" else "unnamed model"), True, None))
        systems = dict.fromkeys(found.loc[found["model"] == model, "system"])
        lines += [(f"{printable(system)}  ", False, (model, system)) for system in systems]
    return lines


def _shortened(label: str, width: float) -> str:
    """`label` cut to `width` inches."""
    if text_width(label, SMALL_FONT_SIZE, weight="bold") <= width:
        return label
    while text_width(f"{label}…", SMALL_FONT_SIZE, weight="bold") > width:
        label = label[:-1]
    return f"{label}…"


def _draw_panel(axes: Any, rows: pd.DataFrame, lines: Sequence[tuple], metric: str) -> None:
    place = {key: position for position, (*_, key) in enumerate(lines) if key}
    look = dimension_look(rows["dimension"].iloc[0])
    for position, (_, heading, _) in enumerate(lines):
        if heading and position:
            axes.axhline(position - 0.5, color=NEUTRAL, linewidth=0.4, zorder=0)
    baselines = rows.loc[rows["kind"] == "baseline", "value"]
    if len(baselines):
        best = baselines.min() if metric in LOWER_IS_BETTER else baselines.max()
        axes.axvline(best, color=NEUTRAL, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=0, gid="best-baseline")
    for row in rows.itertuples():
        y = place[row.model, row.system]
        if np.isfinite(row.low) and np.isfinite(row.high):
            axes.hlines(y, row.low, row.high, color=look.color, linewidth=0.9, zorder=2)
        gid = f"{row.kind}-{row.model}-{row.system}-{row.dimension}"
        axes.plot([row.value], [y], linestyle="none", zorder=3, gid=gid, **look.points())
        if row.kind == "layer":
            end = max(value for value in (row.value, row.high) if np.isfinite(value))
            axes.annotate(
                str(row.layer), (end, y), xytext=(4, 0), textcoords="offset points", va="center_baseline",
                fontsize=SMALL_FONT_SIZE, color=NEUTRAL,
            )  # fmt: skip
    axes.margins(x=0.08)


def _caption(found: pd.DataFrame, metric: str, protocol: Sequence[dict], *, with_predictions: bool) -> str:
    split = printable(found["split"].iloc[0])
    n, speakers = found["n"].dropna(), found["speakers"].dropna()
    counts = [f"{_span(values)} {noun}" for values, noun in ((n, "utterances"), (speakers, "speakers")) if len(values)]
    where = {"": "held-out data", "cross-validation": "held-out folds"}.get(split, f"the {split} split")
    sentences = [f"{METRICS[metric]} of every system on {where}" + (f" ({', '.join(counts)})." if counts else ".")]
    if found["low"].notna().any():
        unit = "utterances" if len(n) and len(speakers) and (n == speakers).all() else "speakers"
        sentences.append(f"Bars: 95 % bootstrap intervals over {unit}.")
    seeds = int(found["seeds"].max())
    if seeds > 1:
        limits = "intervals over speakers and seeds together" if with_predictions else "limits too"
        sentences.append(f"Learned sums and end-to-end models: means of up to {seeds} seeds, {limits}.")
    if (found["kind"] == "layer").any():
        chosen = "/".join(printable(name) for name in dict.fromkeys(found["chosen_on"].dropna()))
        hindsight = chosen == split
        sentences.append(f"Numbers: the layer, chosen on {'the same rows, with hindsight' if hindsight else chosen}.")
    if (found["kind"] == "baseline").any():
        sentences.append("Dotted: the best baseline.")
    runs = [run for run in protocol if run["corpus"] == found["corpus"].iloc[0]]
    return " ".join([*sentences, *corpus_remarks(runs)])


def _span(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
