"""Scores by layer, all dimensions in one Axes, with their controls beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..curves import Curve, n_layers
from ..tables import CATEGORY_METRICS, read_tables
from .canvas import chance_lines, draw_band, opened_sheet, plain_ticks, score_label
from .captions import subject_name
from .layer_axis import layer_label, layer_ticks
from .legends import dimension_legend
from .profiles import Profile, finite, layer_profiles, name_length, names_beside, place_name, profiles_caption
from .style import COLUMN_WIDTH, FONT_SIZE, NEUTRAL, dimension_look, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UPRIGHT = 0.65  # length of an upright name beside the layers for which a figure has room anyway, in inches


def plot_layers(  # noqa: PLR0913 (options of the user's, each given by its name)
    results: Any,
    *,
    model: str | None = None,
    metric: str = "ccc",
    probe: str = "ridge",
    dimensions: Sequence[str] | None = None,
    baselines: bool = True,
    corpus: str | None = None,
    split: str | None = None,
    features: str | None = None,
    caption: bool = True,
    ax: Axes | None = None,
    figure: Figure | None = None,
) -> Axes:
    """Draw the score of each layer with its interval, one line a dimension, all in one Axes.

    :func:`plot_layer_panels` gives each dimension a panel, where intervals do not cover each other.

    Left of layer 0, apart, stand the baselines (predictor of the mean, duration, acoustic statistics, the words); right
    of the last layer, as horizontal marks, the learned weighted sum over all layers and models trained end to end.
    Where the table has them, a grey band shows what permuted labels reach, and thin lines without marks the same
    architecture with random weights.

    Parameters
    ----------
    results : results, pandas.DataFrame or path
        What :func:`emoprobe.load_results` returns, its table of scores, or a results folder; or a list of these.
    model, corpus : str, optional
        Whose scores; needed where the results hold several.
    metric : str
        ``ccc``, ``pearson``, ``rmse``, ``share`` (of the variance that is explained, r²); ``uar`` or ``macro_f1`` for
        categories. Where the dimensions are ``emotion`` alone, which has no CCC, the default stands for ``uar``.
    probe : str
        ``ridge``, ``mlp`` or ``logistic``; the default stands for ``logistic`` where the metric is one of categories.
    dimensions : sequence of str, optional
        All that have the metric, by default.
    baselines : bool
        Whether to draw what belongs to no layer: baselines and weighted sum.
    split, features : str, optional
        Which held-out part and which pooled statistic; by default the first that there is.
    caption : bool
        Whether to say below the axes what is shown.
    ax : matplotlib Axes, optional
        Where to draw; by default in a figure of its own, one column wide.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    UserError
        If the results hold no such score, or several models and none is named.
    """
    tables = read_tables(results)
    subject, profiles = layer_profiles(
        tables, model=model, corpus=corpus, metric=metric, probe=probe, dimensions=dimensions, split=split,
        features=features, controls=baselines,
    )  # fmt: skip
    curves = [profile.curve for profile in profiles]
    controls = _Controls.of(profiles)
    title = subject_name(subject)
    text = profiles_caption(profiles, tables) + controls.caption()
    names = [_in_one_line(name, profiles) for side in names_beside(profiles) for name in side]
    longest = max((name_length(name) for name in names), default=0.0)
    with opened_sheet(
        ax, figure, width=COLUMN_WIDTH, panel_height=1.75, titles=[title], caption=text, caption_inside=caption,
        legend_rows=1, below=max(0.0, longest - _UPRIGHT),
    ) as sheet:  # fmt: skip
        axes = sheet.axes[0]
        _draw_layers(axes, profiles, n_layers(tables.scores, subject))
        axes.set_ylabel(score_label(curves, sheet.panel_height), fontsize=FONT_SIZE)
        others = chance_lines(axes, curves, tables.protocol) | controls.draw(axes)
        rows_of_legend = dimension_legend(axes, [curve.dimension for curve in curves], others)
        sheet.title(axes, title, legend_rows=rows_of_legend)
    return axes


@dataclass(frozen=True)
class _Controls:
    """What a curve must be held against: permuted labels, and random weights.

    Parameters
    ----------
    null : ndarray, (layers,), or None
        Highest of the dimensions' limits.
    twin : list of Curve
        Of the random twin, one a dimension.
    of_categories : bool
    """

    null: np.ndarray | None
    twin: list[Curve]
    of_categories: bool = False

    @classmethod
    def of(cls, profiles: Sequence[Profile]) -> _Controls:
        """What the table has of them for the curves of one model."""
        limits = np.array([profile.null for profile in profiles])
        known = np.isfinite(limits)
        null = np.where(known.any(0), np.where(known, limits, -np.inf).max(0), np.nan) if known.any() else None
        twin = [profile.twin for profile in profiles if profile.twin]
        return cls(null, twin, profiles[0].curve.metric in CATEGORY_METRICS)

    def caption(self) -> str:
        """What to look for, as sentences with a blank before each; empty where there is no control."""
        parts = []
        if self.null is not None:
            of = "by the nearest class mean" if self.of_categories else "whatever the dimension"
            parts.append(f"{'Hatched' if self.of_categories else 'Grey'}: 95 % of permuted labels stay in it, {of}.")
        if self.twin:
            parts.append(f"Thin: {printable(self.twin[0].subject.model)}.")
        return "".join(f" {part}" for part in parts)

    def draw(self, ax: Axes) -> dict[str, Any]:
        """Draw them; returns names and handles for the legend."""
        from matplotlib.lines import Line2D

        handles: dict[str, Any] = {}
        if self.null is not None:
            low = min(0.0, ax.get_ylim()[0])
            style: dict[str, Any] = {"color": NEUTRAL, "alpha": 0.25, "linewidth": 0, "zorder": 0}
            if self.of_categories:  # whose band is grey itself
                style = {"facecolor": "none", "edgecolor": NEUTRAL, "hatch": "////", "linewidth": 0, "zorder": 0}
            handles["permuted"] = ax.fill_between(np.arange(len(self.null)), low, self.null, gid="null", **style)
            ax.set_ylim(bottom=low)
        thin: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 1.5)), "zorder": 2}
        for curve in self.twin:
            color = dimension_look(curve.dimension).color
            ax.plot(np.arange(len(curve.values)), curve.values, color=color, gid=f"random-{curve.dimension}", **thin)
        if self.twin:
            handles["random"] = Line2D([], [], color=NEUTRAL, **thin)
        return handles


def _draw_layers(ax: Axes, profiles: Sequence[Profile], depth: int) -> None:
    left, right = names_beside(profiles)
    last = depth - 1
    # One place beside the layers is as wide as it needs to be to hold an upright label, however many layers there are.
    pitch = max(0.3, last / 10)
    places = {name: -pitch * (1.3 + len(left) - 1 - position) for position, name in enumerate(left)}
    places |= {name: last + pitch * (1.3 + position) for position, name in enumerate(right)}
    layers = np.arange(depth)
    for position, profile in enumerate(profiles):
        curve = profile.curve
        look = dimension_look(curve.dimension)
        draw_band(ax, layers, curve, look, alpha=0.18)
        ax.plot(layers, curve.values, label=curve.dimension, gid=f"layers-{curve.dimension}", zorder=3, **look.line())
        shift = pitch * 0.28 * (position - (len(profiles) - 1) / 2)
        draw_beside(ax, profile, places, pitch, shift=shift)
    for edge, shown in ((-0.65 * pitch, left), (last + 0.65 * pitch, right)):
        if shown:
            ax.axvline(edge, color=NEUTRAL, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0)
    layer_ticks(ax, last, {place: _in_one_line(name, profiles) for name, place in places.items()})
    margin = 0.75 * pitch
    ax.set_xlim(min([0, *places.values()]) - margin, max([last, *places.values()]) + margin)
    layer_label(ax, last)
    plain_ticks(ax)


def _in_one_line(name: str, profiles: Sequence[Profile]) -> str:
    return place_name(name, profiles).replace("\n", " ")


def draw_beside(ax: Axes, profile: Profile, places: dict[str, float], pitch: float, *, shift: float = 0.0) -> None:
    """Mark baselines, learned sums and models trained end to end, each at its place, with its interval.

    Parameters
    ----------
    places : dict of str to float
        By name, on the axis of the layers.
    pitch : float
        From one place to the next.
    shift : float
        Sideways, where several dimensions share a place.
    """
    look = dimension_look(profile.curve.dimension)
    for side, points in (("left", profile.left), ("right", profile.right)):
        for name, point in points.items():
            x = places[name] + shift
            if finite(point):
                ax.vlines(x, point.low, point.high, color=look.color, linewidth=0.9, zorder=2)
            if side == "right":
                half = 0.34 * pitch
                ax.hlines(point.value, x - half, x + half, color=look.color, linewidth=1.3, zorder=3)
            gid = f"{side}-{name}-{profile.curve.dimension}"
            ax.plot([x], [point.value], zorder=4, linestyle="none", gid=gid, **look.points())
