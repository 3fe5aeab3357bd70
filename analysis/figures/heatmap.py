"""Scores of every model and layer of a corpus as one map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.probe.schema import ordered_dimensions
from emoprobe.probe.selecting import LOWER_IS_BETTER, Choice, chosen_in_words

from ..curves import Curve, best_of_curve, n_layers
from ..tables import read_tables
from .canvas import curves_of_models, opened_sheet, score_label
from .captions import curve_caption, series_names
from .cells import colour_bar, colour_cells, frame_cell, readable_on, write_in_cell, written
from .style import FONT_SIZE, SMALL_FONT_SIZE, inches, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure


def plot_heatmap(  # noqa: PLR0913 (options of the user's, each given by its name)
    results: Any,
    *,
    model: str | None = None,
    metric: str = "ccc",
    probe: str = "ridge",
    dimensions: Sequence[str] | None = None,
    corpus: str | None = None,
    split: str | None = None,
    features: str | None = None,
    width: str | None = None,
    caption: bool = True,
    ax: Axes | Sequence[Axes] | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw layers by dimensions as a heat map with the scores written in it, one panel a model.

    Layer 0 is at the bottom. All panels share one colour scale. The best layer of each dimension is framed; where it
    was chosen on the development part, and another is best on the rows that are drawn, that one has a dashed frame.

    Parameters
    ----------
    results, metric, probe, dimensions, split, features, caption, figure
        As for :func:`plot_layers`.
    model, corpus : str, optional
        All, by default.
    width : str, optional
        ``column`` or ``page``; by default a column for one model.
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
    grid = curves_of_models(tables, model, corpus, metric, probe, dimensions, split, features)
    names = series_names([subject for subject, _ in grid])
    all_curves = [curve for _, curves in grid for curve in curves]
    metric = all_curves[0].metric
    columns = ordered_dimensions(curve.dimension for curve in all_curves)
    depths = [n_layers(tables.scores, subject) for subject, _ in grid]
    text = curve_caption(all_curves, tables.protocol, band="")
    choices = {id(curve): best_of_curve(tables.scores, curve) for curve in all_curves}
    text += f" {_frames_in_words(list(choices.values()), metric)}"
    values = np.concatenate([curve.values for curve in all_curves])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if high <= low:
        low, high = low - 0.05, high + 0.05
    total = inches(width, "column" if len(grid) == 1 else "page")
    per_row = min(len(grid), 3 if total == inches("page") else 1)
    with opened_sheet(
        ax, figure, width=total, panel_height=max(1.3, 0.145 * max(depths)), titles=names,
        caption=text, caption_inside=caption,
        n_rows=math.ceil(len(grid) / per_row), n_columns=per_row, n_panels=len(grid),
    ) as sheet:  # fmt: skip
        for axes, (_, curves), name, depth in zip(sheet.axes, grid, names, depths, strict=True):
            cells = _draw_heatmap(axes, curves, columns, depth, low, high)
            _frame_best(axes, {columns.index(curve.dimension): choices[id(curve)] for curve in curves})
            sheet.title(axes, name)
        for axes in sheet.axes[::per_row]:
            axes.set_ylabel("Layer", fontsize=FONT_SIZE)
        colour_bar(sheet, cells, sheet.axes, score_label(all_curves), pad=0.02, aspect=30)
    return sheet.axes


def _draw_heatmap(
    ax: Axes, curves: Sequence[Curve], columns: Sequence[str], depth: int, low: float, high: float
) -> QuadMesh:
    from matplotlib import colormaps

    metric = curves[0].metric
    lower = metric in LOWER_IS_BETTER
    # cividis: even steps look even, with or without colour vision, and in grey.
    colours = colormaps["cividis_r" if lower else "cividis"]
    values = np.full((depth, len(columns)), np.nan)
    for curve in curves:
        values[:, columns.index(curve.dimension)] = curve.values
    cells = colour_cells(ax, values, colours, low=low, high=high)
    for (layer, column), value in np.ndenumerate(values):
        text, colour = "–", "black"
        if math.isfinite(value):
            text, colour = written(value), readable_on(colours((value - low) / (high - low)))
        write_in_cell(ax, layer, column, text, colour)
    ax.set_xticks(range(len(columns)), [printable(column) for column in columns])
    step = 1 if depth <= 13 else 2
    ax.set_yticks(range(0, depth, step), [str(layer) for layer in range(0, depth, step)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.tick_params(labelsize=SMALL_FONT_SIZE, labelfontfamily="DejaVu Sans")
    return cells


def _frame_best(ax: Axes, choices: Mapping[int, Choice]) -> None:
    """Frame the layer that is reported in each column, and with dashes the one that is best with hindsight."""
    for column, choice in choices.items():
        if choice.best is None:
            continue
        frame_cell(ax, choice.best, column)
        if choice.differs:
            frame_cell(ax, choice.highest, column, dashed=True, inset=0.04)


def _frames_in_words(choices: Sequence[Choice], metric: str) -> str:
    best = "lowest" if metric in LOWER_IS_BETTER else "highest"
    chosen = printable(chosen_in_words((choice.chosen_on, choice.split) for choice in choices))
    said = f"Framed: {best} of each column, chosen on {chosen}."
    if any(choice.differs for choice in choices):
        said += f" Dashed, where it is another: {best} of these rows, with hindsight."
    return said
