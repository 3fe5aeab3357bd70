"""Systems side by side, as points with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions
from emoprobe.probe.selecting import LOWER_IS_BETTER, chosen_in_words
from emoprobe.probe.units import GROUP

from ..measures.comparison import compare_systems
from ..tables import CATEGORY_METRICS, METRICS, ZERO_OF_MEAN, read_tables, records
from .canvas import of_categories, opened_sheet, plain_ticks
from .captions import corpus_remarks, intervals_in_words
from .style import (
    FONT_SIZE,
    NEUTRAL,
    SMALL_FONT_SIZE,
    dimension_look,
    inches,
    printable,
    text_width,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_ROW = 0.165  # height of one system in the figure, in inches


def plot_comparison(
    results: Any,
    *,
    metric: str = "ccc",
    dimensions: Sequence[str] | None = None,
    corpus: str | None = None,
    split: str | None = None,
    width: str | None = None,
    caption: bool = True,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw all systems of a corpus as dots with their intervals: a row a system, a panel a dimension.

    Parameters
    ----------
    results, metric, dimensions, corpus, split
        As for :func:`compare_systems`; the corpus is needed where the results hold several.
    width : str, optional
        ``page`` (the default): panels side by side; ``column``: one below the other.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        One a dimension. A number right of a panel is the layer, one in brackets behind it the layer that is best on the
        scored rows where that is another; the dotted line is the best baseline.

    Raises
    ------
    UserError
        If the results hold no such score, or several corpora and none is named.
    """
    tables = read_tables(results)
    systems = compare_systems(tables, metric=metric, dimensions=dimensions, corpus=corpus, split=split)
    corpora = list(dict.fromkeys(systems["corpus"]))
    if len(corpora) > 1:
        raise UserError(f"scores on different corpora do not compare: choose by corpus= among {', '.join(corpora)}")
    metric, _ = of_categories(systems["dimension"], metric, "ridge")
    if metric in ZERO_OF_MEAN:  # the mean label has a CCC of zero by definition, and takes a row
        systems = systems[systems["probe"] != "mean"]
    if not len(systems):
        raise UserError("the results hold no system but the mean label: fit more with probe-fit")
    panels = ordered_dimensions(systems["dimension"])
    lines = _lines(systems)
    title = printable(corpora[0]) or "unnamed corpus"
    with_predictions = metric not in CATEGORY_METRICS and len(tables.predictions) > 0
    text = comparison_caption(systems, metric, tables.protocol, with_predictions=with_predictions)
    total = inches(width, "page")
    rows, columns = (len(panels), 1) if total < inches("page") else (1, len(panels))
    with opened_sheet(
        None, figure, width=total, panel_height=max(1.0, _ROW * (len(lines) + 1)), n_rows=rows, n_columns=columns,
        titles=[""], caption=text, caption_inside=caption, share_x=True, share_y=True,
    ) as sheet:  # fmt: skip
        for axes, dimension in zip(sheet.axes, panels, strict=True):
            _draw_panel(axes, systems[systems["dimension"] == dimension], lines, metric)
            axes.set_title(printable(dimension), loc="left")
        for axes in sheet.axes[-columns:]:
            axes.set_xlabel(METRICS[metric] + (" in label units" if metric == "rmse" else ""), fontsize=FONT_SIZE)
        first = sheet.axes[0]
        first.set_yticks(
            range(len(lines)), [_shortened(label, total / 3 if columns > 1 else 0.45 * total) for label, *_ in lines]
        )
        first.set_ylim(len(lines) - 0.4, -0.6)
        for axes in sheet.axes:
            plain_ticks(axes)
            axes.tick_params(axis="y", length=0)
        for axes in sheet.axes[::columns]:
            for label, (_, bold, _) in zip(axes.get_yticklabels(), lines, strict=True):
                label.set_fontweight("bold" if bold else "normal")
        sheet.figure.suptitle(title, x=0.06 / total, ha="left", fontweight="bold", fontsize=FONT_SIZE)
    return sheet.axes


def _lines(systems: pd.DataFrame) -> list[tuple[str, bool, tuple[str, str] | None]]:
    """The rows of the figure: label, whether it is a heading, and the model and system that it shows."""
    lines: list[tuple[str, bool, tuple[str, str] | None]] = []
    for model in dict.fromkeys(systems["model"]):
        lines.append((printable(model) or ("baselines" if model == "" else "unnamed model"), True, None))
        of_model = dict.fromkeys(systems.loc[systems["model"] == model, "system"])
        lines += [(f"{printable(system)}  ", False, (model, system)) for system in of_model]
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
    style: dict[str, Any] = {"fontsize": SMALL_FONT_SIZE, "color": NEUTRAL, "ha": "left"}
    for row in records(rows):
        y = place[row.model, row.system]
        if np.isfinite(row.low) and np.isfinite(row.high):
            axes.hlines(y, row.low, row.high, color=look.color, linewidth=0.9, zorder=2)
        gid = f"{row.kind}-{row.model}-{row.system}-{row.dimension}"
        axes.plot([row.value], [y], linestyle="none", zorder=3, gid=gid, **look.points())
        if row.kind == "layer":
            # In a column of its own right of the panel, where it covers no interval.
            axes.text(1.03, y, _layer_label(row), transform=axes.get_yaxis_transform(), va="center_baseline", **style)
    if (rows["kind"] == "layer").any():
        axes.text(1.03, 1.0, "layer", transform=axes.transAxes, va="bottom", **style)
    axes.margins(x=0.08)


def _layer_label(row: Any) -> str:
    return str(row.layer) if row.layer == row.highest_layer else f"{row.layer} ({row.highest_layer})"


def comparison_caption(
    systems: pd.DataFrame, metric: str, protocol: Sequence[dict], *, with_predictions: bool, drawn: bool = True
) -> str:
    """Caption of systems side by side.

    Parameters
    ----------
    systems : DataFrame
        Of :func:`compare_systems`.
    metric : str
    protocol : sequence of dict
        Of the results.
    with_predictions : bool
        Whether intervals of several seeds come from the predictions.
    drawn : bool
        Whether of a figure, which has bars and a dotted line; or of a table, with limits in brackets.
    """
    split = printable(systems["split"].iloc[0])
    n, speakers = systems["n"].dropna(), systems["speakers"].dropna()
    by_group = (systems["unit"] == GROUP).any()
    counted = [
        (n, "utterances"),
        (speakers, "speakers"),
        *([(systems["units"].dropna(), "groups")] if by_group else []),
    ]
    counts = [f"{_span(values)} {noun}" for values, noun in counted if len(values)]
    where = {"": "held-out data", "cross-validation": "held-out folds"}.get(split, f"the {split} split")
    sentences = [f"{METRICS[metric]} of every system on {where}" + (f" ({', '.join(counts)})." if counts else ".")]
    if systems["low"].notna().any():
        unit = "utterances" if len(n) and len(speakers) and (n == speakers).all() else "speakers"
        unit = "groups" if by_group else unit
        kinds = intervals_in_words(systems[["system", "interval"]].itertuples(index=False, name=None))
        sentences.append(f"{'Bars' if drawn else 'In brackets'}: 95 % intervals over {unit}{kinds}.")
    seeds = int(systems["seeds"].max())
    if seeds > 1:
        limits = (
            f"intervals over {'groups' if by_group else 'speakers'} and seeds together"
            if with_predictions
            else "limits too"
        )
        sentences.append(f"Learned sums and end-to-end models: means of up to {seeds} seeds, {limits}.")
    if (systems["kind"] == "layer").any():
        chosen = printable(chosen_in_words(zip(systems["chosen_on"].fillna(""), systems["split"], strict=True)))
        sentences.append(f"{'Numbers on the right: the layer,' if drawn else 'The layer is'} chosen on {chosen}.")
        if drawn and (systems["layer"] != systems["highest_layer"]).fillna(False).any():
            sentences.append("In brackets, where it is another: the best layer of these rows, with hindsight.")
    reads = {kind: dict.fromkeys(systems.loc[systems["kind"] == kind, "features"]) for kind in ("layer", "sum")}
    if all(reads.values()) and reads["layer"].keys() != reads["sum"].keys():
        layers, sums = (" or ".join(map(printable, reads[kind])) for kind in ("layer", "sum"))
        sentences.append(f"Layers read {layers}, learned sums {sums}: the two do not compare.")
    if drawn and (systems["kind"] == "baseline").any():
        sentences.append("Dotted: the best baseline of these rows.")
    runs = [run for run in protocol if run["corpus"] == systems["corpus"].iloc[0]]
    return " ".join([*sentences, *corpus_remarks(runs)])


def _span(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
