"""What moves the answers of each layer's probe: the words, or the voice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.probe.schema import ordered_dimensions

from ..measures.reactions import OF_MANNERS, OF_TEXTS
from ..tables import rows_of_subject
from .canvas import opened_sheet, plain_ticks
from .layer_axis import layer_ticks
from .legends import legend
from .style import FONT_SIZE, FULL_WIDTH, NEUTRAL, dimension_look, printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Columns of a panel: the value and its limits; its title, its label, and where nothing is.
_PANELS = (
    ("words_r", "words_low", "words_high", f"{OF_TEXTS} of the words", "Correlation r", 0.0),
    ("voice_r", "voice_low", "voice_high", f"{OF_MANNERS} of the voice", "Correlation r", 0.0),
    ("share", "share_low", "share_high", "what moves the answer", "Share of the voice", 0.5),
)


def plot_words_or_voice(
    answer: pd.DataFrame,
    *,
    model: str | None = None,
    corpus: str | None = None,
    caption: bool = True,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw over the layers what the answers of the probes follow, and the share of the voice in what moves them.

    Parameters
    ----------
    answer : DataFrame
        Of ``emoprobe ask words_or_voice``.
    model, corpus : str, optional
        Needed where the table holds several; the corpus is that of the training.
    caption : bool
        Whether to say below the axes what is shown.
    figure : matplotlib Figure, optional
        An empty figure to fill instead of a new one from pyplot.

    Returns
    -------
    ndarray of three matplotlib Axes

    Raises
    ------
    UserError
        If the table holds no such rows.
    """
    from matplotlib.lines import Line2D

    rows, model, corpus = rows_of_subject(answer, model, corpus, what="words and voice")
    twin = _twin(answer[answer["corpus"] == corpus], model)
    dimensions = ordered_dimensions(rows["dimension"])
    title = f"{printable(model)} trained on {printable(corpus)}"
    with opened_sheet(
        None, figure, width=FULL_WIDTH, panel_height=1.7, n_columns=len(_PANELS), titles=[title],
        caption=_caption(rows, twin), caption_inside=caption, legend_rows=2, share_x=True,
    ) as sheet:  # fmt: skip
        for axes, panel in zip(sheet.axes, _PANELS, strict=True):
            for dimension in dimensions:
                _draw(axes, rows[rows["dimension"] == dimension], dimension, *panel[:3])
                thin = twin[twin["dimension"] == dimension].sort_values("layer")
                look = dimension_look(dimension)
                style = {"color": look.color, "linewidth": 0.8, "linestyle": (0, (4, 1.5)), "zorder": 2}
                axes.plot(thin["layer"].to_numpy(float), thin[panel[0]].to_numpy(float), **style)
            axes.axhline(panel[5], color=NEUTRAL, linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=0)
            axes.set_xlabel("Layer", fontsize=FONT_SIZE)
            axes.set_title(panel[3], loc="left")
            axes.set_ylabel(panel[4], fontsize=FONT_SIZE)
            layer_ticks(axes, int(rows["layer"].max()))
            plain_ticks(axes)
        sheet.axes[-1].set_ylim(-0.03, 1.03)
        handles = [Line2D([], [], **dimension_look(name).line()) for name in dimensions]
        legend(
            sheet.figure.legend, handles, [printable(name) for name in dimensions], loc="outside upper left",
            ncols=len(handles), borderaxespad=0.2, title=title, alignment="left",
        )  # fmt: skip
    return sheet.axes


def _twin(answer: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of the same architecture with random weights; none where it was not asked."""
    named = re.compile(re.escape(model) + r" \(random \d+\)")
    twins = [name for name in dict.fromkeys(answer["model"]) if named.fullmatch(str(name))]
    return answer[answer["model"].isin(twins[:1])]


def _draw(ax: Axes, rows: pd.DataFrame, dimension: str, value: str, low: str, high: str) -> None:
    rows, look = rows.sort_values("layer"), dimension_look(dimension)
    layers = rows["layer"].to_numpy(int)
    below, above = (rows[column].to_numpy(float) for column in (low, high))
    ax.fill_between(layers, below, above, color=look.color, alpha=0.15, linewidth=0, zorder=1)
    ax.plot(layers, rows[value].to_numpy(float), gid=f"{value}-{dimension}", zorder=3, **look.line())


def _caption(rows: pd.DataFrame, twin: pd.DataFrame) -> str:
    first = rows.iloc[0]
    text = (
        f"What ridge probes (trained on {first['trained']} utterances) say of {printable(first['words'])}, "
        f"texts in one manner, and of {printable(first['voice'])}, texts in many manners. Correlations within a voice, "
        "and within a voice and text. Right: 1 where only the voice moves the answer, 0 where only the words do. "
        "Bands: 95 % intervals over texts and over voices (of the fewer, there are "
        f"{first['words_units']} and {first['voice_units']}), around the fixed probe."
    )
    return f"{text} Thin: {printable(twin['model'].iloc[0])}." if len(twin) else text
