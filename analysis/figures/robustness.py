"""Specification curves: the estimate of a claim under every specification, and below it which choices each one is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from ..measures.specifications import FACTORS
from ..measures.specified_claims import ACOUSTICS, DEPTH, SLOPE, TWINS
from ..measures.verdicts import CONTRADICTED, EQUAL, NOT_TESTED, SUPPORTED, UNDECIDED
from ..tables import named_parts, rows_of_subject
from .canvas import Sheet, opened_sheet, plain_ticks
from .kinds import Wanted
from .legends import legend
from .style import FULL_WIDTH, NEUTRAL, OKABE_ITO, SMALL_FONT_SIZE, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Claims that stand in one figure, by the last part of its file name.
TOGETHER = {"depth": (SLOPE, DEPTH), "twin": (TWINS,), "acoustics": (ACOUSTICS,)}

_AXIS = {
    SLOPE: "Change with depth, over the mean",
    DEPTH: "Centroid of valence less arousal",
    TWINS: "CCC less that of the random twin",
    ACOUSTICS: "CCC less that of plain acoustics",
}

#: Colour, marker and whether it is filled of each verdict: none rests on colour alone.
_LOOKS = {
    SUPPORTED: (OKABE_ITO["bluish green"], "^", True),
    CONTRADICTED: (OKABE_ITO["vermillion"], "v", True),
    EQUAL: (OKABE_ITO["blue"], "s", True),
    "rises": (OKABE_ITO["bluish green"], "^", True),
    "falls": (OKABE_ITO["vermillion"], "v", True),
    UNDECIDED: (NEUTRAL, "o", False),
}


def each_group_of_claims(answer: pd.DataFrame) -> Iterator[Wanted]:
    """A figure for each model, corpus and group of claims of a table of answers."""
    several = answer["corpus"].nunique() > 1
    for (model, corpus), part in named_parts(answer, "model", "corpus"):
        for name, claims in TOGETHER.items():
            if part["claim"].isin(claims).any():
                options = {"model": model, "corpus": corpus, "claims": name}
                yield Wanted((model, *((corpus,) if several else ()), name), options)


def plot_robustness(
    answer: pd.DataFrame,
    *,
    claims: str = "depth",
    model: str | None = None,
    corpus: str | None = None,
    caption: bool = True,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw the estimates of claims under every specification, sorted, and the choices of each below.

    Parameters
    ----------
    answer : DataFrame
        Of ``emoprobe ask robustness``.
    claims : str
        Of :data:`TOGETHER`.
    model, corpus : str, optional
        Needed where the table holds several.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of matplotlib Axes
        The estimates of each claim, then the choices of each.

    Raises
    ------
    UserError
        If the table holds no such rows.
    """
    if claims not in TOGETHER:
        raise UserError(f"no claims are called {claims!r}: choose one of {', '.join(TOGETHER)}")
    rows, model, corpus = rows_of_subject(answer, model, corpus, what="robustness")
    rows = rows[rows["claim"].isin(TOGETHER[claims])]
    if not len(rows):
        raise UserError(f"the table holds no claim on {claims} of {model} on {corpus}")
    panels = list(named_parts(rows, "claim", "dimension"))
    choices = _choices(rows)
    text = _caption(rows, corpus)
    heading = f"{printable(model)}: "
    titles = [f"{heading if not place else ''}{key[1] or 'valence − arousal'}" for place, (key, _) in enumerate(panels)]
    with opened_sheet(
        None, figure, width=FULL_WIDTH, panel_height=max(1.35, 0.125 * len(choices)), n_rows=2, n_columns=len(panels),
        titles=titles, caption=text, caption_inside=caption, legend_rows=1,
    ) as sheet:  # fmt: skip
        for place, (key, part) in enumerate(panels):
            # The specification by default is the first of the table.
            numbered = part.reset_index(drop=True)
            ordered = numbered.iloc[np.argsort(numbered["estimate"].to_numpy(float), kind="stable")]
            above, below = sheet.axes[place], sheet.axes[len(panels) + place]
            _draw_estimates(above, ordered, first=0)
            above.set_ylabel(_AXIS[key[0]], fontsize=SMALL_FONT_SIZE)
            sheet.title(above, titles[place])
            _draw_choices(below, ordered, choices, named=place == 0)
            below.set_xlim(above.get_xlim())
        _legend(sheet, rows)
    return sheet.axes


def _choices(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Factor and choice, from the top, of the factors of which there are several choices."""
    return [(factor, name) for factor in FACTORS if rows[factor].nunique() > 1 for name in dict.fromkeys(rows[factor])]


def _draw_estimates(ax: Axes, ordered: pd.DataFrame, *, first: int) -> None:
    places = np.arange(len(ordered))
    ax.axhline(0, color=NEUTRAL, linewidth=0.5, zorder=0)
    for verdict, (colour, marker, filled) in _LOOKS.items():
        of = (ordered["verdict"] == verdict).to_numpy()
        if not of.any():
            continue
        part = ordered[of]
        ax.vlines(places[of], part["low"], part["high"], color=colour, linewidth=0.9, zorder=1)
        ax.plot(
            places[of], part["estimate"], linestyle="none", marker=marker, color=colour, zorder=2, gid=verdict,
            markerfacecolor=colour if filled else "white",
        )  # fmt: skip
    by_default = np.flatnonzero((ordered.index == first) & ordered["estimate"].notna())
    for place in by_default:
        ax.axvline(float(place), color=NEUTRAL, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=0, gid="default")
    ax.set_xlim(-0.7, len(ordered) - 0.3)
    ax.set_xticks([])
    plain_ticks(ax)


def _draw_choices(ax: Axes, ordered: pd.DataFrame, choices: list[tuple[str, str]], *, named: bool) -> None:
    places = np.arange(len(ordered))
    for height, (factor, name) in enumerate(choices):
        of = (ordered[factor] == name).to_numpy()
        ax.plot(places[of], np.full(of.sum(), height), linestyle="none", marker="o", markersize=2.6, color="black")
        ax.plot(
            places[~of], np.full((~of).sum(), height), linestyle="none", marker=".", markersize=1.2, color="#B0B0B0"
        )
    ends = [k for k in range(1, len(choices)) if choices[k][0] != choices[k - 1][0]]
    for end in ends:
        ax.axhline(end - 0.5, color="#D0D0D0", linewidth=0.5, zorder=0)
    ax.set_ylim(len(choices) - 0.4, -0.6)
    labels = [f"{factor}: {printable(name)}" for factor, name in choices] if named else []
    ax.set_yticks(range(len(labels)), labels)
    ax.set_xticks([])
    ax.spines[["bottom", "left"]].set_visible(False)
    ax.tick_params(length=0)
    plain_ticks(ax)
    ax.tick_params(length=0)
    ax.set_xlabel("Specifications, by estimate", fontsize=SMALL_FONT_SIZE)


def _legend(sheet: Sheet, rows: pd.DataFrame) -> None:
    """What the markers mean, above all panels."""
    from matplotlib.lines import Line2D

    there = {name: look for name, look in _LOOKS.items() if (rows["verdict"] == name).any()}
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markerfacecolor=colour if filled else "white")
        for colour, marker, filled in there.values()
    ]
    if handles:
        legend(
            sheet.figure.legend,
            handles,
            list(there),
            loc="outside upper right",
            ncols=len(handles),
            handletextpad=0.1,
            borderaxespad=0.1,
        )


def _caption(rows: pd.DataFrame, corpus: str) -> str:
    specifications = len(rows.drop_duplicates(list(FACTORS)))
    missing = int((rows["verdict"] == NOT_TESTED).sum())
    split = ", ".join(dict.fromkeys(rows["split"].dropna()))
    text = (
        f"On {printable(corpus)}, {printable(split)}: {specifications} specifications, sorted by estimate in each "
        "panel; below, which choices each one is. Bars: 95 % intervals. Dotted: the specification by default. Each "
        "verdict is of one specification alone."
    )
    if (rows["claim"] == DEPTH).any():
        text += " What is said of both rests on both slopes, on two scales, and not on the difference of centroids."
    return text + (f" Not tested, and not drawn: {missing}." if missing else "")
