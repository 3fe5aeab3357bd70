"""Where the opinions on relevance agree: one row an opinion, one column a layer, one panel a dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions

from ..measures.opinions import OPINIONS
from ..measures.relevance import agreement, starts
from ..tables import named_parts, only
from .canvas import opened_sheet, plain_ticks
from .cells import colour_bar, colour_cells, frame_cell, readable_on, write_in_cell, written
from .files import write_drawings
from .layer_axis import LAYER_LABEL
from .style import COLUMN_WIDTH, FONT_SIZE, FULL_WIDTH, printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure


_START = "•"
_MOST_IN_COLUMN = 8  # layers for whose numbers a column of a page has room


def plot_relevance(
    table: pd.DataFrame,
    *,
    model: str | None = None,
    corpus: str | None = None,
    dimensions: Sequence[str] | None = None,
    caption: bool = True,
    ax: Axes | Sequence[Axes] | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw what each opinion says of each layer, so that it shows where they agree.

    Each row is an opinion's own: its most relevant layer is a star, the others are percent of that; what is negative
    counts as 0. A hollow star is one whose interval includes 0, a dot the layer that a cumulative opinion starts with,
    which is compared with nothing. The number above each panel is Kendall's tau between two opinions, the mean over
    all pairs.

    Parameters
    ----------
    table : DataFrame
        Of :func:`emoprobe.analysis.relevance_opinions`.
    model, corpus : str, optional
        Needed where the table holds several.
    dimensions : sequence of str, optional
        All in the table, by default.
    caption : bool
        Whether to say below the axes what is shown.
    ax : matplotlib Axes or a sequence of them, optional
        One a dimension; by default one below the other in a figure of its own, one column wide (a page for more than 8
        layers).
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        One a dimension.

    Raises
    ------
    UserError
        If the table holds no such rows, or several models and none is named.
    """
    if not len(table):
        raise UserError("there is nothing to draw: the table of opinions is empty")
    model = only(table, "model", model)
    rows = table[table["model"] == model]
    corpus = only(rows, "corpus", corpus)
    rows = rows[rows["corpus"] == corpus]
    features = only(rows, "features", None)
    wanted = ordered_dimensions(rows["dimension"]) if dimensions is None else list(dimensions)
    rows = rows[rows["dimension"].isin(wanted)]
    if not len(rows):
        raise UserError(f"the table holds no opinion on {', '.join(wanted)} of {model}")
    names = [name for name in OPINIONS if name in set(rows["opinion"])]
    depth = int(rows["layer"].max()) + 1
    text = _caption(rows, features)
    compared = agreement(rows)
    title = f"{printable(model)} on {printable(corpus)}"
    with opened_sheet(
        ax, figure, width=COLUMN_WIDTH if depth <= _MOST_IN_COLUMN else FULL_WIDTH, panel_height=0.165 * len(names),
        n_rows=len(wanted), titles=[title], caption=text, caption_inside=caption, share_x=True,
    ) as sheet:  # fmt: skip
        for axes, dimension in zip(sheet.axes, wanted, strict=True):
            part = rows[rows["dimension"] == dimension]
            part = part.assign(start=starts(part)).set_index(["opinion", "layer"])
            cells = _draw_opinions(axes, part, names, depth)
            tau = compared.loc[compared["dimension"] == dimension, "kendall"].mean()
            agreed = f" (mean τ {written(tau)})" if math.isfinite(tau) else ""
            heading = f"{printable(dimension)}{agreed}"
            sheet.title(axes, f"{title}: {heading}" if len(wanted) == 1 else heading)
        if len(wanted) > 1 and sheet.own:
            sheet.figure.suptitle(title, fontsize=FONT_SIZE, weight="bold")
        sheet.axes[-1].set_xlabel(LAYER_LABEL, fontsize=FONT_SIZE)
        colour_bar(sheet, cells, sheet.axes, "% of the best layer", pad=0.02, aspect=25)
    return sheet.axes


def _draw_opinions(ax: Axes, part: pd.DataFrame, names: Sequence[str], depth: int) -> QuadMesh:
    from matplotlib import colormaps

    colours = colormaps["cividis"]
    shares = np.full((len(names), depth), np.nan)
    for row, name in enumerate(names):
        if name not in part.index.get_level_values(0):
            continue
        of_name = part.loc[name].reindex(range(depth))
        start = of_name["start"].eq(True).to_numpy(bool)
        values = np.where(start, np.nan, of_name["relevance"].to_numpy(float))
        low = of_name["low"].to_numpy(float)
        for layer in np.flatnonzero(start).tolist():
            write_in_cell(ax, row, layer, _START, "black")
        if not (np.isfinite(values).any() and np.nanmax(values) > 0):  # none is relevant: all count as 0, none is best
            shares[row] = np.where(np.isfinite(values), 0.0, np.nan)
            continue
        best = int(np.nanargmax(values))
        shares[row] = np.maximum(values, 0) / values[best]
        frame_cell(ax, row, best, dashed=bool(low[best] <= 0), inset=0.04)
    cells = colour_cells(ax, 100 * shares, colours, low=0, high=100, line=0.3)
    for (row, layer), share in np.ndenumerate(shares):
        if math.isfinite(share):
            # Below the best, even where it rounds to as much.
            text = "100" if share == 1 else str(min(round(100 * share), 99))
            write_in_cell(ax, row, layer, text, readable_on(colours(share)))
    ax.invert_yaxis()
    ax.set_yticks(range(len(names)), [OPINIONS[name].label for name in names])
    ax.set_xticks(range(0, depth, 2))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    plain_ticks(ax)
    ax.tick_params(length=0)
    return cells


def _caption(rows: pd.DataFrame, features: str) -> str:
    low, high = int(rows["n"].min()), int(rows["n"].max())
    count = f"{low}" if low == high else f"{low} to {high}"
    splits = ", ".join(printable(name) for name in dict.fromkeys(rows["split"]))
    text = (
        f"Relevance of pooled states ({printable(features)}), scored by CCC on {splits} ({count} utterances). "
        "Framed: the row's most relevant layer; numbers: percent of it, negative as 0."
    )
    first = starts(rows)
    others = rows[~first]
    best = others.loc[others.groupby(["dimension", "opinion"])["relevance"].idxmax()]
    if ((best["low"] <= 0) & (best["relevance"] > 0)).any():
        text += " Dashed frame: its 95 % interval, around the fixed fits, includes 0."
    return f"{text} {_START}: where a cumulative opinion starts." if first.any() else text


def draw_relevance(table: pd.DataFrame, folder: str | Path, *, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw the opinions on each model of a table, ``relevance_MODEL``, and write the figures into a folder.

    Parameters
    ----------
    table : DataFrame
    folder : path
        Made where it is absent; files of the same name are replaced, whole or not at all.
    formats : sequence of str
        Of "png", "svg", "pdf".

    Returns
    -------
    list of Path
    """
    several = table["corpus"].nunique() > 1
    drawings = [
        (
            ("relevance", model, *((corpus,) if several else ()), *(() if features == "mean" else (features,))),
            partial(plot_relevance, part, model=model, corpus=corpus),
        )
        for (model, corpus, features), part in named_parts(table, "model", "corpus", "features")
    ]
    return write_drawings(drawings, Path(folder), formats)
