"""Every figure that results hold enough for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emoprobe import defaults
from emoprobe.errors import UserError

from ..measures.answers import load_answers
from ..tables import METRICS, read_tables
from .answers import answer_drawings
from .comparison import plot_comparison
from .confusion import plot_confusion
from .depth import plot_teacher_student
from .files import FORMATS, write_drawings
from .heatmap import plot_heatmap
from .kinds import (
    FigureKind,
    categories,
    each_category_probe,
    each_comparison,
    each_corpus,
    each_curve,
    each_weighing,
    ratings,
)
from .layers import plot_layers
from .recalls import plot_recalls
from .weights import plot_weights

#: Every kind of figure, in the order in which they are drawn.
FIGURES = (
    FigureKind("layers", each_curve(ratings), plot_layers),
    FigureKind("emotion", each_curve(categories), plot_layers),
    FigureKind("recalls", each_category_probe("recalls"), plot_recalls),
    FigureKind("confusion", each_category_probe("predictions"), plot_confusion),
    FigureKind("weights", each_weighing, plot_weights),
    FigureKind("heatmap", each_corpus(ratings), plot_heatmap),
    FigureKind("depth", each_corpus(ratings, models=2), plot_teacher_student),
    FigureKind("emotion_depth", each_corpus(categories, models=2), plot_teacher_student),
    FigureKind("comparison", each_comparison(ratings), plot_comparison),
    FigureKind("emotion_comparison", each_comparison(categories), plot_comparison),
)


class NothingToDraw(UserError):
    """Results that no figure could show anything of."""


def draw_figures(
    results: Any,
    figures: str | Path = defaults.FIGURES,
    *,
    formats: Sequence[str] = ("png", "svg"),
    metric: str = "ccc",
) -> list[Path]:
    """Draw every figure that the results support and write it into a folder.

    ``layers_MODEL`` (score per layer), ``emotion_MODEL`` (UAR per layer), ``recalls_MODEL`` (recall of each category
    per layer), ``confusion_MODEL`` (which categories are taken for which), ``weights_MODEL`` (learned weights),
    ``heatmap`` (all models of a corpus), ``depth`` (two models or more on relative depth), ``comparison`` (two systems
    or more: baselines, layers, learned sums, models trained end to end). Where the results hold several corpora, each
    name says which; several probes, pooled features or test parts are told apart from the second on:
    ``layers_MODEL_mlp``. Answers to questions that were asked by name, ``NAME_MODEL``, are drawn where `results` are
    folders that hold them.

    Parameters
    ----------
    results : results, pandas.DataFrame, path, or a sequence of these
        As for :func:`emoprobe.plot_layers`; several are put together.
    figures : path
        Folder to write into; made where it is absent. Files of the same name are replaced, whole or not at all.
    formats : sequence of str
        Of ``png`` (300 dots an inch), ``svg`` and ``pdf``.
    metric : str
        ``ccc``, ``pearson`` or ``rmse``; other than ``ccc`` it is part of the file names.

    Returns
    -------
    list of Path
        Files written, in the order drawn.

    Raises
    ------
    NothingToDraw
        If the results hold nothing to draw.
    UserError
        If the folder cannot be written.
    """
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"cannot write {name!r} figures: choose of {', '.join(FORMATS)}")
    answers = answer_drawings(load_answers(_folders(results)))
    results = read_tables(results)
    if metric not in METRICS:
        raise UserError(f"no score is called {metric!r}: choose one of {', '.join(METRICS)}")
    wanted = [(kind, one) for kind in FIGURES for one in kind.needs(results, metric)]
    if not wanted and not answers:
        raise NothingToDraw("the results hold nothing to draw: no score of a layer, no learned weight, no two systems")
    drawings = [
        ((*kind.name.split("_"), *one.parts), partial(kind.draw, results, **one.options)) for kind, one in wanted
    ]
    return write_drawings([*drawings, *answers], Path(figures), formats)


def _folders(results: Any) -> list[Path]:
    several = [results] if isinstance(results, str | Path) else results if isinstance(results, list | tuple) else []
    return [Path(one) for one in several if isinstance(one, str | Path)]
