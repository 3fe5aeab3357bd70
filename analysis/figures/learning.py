"""How a training went: its loss, and the CCC on the development part, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions

from .canvas import opened_sheet, plain_ticks
from .files import write_drawings
from .legends import dimension_legend
from .style import FONT_SIZE, FULL_WIDTH, NEUTRAL, dimension_look, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Table in the folder of a run of ``probe-train``.
TABLE = "learning.csv"
_SCORE = "ccc_"


def plot_learning(
    curves: pd.DataFrame, *, title: str = "", caption: bool = True, figure: Figure | None = None
) -> np.ndarray:
    """Draw the loss of each training, and its development CCC of each dimension.

    Parameters
    ----------
    curves : DataFrame
        `training`, `epoch`, `loss`, and ``ccc_DIMENSION``: learning.csv of a run of ``probe-train``.
    title : str
        Such as the name of the run.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        Of the loss, and of the CCC.

    Raises
    ------
    UserError
        If the table holds no epoch.
    """
    if not len(curves):
        raise UserError("there is nothing to draw: no epoch has been logged yet")
    dimensions = ordered_dimensions(name.removeprefix(_SCORE) for name in map(str, curves) if name.startswith(_SCORE))
    trainings = [part.sort_values("epoch") for _, part in curves.groupby("training", sort=False)]
    text = _caption(len(trainings))
    with opened_sheet(
        None, figure, width=FULL_WIDTH, panel_height=1.9, n_columns=2, titles=[title], caption=text,
        caption_inside=caption, legend_rows=1,
    ) as sheet:  # fmt: skip
        for training in trainings:
            _line(sheet.axes[0], training, "loss", color=NEUTRAL, marker=".", linewidth=1.0)
            for dimension in dimensions:
                _line(sheet.axes[1], training, f"{_SCORE}{dimension}", **dimension_look(dimension).line())
        for ax, label in zip(sheet.axes, ("Training loss, sum of 1 − CCC", "Development CCC"), strict=True):
            ax.set_xlabel("Epoch", fontsize=FONT_SIZE)
            ax.set_ylabel(label, fontsize=FONT_SIZE)
            ax.xaxis.get_major_locator().set_params(integer=True)
            plain_ticks(ax)
        rows = dimension_legend(sheet.axes[1], dimensions)
        sheet.title(sheet.axes[0], title, legend_rows=rows)
    return sheet.axes


def _line(ax: Axes, training: pd.DataFrame, column: str, **look: Any) -> None:
    there = training[training[column].notna()]
    ax.plot(there["epoch"], there[column], gid=f"learning-{column}", **look)


def _caption(count: int) -> str:
    each = "One training." if count == 1 else f"{count} trainings (seeds and folds), a line each."
    return (
        f"{each} Left: loss on the training part, the mean over each epoch. Right: CCC on the development part at the "
        "end of each epoch; the weights that are kept are those of the epoch of the highest mean."
    )


def draw_learning_curves(
    run: str | Path, figures: str | Path, *, formats: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Draw the learning curves of a run into a folder, as ``learning_RUN``.

    Parameters
    ----------
    run : path
        Folder that ``probe-train`` wrote.
    figures : path
        Where to.
    formats : sequence of str
        Of "png", "svg", "pdf".

    Returns
    -------
    list of Path
        The files; none where the folder holds no table yet.
    """
    run = Path(run)
    if not (run / TABLE).is_file():
        return []
    curves = pd.read_csv(run / TABLE)
    name = run.resolve().name
    return write_drawings(
        [
            (
                ("learning", name),
                lambda figure: plot_learning(curves, title=printable(name), caption=False, figure=figure),
            )
        ],
        Path(figures),
        formats,
    )
