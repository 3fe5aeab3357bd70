"""Scores by layer, one curve a dimension, with their controls beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions

from ..curves import Curve, Point, layer_curve, n_layers, null_limits, random_twin, side_points
from ..tables import (
    BASELINE_NAMES,
    CATEGORY_METRICS,
    END_TO_END,
    METRICS,
    WEIGHTED,
    one_subject,
    ordered_baselines,
    read_tables,
)
from .canvas import (
    chance_lines,
    dimension_legend,
    draw_band,
    of_categories,
    opened_sheet,
    plain_ticks,
    score_label,
)
from .captions import curve_caption, rare_remark, subject_name
from .layer_axis import layer_label, layer_ticks
from .style import (
    COLUMN_WIDTH,
    FONT_SIZE,
    NEUTRAL,
    SMALL_FONT_SIZE,
    LineLook,
    dimension_look,
    printable,
    text_width,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UPRIGHT = 0.65  # length of an upright name beside the layers for which a figure has room anyway, in inches
_Beside = tuple[dict[str, Point], dict[str, Point]]


def plot_layers(  # noqa: PLR0913 (options of the user's, each given by its name)
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
    """Draw the score of each layer with its interval, one line a dimension.

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
    metric, probe = of_categories(rows["dimension"] if dimensions is None else dimensions, metric, probe)
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
    intervals = [
        (BASELINE_NAMES.get(name, name).lower() if side == 0 else _kind_of(name), point.interval)
        for sides in beside.values()
        for side, points in enumerate(sides)
        for name, point in points.items()
    ]
    text = curve_caption(curves, tables.protocol, band="Bands and bars", beside=intervals)
    text += rare_remark(tables.recalls, curves)
    if any(left for left, _ in beside.values()):
        text += " Left: baselines without the model."
    right = [(name, point) for _, points in beside.values() for name, point in points.items()]
    if right:
        text += f" Right: {_right_caption(right)}."
    controls = _controls(tables.scores, curves) if baselines else _Controls(None, [])
    text += controls.caption()
    names = [_place_name(name, curves) for sides in beside.values() for side in sides for name in side]
    longest = max((text_width(name, SMALL_FONT_SIZE) for name in names), default=0.0)
    with opened_sheet(
        ax, figure, width=COLUMN_WIDTH, panel_height=1.75, titles=[title],
        caption=text, caption_inside=caption, legend_rows=1,
        below=max(0.0, longest - _UPRIGHT),
    ) as sheet:  # fmt: skip
        axes = sheet.axes[0]
        _draw_layers(axes, curves, beside, n_layers(tables.scores, subject), panel_width=sheet.panel_width)
        axes.set_ylabel(score_label(curves, sheet.panel_height), fontsize=FONT_SIZE)
        others = chance_lines(axes, curves, tables.protocol) | controls.draw(axes)
        rows_of_legend = dimension_legend(axes, [curve.dimension for curve in curves], others)
        sheet.title(axes, title, legend_rows=rows_of_legend)
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
    of_categories : bool
    """

    null: np.ndarray | None
    twin: list[Curve]
    of_categories: bool = False

    def caption(self) -> str:
        """What to look for, as sentences with a blank before each; empty where there is no control."""
        parts = []
        if self.null is not None:
            of = "by the nearest class mean" if self.of_categories else "whatever the dimension"
            parts.append(f"{'Hatched' if self.of_categories else 'Grey'}: 95 % of permuted labels stay in it, {of}.")
        if self.twin:
            parts.append(f"Thin: {printable(self.twin[0].subject.model)}.")
        return "".join(f" {part}" for part in parts)

    def draw(self, ax: Axes) -> dict[str, Any]:
        """Draw them; returns names and handles for the legend."""
        from matplotlib.lines import Line2D

        handles: dict[str, Any] = {}
        if self.null is not None:
            low = min(0.0, ax.get_ylim()[0])
            style: dict[str, Any] = {"color": NEUTRAL, "alpha": 0.25, "linewidth": 0, "zorder": 0}
            if self.of_categories:  # whose band is grey itself
                style = {"facecolor": "none", "edgecolor": NEUTRAL, "hatch": "////", "linewidth": 0, "zorder": 0}
            handles["permuted"] = ax.fill_between(np.arange(len(self.null)), low, self.null, gid="null", **style)
            ax.set_ylim(bottom=low)
        thin: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 1.5)), "zorder": 2}
        for curve in self.twin:
            color = dimension_look(curve.dimension).color
            ax.plot(np.arange(len(curve.values)), curve.values, color=color, gid=f"random-{curve.dimension}", **thin)
        if self.twin:
            handles["random"] = Line2D([], [], color=NEUTRAL, **thin)
        return handles


def _controls(scores: pd.DataFrame, curves: Sequence[Curve]) -> _Controls:
    """What the table has of them for the curves of one model."""
    limits = np.array([null_limits(scores, curve) for curve in curves])
    known = np.isfinite(limits).any()
    twin = random_twin(scores, curves[0].subject)
    of_twin = [] if twin is None else [
        layer_curve(
            scores, twin, dimension=curve.dimension, metric=curve.metric, probe=curve.probe, split=curve.split,
            features=curve.features,
        )
        for curve in curves
    ]  # fmt: skip
    null = np.where(np.isfinite(limits).any(0), np.nanmax(np.where(np.isfinite(limits), limits, -np.inf), 0), np.nan)
    of_categories = curves[0].metric in CATEGORY_METRICS
    return _Controls(null if known else None, [curve for curve in of_twin if curve], of_categories)


def _kind_of(name: str) -> str:
    """What stands right of the layers, by its name, in the plural."""
    return "models trained end to end" if name.startswith(END_TO_END) else "learned weighted sums"


def _right_caption(named: Sequence[tuple[str, Point]]) -> str:
    """What stands right of the layers, and of how many seeds it is the mean."""
    kinds = []
    for kind, is_one in (("learned weighted sum of all layers", False), ("models trained end to end", True)):
        points = [point for name, point in named if name.startswith(END_TO_END) == is_one]
        if points:
            seeds = max(point.n_seeds for point in points)
            kinds.append(kind + (f" (mean of {seeds} seeds)" if seeds > 1 else ""))
    return "; ".join(kinds)


def _draw_layers(
    ax: Axes, curves: Sequence[Curve], beside: dict[str, _Beside], depth: int, *, panel_width: float
) -> None:
    left = ordered_baselines(name for points, _ in beside.values() for name in points)
    right = _right_names(beside)
    last = depth - 1
    # One place beside the layers is as wide as it needs to be to hold an upright label, however many layers there are.
    pitch = max(0.3, last / 10)
    places = {name: -pitch * (1.3 + len(left) - 1 - position) for position, name in enumerate(left)}
    places |= {name: last + pitch * (1.3 + position) for position, name in enumerate(right)}
    layers = np.arange(depth)
    for position, curve in enumerate(curves):
        look = dimension_look(curve.dimension)
        draw_band(ax, layers, curve, look, alpha=0.18)
        ax.plot(layers, curve.values, label=curve.dimension, gid=f"layers-{curve.dimension}", zorder=3, **look.line())
        shift = pitch * 0.28 * (position - (len(curves) - 1) / 2)
        for side, points in zip(("left", "right"), beside[curve.dimension], strict=True):
            for name, point in points.items():
                gid = f"{side}-{name}-{curve.dimension}"
                _draw_point(ax, places[name] + shift, point, look, pitch, dash=side == "right", gid=gid)
    for edge, shown in ((-0.65 * pitch, left), (last + 0.65 * pitch, right)):
        if shown:
            ax.axvline(edge, color=NEUTRAL, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0)
    layer_ticks(ax, last, {place: _place_name(name, curves) for name, place in places.items()})
    margin = 0.75 * pitch
    start, end = min([0, *places.values()]) - margin, max([last, *places.values()]) + margin
    ax.set_xlim(start, end)
    layer_label(ax, last, width=panel_width * (last + 1.3 * pitch) / (end - start))
    plain_ticks(ax)


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
    names = {name for _, points in beside.values() for name in points}
    return sorted(names, key=lambda name: (name.startswith(END_TO_END), name.count("+"), name))
