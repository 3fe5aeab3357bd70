"""How alike layers are, as figures: heat maps of layers by layers, and curves of what layers share with features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError

from ..measures.alignment import MEASURES
from ..tables import BASELINE_NAMES, named_parts, only, ordered_baselines
from .canvas import opened_sheet, plain_ticks
from .cells import colour_bar, colour_cells, readable_on, write_in_cell, written
from .files import write_drawings
from .layer_axis import layer_ticks
from .legends import legend_rows, model_legend
from .style import COLUMN_WIDTH, FONT_SIZE, FULL_WIDTH, SMALL_FONT_SIZE, printable, series_look, text_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure


def plot_similarity(
    table: pd.DataFrame,
    *,
    model: str | None = None,
    other: str | None = None,
    measure: str = "cka",
    corpus: str | None = None,
    caption: bool = True,
    ax: Axes | None = None,
    figure: Figure | None = None,
) -> Axes:
    """Draw layers by layers as a heat map, of one model with itself or with another.

    Parameters
    ----------
    table : DataFrame
        Of :func:`emoprobe.analysis.similarity_table`.
    model, corpus : str, optional
        Whose layers are the rows; needed where the table holds several.
    other : str, optional
        Whose layers are the columns; the model's own by default.
    measure : str
        One of :data:`emoprobe.analysis.measures.alignment.MEASURES`.
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
        If the table holds no such comparison, or several.
    """
    rows = _of_layers(table, measure)
    model = only(rows, "model", model)
    rows = rows[rows["model"] == model]
    corpus = only(rows, "corpus", corpus)
    other = model if other is None else other
    rows = rows[(rows["corpus"] == corpus) & (rows["other"] == other)]
    if not len(rows):
        raise UserError(f"the table holds no {MEASURES[measure].label} of {model} with {other} on {corpus}")
    wide = rows.pivot(index="layer", columns="other_layer", values="value").astype(float)
    values = wide.to_numpy()
    title = printable(model) if other == model else f"{printable(model)} and {printable(other)}"
    text = _caption(rows, measure)
    if MEASURES[measure].weighted:
        text += f" Weighted by the layers of the rows; chance {_range(rows['chance'])}."
    height = max(0.9, min(2.5, 0.19 * len(wide)))
    with opened_sheet(
        ax, figure, width=COLUMN_WIDTH, panel_height=height, titles=[title],
        caption=text, caption_inside=caption
    ) as sheet:  # fmt: skip
        axes = sheet.axes[0]
        cells = _draw_layers_by_layers(axes, values, cell=0.8 * sheet.panel_width / values.shape[1])
        same = other == model
        axes.set_xlabel("Layer" if same else f"Layer of {printable(other)}", fontsize=FONT_SIZE)
        axes.set_ylabel("Layer" if same else f"Layer of {printable(model)}", fontsize=FONT_SIZE)
        colour_bar(sheet, cells, [axes], MEASURES[measure].label, pad=0.02, aspect=25)
        sheet.title(axes, title)
    return axes


def _draw_layers_by_layers(ax: Axes, values: np.ndarray, *, cell: float) -> QuadMesh:
    from matplotlib import colormaps

    known = values[np.isfinite(values)]
    # From the tenth below the lowest: within a model everything is alike, and the differences are what is to be seen.
    low = min(math.floor(10 * known.min()) / 10, 0.9) if len(known) else 0.0
    colours = colormaps["cividis"]
    cells = colour_cells(ax, values, colours, low=low, high=1.0, line=0.3)
    # A digit that does not fit its cell would be a smudge; colour has to do there.
    if text_width("0.00", SMALL_FONT_SIZE) <= 0.95 * cell:
        for (row, column), value in np.ndenumerate(values):
            if math.isfinite(value):
                colour = readable_on(colours((value - low) / (1 - low)))
                text = written(value)
                write_in_cell(ax, row, column, text, colour)
    layer_ticks(ax, values.shape[1] - 1)
    step = 1 if len(values) <= 7 else 2 if len(values) <= 13 else 4
    ax.set_yticks(range(0, len(values), step))
    ax.spines[:].set_visible(False)
    ax.minorticks_off()
    ax.tick_params(length=0)
    plain_ticks(ax)
    return cells


def plot_feature_similarity(
    table: pd.DataFrame,
    *,
    models: Sequence[str] | None = None,
    measure: str = "cka",
    features: Sequence[str] | None = None,
    corpus: str | None = None,
    caption: bool = True,
    ax: Axes | Sequence[Axes] | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw what each layer shares with acoustic features and with the words, one line a feature, one panel a model.

    Parameters
    ----------
    table : DataFrame
        Of :func:`emoprobe.analysis.similarity_table`.
    models, features : sequence of str, optional
        All in the table, by default.
    measure, corpus, caption, figure
        As for :func:`plot_similarity`.
    ax : matplotlib Axes or a sequence of them, optional
        One a model.

    Returns
    -------
    ndarray of matplotlib Axes
        One a model.

    Raises
    ------
    UserError
        If the table holds no such comparison.
    """
    rows = table[(table["measure"] == measure) & table["other_layer"].isna()]
    if not len(rows):
        raise UserError(f"the table compares no layer with features by {measure!r}")
    corpus = only(rows, "corpus", corpus)
    rows = rows[rows["corpus"] == corpus]
    models = list(dict.fromkeys(rows["model"])) if models is None else list(models)
    rows = rows[rows["model"].isin(models)]
    names = ordered_baselines(rows["other"]) if features is None else list(features)
    rows = rows[rows["other"].isin(names)]
    if not len(rows):
        raise UserError(f"the table compares no layer of {', '.join(models)} with {', '.join(names)}")
    text = _caption(rows, measure)
    if MEASURES[measure].weighted:
        text += " Weighted by the layer. Dotted: chance."
    shown = [BASELINE_NAMES.get(name, printable(name)) for name in names]
    width = COLUMN_WIDTH if len(models) == 1 else FULL_WIDTH
    with opened_sheet(
        ax, figure, width=width, panel_height=1.5, n_rows=math.ceil(len(models) / 3), n_columns=min(len(models), 3),
        n_panels=len(models), titles=models,
        caption=text, caption_inside=caption, legend_rows=legend_rows(shown, width),
        share_y=True,
    ) as sheet:  # fmt: skip
        for axes, model in zip(sheet.axes, models, strict=True):
            of_model = rows[rows["model"] == model]
            for position, name in enumerate(names):
                curve = of_model[of_model["other"] == name].sort_values("layer")
                look = series_look(position)
                layers, values = curve["layer"].to_numpy(int), curve["value"].to_numpy(float)
                axes.plot(layers, values, gid=f"similarity-{name}", zorder=3, **look.line())
                if MEASURES[measure].weighted:
                    dotted = {"color": look.color, "linestyle": (0, (1, 1.5)), "linewidth": 0.8, "zorder": 1}
                    axes.plot(layers, curve["chance"].to_numpy(float), gid=f"chance-{name}", **dotted)
            layer_ticks(axes, int(of_model["layer"].max()))
            plain_ticks(axes)
            axes.set_xlabel("Layer", fontsize=FONT_SIZE)
            sheet.title(axes, printable(model))
        bottom = min(0.0, float(np.nanmin([axes.get_ylim()[0] for axes in sheet.axes])))
        for axes in sheet.axes:
            axes.set_ylim(bottom=bottom)
        sheet.axes[0].set_ylabel(MEASURES[measure].label, fontsize=FONT_SIZE)
        model_legend(sheet, shown, width)
    return sheet.axes


def draw_similarity(table: pd.DataFrame, folder: str | Path, *, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw every figure that a table of similarities supports, and write it into a folder.

    ``similarity_MEASURE_MODEL``, ``similarity_MEASURE_MODEL_OTHER`` (each pair of models once) and
    ``features_MEASURE``, with the corpus in the name where there are several.

    Parameters
    ----------
    table : DataFrame
    folder : path
        Made where it is absent; files of the same name are replaced, whole or not at all.
    formats : sequence of str
        Of "png", "svg", "pdf".

    Returns
    -------
    list of Path
    """
    return write_drawings(list(_drawings(table)), Path(folder), formats)


def _drawings(table: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], Callable[..., Any]]]:
    several = table["corpus"].nunique() > 1
    for (measure, corpus), part in named_parts(table, "measure", "corpus"):
        end = (corpus,) if several else ()
        drawn = set()
        for (model, other), _ in named_parts(part[part["other_layer"].notna()], "model", "other"):
            if frozenset((model, other)) in drawn:
                continue
            drawn.add(frozenset((model, other)))
            names = (model,) if model == other else (model, other)
            draw = partial(plot_similarity, part, model=model, other=other, measure=measure, corpus=corpus)
            yield ("similarity", measure, *names, *end), draw
        if part["other_layer"].isna().any():
            draw_features = partial(plot_feature_similarity, part, measure=measure, corpus=corpus)
            yield ("features", measure, *end), draw_features


def _of_layers(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    rows = table[(table["measure"] == measure) & table["other_layer"].notna()]
    if not len(rows):
        raise UserError(f"the table compares no layers by {measure!r}")
    return rows


def _caption(rows: pd.DataFrame, measure: str) -> str:
    statistics = ", ".join(dict.fromkeys(rows["statistic"]))
    low, high = int(rows["n"].min()), int(rows["n"].max())
    count = f"{low}" if low == high else f"{low} to {high}"
    corpus, what = printable(rows["corpus"].iloc[0]), MEASURES[measure].in_words
    text = f"{corpus}: {what} of pooled states ({statistics}), {count} utterances."
    reasons = [reason for reason in dict.fromkeys(rows["reason"]) if reason]
    return f"{text} Missing: {'; '.join(reasons)}." if reasons else text


def _range(values: pd.Series) -> str:
    low, high = written(values.min()), written(values.max())
    return f"about {low}" if low == high else f"{low} to {high}"
