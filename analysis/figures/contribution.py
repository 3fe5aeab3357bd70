"""What layer, acoustics and words explain of the labels: the parts of it over the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.probe.schema import ordered_dimensions

from ..measures.contribution import IN_STATES, R2, SHARED
from ..measures.partition import WHOLE
from ..tables import rows_of_subject
from .canvas import opened_sheet, plain_ticks
from .layer_axis import layer_ticks
from .legends import legend
from .style import (
    FONT_SIZE,
    FULL_WIDTH,
    NEUTRAL,
    OKABE_ITO,
    SMALL_FONT_SIZE,
    printable,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Filled is what the layer has, hatched what it lacks; blue is the words', orange the acoustics'.
_LOOKS: dict[str, dict[str, Any]] = {
    "unique layer": {"facecolor": OKABE_ITO["vermillion"]},
    "layer & text": {"facecolor": OKABE_ITO["blue"]},
    "layer & acoustics": {"facecolor": OKABE_ITO["orange"]},
    "layer & acoustics & text": {"facecolor": OKABE_ITO["black"]},
    "unique acoustics": {"facecolor": "white", "edgecolor": OKABE_ITO["orange"], "hatch": "/////"},
    "acoustics & text": {"facecolor": "white", "edgecolor": NEUTRAL, "hatch": "....."},
    "unique text": {"facecolor": "white", "edgecolor": OKABE_ITO["blue"], "hatch": "\\\\\\\\\\"},
}
_NAMES = {"unique layer": "only the layer", "unique acoustics": "only acoustics", "unique text": "only the words"}
_LINES = (SHARED, "beyond text")


def plot_contribution(
    answer: pd.DataFrame,
    *,
    model: str | None = None,
    corpus: str | None = None,
    caption: bool = True,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw the parts of the explained variance over the layers, and what words explain of a layer and of its knowledge.

    Parameters
    ----------
    answer : DataFrame
        Of ``emoprobe ask contribution``.
    model, corpus : str, optional
        Needed where the table holds several.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        Upper row: a panel a dimension, then the states. Lower row: the same dimensions, then the legend.

    Raises
    ------
    UserError
        If the table holds no such rows.
    """
    rows, model, corpus = rows_of_subject(answer, model, corpus, what="contributions")
    rows = rows[rows["quantity"] == R2]
    dimensions = ordered_dimensions(name for name in rows["dimension"] if name)
    columns = len(dimensions) + 1
    title = f"{printable(model)} on {printable(corpus)}"
    with opened_sheet(
        None, figure, width=FULL_WIDTH, panel_height=1.55, n_rows=2, n_columns=columns, titles=[title],
        caption=_caption(rows), caption_inside=caption, share_x=False,
    ) as sheet:  # fmt: skip
        upper, lower = sheet.axes[:columns], sheet.axes[columns:]
        for place, dimension in enumerate(dimensions):
            part = rows[rows["dimension"] == dimension]
            _stack(upper[place], part)
            _lines(lower[place], part, _LINES)
            upper[place].set_title(printable(dimension), loc="left")
            lower[place].set_xlabel("Layer", fontsize=FONT_SIZE)
        _lines(upper[-1], rows[rows["dimension"] == ""], tuple(IN_STATES.values()))
        upper[-1].set_title("the states themselves", loc="left")
        upper[0].set_ylabel("Explained variance (R²)", fontsize=FONT_SIZE)
        lower[0].set_ylabel("What the layer knows (R²)", fontsize=FONT_SIZE)
        for row in (upper[:-1], lower[:-1]):
            limits = [axes.get_ylim() for axes in row]
            for axes in row:
                axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        _key(lower[-1])
        sheet.figure.suptitle(title, x=0.06 / FULL_WIDTH, ha="left", fontweight="bold", fontsize=FONT_SIZE)
    return sheet.axes


def _stack(ax: Axes, rows: pd.DataFrame) -> None:
    """Parts above each other; those below 0 downwards from it."""
    wide = rows.pivot(index="layer", columns="part", values="value")
    layers = wide.index.to_numpy(int)
    tops = {True: np.zeros(len(layers)), False: np.zeros(len(layers))}
    for name in WHOLE:
        value = wide[name].to_numpy(float)
        for positive, top in tops.items():
            height = np.where((value > 0) == positive, value, 0.0)
            ax.bar(layers, height, bottom=top, width=0.86, linewidth=0.3, gid=f"part-{name}", **_LOOKS[name])
            tops[positive] = top + height
    ax.axhline(0, color="black", linewidth=0.5)
    _finish(ax, layers)


def _lines(ax: Axes, rows: pd.DataFrame, parts: tuple[str, ...]) -> None:
    for name, color in zip(parts, (OKABE_ITO["blue"], OKABE_ITO["orange"]), strict=True):
        part = rows[rows["part"] == name].sort_values("layer")
        layers, value = part["layer"].to_numpy(int), part["value"].to_numpy(float)
        low, high = part["low"].to_numpy(float), part["high"].to_numpy(float)
        solid = color == OKABE_ITO["blue"]
        ax.fill_between(layers, low, high, color=color, alpha=0.15, linewidth=0)
        ax.plot(layers, value, color=color, marker="s" if solid else "o", linestyle="-" if solid else "--", gid=name)
    ax.axhline(0, color="black", linewidth=0.5)
    # An interval may be wide; what is drawn is where the curves are.
    shown = rows[rows["part"].isin(parts)]["value"].to_numpy(float)
    ax.set_ylim(min(-0.08, shown.min() - 0.05), max(0.3, shown.max() + 0.15))
    _finish(ax, rows["layer"].to_numpy(int))


def _finish(ax: Axes, layers: np.ndarray) -> None:
    layer_ticks(ax, int(layers.max()))
    plain_ticks(ax)


def _key(ax: Axes) -> None:
    """What the fillings and the lines are, where a panel is free."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(linewidth=0.3, **look) for look in _LOOKS.values()]
    names = [_NAMES.get(name, name.replace("text", "words")) for name in _LOOKS]
    names[3] = "all three"
    handles.append(Line2D([], [], color=OKABE_ITO["blue"], marker="s"))
    handles.append(Line2D([], [], color=OKABE_ITO["orange"], marker="o", linestyle="--"))
    ax.set_axis_off()
    legend(
        ax.legend, handles, [*names, "the words", "beyond the words; acoustics"], loc="upper left",
        bbox_to_anchor=(-0.25, 1.12), borderaxespad=0, labelspacing=0.35, handlelength=1.6, fontsize=SMALL_FONT_SIZE,
    )  # fmt: skip


def _caption(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return (
        f"Above: parts of the variance of the labels on {printable(first['split'])} ({first['n']} utterances) that "
        f"layer, acoustics ({printable(first['acoustics'])}) and words explain; filled is what the layer has, hatched "
        "what it lacks; below 0 is no part. Right: share of the variance of the layer's states that the words "
        "(squares) and acoustics (dots) explain. Below: the layer's own R² in two, what the words explain as well "
        "(squares) and what it adds to them (dots). Bands: 95 % intervals, cut where they leave the panel."
    )
