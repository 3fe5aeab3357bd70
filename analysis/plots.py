"""The figures, each drawn from results in memory or on disk onto matplotlib Axes.

Every function takes what :func:`emoprobe.load_results` returns, a table, or a results folder; draws the numbers as the
table has them (a missing score is a gap); and returns the Axes, to be changed further. A figure of its own has the
width of a column or a page, and a caption.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError

from .captions import curve_caption, interval_unit, n_categories, series_names, subject_name, weights_caption
from .style import (
    COLUMN_WIDTH,
    FONT_SIZE,
    FULL_WIDTH,
    NEUTRAL,
    SMALL_FONT_SIZE,
    LineLook,
    dimension_look,
    printable,
    publication_style,
    series_look,
    text_width,
    wrap,
)
from .tables import (
    BASELINE_NAMES,
    CATEGORY_METRICS,
    END_TO_END,
    LOWER_IS_BETTER,
    METRICS,
    WEIGHTED,
    Curve,
    Point,
    Subject,
    layer_curve,
    layer_weights,
    n_layers,
    null_limits,
    one_subject,
    ordered_baselines,
    ordered_dimensions,
    ordered_splits,
    random_twin,
    read_tables,
    side_points,
    subjects,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYER_LABEL = "Layer (0 = input of the first block)"
DEPTH_LABEL = "Relative depth\n(0 = input of the first block, 1 = last layer)"

_LINE = SMALL_FONT_SIZE * 1.25 / 72  # height of a line of small text, in inches
_UPRIGHT = 0.65  # length of an upright name beside the layers for which a figure has room anyway, in inches
_Beside = tuple[dict[str, Point], dict[str, Point]]
_MAX_NAME = 160  # characters of a name in a title; more would leave no room for the plot


def plot_layers(
    results: Any,
    *,
    model: str | None = None,
    metric: str = "ccc",
    probe: str = "ridge",
    dimensions: Sequence[str] | None = None,
    baselines: bool = True,
    corpus: str | None = None,
    split: str | None = None,
    features: str | None = None,
    caption: bool = True,
    ax: Axes | None = None,
    figure: Figure | None = None,
) -> Axes:
    """Draw the score of each layer with its bootstrap interval, one line a dimension.

    Left of layer 0, apart, stand the baselines (predictor of the mean, duration, acoustic statistics, the words); right
    of the last layer, as horizontal marks, the learned weighted sum over all layers and models trained end to end.
    Where the table has them, a grey band shows what permuted labels reach, and thin lines without marks the same
    architecture with random weights.

    Parameters
    ----------
    results : results, pandas.DataFrame or path
        What :func:`emoprobe.load_results` returns, its table of scores, or a results folder; or a list of these.
    model, corpus : str, optional
        Whose scores; needed where the results hold several.
    metric : str
        ``ccc``, ``pearson``, ``rmse``; ``uar`` or ``macro_f1`` for categories. Where the dimensions are ``emotion``
        alone, which has no CCC, the default stands for ``uar``.
    probe : str
        ``ridge``, ``mlp`` or ``logistic``; the default stands for ``logistic`` where the metric is one of categories.
    dimensions : sequence of str, optional
        All that have the metric, by default.
    baselines : bool
        Whether to draw what belongs to no layer: baselines and weighted sum.
    split, features : str, optional
        Which held-out part and which pooled statistic; by default the first that there is.
    caption : bool
        Whether to say below the axes what is shown.
    ax : matplotlib Axes, optional
        Where to draw; by default in a figure of its own, one column wide.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    UserError
        If the results hold no such score, or several models and none is named.
    """
    tables = read_tables(results)
    subject = one_subject(tables.scores, model, corpus)
    rows = tables.scores[(tables.scores["model"] == subject.model) & (tables.scores["corpus"] == subject.corpus)]
    metric, probe = _of_categories(rows["dimension"] if dimensions is None else dimensions, metric, probe)
    wanted = ordered_dimensions(rows["dimension"]) if dimensions is None else list(dimensions)
    curves = [
        curve
        for dimension in wanted
        if (
            curve := layer_curve(
                tables.scores,
                subject,
                dimension=dimension,
                metric=metric,
                probe=probe,
                split=split,
                features=features,
            )
        )
    ]
    if not curves:
        raise UserError(
            f"{subject_name(subject)}: no {METRICS[metric]} of probe={probe!r} for any of {wanted}: "
            "fit it with probe-fit, or choose another metric=, probe= or dimensions="
        )
    beside = {
        curve.dimension: side_points(
            tables.scores, subject, dimension=curve.dimension, metric=metric, split=curve.split
        )
        if baselines
        else ({}, {})
        for curve in curves
    }
    title = subject_name(subject)
    text = curve_caption(curves, tables.protocol, band="Bands and bars") if caption else ""
    if text and any(left for left, _ in beside.values()):
        text += " Left: baselines without the model."
    right = [(name, point) for _, found in beside.values() for name, point in found.items()]
    if text and right:
        text += f" Right: {_right_caption(right)}."
    controls = _controls(tables.scores, curves) if baselines else _Controls(None, [])
    text += controls.caption() if text else ""
    figure = _to_draw_on(ax, figure)
    with publication_style():
        names = [_place_name(name, curves) for found in beside.values() for side in found for name in side]
        longest = max((text_width(name, SMALL_FONT_SIZE) for name in names), default=0.0)
        sheet = _Sheet.open(
            ax,
            figure,
            width=COLUMN_WIDTH,
            panel_height=1.75,
            titles=[title],
            caption=text,
            legend_rows=1,
            below=max(0.0, longest - _UPRIGHT),
        )
        axes = sheet.axes[0]
        _draw_layers(axes, curves, beside, n_layers(tables.scores, subject), panel_width=sheet.panel_width)
        axes.set_ylabel(_score_label(curves, sheet.panel_height), fontsize=FONT_SIZE)
        others = _chance_lines(axes, curves, tables.protocol) | controls.draw(axes)
        rows_of_legend = _dimension_legend(axes, [curve.dimension for curve in curves], others)
        sheet.title(axes, title, legend_rows=rows_of_legend)
        sheet.caption_below(text)
    return axes


@dataclass(frozen=True)
class _Controls:
    """What a curve must be held against: permuted labels, and random weights.

    Parameters
    ----------
    null : ndarray, (layers,), or None
        Highest of the dimensions' limits.
    twin : list of Curve
        Of the random twin, one a dimension.
    """

    null: np.ndarray | None
    twin: list[Curve]

    def caption(self) -> str:
        parts = []
        if self.null is not None:
            parts.append("Grey: 95 % of permuted labels stay in it, whatever the dimension.")
        if self.twin:
            parts.append(f"Thin: {printable(self.twin[0].subject.model)}.")
        return "".join(f" {part}" for part in parts)

    def draw(self, ax: Axes) -> dict[str, Any]:
        """Draw them; returns names and handles for the legend."""
        from matplotlib.lines import Line2D

        handles: dict[str, Any] = {}
        if self.null is not None:
            low = min(0.0, ax.get_ylim()[0])
            style = {"color": NEUTRAL, "alpha": 0.25, "linewidth": 0, "zorder": 0}
            handles["permuted"] = ax.fill_between(np.arange(len(self.null)), low, self.null, gid="null", **style)
            ax.set_ylim(bottom=low)
        thin = {"linewidth": 0.8, "linestyle": (0, (4, 1.5)), "zorder": 2}
        for curve in self.twin:
            color = dimension_look(curve.dimension).color
            ax.plot(np.arange(len(curve.values)), curve.values, color=color, gid=f"random-{curve.dimension}", **thin)
        if self.twin:
            handles["random"] = Line2D([], [], color=NEUTRAL, **thin)
        return handles


def _controls(scores: Any, curves: Sequence[Curve]) -> _Controls:
    """What the table has of them for the curves of one model."""
    limits = np.array([null_limits(scores, curve) for curve in curves])
    known = np.isfinite(limits).any()
    twin = random_twin(scores, curves[0].subject)
    found = []
    for curve in curves if twin else ():
        same = {name: getattr(curve, name) for name in ("dimension", "metric", "probe", "split", "features")}
        found.append(layer_curve(scores, twin, **same))
    null = np.where(np.isfinite(limits).any(0), np.nanmax(np.where(np.isfinite(limits), limits, -np.inf), 0), np.nan)
    return _Controls(null if known else None, [curve for curve in found if curve])


def _right_caption(found: Sequence[tuple[str, Point]]) -> str:
    """What stands right of the layers, and of how many seeds it is the mean."""
    kinds = []
    for kind, is_one in (("learned weighted sum of all layers", False), ("models trained end to end", True)):
        points = [point for name, point in found if name.startswith(END_TO_END) == is_one]
        if points:
            seeds = max(point.n_seeds for point in points)
            kinds.append(kind + (f" (mean of {seeds} seeds)" if seeds > 1 else ""))
    return "; ".join(kinds)


def _of_categories(dimensions: Sequence[str], metric: str, probe: str) -> tuple[str, str]:
    """Metric and probe, the defaults taken for those of categories where no other dimension is meant."""
    dimensions = list(dimensions)
    if dimensions and all(dimension == "emotion" for dimension in dimensions) and metric == "ccc":
        metric = "uar"
    if metric in CATEGORY_METRICS and probe == "ridge":
        probe = "logistic"
    return metric, probe


def _draw_layers(
    ax: Axes, curves: Sequence[Curve], beside: dict[str, _Beside], depth: int, *, panel_width: float
) -> None:
    left = ordered_baselines(name for found, _ in beside.values() for name in found)
    right = _right_names(beside)
    last = depth - 1
    # One place beside the layers is as wide as it needs to be to hold an upright label, however many layers there are.
    pitch = max(0.3, last / 10)
    places = {name: -pitch * (1.3 + len(left) - 1 - position) for position, name in enumerate(left)}
    places |= {name: last + pitch * (1.3 + position) for position, name in enumerate(right)}
    layers = np.arange(depth)
    for position, curve in enumerate(curves):
        look = dimension_look(curve.dimension)
        _draw_band(ax, layers, curve, look, alpha=0.18)
        ax.plot(layers, curve.values, label=curve.dimension, gid=f"layers-{curve.dimension}", zorder=3, **look.line())
        shift = pitch * 0.28 * (position - (len(curves) - 1) / 2)
        for side, found in zip(("left", "right"), beside[curve.dimension], strict=True):
            for name, point in found.items():
                gid = f"{side}-{name}-{curve.dimension}"
                _draw_point(ax, places[name] + shift, point, look, pitch, dash=side == "right", gid=gid)
    for edge, shown in ((-0.65 * pitch, left), (last + 0.65 * pitch, right)):
        if shown:
            ax.axvline(edge, color=NEUTRAL, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0)
    _layer_ticks(ax, last, {place: _place_name(name, curves) for name, place in places.items()})
    margin = 0.75 * pitch
    start, end = min([0, *places.values()]) - margin, max([last, *places.values()]) + margin
    ax.set_xlim(start, end)
    _layer_label(ax, last, width=panel_width * (last + 1.3 * pitch) / (end - start))
    _plain_ticks(ax)


def _draw_band(ax: Axes, places: np.ndarray, curve: Curve, look: LineLook, *, alpha: float) -> None:
    """The interval as a band; as a bar where the layers on both sides have none."""
    shown = np.isfinite(curve.low) & np.isfinite(curve.high)
    ax.fill_between(
        places, curve.low, curve.high, where=shown, color=look.color, alpha=alpha, linewidth=0, zorder=1, gid="band"
    )
    beside = np.pad(shown, 1)
    alone = shown & ~beside[:-2] & ~beside[2:]
    if alone.any():
        ax.vlines(places[alone], curve.low[alone], curve.high[alone], color=look.color, linewidth=0.8, zorder=2)


def _layer_label(ax: Axes, last: int, *, width: float) -> None:
    """The axis label under the layers' numbers, broken where `width` inches are too few for it.

    Placed by hand: matplotlib would put it below the upright names beside the layers, far from what it names.
    """
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    ax.set_xlabel("\n".join(wrap(LAYER_LABEL, width, FONT_SIZE)), fontsize=FONT_SIZE)
    below = ScaledTranslation(0, -(2 * SMALL_FONT_SIZE) / 72, ax.figure.dpi_scale_trans)
    ax.xaxis.set_label_coords(last / 2, 0, transform=blended_transform_factory(ax.transData, ax.transAxes + below))


def _draw_point(ax: Axes, x: float, point: Point, look: LineLook, pitch: float, *, dash: bool, gid: str) -> None:
    if math.isfinite(point.low) and math.isfinite(point.high):
        ax.vlines(x, point.low, point.high, color=look.color, linewidth=0.8, zorder=2)
    if dash:
        half = 0.34 * pitch
        ax.hlines(point.value, x - half, x + half, color=look.color, linewidth=1.3, zorder=3)
    ax.plot([x], [point.value], zorder=4, linestyle="none", gid=gid, **look.points())


def _place_name(name: str, curves: Sequence[Curve]) -> str:
    if name.startswith(WEIGHTED):
        return printable(name).replace(" mean_ln", " LN")
    if name.startswith(END_TO_END):
        return printable(name).replace(f"{END_TO_END} ", "end to end, ")
    if name == "mean" and curves[0].metric in CATEGORY_METRICS:
        return "majority"
    return BASELINE_NAMES.get(name, printable(name))


def _right_names(beside: dict[str, _Beside]) -> list[str]:
    """Names of what stands right of the layers: learned sums of them first, then models trained end to end."""
    names = {name for _, found in beside.values() for name in found}
    return sorted(names, key=lambda name: (name.startswith(END_TO_END), name.count("+"), name))


def _layer_ticks(ax: Axes, last: int, others: dict[float, str] | None = None) -> None:
    """A number under every layer, or every few; a name upright under each of the `others`."""
    step = next(
        (step for step in (1, 2, 3, 4, 5, 6, 8, 10, 12) if last / step <= 8 and last % step == 0),
        max(1, math.ceil(last / 8)),
    )
    numbered = list(range(0, last + 1, step))
    others = others or {}
    ax.set_xticks([*numbered, *others], [*map(str, numbered), *others.values()])
    ax.set_xticks(np.arange(last + 1), minor=True)
    ax.tick_params(axis="x", which="minor", length=1.5, width=0.5)
    for label in ax.get_xticklabels()[len(numbered) :]:
        label.set_rotation(90)


def _plain_ticks(ax: Axes) -> None:
    """Fix what ticks made later, outside the house style, would take from the global settings."""
    ax.tick_params(labelsize=SMALL_FONT_SIZE, labelfontfamily="DejaVu Sans", width=0.6, length=2.5)


def _score_label(curves: Sequence[Curve], height: float) -> str:
    """Axis label of a score: its name, where it was measured, and what the band is; broken to fit `height`."""
    metric = METRICS[curves[0].metric]
    inside = ", ".join(dict.fromkeys(printable(curve.split) for curve in curves if curve.split))
    if any(curve.has_interval for curve in curves):
        interval = f"95 % interval over {interval_unit(curves)}"
        inside = f"{inside}, {interval}" if inside else interval
    if curves[0].metric == "rmse":
        metric = f"{metric} in label units"
    label = f"{metric} ({inside})" if inside else metric
    if text_width(label, FONT_SIZE) <= height:
        return label
    head, comma, interval = label.rpartition(", ")
    return "\n".join([*wrap(head + comma.rstrip(), height, FONT_SIZE), *wrap(interval, height, FONT_SIZE)])


def _chance_lines(ax: Axes, curves: Sequence[Curve], protocol: Sequence[dict]) -> dict[str, Any]:
    """Mark where a probe that knows nothing would be: chance for UAR, zero for CCC and Pearson.

    Returns the names and handles for the legend.
    """
    metric = curves[0].metric
    if metric in ("ccc", "pearson"):
        low, high = ax.get_ylim()
        if low < 0 < high:
            ax.axhline(0, color=NEUTRAL, linewidth=0.5, zorder=0)
    number = n_categories(curves[0], protocol) if metric == "uar" else None
    if not number:
        return {}
    # A constant answer recalls one category wholly and no other. The commonest category of the training part, drawn
    # as a baseline, can fall below: where folds differ in it, it recalls none of them wholly.
    style = {"color": NEUTRAL, "linewidth": 0.9, "linestyle": (0, (3, 2)), "zorder": 0}
    return {f"chance (1/{number})": ax.axhline(1 / number, gid="chance", **style)}


def _dimension_legend(ax: Axes, dimensions: Sequence[str], others: dict[str, Any] | None = None) -> int:
    """A legend above the axes, where it covers nothing; returns its rows."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **dimension_look(dimension).line()) for dimension in dimensions]
    handles += (others or {}).values()
    columns = min(len(handles), 3)
    _legend(
        ax.legend,
        handles,
        [printable(dimension) for dimension in dimensions] + list(others or {}),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        borderaxespad=0.1,
        borderpad=0.1,
    )
    return math.ceil(len(handles) / columns)


def _legend(make: Callable, handles: Sequence, names: Sequence[str], **settings: Any) -> Any:
    legend = make(handles, ["x"] * len(handles), **settings)
    # Set afterwards: older releases of matplotlib leave out a name that begins with an underscore.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
    return legend


def plot_weights(
    results: Any,
    *,
    model: str | None = None,
    dimensions: Sequence[str] | None = None,
    corpus: str | None = None,
    probe: str = WEIGHTED,
    features: str | None = None,
    caption: bool = True,
    ax: Sequence[Axes] | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw the weights of the learned weighted sum, as learned and norm-corrected, with their spread over seeds.

    Layers differ in norm, so a raw softmax weight says little of what a layer contributes; the corrected one (weight
    times the layer's mean state norm, renormalised to sum to one) is closer to it. Both are read from the table.

    Parameters
    ----------
    results : results, pandas.DataFrame or path
        As for :func:`plot_layers`; a DataFrame is the table of weights.
    model, corpus, dimensions, features, caption, figure
        As for :func:`plot_layers`.
    probe : str
        Which learned sum, where there are several.
    ax : two matplotlib Axes, optional
        Where to draw the raw and the corrected weights; by default one above the other in a figure one column wide.

    Returns
    -------
    ndarray of two matplotlib Axes

    Raises
    ------
    UserError
        If the results hold no weights of the model.
    """
    tables = read_tables(results)
    if not len(tables.weights):
        raise UserError("the results hold no learned weights: fit them with probe-fit --probe weighted")
    subject = one_subject(tables.weights, model, corpus)
    rows = tables.weights[tables.weights["model"] == subject.model]
    wanted = ordered_dimensions(rows["dimension"]) if dimensions is None else list(dimensions)
    learned = [
        weights
        for dimension in wanted
        if (weights := layer_weights(tables.weights, subject, dimension=dimension, probe=probe, features=features))
    ]
    if not learned:
        raise UserError(
            f"{subject_name(subject)}: no learned weights for any of {wanted}: fit them with probe-fit --probe weighted"
        )
    depth = n_layers(tables.weights, subject)
    title = subject_name(subject)
    n_fits = max(len(weights.raw) for weights in learned)
    kinds = list(dict.fromkeys(weights.features for weights in learned))
    text = weights_caption(subject, probe, kinds, n_fits, tables.protocol) if caption else ""
    figure = _to_draw_on(ax, figure)
    with publication_style():
        sheet = _Sheet.open(
            ax, figure, width=COLUMN_WIDTH, panel_height=1.2, n_rows=2, titles=[title], caption=text, legend_rows=1,
            share_x=True, share_y=True,
        )  # fmt: skip
        layers = np.arange(depth)
        for axes, part, label in (
            (sheet.axes[0], "raw", "Weight, as learned"),
            (sheet.axes[1], "normed", "Weight,\nnorm-corrected"),
        ):
            for weights in learned:
                look = dimension_look(weights.dimension)
                values = getattr(weights, part)
                mean, low, high = _spread(values)
                if len(values) > 1:
                    axes.fill_between(layers, low, high, color=look.color, alpha=0.18, linewidth=0, zorder=1)
                axes.plot(layers, mean, gid=f"{part}-{weights.dimension}", zorder=3, **look.line())
            axes.axhline(1 / depth, color=NEUTRAL, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
            axes.set_ylabel(label, fontsize=FONT_SIZE)
            _layer_ticks(axes, depth - 1)
            axes.set_xlim(-0.4, depth - 0.6)
            _plain_ticks(axes)
        # One scale for both, so that a height means the same in both.
        top = max(axes.get_ylim()[1] for axes in sheet.axes)
        for axes in sheet.axes:
            axes.set_ylim(0, top)
        sheet.axes[1].set_xlabel(LAYER_LABEL, fontsize=FONT_SIZE)
        if ax is None:
            sheet.axes[0].tick_params(labelbottom=False)
        rows_of_legend = _dimension_legend(sheet.axes[0], [weights.dimension for weights in learned])
        sheet.title(sheet.axes[0], title, legend_rows=rows_of_legend)
        sheet.caption_below(text)
    return sheet.axes


def _spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lowest and highest over rows, of what is there; NaN where nothing is."""
    known = np.isfinite(values)
    some = known.any(axis=0)
    count = np.where(some, known.sum(axis=0), 1)
    mean = np.where(some, np.where(known, values, 0).sum(axis=0) / count, np.nan)
    low = np.where(some, np.where(known, values, np.inf).min(axis=0), np.nan)
    high = np.where(some, np.where(known, values, -np.inf).max(axis=0), np.nan)
    return mean, low, high


def plot_heatmap(
    results: Any,
    *,
    model: str | None = None,
    metric: str = "ccc",
    probe: str = "ridge",
    dimensions: Sequence[str] | None = None,
    corpus: str | None = None,
    split: str | None = None,
    features: str | None = None,
    caption: bool = True,
    ax: Axes | Sequence[Axes] | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw layers by dimensions as a heat map with the scores written in it, one panel a model.

    Layer 0 is at the bottom. All panels share one colour scale; the best layer of each dimension is framed.

    Parameters
    ----------
    results, metric, probe, dimensions, split, features, caption, figure
        As for :func:`plot_layers`.
    model, corpus : str, optional
        All, by default.
    ax : matplotlib Axes or a sequence of them, optional
        One a model.

    Returns
    -------
    ndarray of matplotlib Axes
        One a model.

    Raises
    ------
    UserError
        If the results hold no such score.
    """
    tables = read_tables(results)
    grid = _curves_of_models(tables, model, corpus, metric, probe, dimensions, split, features)
    names = series_names([subject for subject, _ in grid])
    all_curves = [curve for _, curves in grid for curve in curves]
    metric = all_curves[0].metric
    columns = ordered_dimensions(curve.dimension for curve in all_curves)
    depths = [n_layers(tables.scores, subject) for subject, _ in grid]
    text = curve_caption(all_curves, tables.protocol, band="") if caption else ""
    if text:
        text += f" Framed: {'lowest' if metric in LOWER_IS_BETTER else 'highest'} of each column."
    values = np.concatenate([curve.values for curve in all_curves])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if high <= low:
        low, high = low - 0.05, high + 0.05
    width = COLUMN_WIDTH if len(grid) == 1 else FULL_WIDTH
    per_row = min(len(grid), 4)
    figure = _to_draw_on(ax, figure)
    with publication_style():
        sheet = _Sheet.open(
            ax,
            figure,
            width=width,
            panel_height=max(1.3, 0.145 * max(depths)),
            n_rows=math.ceil(len(grid) / per_row),
            n_columns=per_row,
            n_panels=len(grid),
            titles=names,
            caption=text,
        )
        image = None
        for axes, (_, curves), name, depth in zip(sheet.axes, grid, names, depths, strict=True):
            image = _draw_heatmap(axes, curves, columns, depth, low, high)
            sheet.title(axes, name)
        for axes in sheet.axes[::per_row]:
            axes.set_ylabel(LAYER_LABEL, fontsize=FONT_SIZE)
        bar = sheet.figure.colorbar(image, ax=list(sheet.axes), fraction=0.06, pad=0.02, aspect=30)
        bar.set_label(_score_label_plain(all_curves))
        bar.outline.set_linewidth(0.5)
        bar.ax.tick_params(labelsize=SMALL_FONT_SIZE, labelfontfamily="DejaVu Sans", width=0.6, length=2.5)
        sheet.caption_below(text)
    return sheet.axes


def _draw_heatmap(
    ax: Axes, curves: Sequence[Curve], columns: Sequence[str], depth: int, low: float, high: float
) -> Any:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    metric = curves[0].metric
    lower = metric in LOWER_IS_BETTER
    # cividis: even steps look even, with or without colour vision, and in grey.
    colours = colormaps["cividis_r" if lower else "cividis"]
    cells = np.full((depth, len(columns)), np.nan)
    for curve in curves:
        cells[:, columns.index(curve.dimension)] = curve.values
    ax.set_facecolor("#E4E4E4")
    edges = np.arange(depth + 1) - 0.5
    image = ax.pcolormesh(
        np.arange(len(columns) + 1) - 0.5, edges, np.ma.masked_invalid(cells), cmap=colours, vmin=low, vmax=high,
        edgecolors="white", linewidth=0.4,
    )  # fmt: skip
    for layer in range(depth):
        for column in range(len(columns)):
            value = cells[layer, column]
            if math.isfinite(value):
                text, colour = f"{value:.2f}".replace("-", "−"), _readable_on(colours((value - low) / (high - low)))
            else:
                text, colour = "–", "black"
            place = {"ha": "center", "va": "center_baseline", "clip_on": True}
            ax.text(column, layer, text, color=colour, fontsize=SMALL_FONT_SIZE, **place)
    for column in range(len(columns)):
        if np.isfinite(cells[:, column]).any():
            best = (np.nanargmin if lower else np.nanargmax)(cells[:, column])
            # White below black: one of them stands out from any colour.
            for edge, linewidth in (("white", 3.0), ("black", 1.3)):
                frame = {"edgecolor": edge, "linewidth": linewidth, "zorder": 3, "clip_on": False}
                ax.add_patch(Rectangle((column - 0.5, best - 0.5), 1, 1, facecolor="none", **frame))
    ax.set_xticks(range(len(columns)), [printable(column) for column in columns])
    step = 1 if depth <= 13 else 2
    ax.set_yticks(range(0, depth, step), [str(layer) for layer in range(0, depth, step)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.tick_params(labelsize=SMALL_FONT_SIZE, labelfontfamily="DejaVu Sans")
    return image


def _readable_on(colour: Sequence[float]) -> str:
    """Black or white, whichever has the higher contrast on `colour` (WCAG 2, relative luminance)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def _score_label_plain(curves: Sequence[Curve]) -> str:
    splits = ", ".join(dict.fromkeys(printable(curve.split) for curve in curves if curve.split))
    metric = METRICS[curves[0].metric] + (" in label units" if curves[0].metric == "rmse" else "")
    return f"{metric} ({splits})" if splits else metric


def plot_teacher_student(
    results: Any,
    *,
    model: Sequence[str] | None = None,
    metric: str = "ccc",
    probe: str = "ridge",
    dimensions: Sequence[str] | None = None,
    corpus: str | None = None,
    split: str | None = None,
    features: str | None = None,
    caption: bool = True,
    ax: Axes | Sequence[Axes] | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw several models on one axis of relative depth, from 0 to 1, one panel a dimension.

    Relative depth is the layer's index by the last layer's, so that a student of two blocks stands beside a teacher
    of twelve.

    Parameters
    ----------
    results, metric, probe, dimensions, split, features, caption, figure
        As for :func:`plot_layers`.
    model : sequence of str, optional
        Which models, in this order; all, by default.
    corpus : str, optional
        All, by default.
    ax : matplotlib Axes or a sequence of them, optional
        One a dimension.

    Returns
    -------
    ndarray of matplotlib Axes
        One a dimension.

    Raises
    ------
    UserError
        If the results hold no such score.
    """
    tables = read_tables(results)
    grid = _curves_of_models(tables, model, corpus, metric, probe, dimensions, split, features)
    names = series_names([subject for subject, _ in grid])
    all_curves = [curve for _, curves in grid for curve in curves]
    panels = ordered_dimensions(curve.dimension for curve in all_curves)
    text = curve_caption(all_curves, tables.protocol, band="Bands") if caption else ""
    if text and all_curves[0].metric == "uar" and (number := n_categories(all_curves[0], tables.protocol)):
        text += f" Dashed: chance (1/{number})."
    width = COLUMN_WIDTH if len(panels) == 1 else FULL_WIDTH
    own = ax is None
    figure = _to_draw_on(ax, figure)
    with publication_style():
        sheet = _Sheet.open(
            ax,
            figure,
            width=width,
            panel_height=1.75,
            n_columns=len(panels),
            titles=[""],
            caption=text,
            legend_rows=_legend_rows(names, width) if own else 0,
            share_y=True,
        )
        for axes, dimension in zip(sheet.axes, panels, strict=True):
            for position, (_, curves) in enumerate(grid):
                for curve in curves:
                    if curve.dimension == dimension:
                        _draw_depth(axes, curve, position)
            axes.set_xlim(-0.04, 1.04)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
            _plain_ticks(axes)
            axes.set_title(printable(dimension), loc="left")
        for axes in sheet.axes:
            _chance_lines(axes, all_curves, tables.protocol)
            axes.set_xlabel("Relative depth" if len(panels) > 1 else DEPTH_LABEL, fontsize=FONT_SIZE)
        sheet.axes[0].set_ylabel(_score_label(all_curves, sheet.panel_height), fontsize=FONT_SIZE)
        _model_legend(sheet, names, width, own=own)
        sheet.caption_below(text)
    return sheet.axes


def _draw_depth(ax: Axes, curve: Curve, position: int) -> None:
    look = series_look(position)
    depth = np.arange(len(curve.values)) / max(1, len(curve.values) - 1)
    _draw_band(ax, depth, curve, look, alpha=0.15)
    ax.plot(depth, curve.values, gid=f"depth-{position}", zorder=3 + 0.01 * position, **look.line())


def _legend_rows(names: Sequence[str], width: float) -> int:
    return math.ceil(len(names) / _legend_columns(names, width))


def _legend_columns(names: Sequence[str], width: float) -> int:
    """As many columns as the longest name leaves room for."""
    widest = max(text_width(_clipped(name), SMALL_FONT_SIZE) for name in names) + 0.45
    return max(1, min(len(names), int((width - 0.1) // widest)))


def _model_legend(sheet: _Sheet, names: Sequence[str], width: float, *, own: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **series_look(position).line()) for position in range(len(names))]
    labels = ["\n".join(wrap(_clipped(name), 0.97 * width - 0.6, SMALL_FONT_SIZE)) for name in names]
    if own:
        columns = _legend_columns(names, width)
        _legend(sheet.figure.legend, handles, labels, loc="outside upper left", ncols=columns, borderaxespad=0.2)
    else:
        _legend(sheet.axes[0].legend, handles, labels, loc="best")


def _curves_of_models(
    tables: Any,
    model: str | Sequence[str] | None,
    corpus: str | None,
    metric: str,
    probe: str,
    dimensions: Sequence[str] | None,
    split: str | None,
    features: str | None,
) -> list[tuple[Subject, list[Curve]]]:
    scores = tables.scores
    if not len(scores):
        raise UserError("there is nothing to draw: the table of scores is empty")
    models = [model] if isinstance(model, str) else model
    found = [
        subject
        for subject in subjects(scores)
        if (models is None or subject.model in models) and corpus in (None, subject.corpus)
    ]
    if models is not None:
        found.sort(key=lambda subject: list(models).index(subject.model))
    metric, probe = _of_categories(scores["dimension"] if dimensions is None else dimensions, metric, probe)
    wanted = ordered_dimensions(scores["dimension"]) if dimensions is None else list(dimensions)
    layered = scores[(scores["probe"] == probe) & scores["layer"].ge(0) & scores["dimension"].isin(wanted)]
    grid = []
    for subject in found:
        # One split for all models of a corpus: scores on different parts of it do not compare.
        parts = ordered_splits(layered.loc[layered["corpus"] == subject.corpus, "split"])
        part = next(iter(parts), None) if split is None else split
        curves = [
            layer_curve(scores, subject, dimension=dimension, metric=metric, probe=probe, split=part, features=features)
            for dimension in wanted
        ]
        if any(curves):
            grid.append((subject, [curve for curve in curves if curve]))
    if not grid:
        raise UserError(
            f"no {METRICS[metric]} of probe={probe!r} for any of {wanted}"
            f"{f' and model={model!r}' if model is not None else ''}: fit it with probe-fit, "
            "or choose another metric=, probe=, model= or dimensions="
        )
    return grid


def _clipped(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _to_draw_on(ax: Any, figure: Figure | None) -> Figure | None:
    """A new figure of pyplot where neither Axes nor a figure is given.

    Made outside the house style: the first figure of a session chooses the backend, which changes global settings
    (a notebook turns interactive to show figures), and leaving the style would undo that.
    """
    if ax is not None or figure is not None:
        return figure
    import matplotlib.pyplot as plt

    figure = plt.figure(facecolor="white")
    figure.set_dpi(150)
    return figure


@dataclass(frozen=True)
class _Sheet:
    """The figure that a plot is drawn on: its own, sized so that title, legend and caption fit; or the caller's."""

    figure: Any
    axes: np.ndarray
    width: float
    panel_height: float
    panel_width: float
    own: bool

    @classmethod
    def open(
        cls,
        ax: Any,
        figure: Figure | None,
        *,
        width: float,
        panel_height: float,
        titles: Sequence[str],
        caption: str,
        n_rows: int = 1,
        n_columns: int = 1,
        n_panels: int | None = None,
        legend_rows: int = 0,
        share_x: bool = False,
        share_y: bool = False,
        below: float = 0.0,
    ) -> _Sheet:
        n_panels = n_rows * n_columns if n_panels is None else n_panels
        if ax is not None:
            axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
            if len(axes) != n_panels:
                raise UserError(f"ax= has {len(axes)} Axes, this figure needs {n_panels}")
            box = axes[0].get_window_extent()
            dpi = axes[0].figure.dpi
            height, panel_width = box.height / dpi, box.width / dpi
            # The layout will take room from the Axes for what is written around them.
            return cls(axes[0].figure, axes, panel_width, 0.75 * height, panel_width, own=False)
        panel_width = (width - 0.6) / n_columns
        title_rows = max(len(_title_lines(title, panel_width)) for title in titles)
        furniture = (title_rows + legend_rows + 0.6) * _LINE * n_rows + 0.62 + below
        height = n_rows * panel_height + furniture + len(_caption_lines(caption, width)) * _LINE
        figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.03)
        figure.set_size_inches(width, height)
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=share_x, sharey=share_y).ravel()
        for empty in grid[n_panels:]:
            empty.remove()
        return cls(figure, grid[:n_panels], width, panel_height, panel_width, own=True)

    def title(self, axes: Axes, text: str, *, legend_rows: int = 0) -> None:
        """Set a title, above a legend of `legend_rows` rows."""
        lines = _title_lines(text, self.panel_width)
        axes.set_title("\n".join(lines), loc="left", pad=3 + legend_rows * SMALL_FONT_SIZE * 1.5)

    def caption_below(self, text: str) -> None:
        """Write the caption below everything else."""
        if not text:
            return
        style = {"fontsize": SMALL_FONT_SIZE, "color": NEUTRAL, "ha": "left"}
        if self.own:
            lines = _caption_lines(text, self.width)
            self.figure.supxlabel("\n".join(lines), x=0.06 / self.width, **style)
            return
        axes = self.axes[-1]
        axes.annotate(
            "\n".join(wrap(text, self.width, SMALL_FONT_SIZE)),
            xy=(0, 0),
            xytext=(0, -3),
            # Below the ticks' names and the label, wherever the layout puts them.
            xycoords=("axes fraction", axes.xaxis.get_tightbbox),
            textcoords="offset points",
            va="top",
            annotation_clip=False,
            gid="caption",
            **style,
        )


def _title_lines(text: str, width: float) -> list[str]:
    return wrap(_clipped(text), 0.97 * width, FONT_SIZE, weight="bold")


def _caption_lines(text: str, width: float) -> list[str]:
    # Glyphs fitted to the pixels of a screen are up to 3 % wider than designed.
    return wrap(text, 0.97 * width - 0.12, SMALL_FONT_SIZE) if text else []
