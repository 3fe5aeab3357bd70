"""Legends: above the axes, where they cover nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .canvas import Sheet, clipped, title_lines
from .style import FONT_SIZE, SMALL_FONT_SIZE, dimension_look, printable, series_look, text_width, wrap

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend


def dimension_legend(ax: Axes, dimensions: Sequence[str], others: dict[str, Any] | None = None) -> int:
    """A legend above the axes, where it covers nothing; returns its rows."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **dimension_look(dimension).line()) for dimension in dimensions]
    handles += (others or {}).values()
    columns = min(len(handles), 3)
    legend(
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


def titled_legend(sheet: Sheet, dimensions: Sequence[str], title: str) -> None:
    """The title of a whole figure, and under it a legend of its dimensions; of the caller's Axes the legend alone."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **dimension_look(dimension).line()) for dimension in dimensions]
    legend_above(sheet, dict(zip(map(printable, dimensions), handles, strict=True)), title)


def legend_above(sheet: Sheet, keys: Mapping[str, Any], title: str) -> None:
    """The title of a whole figure, and under it a legend, by its names; of the caller's Axes the legend alone."""
    names, handles = list(keys), list(keys.values())
    if not sheet.own:
        legend(sheet.axes[0].legend, handles, names, loc="best")
        return
    legend(
        sheet.figure.legend, handles, names, loc="outside upper left", borderaxespad=0.2,
        ncols=legend_columns(names, sheet.width), title="\n".join(title_lines(title, sheet.width)), alignment="left",
        title_fontproperties={"weight": "bold", "size": FONT_SIZE},
    )  # fmt: skip


def legend(make: Callable[..., Legend], handles: Sequence[Artist], names: Sequence[str], **settings: Any) -> Legend:
    """A legend made by `make`, of Axes or of a figure, whose names are drawn whatever they begin with."""
    legend = make(handles, ["x"] * len(handles), **settings)
    # Set afterwards: older releases of matplotlib leave out a name that begins with an underscore.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
    return legend


def legend_rows(names: Sequence[str], width: float) -> int:
    """Rows of a legend that is `width` inches wide."""
    return math.ceil(len(names) / legend_columns(names, width))


def legend_columns(names: Sequence[str], width: float) -> int:
    """As many columns as the longest name leaves room for."""
    widest = max(text_width(clipped(name), SMALL_FONT_SIZE) for name in names) + 0.45
    return max(1, min(len(names), int((width - 0.1) // widest)))


def model_legend(sheet: Sheet, names: Sequence[str], width: float) -> None:
    """A legend of series by their place: above all panels of a figure of its own, else within the first."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **series_look(position).line()) for position in range(len(names))]
    labels = ["\n".join(wrap(clipped(name), 0.97 * width - 0.6, SMALL_FONT_SIZE)) for name in names]
    if sheet.own:
        columns = legend_columns(names, width)
        legend(sheet.figure.legend, handles, labels, loc="outside upper left", ncols=columns, borderaxespad=0.2)
    else:
        legend(sheet.axes[0].legend, handles, labels, loc="best")
