"""Models of different depth on one axis of relative depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.probe.schema import ordered_dimensions

from ..curves import Curve
from ..tables import read_tables
from .captions import curve_caption, n_categories, series_names
from .style import (
    FONT_SIZE,
    inches,
    printable,
    series_look,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from .canvas import chance_lines, curves_of_models, draw_band, opened_sheet, plain_ticks, score_label
from .legends import legend_rows, model_legend


def plot_teacher_student(  # noqa: PLR0913 (options of the user's, each given by its name)
    results: Any,
    *,
    model: Sequence[str] | None = None,
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
    width : str, optional
        ``page``: panels side by side; ``column``: one below the other. By default a page for several panels.
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
    grid = curves_of_models(tables, model, corpus, metric, probe, dimensions, split, features)
    names = series_names([subject for subject, _ in grid])
    all_curves = [curve for _, curves in grid for curve in curves]
    panels = ordered_dimensions(curve.dimension for curve in all_curves)
    text = curve_caption(all_curves, tables.protocol, band="Bands")
    text += " Relative depth: 0 is the input of the first block, 1 the last layer."
    if all_curves[0].metric == "uar" and (number := n_categories(all_curves[0], tables.protocol)):
        text += f" Dashed: chance (1/{number})."
    total = inches(width, "column" if len(panels) == 1 else "page")
    rows, columns = (len(panels), 1) if total < inches("page") else (1, len(panels))
    with opened_sheet(
        ax, figure, width=total, panel_height=1.75 if rows == 1 else 1.3, n_rows=rows, n_columns=columns, titles=[""],
        caption=text, caption_inside=caption,
        legend_rows=legend_rows(names, total) / rows, share_y=True,
    ) as sheet:  # fmt: skip
        for axes, dimension in zip(sheet.axes, panels, strict=True):
            for position, (_, curves) in enumerate(grid):
                for curve in curves:
                    if curve.dimension == dimension:
                        _draw_depth(axes, curve, position)
            axes.set_xlim(-0.04, 1.04)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
            plain_ticks(axes)
            axes.set_title(printable(dimension), loc="left")
        for axes in sheet.axes:
            chance_lines(axes, all_curves, tables.protocol)
        for axes in sheet.axes[-columns:]:
            axes.set_xlabel("Relative depth", fontsize=FONT_SIZE)
        for axes in sheet.axes[::columns]:
            axes.set_ylabel(score_label(all_curves, sheet.panel_height), fontsize=FONT_SIZE)
        model_legend(sheet, names, total)
    return sheet.axes


def _draw_depth(ax: Axes, curve: Curve, position: int) -> None:
    look = series_look(position)
    depth = np.arange(len(curve.values)) / max(1, len(curve.values) - 1)
    draw_band(ax, depth, curve, look, alpha=0.1)
    for limits in (curve.low, curve.high):  # edges in the line style of the model, so that no two bands are mixed up
        ax.plot(depth, limits, color=look.color, linestyle=look.linestyle, linewidth=0.5, zorder=2)
    ax.plot(depth, curve.values, gid=f"depth-{position}", zorder=3 + 0.01 * position, **look.line())
