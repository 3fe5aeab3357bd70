"""What is left of each thing in each layer where another is erased."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..measures.erasure import surely_lost
from ..tables import rows_of_subject
from .canvas import opened_sheet, plain_ticks
from .layer_axis import LAYER_LABEL, layer_ticks
from .legends import legend, legend_columns, legend_rows
from .style import FONT_SIZE, FULL_WIDTH, NEUTRAL, LineLook, printable, series_look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Where each erasure has its colour, whatever else is drawn.
_PLACES = {name: place for place, name in enumerate(("speaker", "words", "arousal", "valence", "dominance", "gender"))}


def plot_erasure(
    answer: pd.DataFrame,
    *,
    model: str | None = None,
    corpus: str | None = None,
    caption: bool = True,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw CCC of each thing that is read over the layers: before anything is erased, and after each erasure.

    Parameters
    ----------
    answer : DataFrame
        Of ``emoprobe ask erasure``.
    model, corpus : str, optional
        Needed where the table holds several.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        A panel for each thing that is read.

    Raises
    ------
    UserError
        If the table holds no such rows.
    """
    rows, model, corpus = rows_of_subject(answer, model, corpus, what="erasures")
    read, erased = (list(dict.fromkeys(rows[column])) for column in ("read", "erased"))
    columns = min(3, len(read))
    title = f"{printable(model)} on {printable(corpus)}"
    names = ["nothing erased", *(f"without {name}" for name in erased)]
    with opened_sheet(
        None, figure, width=FULL_WIDTH, panel_height=1.6, n_columns=columns, n_rows=-(-len(read) // columns),
        n_panels=len(read), titles=[title], caption=_caption(rows), caption_inside=caption,
        legend_rows=1 + legend_rows(names, FULL_WIDTH), share_x=True,
    ) as sheet:  # fmt: skip
        for axes, name in zip(sheet.axes, read, strict=True):
            _draw(axes, rows[rows["read"] == name], erased)
            axes.set_title(printable(name), loc="left")
            axes.set_xlabel(LAYER_LABEL, fontsize=FONT_SIZE)
            axes.tick_params(labelbottom=True)
        for axes in sheet.axes[::columns]:
            axes.set_ylabel("CCC", fontsize=FONT_SIZE)
        handles = [*sheet.axes[0].get_lines()[:1], *(_handle(name) for name in erased)]
        legend(
            sheet.figure.legend, handles, names, loc="outside upper left", ncols=legend_columns(names, FULL_WIDTH),
            borderaxespad=0.2, title=title, alignment="left",
        )  # fmt: skip
    return sheet.axes


def _look(name: str) -> LineLook:
    return series_look(_PLACES.get(name, len(_PLACES)))


def _handle(name: str) -> object:
    from matplotlib.lines import Line2D

    return Line2D([], [], **_look(name).line())


def _draw(ax: Axes, rows: pd.DataFrame, erased: list[str]) -> None:
    first = rows[rows["erased"] == rows["erased"].iloc[0]].sort_values("layer")
    layers = first["layer"].to_numpy(int)
    ax.plot(layers, first["before"].to_numpy(float), color=NEUTRAL, linewidth=3.5, alpha=0.45, gid="before")
    for name in erased:
        curve = rows[(rows["erased"] == name) & (rows["read"] != name)].sort_values("layer")
        if not len(curve):
            continue
        look, after = _look(name), curve["after"].to_numpy(float)
        sure = surely_lost(curve).to_numpy(bool)
        ax.plot(layers, after, color=look.color, linestyle=look.linestyle, gid=f"after-{name}")
        for which, face in ((sure, look.color), (~sure, "white")):
            style = look.points() | {"markerfacecolor": face}
            ax.plot(layers[which], after[which], linestyle="none", markersize=3.5, **style)
    ax.axhline(0, color=NEUTRAL, linewidth=0.5, zorder=0)
    layer_ticks(ax, int(layers.max()))
    plain_ticks(ax)


def _caption(rows: pd.DataFrame) -> str:
    split = printable(rows["split"].iloc[0])
    units, n = int(rows["units"].max()), int(rows["n"].max())
    ranks = ", ".join(
        f"{printable(name)} {rank}" for name, rank in rows.groupby("erased", sort=False)["rank"].max().items()
    )
    return (
        f"CCC of ridge probes on {split} ({n} utterances, {units} speakers or groups of them) after what is linearly "
        f"readable of one thing is erased from each layer, fitted on training rows (directions: {ranks}). Filled: more "
        "is lost than by erasing it with its values permuted, corrected over the layers. Linear erasure leaves what a "
        "nonlinear reader may find, and takes with it whatever correlates with what is erased."
    )
