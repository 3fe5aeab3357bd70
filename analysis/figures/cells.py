"""Maps of cells: colours, the numbers in them, and the bar that tells what a colour means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import Sheet, plain_ticks
from .style import FONT_SIZE, SMALL_FONT_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Colormap


def colour_cells(
    ax: Axes, values: np.ndarray, colours: Colormap, *, low: float, high: float, line: float = 0.4
) -> QuadMesh:
    """Fill a cell for each of `values`, the first row at the bottom; grey where there is none.

    Parameters
    ----------
    ax : matplotlib Axes
    values : ndarray, shape (rows, columns)
    colours : matplotlib Colormap
    low, high : float
        Values of the first and the last colour.
    line : float
        Width of the white lines between cells, in points.
    """
    ax.set_facecolor("#E4E4E4")
    rows, columns = (np.arange(size + 1) - 0.5 for size in values.shape)
    return ax.pcolormesh(
        columns, rows, np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high, edgecolors="white",
        linewidth=line,
    )  # fmt: skip


def write_in_cell(ax: Axes, row: int, column: int, text: str, colour: str) -> None:
    """Write `text` in the middle of a cell."""
    place: dict[str, Any] = {"ha": "center", "va": "center_baseline", "clip_on": True}
    ax.text(column, row, text, color=colour, fontsize=SMALL_FONT_SIZE, **place)


def frame_cell(ax: Axes, row: int, column: int, *, dashed: bool = False, inset: float = 0.0) -> None:
    """Frame a cell, white below black: one of them stands out from any colour."""
    from matplotlib.patches import Rectangle

    corner, size = (column - 0.5 + inset, row - 0.5 + inset), 1 - 2 * inset
    for edge, linewidth in (("white", 3.0), ("black", 1.3)):
        style: Any = (0, (2, 1.5)) if dashed and edge == "black" else "-"
        frame: dict[str, Any] = {"edgecolor": edge, "linewidth": linewidth, "linestyle": style, "zorder": 3}
        ax.add_patch(Rectangle(corner, size, size, facecolor="none", clip_on=False, **frame))


def written(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number as figures write it: with a true minus, and no sign before zero; a plus where it is `signed`.

    Examples
    --------
    >>> written(-0.004), written(-0.25), written(0.25, signed=True)
    ('0.00', '−0.25', '+0.25')
    """
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def readable_on(colour: Sequence[float]) -> str:
    """Black or white, whichever has the higher contrast on `colour` (WCAG 2, relative luminance)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def colour_bar(sheet: Sheet, cells: QuadMesh, axes: Iterable[Axes], label: str, *, pad: float, aspect: float) -> None:
    """Say beside `axes` what the colours of `cells` mean."""
    bar = sheet.figure.colorbar(cells, ax=list(axes), fraction=0.06, pad=pad, aspect=aspect)
    bar.set_label(label, fontsize=FONT_SIZE)
    bar.outline.set_linewidth(0.5)
    plain_ticks(bar.ax)
