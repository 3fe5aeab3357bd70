"""Which categories are taken for which, at the layer that is reported."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.probe.selecting import Choice, chosen_in_words

from ..measures.categories import Categories, Confusion
from .canvas import opened_sheet
from .captions import curve_caption, subject_name
from .cells import colour_bar, colour_cells, readable_on, write_in_cell
from .style import FONT_SIZE, SMALL_FONT_SIZE, inches, printable, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

_LONGEST = 16  # characters of a category beside an axis; more would leave no room for the matrix
_BAR = 0.55  # width of the colour bar with its numbers and its name, in inches
_MOST_WRITTEN = 14  # categories up to which a cell has room for its number


def plot_confusion(  # noqa: PLR0913 (options of the user's, each given by its name)
    results: Any,
    *,
    layer: int | None = None,
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
    """Draw the confusion matrix of one layer: true categories in rows, answers in columns, in per cent of the row.

    Parameters
    ----------
    results, model, corpus, split, features, caption, ax, figure
        As for :func:`plot_layers`.
    layer : int, optional
        By default the one that is reported.
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
        If the results hold no predictions of categories, or several models and none is named.
    """
    run = Categories.of(results, model=model, corpus=corpus, probe=probe, split=split, features=features)
    matrix = run.confusion(layer)
    title = f"{subject_name(run.subject)}, layer {matrix.layer}"
    chosen = f" Layer {matrix.layer}: {chosen_caption(run.choice)}" if layer is None else ""
    text = curve_caption([run.curve], run.results.protocol, band="")
    text += f" In per cent of the true category, in brackets its utterances.{chosen}"
    names = [short(name) for name in matrix.names]
    upright = max(text_width(name, SMALL_FONT_SIZE) for name in names)
    with opened_sheet(
        ax, figure, width=inches(width, "column"), panel_height=max(1.2, 0.2 * len(names)), titles=[title],
        caption=text, caption_inside=caption,
        below=upright,
    ) as sheet:  # fmt: skip
        axes = sheet.axes[0]
        cells = _draw(axes, matrix)
        counts = matrix.counts.sum(1)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), [f"{name} ({n})" for name, n in zip(names, counts, strict=True)])
        axes.tick_params(length=0, labelsize=SMALL_FONT_SIZE, labelfontfamily="DejaVu Sans")
        axes.set_xlabel("Answer", fontsize=FONT_SIZE)
        axes.set_ylabel("True category", fontsize=FONT_SIZE)
        colour_bar(sheet, cells, [axes], "% of the true category", pad=0.03, aspect=25)
        # Over the matrix alone: beside it stand its names and its colour bar.
        beside = max(text_width(label.get_text(), SMALL_FONT_SIZE) for label in axes.get_yticklabels())
        replace(sheet, panel_width=sheet.panel_width - beside - _BAR).title(axes, title)
    return axes


def _draw(axes: Axes, matrix: Confusion) -> QuadMesh:
    from matplotlib import colormaps

    # cividis: even steps look even, with or without colour vision, and in grey.
    colours = colormaps["cividis"]
    shares, size = 100 * matrix.shares, len(matrix.names)
    cells = colour_cells(axes, shares, colours, low=0, high=100)
    cells.set_gid("confusion")
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    if size <= _MOST_WRITTEN:
        for row, column in np.ndindex(size, size):
            value = shares[row, column]
            text, colour = "–", "black"
            if math.isfinite(value):
                text, colour = f"{value:.0f}", readable_on(colours(float(value / 100)))
            write_in_cell(axes, row, column, text, colour)
    return cells


def short(name: str) -> str:
    """A category as axes and legends have it."""
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 7]}…{name[-6:]}"  # numbered names differ at the end


def chosen_caption(choice: Choice) -> str:
    """How the layer that is reported was chosen."""
    chosen = f"highest UAR, chosen on {printable(chosen_in_words([(choice.chosen_on, choice.split)]))}."
    if choice.differs:
        chosen += f" On these rows layer {choice.highest} is highest, with hindsight."
    return chosen
