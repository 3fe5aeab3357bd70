"""The kinds of figures: what each is called, what results it needs, and what draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from emoprobe.probe.schema import CATEGORIES
from emoprobe.probe.selecting import held_out

from ..tables import CATEGORY_METRICS, WEIGHTED, named_parts, ordered_features, subjects

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.probe.results import Results

_PLAIN_PROBES = ("ridge", "logistic")


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure.

    Parameters
    ----------
    name : str
        The first words of its file names, joined by ``_``.
    needs : callable
        Given results and the metric that was asked for, what to draw of this kind: for each figure the further parts of
        its file name, and the options of `draw`. Nothing where the results do not hold enough.
    draw : callable
        Draws one on an empty `figure`.
    has_twin : bool
        Whether a figure of a model shows its random twin, too.
    of_all : bool
        Whether one figure holds all models, so that its file name says which where they were chosen.
    """

    name: str
    needs: Callable[[Results, str], Iterator[Wanted]]
    draw: Callable[..., Any]
    has_twin: bool = False
    of_all: bool = False


@dataclass(frozen=True)
class AnswerKind:
    """The figures of a question that is asked by name.

    Parameters
    ----------
    name : str
        Of the question, and the first word of the file names.
    needs : callable
        Given the table of its answers, what to draw of it.
    draw : callable
        Given that table and the options of one, draws it on an empty `figure`.
    """

    name: str
    needs: Callable[[pd.DataFrame], Iterator[Wanted]]
    draw: Callable[..., Any]


@dataclass(frozen=True)
class Wanted:
    """One figure to be: what its file name adds to that of its kind, and the options that it is drawn with."""

    parts: tuple[str, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What the curves of a figure are of: dimensions, with the score that they have in common.

    Parameters
    ----------
    dimensions : list of str
    metric : str
    ending : tuple of str
        What file names add where the score is not the usual one.
    """

    dimensions: list[str]
    metric: str
    ending: tuple[str, ...] = ()


def ratings(results: Results, metric: str) -> Target:
    """Arousal, valence, dominance: whatever is rated on a scale. None has a metric of categories."""
    dimensions = [] if metric in CATEGORY_METRICS else results.ratings
    return Target(dimensions, metric, () if metric == "ccc" else (metric,))


def categories(results: Results, metric: str) -> Target:  # noqa: ARG001 (a target is made from the same two)
    """Categories of emotion, by UAR whatever metric the ratings have."""
    return Target([CATEGORIES], "uar")


TargetOf = Callable[["Results", str], Target]


def each_curve(of: TargetOf) -> Callable[[Results, str], Iterator[Wanted]]:
    """A figure for each model, probe, features and held-out part that has scores of layers."""
    return partial(_curves, of)


def each_category_probe(table: str) -> Callable[[Results, str], Iterator[Wanted]]:
    """A figure for each curve of categories of which a `table` of the results holds the layers."""
    return partial(_category_probes, table)


def each_corpus(of: TargetOf, *, models: int = 1) -> Callable[[Results, str], Iterator[Wanted]]:
    """A figure for each corpus on which the layers of so many models, or more, have scores of a linear probe."""
    return partial(_corpora, of, models)


def each_comparison(of: TargetOf) -> Callable[[Results, str], Iterator[Wanted]]:
    """A figure for each corpus and held-out part on which two systems, or more, have scores."""
    return partial(_comparisons, of)


def each_weighing(results: Results, metric: str) -> Iterator[Wanted]:  # noqa: ARG001 (as every kind is asked)
    """A figure for each model, probe and features of which there are learned weights."""
    weights = results.weights
    for subject in subjects(weights):
        rows = weights[(weights["model"] == subject.model) & (weights["corpus"] == subject.corpus)]
        for (probe,), fits in named_parts(rows, "probe", sort=True):
            for position, features in enumerate(ordered_features(fits["features"])):
                parts = (subject.model, *_corpus_part(results, subject.corpus))
                parts += (probe,) if probe != WEIGHTED else ()
                parts += (features,) if position else ()
                options = {"model": subject.model, "corpus": subject.corpus, "probe": probe, "features": features}
                yield Wanted(parts, options)


def _curves(of: TargetOf, results: Results, metric: str) -> Iterator[Wanted]:
    target = of(results, metric)
    layered = _layered(results.scores, target)
    for subject in subjects(results.scores):
        rows = layered[(layered["model"] == subject.model) & (layered["corpus"] == subject.corpus)]
        name = (subject.model, *_corpus_part(results, subject.corpus), *target.ending)
        for parts, options in _variants(rows):
            options |= {"model": subject.model, "corpus": subject.corpus, "dimensions": target.dimensions}
            yield Wanted((*name, *parts), options | {"metric": target.metric})


def _category_probes(table: str, results: Results, metric: str) -> Iterator[Wanted]:
    rows = getattr(results, table)
    if not len(rows):
        return
    rows = rows[rows["dimension"] == CATEGORIES]
    columns = ["model", "corpus", "probe", "split", "features"]
    there = set(rows.loc[rows["layer"].ge(0).fillna(False).to_numpy(bool), columns].itertuples(index=False, name=None))
    for wanted in _curves(categories, results, metric):
        options = {name: wanted.options[name] for name in columns}
        if tuple(options.values()) in there:
            yield Wanted(wanted.parts, options)


def _variants(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each probe, features and held-out part of a model, with what the file name adds for it."""
    for probe in dict.fromkeys(rows["probe"]):
        of_probe = rows[rows["probe"] == probe]
        for number, split in enumerate(held_out(of_probe["split"])):
            of_split = of_probe[of_probe["split"] == split]
            for position, features in enumerate(ordered_features(of_split["features"])):
                parts: tuple[str, ...] = (probe,) if probe not in _PLAIN_PROBES else ()
                parts += (features,) if position else ()
                parts += (split,) if number else ()
                yield parts, {"probe": probe, "split": split, "features": features}


def _corpora(of: TargetOf, models: int, results: Results, metric: str) -> Iterator[Wanted]:
    target = of(results, metric)
    layered = _layered(results.scores, target)
    drawn = subjects(layered[layered["probe"].isin(_PLAIN_PROBES)] if len(layered) else layered)
    # Scores on different corpora do not compare: each corpus has its own figures.
    for corpus in dict.fromkeys(subject.corpus for subject in drawn):
        if sum(subject.corpus == corpus for subject in drawn) >= models:
            options = {"metric": target.metric, "dimensions": target.dimensions, "corpus": corpus}
            yield Wanted((*_corpus_part(results, corpus), *target.ending), options)


def _comparisons(of: TargetOf, results: Results, metric: str) -> Iterator[Wanted]:
    target, scores = of(results, metric), results.scores
    for corpus in dict.fromkeys(scores["corpus"]) if len(scores) else ():
        name = (*_corpus_part(results, corpus), *target.ending)
        for number, split in enumerate(_compared_splits(scores[scores["corpus"] == corpus], target)):
            options = {"metric": target.metric, "dimensions": target.dimensions, "corpus": corpus, "split": split}
            yield Wanted((*name, *((split,) if number else ())), options)


def _compared_splits(scores: pd.DataFrame, target: Target) -> list[str]:
    """The held-out parts on which two systems or more have a score, beside the predictor of the mean."""
    if target.metric not in scores.columns:
        return []
    rows = scores[scores["dimension"].isin(target.dimensions) & scores[target.metric].notna()]
    # The layers of a probe are one system; a baseline is the same for every model.
    systems = rows[rows["probe"] != "mean"].assign(model=lambda table: table["model"].where(table["layer"] != -1, ""))
    systems = systems[["split", "model", "probe", "features"]].drop_duplicates()
    return held_out(split for split in systems["split"] if (systems["split"] == split).sum() > 1)


def _layered(scores: pd.DataFrame, target: Target) -> pd.DataFrame:
    if not len(scores) or target.metric not in scores.columns:
        return scores.iloc[:0]
    of_layers = scores["dimension"].isin(target.dimensions) & scores["layer"].ge(0)
    return scores[of_layers & scores[target.metric].notna()]


def _corpus_part(results: Results, corpus: str) -> Sequence[str]:
    """The name of a corpus, where file names have to tell several apart."""
    return (corpus,) if len({subject.corpus for subject in subjects(results.scores)}) > 1 else ()
