"""Recall of each category by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..curves import n_layers
from ..measures.categories import Categories
from .canvas import opened_sheet, plain_ticks
from .captions import curve_caption, subject_name
from .confusion import chosen_caption, short
from .layer_axis import layer_label, layer_ticks
from .legends import legend, legend_columns, legend_rows
from .style import FONT_SIZE, NEUTRAL, inches, printable, series_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_recalls(
    results: Any,
    *,
    model: str | None = None,
    corpus: str | None = None,
    probe: str = "logistic",
    split: str | None = None,
    features: str | None = None,
    width: str | None = None,
    caption: bool = True,
    ax: Axes | None = None,
    figure: Figure | None = None,
) -> Axes:
    """Draw the share of each category that each layer finds, one line a category, and their mean.

    Intervals stand in the results (`recalls.csv`): so many bands would hide each other.

    Parameters
    ----------
    results, model, corpus, split, features, caption, ax, figure
        As for :func:`plot_layers`.
    probe : str
        Of categories.
    width : str, optional
        ``column`` (the default) or ``page``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    UserError
        If the results hold no recalls, or several models and none is named.
    """
    run = Categories.of(results, model=model, corpus=corpus, probe=probe, split=split, features=features)
    table = run.recalls()
    depth = n_layers(run.results.scores, run.subject)
    wide = table.pivot(index="layer", columns="category", values="recall").reindex(range(depth))
    wide = wide.loc[:, wide.notna().any()]
    n = table.drop_duplicates("category").set_index("category")["n"]
    names = [f"{short(name)} ({n[name]})" for name in wide.columns]
    title = subject_name(run.subject)
    text = curve_caption([run.curve], run.results.protocol, band="")
    text += " Recall of each category; in brackets its scored utterances. Grey: their mean, UAR."
    text += f" Dotted: the layer that is reported; {chosen_caption(run.choice)}"
    names.append("mean (UAR)")
    total = inches(width, "column")
    with opened_sheet(
        ax, figure, width=total, panel_height=1.9, titles=[title],
        caption=text, caption_inside=caption,
        legend_rows=legend_rows(names, total),
    ) as sheet:  # fmt: skip
        axes = sheet.axes[0]
        layers = np.arange(depth)
        handles = [
            axes.plot(layers, wide[name], gid=f"recall-{name}", zorder=3, **series_look(position).line())[0]
            for position, name in enumerate(wide.columns)
        ]
        style = {"color": NEUTRAL, "linewidth": 3.0, "alpha": 0.45, "zorder": 2, "gid": "recall-mean"}
        handles += axes.plot(layers, run.curve.values, **style)
        if run.choice.best is not None:
            dotted = {"color": NEUTRAL, "linewidth": 0.9, "linestyle": (0, (1, 2)), "zorder": 0}
            axes.axvline(run.choice.best, gid="best", **dotted)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlim(-0.4, depth - 0.6)
        inside = f" ({printable(run.curve.split)})" if run.curve.split else ""
        axes.set_ylabel(f"Recall{inside}", fontsize=FONT_SIZE)
        layer_ticks(axes, depth - 1)
        layer_label(axes, depth - 1)
        plain_ticks(axes)
        legend(
            axes.legend,
            handles,
            names,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=legend_columns(names, sheet.panel_width),
            borderaxespad=0.1,
            borderpad=0.1,
        )
        sheet.title(axes, title, legend_rows=legend_rows(names, sheet.panel_width))
    return axes
