"""Scores by layer as small multiples: a panel a dimension, each with its own controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError

from ..curves import FEWEST_OF_SPEAKER, n_layers, speaker_curves
from ..tables import CATEGORY_METRICS, read_tables
from .canvas import chance_key, chance_lines, draw_band, opened_sheet, plain_ticks, score_label, title_lines
from .captions import subject_name
from .layer_axis import layer_label, layer_ticks
from .layers import draw_beside
from .legends import legend_above, legend_rows
from .profiles import Profile, layer_profiles, name_length, names_beside, place_name, profiles_caption
from .style import FONT_SIZE, NEUTRAL, dimension_look, inches, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from emoprobe.probe.results import Results

_PITCH = 0.128  # from one upright name to the next, in inches: a line of small text and a little
_TICKS = 0.4  # room for the numbers of the axis of scores, in inches
_LIGHT = "#B8B8B8"
_TWIN: dict[str, Any] = {"color": NEUTRAL, "linewidth": 1.0, "linestyle": (0, (4, 1.5)), "zorder": 2}
_TWIN_LIMITS: dict[str, Any] = {"color": NEUTRAL, "linewidth": 0.5, "linestyle": (0, (1, 1.2)), "zorder": 1.5}
_NULL: dict[str, Any] = {"facecolor": "none", "edgecolor": _LIGHT, "hatch": "/////", "linewidth": 0, "zorder": 0}


def plot_layer_panels(  # noqa: PLR0913 (options of the user's, each given by its name)
    results: Any,
    *,
    model: str | None = None,
    metric: str = "ccc",
    probe: str = "ridge",
    dimensions: Sequence[str] | None = None,
    baselines: bool = True,
    speakers: bool = False,
    corpus: str | None = None,
    split: str | None = None,
    features: str | None = None,
    width: str | None = None,
    caption: bool = True,
    ax: Axes | Sequence[Axes] | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw the score of each layer with its interval, a panel a dimension: the main figure.

    Each panel has the dimension's own controls: hatched, what permuted labels reach; dashed, with dotted limits, the
    same architecture with random weights; left of layer 0, the baselines; right of the last layer, as horizontal marks,
    learned sums of all layers and models trained end to end. A learned sum that reads other features than
    the curve says which: the two do not compare. All panels have one scale.

    Parameters
    ----------
    results, model, metric, probe, dimensions, corpus, split, features, caption, figure
        As for :func:`plot_layers`.
    baselines : bool
        Whether to draw more than the curves.
    speakers : bool
        Whether to draw a thin line for each speaker, from the predictions.
    width : str, optional
        ``page``: panels side by side; ``column``: one below the other. By default a page for several panels.
    ax : matplotlib Axes or a sequence of them, optional
        One a dimension.

    Returns
    -------
    ndarray of matplotlib Axes
        One a dimension.

    Raises
    ------
    UserError
        If the results hold no such score, or several models and none is named, or no predictions for `speakers`.
    """
    tables = read_tables(results)
    subject, profiles = layer_profiles(
        tables, model=model, corpus=corpus, metric=metric, probe=probe, dimensions=dimensions, split=split,
        features=features, controls=baselines,
    )  # fmt: skip
    curves = [profile.curve for profile in profiles]
    own_lines, left_out = _speakers(tables, profiles) if speakers else ([{} for _ in profiles], 0)
    title = subject_name(subject)
    text = profiles_caption(profiles, tables) + _controls_caption(profiles)
    if speakers:
        text += f" Thin lines: single speakers of {FEWEST_OF_SPEAKER} utterances or more"
        text += f"; left out: {left_out}." if left_out else "."
    left, right = names_beside(profiles)
    names = [place_name(name, profiles) for name in (*left, *right)]
    longest = max((name_length(name) for name in names), default=0.0)
    total = inches(width, "page" if len(profiles) > 1 else "column")
    stacked = total < inches("page")
    rows, columns = (len(profiles), 1) if stacked else (1, len(profiles))
    keys = _keys(profiles, speakers=any(own_lines)) | chance_key(curves, tables.protocol)
    with opened_sheet(
        ax, figure, width=total, panel_height=1.35 if rows > 1 else 1.8, n_rows=rows, n_columns=columns,
        titles=["", *title_lines(title, total)], caption=text, caption_inside=caption,
        legend_rows=(legend_rows(list(keys), total) + len(title_lines(title, total))) / rows,
        below=max(0.0, longest - 0.25) + 0.2, share_x=stacked, share_y=True,
    ) as sheet:  # fmt: skip
        depth = n_layers(tables.scores, subject)
        panel = sheet.panel_width - (_TICKS if stacked or not sheet.own else _TICKS / columns)
        for axes, profile, lines in zip(sheet.axes, profiles, own_lines, strict=True):
            _draw_panel(axes, profile, (left, right), depth, panel, lines)
        for position, (axes, profile) in enumerate(zip(sheet.axes, profiles, strict=True)):
            chance_lines(axes, curves, tables.protocol)
            last_row = not stacked or not sheet.own or position == len(profiles) - 1
            axes.tick_params(axis="x", which="both", labelbottom=last_row)
            if last_row:
                layer_label(axes, depth - 1)
            if stacked or position == 0:
                axes.set_ylabel(score_label(curves, sheet.panel_height), fontsize=FONT_SIZE)
            _fill_null(axes, profile)
            axes.set_title(printable(profile.curve.dimension), loc="left")
        legend_above(sheet, keys, title)
    return sheet.axes


def _speakers(tables: Results, profiles: Sequence[Profile]) -> tuple[list[dict[str, np.ndarray]], int]:
    metric = profiles[0].curve.metric
    if metric in CATEGORY_METRICS:
        raise UserError("lines of single speakers are drawn of ratings alone: a speaker rarely has every category")
    if not len(tables.predictions):
        raise UserError(
            "lines of single speakers need the predictions, which these results do not hold: fit with probe-fit, "
            "which writes predictions.parquet, or draw without speakers"
        )
    drawn = [speaker_curves(tables.predictions, profile.curve) for profile in profiles]
    if not any(lines for lines, _ in drawn):
        raise UserError(
            f"no speaker has {FEWEST_OF_SPEAKER} utterances with predictions and a name: draw without speakers"
        )
    return [lines for lines, _ in drawn], max(left_out for _, left_out in drawn)


def _draw_panel(
    ax: Axes,
    profile: Profile,
    beside: tuple[Sequence[str], Sequence[str]],
    depth: int,
    width: float,
    lines: dict[str, np.ndarray],
) -> None:
    """Curve, twin, speakers and what stands beside the layers, in a panel that is so many inches wide."""
    left, right = beside
    last = depth - 1
    sides = _PITCH * (len(left) + 1.5 * len(right) + 0.8 * (bool(left) + bool(right)) + 0.8)
    spacing = max(width - sides, 0.4 * width) / max(last, 1)  # from layer to layer, in inches
    pitch = _PITCH / spacing
    places = {name: -pitch * (len(left) - position + 0.3) for position, name in enumerate(left)}
    written = {name: place_name(name, [profile]) for name in (*profile.left, *profile.right)}
    place = last + 0.8 * pitch
    for name in right:
        lines_of_name = written.get(name, "").count("\n") + 1
        places[name] = place + 0.5 * lines_of_name * pitch
        place += lines_of_name * pitch
    layers = np.arange(depth)
    # Each dimension has a panel of its own, and broken lines are for the twin.
    curve, look = profile.curve, replace(dimension_look(profile.curve.dimension), linestyle="-")
    for name, values in lines.items():
        thin: dict[str, Any] = {"color": look.color, "linewidth": 0.4, "alpha": 0.45, "zorder": 1.8}
        ax.plot(layers, values, gid=f"speaker-{name}-{curve.dimension}", **thin)
    draw_band(ax, layers, curve, look, alpha=0.25)
    every = max(1, math.ceil(0.065 / spacing))
    ax.plot(layers, curve.values, gid=f"layers-{curve.dimension}", zorder=3, markevery=every, **look.line())
    if profile.twin:
        shown = np.arange(len(profile.twin.values))
        ax.plot(shown, profile.twin.values, gid=f"random-{curve.dimension}", **_TWIN)
        for side, limits in (("low", profile.twin.low), ("high", profile.twin.high)):
            ax.plot(shown, limits, gid=f"random-{side}-{curve.dimension}", **_TWIN_LIMITS)
    draw_beside(ax, profile, places, pitch)
    for edge, shown_there in ((-0.7 * pitch, left), (last + 0.7 * pitch, right)):
        if shown_there:
            ax.axvline(edge, color=NEUTRAL, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0)
    layer_ticks(ax, last, {where: written[name] for name, where in places.items() if name in written}, spacing=spacing)
    margin = 0.6 * pitch
    ax.set_xlim(min([0, *places.values()]) - margin, max(last, place - 0.5 * pitch) + margin)
    plain_ticks(ax)


def _fill_null(ax: Axes, profile: Profile) -> None:
    """Hatch what permuted labels reach, from the foot of the panel, once every panel's scale is known."""
    if not profile.has_null:
        return
    foot = ax.get_ylim()[0] if profile.curve.metric in CATEGORY_METRICS else min(0.0, ax.get_ylim()[0])
    ax.fill_between(np.arange(len(profile.null)), foot, profile.null, gid=f"null-{profile.curve.dimension}", **_NULL)
    ax.set_ylim(bottom=foot)


def _keys(profiles: Sequence[Profile], *, speakers: bool) -> dict[str, Any]:
    """Names and handles of the legend; the colour of a curve is that of its panel, so the legend has it in grey."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    line = Line2D([], [], color="black", linewidth=1.1)
    keys: dict[str, Any] = {"layers": line}
    if any(profile.curve.has_interval for profile in profiles):
        keys["95 % interval"] = Patch(facecolor="black", alpha=0.25, linewidth=0)
    if any(profile.twin for profile in profiles):
        keys["random twin"] = Line2D([], [], **_TWIN)
    if any(profile.twin.has_interval for profile in profiles if profile.twin):
        keys["its interval"] = Line2D([], [], **_TWIN_LIMITS)
    if any(profile.has_null for profile in profiles):
        keys["permuted labels"] = Patch(**{**_NULL, "edgecolor": NEUTRAL})
    if speakers:
        keys["single speakers"] = Line2D([], [], color="black", linewidth=0.4)
    return keys


def _controls_caption(profiles: Sequence[Profile]) -> str:
    parts = []
    if any(profile.has_null for profile in profiles):
        by = ", by the nearest class mean" if profiles[0].curve.metric in CATEGORY_METRICS else ""
        parts.append(f"Hatched: 95 % of permuted labels stay in it{by}.")
    if twin := next((profile.twin for profile in profiles if profile.twin), None):
        limits = ", dotted its interval" if twin.has_interval else ""
        parts.append(f"Dashed: {printable(twin.subject.model)}{limits}.")
    return "".join(f" {part}" for part in parts)
