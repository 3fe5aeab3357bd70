"""What the errors of the ratings allow: the layers as a share of the noise ceiling, and the ceiling of more ratings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emoprobe.probe.schema import ordered_dimensions
from emoprobe.probe.selecting import reported_split

from ..measures.reliability import spearman_brown
from ..tables import ordered_features, rows_of_subject
from .canvas import opened_sheet, plain_ticks
from .layer_axis import LAYER_LABEL, layer_ticks
from .legends import dimension_legend
from .style import COLUMN_WIDTH, FONT_SIZE, FULL_WIDTH, NEUTRAL, dimension_look, printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_ceiling(
    answer: pd.DataFrame,
    *,
    model: str | None = None,
    corpus: str | None = None,
    split: str | None = None,
    caption: bool = True,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw each layer's CCC as a share of its noise ceiling, and the ceiling of more or fewer ratings.

    Parameters
    ----------
    answer : DataFrame
        Of ``emoprobe ask ceiling``.
    model, corpus : str, optional
        Needed where the table holds several.
    split : str, optional
        The part; by default the one that is reported.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        Of the layers, where there are scores, and of the ratings.

    Raises
    ------
    UserError
        If the table holds no such rows.
    """
    rows, model, corpus = rows_of_subject(answer, model, corpus, what="ceilings")
    split = reported_split(rows["split"]) if split is None else split
    rows = rows[rows["split"] == split]
    dimensions = ordered_dimensions(rows["dimension"])
    layers = rows[rows["layer"].ge(0).fillna(False) & rows["share"].notna()]
    layers = layers[layers["features"] == next(iter(ordered_features(layers["features"])), "")]
    panels = 2 if len(layers) else 1
    title = f"{printable(model)} on {printable(corpus)}"
    text = _caption(rows, layers, split)
    with opened_sheet(
        None, figure, width=FULL_WIDTH if panels == 2 else COLUMN_WIDTH, panel_height=1.9, n_columns=panels,
        titles=[title], caption=text, caption_inside=caption, legend_rows=1,
    ) as sheet:  # fmt: skip
        if panels == 2:
            _draw_shares(sheet.axes[0], layers, dimensions)
        _draw_ratings(sheet.axes[-1], rows[rows["probe"] == ""], dimensions)
        sheet.title(sheet.axes[0], title, legend_rows=dimension_legend(sheet.axes[0], dimensions))
    return sheet.axes


def _draw_shares(ax: Axes, layers: pd.DataFrame, dimensions: list[str]) -> None:
    for dimension in dimensions:
        part = layers[layers["dimension"] == dimension].sort_values("layer")
        look, x = dimension_look(dimension), part["layer"].to_numpy(int)
        low, high = part["share_low"].to_numpy(float), part["share_high"].to_numpy(float)
        ax.fill_between(x, low, high, color=look.color, alpha=0.15, linewidth=0)
        ax.plot(x, part["share"].to_numpy(float), gid=f"share-{dimension}", **look.line())
    ax.axhline(1, color=NEUTRAL, linewidth=0.8, linestyle=(0, (1, 1.5)))
    layer_ticks(ax, int(layers["layer"].max()))
    ax.set_xlabel(LAYER_LABEL, fontsize=FONT_SIZE)
    ax.set_ylabel("CCC over its noise ceiling", fontsize=FONT_SIZE)
    plain_ticks(ax)


def _draw_ratings(ax: Axes, own: pd.DataFrame, dimensions: list[str]) -> None:
    most = max(20.0, 2 * float(own["raters"].max()))
    raters = np.geomspace(1, most, 60)
    for place, dimension in enumerate(dimensions):
        row, look = own[own["dimension"] == dimension].iloc[0], dimension_look(dimension)
        beside = float(row["raters"]) * 1.04**place  # so that no interval hides another
        reliability = np.maximum(spearman_brown(row["single"], raters), 0)
        ax.plot(raters, np.sqrt(reliability), color=look.color, linestyle=look.linestyle, linewidth=1.0)
        ax.vlines(beside, row["ceiling_low"], row["ceiling_high"], color=look.color, linewidth=1.2)
        ax.plot([beside], [row["ceiling"]], linestyle="none", gid=f"ceiling-{dimension}", **look.points())
    ax.set_xscale("log")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if tick <= most]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_ylim(None, 1.0)
    ax.set_xlabel("Ratings of an utterance", fontsize=FONT_SIZE)
    ax.set_ylabel("Noise ceiling (CCC, Pearson r)", fontsize=FONT_SIZE)
    plain_ticks(ax)


def _caption(rows: pd.DataFrame, layers: pd.DataFrame, split: str) -> str:
    own = rows[rows["probe"] == ""]
    where = f" on {printable(split)}" if split else ""
    text = (
        f"Noise ceiling{where} ({own['n'].min()} utterances of {own['units'].min()} "
        f"{own['unit'].iloc[0]}s): the highest CCC to be expected of any model. "
    )
    if len(layers):
        text += "Left: share of it that each layer reaches, bands: 95 % intervals. Right: "
    return f"{text}the ceiling of this corpus with its interval, and by Spearman and Brown of fewer or more ratings."
