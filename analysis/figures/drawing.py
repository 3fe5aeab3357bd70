"""Every figure that results hold enough for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoprobe import defaults
from emoprobe.errors import UserError
from emoprobe.probe.schema import CATEGORIES

from ..curves import random_twin
from ..measures.answers import load_answers
from ..tables import CATEGORY_METRICS, METRICS, read_tables, subjects
from .answers import answer_drawings
from .comparison import plot_comparison
from .confusion import plot_confusion
from .depth import plot_teacher_student
from .files import FORMATS, write_drawings
from .heatmap import plot_heatmap
from .kinds import (
    FigureKind,
    Wanted,
    categories,
    each_category_probe,
    each_comparison,
    each_corpus,
    each_curve,
    each_weighing,
    ratings,
)
from .numbers import number_tables, write_tables
from .panels import plot_layer_panels
from .recalls import plot_recalls
from .style import inches
from .weights import plot_weights

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.probe.results import Results

#: Every kind of figure, in the order in which they are drawn.
FIGURES = (
    FigureKind("layers", each_curve(ratings), plot_layer_panels, has_twin=True),
    FigureKind("emotion", each_curve(categories), plot_layer_panels, has_twin=True),
    FigureKind("recalls", each_category_probe("recalls"), plot_recalls),
    FigureKind("confusion", each_category_probe("predictions"), plot_confusion),
    FigureKind("weights", each_weighing, plot_weights),
    FigureKind("heatmap", each_corpus(ratings), plot_heatmap, of_all=True),
    FigureKind("depth", each_corpus(ratings, models=2), plot_teacher_student, of_all=True),
    FigureKind("emotion_depth", each_corpus(categories, models=2), plot_teacher_student, of_all=True),
    FigureKind("comparison", each_comparison(ratings), plot_comparison, of_all=True),
    FigureKind("emotion_comparison", each_comparison(categories), plot_comparison, of_all=True),
)


class NothingToDraw(UserError):
    """Results that no figure could show anything of."""


def draw_figures(
    results: Any,
    figures: str | Path = defaults.FIGURES,
    *,
    formats: Sequence[str] = ("png", "svg"),
    metric: str = "ccc",
    dimensions: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    width: str | None = None,
    speakers: bool = False,
    caption: bool = False,
    tables: bool = False,
) -> list[Path]:
    """Draw every figure that the results support and write it into a folder, its caption beside it.

    ``layers_MODEL`` (score per layer, a panel a dimension), ``emotion_MODEL`` (UAR per layer), ``recalls_MODEL``
    (recall of each category per layer), ``confusion_MODEL`` (which categories are taken for which), ``weights_MODEL``
    (learned weights), ``heatmap`` (all models of a corpus), ``depth`` (two models or more on relative depth),
    ``comparison`` (two systems or more: baselines, layers, learned sums, models trained end to end). Where the results
    hold several corpora, each name says which; several probes, pooled features or test parts are told apart from the
    second on: ``layers_MODEL_mlp``. Answers to questions that were asked by name, ``NAME_MODEL``, are drawn where
    `results` are folders that hold them; they keep their own metric and width.

    Parameters
    ----------
    results : results, pandas.DataFrame, path, or a sequence of these
        As for :func:`emoprobe.plot_layers`; several are put together.
    figures : path
        Folder to write into; made where it is absent. Files of the same name are replaced, whole or not at all.
    formats : sequence of str
        Of ``png`` (300 dots an inch), ``svg`` and ``pdf``.
    metric : str
        ``ccc``, ``pearson``, ``rmse`` or ``share`` (of the variance that is explained) of ratings; ``uar`` draws
        categories alone. Other than ``ccc`` it is part of the file names.
    dimensions, models : sequence of str, optional
        Which of those in the results; all, by default. Of a chosen model the random twin is still drawn as its control.
        What was chosen is part of the file names of figures that hold several.
    width : str, optional
        ``column`` or ``page``: all figures of scores at this width; by default each kind at its own.
    speakers : bool
        Whether the figures ``layers_MODEL`` have a thin line for each speaker.
    caption : bool
        Whether captions are written below the pictures, too.
    tables : bool
        Whether the numbers are written beside, with their intervals: ``table_NAME`` as ``.csv``, ``.md`` and ``.tex``.

    Returns
    -------
    list of Path
        Pictures in the order drawn, then tables. Beside each picture stands its caption, ``.txt`` and ``.tex``.

    Raises
    ------
    NothingToDraw
        If the results hold nothing to draw.
    UserError
        If there is no such metric, dimension, model or width, or the folder cannot be written.
    """
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"cannot write {name!r} figures: choose of {', '.join(FORMATS)}")
    if metric not in METRICS:
        raise UserError(f"no score is called {metric!r}: choose one of {', '.join(METRICS)}")
    inches(width)
    answers = load_answers(_folders(results))
    everything = read_tables(results)
    everything = _narrowed(everything, "dimension", dimensions, answers, "--dim")
    chosen = _narrowed(everything, "model", models, answers, "--models")
    if metric in CATEGORY_METRICS and len(chosen.scores) and CATEGORIES not in set(chosen.scores["dimension"]):
        raise UserError(
            f"{METRICS[metric]} is a score of categories, and the results hold none: fit them with probe-fit --target "
            "emotion, or choose ccc, pearson, rmse or share"
        )
    wanted = [(kind, one) for kind in FIGURES for one in kind.needs(chosen, metric)]
    drawings = [
        (
            (*kind.name.split("_"), *one.parts, *_chosen_parts(kind, one, dimensions, models)),
            partial(
                kind.draw,
                _with_twins(chosen, everything) if kind.has_twin else chosen,
                **one.options,
                **_taken(kind.draw, width=width, caption=caption),
                **({"speakers": True} if speakers and kind.name == "layers" else {}),
            ),
        )
        for kind, one in wanted
    ]
    of_answers = answer_drawings(_answers_of(answers, dimensions, models), caption=caption)
    if not drawings and not of_answers:
        raise NothingToDraw("the results hold nothing to draw: no score of a layer, no learned weight, no two systems")
    pictures = write_drawings([*drawings, *of_answers], Path(figures), formats)
    return pictures + (write_tables(number_tables(chosen, metric=metric), Path(figures)) if tables else [])


def _taken(draw: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Those of the options that a plotting function has."""
    known = inspect.signature(draw).parameters
    return {name: value for name, value in options.items() if name in known}


def _chosen_parts(
    kind: FigureKind, one: Wanted, dimensions: Sequence[str] | None, models: Sequence[str] | None
) -> tuple[str, ...]:
    """What a file name adds because the figure may hold less than it would."""
    of_ratings = one.options.get("dimensions") != [CATEGORIES] and kind.name not in ("recalls", "confusion")
    named = tuple(name for name in dimensions or () if name != CATEGORIES) if of_ratings else ()
    return (*named, *((models or ()) if kind.of_all else ()))


def _narrowed(
    results: Results, column: str, wanted: Sequence[str] | None, answers: Mapping[str, pd.DataFrame], option: str
) -> Results:
    """The rows of results that have one of the wanted values in a column; all of them where none is wanted.

    Raises
    ------
    UserError
        If nothing has a value that is wanted.
    """
    if wanted is None:
        return results
    tables = {name: getattr(results, name) for name in ("scores", "weights", "predictions", "recalls")}
    there = list(
        dict.fromkeys(
            str(value)
            for table in (*tables.values(), *answers.values())
            if column in table
            for value in table[column].drop_duplicates()
            if value
        )
    )
    if unknown := [name for name in wanted if name not in there]:
        raise UserError(f"{option} {unknown[0]}: the results hold {', '.join(there) or 'nothing'}; choose among these")
    kept = {name: table[table[column].isin(list(wanted))] for name, table in tables.items() if column in table}
    return replace(results, **kept)


def _with_twins(chosen: Results, everything: Results) -> Results:
    """Results of chosen models with the scores of their random twins."""
    import pandas as pd

    there = subjects(chosen.scores)
    twins = [twin for subject in there if (twin := random_twin(everything.scores, subject)) and twin not in there]
    scores = everything.scores
    rows = [scores[(scores["model"] == twin.model) & (scores["corpus"] == twin.corpus)] for twin in twins]
    return replace(chosen, scores=pd.concat([chosen.scores, *rows])) if rows else chosen


def _answers_of(
    answers: Mapping[str, pd.DataFrame], dimensions: Sequence[str] | None, models: Sequence[str] | None
) -> dict[str, pd.DataFrame]:
    """Answers about chosen models and dimensions; what is about no single dimension stays."""
    kept = {}
    for name, answer in answers.items():
        rows = answer if models is None else answer[answer["model"].isin(list(models))]
        if dimensions is not None and "dimension" in rows:
            rows = rows[rows["dimension"].isin([*dimensions, ""]) | rows["dimension"].isna()]
        if len(rows):
            kept[name] = rows
    return kept


def _folders(results: Any) -> list[Path]:
    several = [results] if isinstance(results, str | Path) else results if isinstance(results, list | tuple) else []
    return [Path(one) for one in several if isinstance(one, str | Path)]
