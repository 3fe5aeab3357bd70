"""Every figure that results hold enough for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoprobe.errors import UserError
from emoprobe.probe.selecting import held_out

from ..tables import (
    METRICS,
    WEIGHTED,
    Subject,
    ordered_dimensions,
    ordered_features,
    read_tables,
    subjects,
)
from .comparison import plot_comparison
from .depth import plot_teacher_student
from .heatmap import plot_heatmap
from .layers import plot_layers
from .style import publication_style
from .weights import plot_weights

if TYPE_CHECKING:
    from emoprobe.probe.results import Results

from .files import FORMATS, encoded, file_stems, make_folder, replace_file

_PLAIN_PROBES = ("ridge", "logistic")


@dataclass(frozen=True)
class _Drawing:
    """One figure to be: what its file name says, and the function that fills it."""

    parts: tuple[str, ...]
    draw: Callable[..., Any]


def draw_figures(
    results: Any,
    figures: str | Path = "figures",
    *,
    formats: Sequence[str] = ("png", "svg"),
    metric: str = "ccc",
) -> list[Path]:
    """Draw every figure that the results support and write it into a folder.

    ``layers_MODEL`` (score per layer), ``emotion_MODEL`` (UAR per layer), ``weights_MODEL`` (learned weights),
    ``heatmap`` (all models of a corpus), ``depth`` (two models or more on relative depth), ``comparison`` (two systems
    or more: baselines, layers, learned sums, models trained end to end). Where the results hold several corpora, each
    name says which; several probes, pooled features or test parts are told apart from the second on:
    ``layers_MODEL_mlp``.

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
    UserError
        If the results hold nothing to draw, or the folder cannot be written.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise UserError(f"cannot write {kind!r} figures: choose of {', '.join(FORMATS)}")
    folder = Path(figures)
    results = read_tables(results)
    drawings = list(_drawings(results, metric))
    if not drawings:
        raise UserError("the results hold nothing to draw: no score of a layer, no learned weight, no two systems")
    make_folder(folder)
    written = []
    for drawing, stem in zip(drawings, file_stems([drawing.parts for drawing in drawings]), strict=True):
        written += _write(drawing, results, folder / stem, formats)
    return written


def _drawings(results: Results, metric: str) -> Iterator[_Drawing]:
    scores = results.scores
    if metric not in METRICS:
        raise UserError(f"no score is called {metric!r}: choose one of {', '.join(METRICS)}")
    suffix = () if metric == "ccc" else (metric,)
    found = subjects(scores)
    several_corpora = len({subject.corpus for subject in found}) > 1
    for dimensions, score, prefix, ending in (
        (_ratings(scores), metric, "layers", suffix),
        (["emotion"], "uar", "emotion", ()),
    ):
        for subject in found:
            name = (subject.model, *((subject.corpus,) if several_corpora else ()))
            for parts, choice in _variants(scores, subject, dimensions, score):
                choice |= {"model": subject.model, "corpus": subject.corpus, "dimensions": dimensions}
                yield _Drawing((prefix, *name, *ending, *parts), partial(plot_layers, metric=score, **choice))
    for subject in subjects(results.weights):
        name = (subject.model, *((subject.corpus,) if several_corpora else ()))
        rows = _of(results.weights, subject)
        for probe, fits in rows.groupby("probe"):
            for position, features in enumerate(ordered_features(fits["features"])):
                parts = (probe,) if probe != WEIGHTED else ()
                parts += (features,) if position else ()
                choice = {"model": subject.model, "corpus": subject.corpus, "probe": probe, "features": features}
                yield _Drawing(("weights", *name, *parts), partial(plot_weights, **choice))
    for dimensions, score, prefix, ending in (
        (_ratings(scores), metric, (), suffix),
        (["emotion"], "uar", ("emotion",), ()),
    ):
        layered = _layered(scores, dimensions, score)
        layered = layered[layered["probe"].isin(_PLAIN_PROBES)] if len(layered) else layered
        found = subjects(layered)
        # Scores on different corpora do not compare: each corpus has its own figures.
        for corpus in dict.fromkeys(subject.corpus for subject in found):
            name = (corpus,) if several_corpora else ()
            choice = {"metric": score, "dimensions": dimensions, "corpus": corpus}
            if not prefix:
                yield _Drawing(("heatmap", *name, *ending), partial(plot_heatmap, **choice))
            if sum(subject.corpus == corpus for subject in found) > 1:
                yield _Drawing((*prefix, "depth", *name, *ending), partial(plot_teacher_student, **choice))

    for dimensions, score, prefix, ending in (
        (_ratings(scores), metric, (), suffix),
        (["emotion"], "uar", ("emotion",), ()),
    ):
        for corpus in dict.fromkeys(scores["corpus"]) if len(scores) else ():
            name = (corpus,) if several_corpora else ()
            for number, split in enumerate(_compared_splits(scores, corpus, dimensions, score)):
                parts = (*prefix, "comparison", *name, *ending, *((split,) if number else ()))
                choice = {"metric": score, "dimensions": dimensions, "corpus": corpus, "split": split}
                yield _Drawing(parts, partial(plot_comparison, **choice))


def _compared_splits(scores: Any, corpus: str, dimensions: Sequence[str], metric: str) -> list[str]:
    """The held-out parts on which two systems or more have a score, beside the predictor of the mean."""
    if metric not in scores.columns:
        return []
    rows = scores[(scores["corpus"] == corpus) & scores["dimension"].isin(dimensions) & scores[metric].notna()]
    # The layers of a probe are one system; a baseline is the same for every model.
    systems = rows[rows["probe"] != "mean"].assign(model=lambda table: table["model"].where(table["layer"] != -1, ""))
    systems = systems[["split", "model", "probe", "features"]].drop_duplicates()
    return held_out(split for split in systems["split"] if (systems["split"] == split).sum() > 1)


def _ratings(scores: Any) -> list[str]:
    names = scores["dimension"] if len(scores) else []
    return [name for name in ordered_dimensions(names) if name != "emotion"]


def _of(table: Any, subject: Subject) -> Any:
    return table[(table["model"] == subject.model) & (table["corpus"] == subject.corpus)]


def _layered(scores: Any, dimensions: Iterable[str], metric: str) -> Any:
    if not len(scores) or metric not in scores.columns:
        return scores.iloc[:0]
    return scores[scores["dimension"].isin(list(dimensions)) & scores["layer"].ge(0) & scores[metric].notna()]


def _variants(
    scores: Any, subject: Subject, dimensions: Iterable[str], metric: str
) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """Each probe, features and held-out part that has scores per layer, with what the file name adds for it."""
    rows = _layered(scores, dimensions, metric)
    rows = _of(rows, subject) if len(rows) else rows
    for probe in dict.fromkeys(rows["probe"]) if len(rows) else ():
        of_probe = rows[rows["probe"] == probe]
        for number, split in enumerate(held_out(of_probe["split"])):
            of_split = of_probe[of_probe["split"] == split]
            for position, features in enumerate(ordered_features(of_split["features"])):
                parts = (probe,) if probe not in _PLAIN_PROBES else ()
                parts += (features,) if position else ()
                parts += (split,) if number else ()
                yield parts, {"probe": probe, "split": split, "features": features}


def _write(drawing: _Drawing, results: Results, stem: Path, formats: Sequence[str]) -> list[Path]:
    from matplotlib.figure import Figure

    written = []
    with publication_style():
        # Not through pyplot: it would keep every figure open, and choose a window system on some machines.
        figure = Figure()
        drawing.draw(results, figure=figure)
        for kind in formats:
            path = stem.with_name(f"{stem.name}.{kind}")
            replace_file(path, encoded(figure, kind))
            written.append(path)
    return written
