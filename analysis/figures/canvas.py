"""The sheet that every figure is drawn on: sizes, title, caption, legends, ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions
from emoprobe.probe.selecting import reported_split

from ..curves import Curve, layer_curve
from ..tables import CATEGORY_METRICS, METRICS, Subject, subjects
from .captions import keep_caption, n_categories
from .style import (
    FONT_SIZE,
    NEUTRAL,
    SMALL_FONT_SIZE,
    LineLook,
    printable,
    publication_style,
    text_width,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from emoprobe.probe.results import Results


LINE_HEIGHT = SMALL_FONT_SIZE * 1.25 / 72  # height of a line of small text, in inches
MAX_NAME = 160  # characters of a name in a title; more would leave no room for the plot


def of_categories(dimensions: Iterable[str], metric: str, probe: str) -> tuple[str, str]:
    """Metric and probe, the defaults taken for those of categories where no other dimension is meant."""
    if set(dimensions) == {"emotion"} and metric == "ccc":
        metric = "uar"
    if metric in CATEGORY_METRICS and probe == "ridge":
        probe = "logistic"
    return metric, probe


def draw_band(ax: Axes, places: np.ndarray, curve: Curve, look: LineLook, *, alpha: float) -> None:
    """The interval as a band; as a bar where the layers on both sides have none."""
    shown = np.isfinite(curve.low) & np.isfinite(curve.high)
    ax.fill_between(
        places, curve.low, curve.high, where=shown, color=look.color, alpha=alpha, linewidth=0, zorder=1, gid="band"
    )
    beside = np.pad(shown, 1)
    alone = shown & ~beside[:-2] & ~beside[2:]
    if alone.any():
        ax.vlines(places[alone], curve.low[alone], curve.high[alone], color=look.color, linewidth=0.8, zorder=2)


def plain_ticks(ax: Axes) -> None:
    """Fix what ticks made later, outside the house style, would take from the global settings."""
    ax.tick_params(labelsize=SMALL_FONT_SIZE, labelfontfamily="DejaVu Sans", width=0.6, length=2.5)


def score_label(curves: Sequence[Curve], height: float = math.inf) -> str:
    """Axis label of a score, in one line: its name, and where it was measured if `height` inches have room for that.

    What the band is, the caption says.
    """
    splits = ", ".join(dict.fromkeys(printable(curve.split) for curve in curves if curve.split))
    metric = METRICS[curves[0].metric] + (" in label units" if curves[0].metric == "rmse" else "")
    label = f"{metric} ({splits})" if splits else metric
    return label if text_width(label, FONT_SIZE) <= height else metric


def chance_lines(ax: Axes, curves: Sequence[Curve], protocol: Sequence[dict]) -> dict[str, Any]:
    """Mark where a probe that knows nothing would be: chance for UAR, zero for CCC and Pearson.

    Returns the names and handles for the legend.
    """
    metric = curves[0].metric
    if metric in ("ccc", "pearson"):
        low, high = ax.get_ylim()
        if low < 0 < high:
            ax.axhline(0, color=NEUTRAL, linewidth=0.5, zorder=0)
    # A constant answer recalls one category wholly and no other. The commonest category of the training part, drawn
    # as a baseline, can fall below: where folds differ in it, it recalls none of them wholly.
    number = n_categories(curves[0], protocol) if metric == "uar" else None
    if number:
        ax.axhline(1 / number, gid="chance", **_CHANCE)
    return chance_key(curves, protocol)


_CHANCE: dict[str, Any] = {"color": NEUTRAL, "linewidth": 1.1, "linestyle": (0, (1, 1.5)), "zorder": 0}


def chance_key(curves: Sequence[Curve], protocol: Sequence[dict]) -> dict[str, Any]:
    """Name and handle of the line of chance for the legend; nothing where there is none."""
    from matplotlib.lines import Line2D

    number = n_categories(curves[0], protocol) if curves[0].metric == "uar" else None
    return {f"chance (1/{number})": Line2D([], [], **_CHANCE)} if number else {}


def curves_of_models(
    results: Results,
    model: str | Sequence[str] | None,
    corpus: str | None,
    metric: str,
    probe: str,
    dimensions: Sequence[str] | None,
    split: str | None,
    features: str | None,
) -> list[tuple[Subject, list[Curve]]]:
    """The curves of each model on each corpus, one a dimension; options as for :func:`plot_layers`.

    Raises
    ------
    UserError
        If the results hold no such score.
    """
    scores = results.scores
    if not len(scores):
        raise UserError("there is nothing to draw: the table of scores is empty")
    models = [model] if isinstance(model, str) else model
    drawn = [
        subject
        for subject in subjects(scores)
        if (models is None or subject.model in models) and corpus in (None, subject.corpus)
    ]
    if models is not None:
        drawn.sort(key=lambda subject: list(models).index(subject.model))
    metric, probe = of_categories(scores["dimension"] if dimensions is None else dimensions, metric, probe)
    wanted = ordered_dimensions(scores["dimension"]) if dimensions is None else list(dimensions)
    layered = scores[(scores["probe"] == probe) & scores["layer"].ge(0) & scores["dimension"].isin(wanted)]
    if metric in scores:  # a part on which no layer has a score is not what is reported
        layered = layered[layered[metric].notna()]
    grid = []
    for subject in drawn:
        # One split for all models of a corpus: scores on different parts of it do not compare.
        part = reported_split(layered.loc[layered["corpus"] == subject.corpus, "split"]) if split is None else split
        curves = [
            layer_curve(scores, subject, dimension=dimension, metric=metric, probe=probe, split=part, features=features)
            for dimension in wanted
        ]
        if any(curves):
            grid.append((subject, [curve for curve in curves if curve]))
    if not grid:
        raise UserError(
            f"no {METRICS[metric]} of probe={probe!r} for any of {wanted}"
            f"{f' and model={model!r}' if model is not None else ''}: fit it with probe-fit, "
            "or choose another metric=, probe=, model= or dimensions="
        )
    return grid


def clipped(name: str) -> str:
    """A name as a title or a legend has room for it."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def to_draw_on(ax: Any, figure: Figure | None) -> Figure | None:
    """The figure to fill, a new one of pyplot where none is given; None where there are Axes to draw on.

    Made outside the house style: the first figure of a session chooses the backend, which changes global settings
    (a notebook turns interactive to show figures), and leaving the style would undo that.
    """
    if ax is not None:
        return None
    if figure is not None:
        return figure
    import matplotlib.pyplot as plt

    figure = plt.figure(facecolor="white")
    figure.set_dpi(150)
    return figure


class Layout(TypedDict, total=False):
    """What a figure needs room for: sizes in inches, panels, and what is written around them.

    Parameters
    ----------
    width : float
        Of the whole figure.
    panel_height : float
    titles : sequence of str
        Of which the one with most lines counts.
    caption : str
        Kept with a figure of its own (:func:`.captions.caption_of`).
    caption_inside : bool
        Whether it is written below everything else, too.
    n_rows, n_columns, n_panels : int
        One panel by default; where there are fewer than rows times columns, the last places stay empty.
    legend_rows : float
        Rows of legends above each row of panels.
    share_x, share_y : bool
        Whether panels have axes in common.
    below : float
        More room for upright names below the panels.
    """

    width: Required[float]
    panel_height: Required[float]
    titles: Required[Sequence[str]]
    caption: Required[str]
    caption_inside: bool
    n_rows: int
    n_columns: int
    n_panels: int
    legend_rows: float
    share_x: bool
    share_y: bool
    below: float


@contextmanager
def opened_sheet(ax: Any, figure: Figure | None, **layout: Unpack[Layout]) -> Iterator[Sheet]:
    """A sheet to draw on in the house style for the length of a ``with`` block; it ends with the caption.

    Parameters
    ----------
    ax : matplotlib Axes, a sequence of them, or None
        Where to draw, if not in a figure of its own.
    figure : matplotlib Figure or None
        An empty figure to fill; by default a new one of pyplot.
    layout
        See :class:`Layout`.

    Raises
    ------
    UserError
        If there are more or fewer Axes than panels.
    """
    figure = to_draw_on(ax, figure)
    with publication_style():
        sheet = Sheet.open(ax, figure, **layout)
        yield sheet
        if sheet.own:
            keep_caption(sheet.figure, layout["caption"])
        if layout.get("caption_inside", True):
            sheet.caption_below(layout["caption"])


@dataclass(frozen=True)
class Sheet:
    """The figure that a plot is drawn on: its own, sized so that title, legend and caption fit; or the caller's."""

    figure: Any
    axes: np.ndarray
    width: float
    panel_height: float
    panel_width: float
    own: bool

    @classmethod
    def open(cls, ax: Any, figure: Figure | None, **layout: Unpack[Layout]) -> Sheet:
        """Lay out `figure`, or take the Axes where it is None; see :func:`opened_sheet`."""
        n_rows, n_columns = layout.get("n_rows", 1), layout.get("n_columns", 1)
        n_panels = layout.get("n_panels", n_rows * n_columns)
        if figure is None:
            axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
            if len(axes) != n_panels:
                raise UserError(f"ax= has {len(axes)} Axes, this figure needs {n_panels}")
            box = axes[0].get_window_extent()
            dpi = axes[0].figure.dpi
            height, panel_width = box.height / dpi, box.width / dpi
            # The layout will take room from the Axes for what is written around them.
            return cls(axes[0].figure, axes, panel_width, 0.75 * height, panel_width, own=False)
        width, panel_height = layout["width"], layout["panel_height"]
        caption = layout["caption"] if layout.get("caption_inside", True) else ""
        panel_width = (width - 0.6) / n_columns
        title_rows = max(len(title_lines(title, panel_width)) for title in layout["titles"])
        furniture = (title_rows + layout.get("legend_rows", 0) + 0.6) * LINE_HEIGHT * n_rows + 0.62
        furniture += layout.get("below", 0.0)
        height = n_rows * panel_height + furniture + len(caption_lines(caption, width)) * LINE_HEIGHT
        figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.03)
        figure.set_size_inches(width, height)
        share_x, share_y = layout.get("share_x", False), layout.get("share_y", False)
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=share_x, sharey=share_y).ravel()
        for empty in grid[n_panels:]:
            empty.remove()
        return cls(figure, grid[:n_panels], width, panel_height, panel_width, own=True)

    def title(self, axes: Axes, text: str, *, legend_rows: int = 0) -> None:
        """Set a title, above a legend of `legend_rows` rows."""
        lines = title_lines(text, self.panel_width)
        axes.set_title("\n".join(lines), loc="left", pad=3 + legend_rows * SMALL_FONT_SIZE * 1.5)

    def caption_below(self, text: str) -> None:
        """Write the caption below everything else."""
        if not text:
            return
        style: dict[str, Any] = {"fontsize": SMALL_FONT_SIZE, "color": NEUTRAL, "ha": "left"}
        if self.own:
            lines = caption_lines(text, self.width)
            self.figure.supxlabel("\n".join(lines), x=0.06 / self.width, **style)
            return
        axes = self.axes[-1]
        axes.annotate(
            "\n".join(wrap(text, self.width, SMALL_FONT_SIZE)),
            xy=(0, 0),
            xytext=(0, -3),
            # Below the ticks' names and the label, wherever the layout puts them.
            xycoords=("axes fraction", axes.xaxis.get_tightbbox),
            textcoords="offset points",
            va="top",
            annotation_clip=False,
            gid="caption",
            **style,
        )


def title_lines(text: str, width: float) -> list[str]:
    """A title in lines for a panel of `width` inches."""
    return wrap(clipped(text), 0.97 * width, FONT_SIZE, weight="bold")


def caption_lines(text: str, width: float) -> list[str]:
    """A caption in lines for a figure of `width` inches; none where there is no text."""
    # Glyphs fitted to the pixels of a screen are up to 3 % wider than designed.
    return wrap(text, 0.97 * width - 0.12, SMALL_FONT_SIZE) if text else []
