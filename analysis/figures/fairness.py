"""Scores of each speaker, by gender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions
from emoprobe.probe.selecting import chosen_in_words

from ..tables import METRICS, Subject, records
from .canvas import opened_sheet, plain_ticks
from .captions import PROBE_NAMES, subject_name
from .cells import written
from .style import COLUMN_WIDTH, FONT_SIZE, NEUTRAL, LineLook, printable, series_look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_MOST_NAMED = 20  # speakers whose names find room under a figure one column wide


def plot_fairness(
    table: pd.DataFrame,
    *,
    model: str | None = None,
    measure: str = "ccc",
    dimensions: Sequence[str] | None = None,
    caption: bool = True,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw all, each gender and each speaker with their intervals, one panel a dimension.

    Parameters
    ----------
    table : DataFrame
        What :func:`fairness_table` returns.
    model : str, optional
        Needed where the table holds several.
    measure : str
        ``ccc`` or ``bias``.
    dimensions : sequence of str, optional
        All, by default.
    caption : bool
        Whether to say below what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        One a dimension. Speakers are sorted by the measure within each panel.

    Raises
    ------
    UserError
        If the table holds nothing of the kind, or several models and none is named.
    """
    if measure not in ("ccc", "bias"):
        raise UserError(f"no interval of {measure!r}: choose ccc or bias")
    models = list(dict.fromkeys(table["model"]))
    if model is None and len(models) > 1:
        raise UserError(f"the table holds several models: choose by model= among {', '.join(models)}")
    table = table if model is None else table[table["model"] == model]
    wanted = ordered_dimensions(table["dimension"]) if dimensions is None else list(dimensions)
    panels = [part for name in wanted if len(part := table[table["dimension"] == name])]
    if not panels:
        raise UserError(f"the table holds nothing of model={model!r}, dimensions={wanted}")
    looks = _gender_looks(table["gender"])
    text = _caption(panels, measure)
    title = subject_name(Subject(panels[0]["model"].iloc[0], panels[0]["corpus"].iloc[0]))
    named = max((part["group_by"] == "speaker").sum() for part in panels) <= _MOST_NAMED
    with opened_sheet(
        None, figure, width=COLUMN_WIDTH, panel_height=1.45 if named else 1.15, n_rows=len(panels),
        titles=[title], caption=text, caption_inside=caption, legend_rows=1,
    ) as sheet:  # fmt: skip
        for axes, part in zip(sheet.axes, panels, strict=True):
            _draw_panel(axes, part, measure, looks, named=named)
            label = METRICS["ccc"] if measure == "ccc" else "Bias"
            axes.set_ylabel(f"{label} of {printable(part['dimension'].iloc[0])}", fontsize=FONT_SIZE)
        by = "CCC" if measure == "ccc" else "bias (label units)"
        sheet.axes[-1].set_xlabel(f"Speakers, sorted by {by}", fontsize=FONT_SIZE)
        rows = _gender_legend(sheet.axes[0], looks)
        sheet.title(sheet.axes[0], title, legend_rows=rows)
    return sheet.axes


def _gender_looks(genders: pd.Series) -> dict[str, LineLook]:
    """A marker and colour for each gender; grey for whom it is not known."""
    named = sorted({name for name in genders if name})
    looks = {name: series_look(1 + position) for position, name in enumerate(named)}
    return looks | {"": LineLook(NEUTRAL, "o", "-", filled=not named)}


def _draw_panel(axes: Any, part: pd.DataFrame, measure: str, looks: dict[str, LineLook], *, named: bool) -> None:
    groups = part[part["group_by"].isin(["all", "gender"])]
    speakers = part[part["group_by"] == "speaker"].dropna(subset=[measure]).sort_values(measure)
    places = [*np.arange(len(groups)) * 1.2, *(1.2 * len(groups) + 0.6 + np.arange(len(speakers)))]
    names: list[str] = []
    for kind, rows in (("group", groups), ("speaker", speakers)):
        for row in records(rows):
            place, look = places[len(names)], looks[row.gender]
            low, high = getattr(row, f"{measure}_low"), getattr(row, f"{measure}_high")
            if np.isfinite(low) and np.isfinite(high):
                axes.vlines(place, low, high, color=look.color, linewidth=1.4 if kind == "group" else 0.7, zorder=2)
            gid = f"{kind}-{row.group}-{row.dimension}"
            axes.plot([place], [getattr(row, measure)], linestyle="none", zorder=3, gid=gid, **look.points())
            names.append(printable(row.group))
    whole = groups.loc[groups["group_by"] == "all", measure]
    axes.axhline(0 if measure == "bias" else whole.iloc[0], color=NEUTRAL, linewidth=0.6, linestyle=(0, (1, 1.5)))
    axes.axvline(1.2 * len(groups) - 0.3, color=NEUTRAL, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0)
    shown = len(names) if named else len(groups)
    axes.set_xticks(places[:shown], names[:shown], rotation=90)
    plain_ticks(axes)
    axes.set_xlim(-0.8, max(places) + 0.8)


def _gender_legend(axes: Any, looks: dict[str, LineLook]) -> int:
    from matplotlib.lines import Line2D

    shown = {name: look for name, look in looks.items() if name}
    if not shown:
        return 0
    handles = [Line2D([], [], linestyle="-", color=look.color, **look.points()) for look in shown.values()]
    axes.legend(
        handles, [printable(name) for name in shown], loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3,
        borderaxespad=0.1, borderpad=0.1,
    )  # fmt: skip
    return -(-len(shown) // 3)


def _caption(panels: Sequence[pd.DataFrame], measure: str) -> str:
    first, whole = panels[0].iloc[0], panels[0][panels[0]["group_by"] == "all"].iloc[0]
    probe = PROBE_NAMES.get(first["probe"], printable(first["probe"])).removesuffix("s")
    rows = [part.iloc[0] for part in panels]
    layers = [f"{row.dimension} {row.layer}{_highest(row)}" for row in rows if _is_layer(row.layer)]
    if chosen := chosen_in_words((row["chosen_on"], row["split"]) for row in rows):
        layers[-1] += f"; chosen on {printable(chosen)}"
    sentences = [
        f"{subject_name(Subject(first['model'], first['corpus']))}: {probe}"
        + (f" (layer: {', '.join(layers)})" if layers else "")
        + f", {printable(first['split'])} ({whole['n']} utterances, {whole['speakers']} speakers).",
        f"Bars: 95 % bootstrap intervals around the fixed probe, left over {whole.get('unit', 'speaker')}s, right over "
        "the utterances of one speaker.",
        f"Dotted: {'no bias' if measure == 'bias' else 'all'}.",
    ]
    for part in panels:
        for row in records(part[part["group_by"] == "gender difference"]):
            numbers = [getattr(row, f"{measure}{end}") for end in ("", "_low", "_high")]
            value, low, high = (written(number, signed=True) for number in numbers)
            sentences.append(f"{row.dimension.capitalize()}, {printable(row.group)}: {value} [{low}, {high}].")
    left_out = max(int(part.loc[part["group_by"] == "speaker", measure].isna().sum()) for part in panels)
    if left_out:
        sentences.append(f"Left out: {left_out} speaker{'s' if left_out > 1 else ''} with too few utterances.")
    return " ".join(sentences)


def _highest(row: Any) -> str:
    """The layer that is best on the rows themselves, where that is another than the one that was chosen."""
    if not row["chosen_on"] or row["highest_layer"] == row["layer"]:
        return ""
    return f" (best on these rows, with hindsight: {row['highest_layer']})"


def _is_layer(layer: Any) -> bool:
    """Whether this is a layer's number, not the mark of a baseline or the absence of one."""
    import pandas as pd

    return not pd.isna(layer) and layer >= 0
