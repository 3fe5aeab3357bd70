"""What a model says of a long file over time: a curve of each dimension, a point a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS

from .canvas import opened_sheet, plain_ticks
from .files import write_drawings
from .style import FONT_SIZE, FULL_WIDTH, dimension_look, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Seconds from which on time is told in minutes.
_MINUTES_FROM = 300.0

#: Windows from which on their mean over a stretch is drawn upon them, and the share of the file that a stretch is.
_MANY, _STRETCH = 200, 1 / 60


def plot_timeline(
    windows: pd.DataFrame, *, title: str = "", caption: bool = True, figure: Figure | None = None
) -> np.ndarray:
    """Draw the predictions of the windows of one file, each at the middle of its window, a panel a dimension.

    Parameters
    ----------
    windows : DataFrame
        `start`, `end` in seconds, and a column for each of the dimensions that are predicted: rows of one file of
        what ``probe-predict --hop`` writes. A window without a prediction leaves a gap.
    title : str
        Such as the name of the file.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        One for each dimension that is predicted.

    Raises
    ------
    UserError
        If no window has a prediction.
    """
    windows = windows.sort_values("start", kind="stable")
    dimensions = [name for name in DIMENSIONS if name in windows and windows[name].notna().any()]
    if not dimensions:
        raise UserError("there is nothing to draw: no window has a prediction")
    middle = (windows["start"].to_numpy(float) + windows["end"].to_numpy(float)) / 2
    unit, name = (60.0, "min") if middle.max() >= _MINUTES_FROM else (1.0, "s")
    together = max(1, round(_STRETCH * len(windows))) if len(windows) >= _MANY else 1
    with opened_sheet(
        None, figure, width=FULL_WIDTH, panel_height=1.1, n_rows=len(dimensions), titles=[title],
        caption=_caption(windows, together), caption_inside=caption, share_x=True,
    ) as sheet:  # fmt: skip
        for ax, dimension in zip(sheet.axes, dimensions, strict=True):
            color = dimension_look(dimension).color
            values = windows[dimension]
            look = {"linewidth": 0.5, "alpha": 0.45} if together > 1 else {"linewidth": 1.0, "marker": "."}
            ax.plot(middle / unit, values, gid=f"timeline-{dimension}", color=color, **look)
            if together > 1:
                smooth = values.rolling(together, center=True, min_periods=1).mean().where(values.notna())
                ax.plot(middle / unit, smooth, gid=f"timeline-{dimension}-mean", color=color, linewidth=1.3)
            ax.set_ylabel(dimension, fontsize=FONT_SIZE)
            plain_ticks(ax)
        sheet.axes[-1].set_xlabel(f"Middle of the window ({name})", fontsize=FONT_SIZE)
        sheet.title(sheet.axes[0], title)
    return sheet.axes


def _caption(windows: pd.DataFrame, together: int) -> str:
    lengths = (windows["end"] - windows["start"]).to_numpy(float)
    steps = np.diff(windows["start"].to_numpy(float))
    every = f", one every {np.median(steps):g} s" if len(steps) else ""
    upon = "" if together == 1 else f" The bold line is the mean of {together} neighbours."
    return (
        f"Predictions of {len(windows)} windows of {np.median(lengths):g} s{every}, in the units of the labels that "
        "the model learned from. Neighbours share most of what they hear, so the curve is smoother than the voice."
        + upon
    )


def draw_timelines(
    table: pd.DataFrame, figures: str | Path, *, formats: Sequence[str] = ("png", "svg")
) -> tuple[list[Path], list[str]]:
    """Draw a curve of each file into a folder, as ``timeline_FILE``.

    Parameters
    ----------
    table : DataFrame
        What ``probe-predict --hop`` writes.
    figures : path
    formats : sequence of str
        Of "png", "svg", "pdf".

    Returns
    -------
    drawn : list of Path
    left_out : list of str
        Files of which no window has a prediction.
    """
    drawings, left_out = [], []
    for path, windows in table.groupby("path", sort=False):
        done = windows[(windows["status"] == "done").to_numpy() & windows["start"].notna().to_numpy()]
        if not len(done):
            left_out.append(str(path))
            continue
        name = Path(str(path)).name
        shown = windows[windows["start"].notna()]
        drawings.append((("timeline", name), _drawing(shown, printable(name))))
    return (write_drawings(drawings, Path(figures), formats) if drawings else []), left_out


def _drawing(windows: pd.DataFrame, title: str) -> Callable[..., np.ndarray]:
    return lambda figure: plot_timeline(windows, title=title, caption=False, figure=figure)
