"""Curves over layers, with controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from emoprobe.extract.baselines.registry import BASELINES, kept_beside
from emoprobe.probe.choosing import rows_of
from emoprobe.probe.selecting import Choice, best_baseline, chosen_in_words, headline_metric

from ...figures.depth import plot_teacher_student
from ...figures.files import file_stems
from ...figures.panels import plot_layer_panels
from ...tables import BASELINE_NAMES
from ..chart import REMEDY, can_be_asked, note, specification
from ..chart_data import chart_data
from ..content import (
    NOTHING,
    Block,
    Chart,
    Figure,
    Gallery,
    Missing,
    Table,
    clean,
    counted_probability,
    listed,
    number,
    with_interval,
)
from ..material import Material
from ..paired_claims import ACOUSTIC, WORDS
from ..pictures import picture
from ..study import EMOTION, Model, Study


@dataclass(frozen=True)
class _Chosen:
    """The layers of a model, scored for one target, and which of them is reported."""

    model: Model
    target: str
    layers: pd.DataFrame
    choice: Choice

    def score(self) -> str:
        """The score of that layer, and of the one that is best on the scored rows where that is another."""
        value = number(self.layers.set_index("layer").loc[self.choice.best, headline_metric(self.target)])
        return f"{value} ({number(self.choice.highest_score)})" if self.choice.differs else value


def main_figures(study: Study) -> list[Block]:
    """The layers of the deepest trained model of each corpus: what the page begins with, and what can be asked."""
    blocks: list[Block] = []
    for corpus in study.corpora:
        models = study.of(corpus, random=False) or study.of(corpus)
        if models and (figures := _ratings_figures(study, _deepest(models))):
            blocks.append(_asked(study, _deepest(models), tuple(figures)))
        elif models and (figures := _categories_figures(study, _deepest(models))):
            blocks.append(Gallery(tuple(figures)))
    return blocks


def _asked(study: Study, model: Model, figures: tuple[Figure, ...]) -> Chart:
    choices = {name: choice for name in study.dimensions if (choice := study.choice(model, name))}
    if not can_be_asked():
        text = "This figure can be asked, layer by layer, on a page that is made where Vega is installed:"
        return Chart(figures, None, f"{text} {REMEDY}, and probe-report again.")
    data = chart_data(study, model.corpus)
    name = "valence" if "valence" in choices else next(iter(choices))
    start = (clean(model.label), name, choices[name].best)
    return Chart(figures, specification(data, start=start), note(data))


def _deepest(models: Sequence[Model]) -> Model:
    return max(models, key=lambda model: model.blocks or 0)


def curves_section(material: Material) -> list[Block]:
    """Curves of the other models, best layers, what else would explain them, and the controls that are lacking."""
    study = material.study
    blocks: list[Block] = []
    for corpus in study.corpora:
        trained, everyone = study.of(corpus, random=False), study.of(corpus)
        shown = trained or everyone
        figures = [figure for model in shown for figure in _layer_figures(study, model, first=model == _deepest(shown))]
        figures += _depth_figure(study, corpus, everyone)
        if figures:
            blocks.append(Gallery(tuple(figures)))
        probed = [
            (model, dimension, rows)
            for model in everyone
            for dimension in study.targets
            if len(rows := study.layers(model, dimension))
        ]
        blocks += [_without_score(study, *one) for one in probed if study.choice(*one[:2]) is None]
        chosen = [one for model, target, _ in probed if (one := _chosen(study, model, target))]
        if chosen:
            blocks += [_best_table(study, corpus, chosen), *_other_choices(study, corpus, chosen)]
            blocks += _rivals_table(study, corpus, chosen)
    if not blocks:
        return [Missing("No layer was probed.", study.fit_command())]
    blocks += _lacking_controls(study)
    return blocks


def _chosen(study: Study, model: Model, target: str) -> _Chosen | None:
    choice = study.choice(model, target)
    return None if choice is None else _Chosen(model, target, study.layers(model, target), choice)


def _without_score(study: Study, model: Model, dimension: str, rows: pd.DataFrame) -> Missing:
    reason = next((f": {reason}" for reason in rows["reason"] if reason), "")
    scored = f"{dimension} on {model.corpus}, {study.split(model.corpus)}"
    return Missing(f"No layer of {model.label} has a score of {scored}{reason}.")


def _layer_figures(study: Study, model: Model, *, first: bool) -> list[Figure]:
    """Ratings, then categories; of the `first` model without what the page begins with."""
    ratings, categories = _ratings_figures(study, model), _categories_figures(study, model)
    if not first:
        return [*ratings, *categories]
    return categories if ratings else []


def _ratings_figures(study: Study, model: Model) -> list[Figure]:
    return _layer_figure(study, model, study.dimensions, "ccc", "layers")


def _categories_figures(study: Study, model: Model) -> list[Figure]:
    return _layer_figure(study, model, [EMOTION] if study.has_emotion else [], "uar", "emotion")


def _layer_figure(study: Study, model: Model, dimensions: Sequence[str], metric: str, name: str) -> list[Figure]:
    drawn = [dimension for dimension in dimensions if study.choice(model, dimension)]
    if not drawn:
        return []
    draw = partial(
        plot_layer_panels, study.results, model=model.label, corpus=model.corpus, metric=metric, dimensions=drawn,
        split=study.split(model.corpus),
    )  # fmt: skip
    said = "; ".join(_curve_in_words(study.layers(model, dimension), dimension, metric) for dimension in drawn)
    alt = f"{metric.upper()} of each layer of {model.label} on {model.corpus}: {said}."
    return [picture((name, model.label, model.corpus), draw, alt=alt)]


def _curve_in_words(rows: pd.DataFrame, dimension: str, metric: str) -> str:
    values = rows.set_index("layer")[metric].astype(float).dropna()
    if not len(values):
        return f"{dimension} has no score"
    first, last = values.index[0], values.index[-1]
    return (
        f"{dimension} {number(values.iloc[0], 2)} at layer {first}, highest {number(values.max(), 2)} at layer "
        f"{values.idxmax()}, {number(values.iloc[-1], 2)} at layer {last}"
    )


def _depth_figure(study: Study, corpus: str, models: Sequence[Model]) -> list[Figure]:
    drawn = [model for model in models if any(study.choice(model, dimension) for dimension in study.dimensions)]
    if len(drawn) < 2:
        return []
    names = [model.label for model in drawn]
    draw = partial(
        plot_teacher_student, study.results, model=names, corpus=corpus, dimensions=study.dimensions,
        split=study.split(corpus),
    )  # fmt: skip
    alt = f"CCC on relative depth of {listed(names)}, one panel a dimension: {listed(study.dimensions)}."
    return [picture(("depth", corpus), draw, alt=alt)]


def _best_table(study: Study, corpus: str, chosen: Sequence[_Chosen]) -> Table:
    rows = []
    for one in chosen:
        score = headline_metric(one.target)
        best = one.layers.set_index("layer").loc[one.choice.best]
        rows.append(
            (
                one.model.label,
                one.target,
                f"{one.choice.best} of {one.layers['layer'].max()}",
                with_interval(best[score], best[f"{score}_low"], best[f"{score}_high"]),
                number(best["pearson"]),
                number(best["null_high"]),
                counted_probability(best["p_holm"], best["p"], best["permutations"]),
                number(best["selectivity"]),
                number(best["compression"]),
            )
        )
    score = "CCC (UAR of categories)" if study.has_emotion else "CCC"
    columns = ("Model", "Dimension", "Best layer", f"{score}, 95 % interval", "Pearson r", "Null, 95th percentile",
               "p, corrected", "Selectivity", "Compression")  # fmt: skip
    on = chosen_in_words((one.choice.chosen_on, one.choice.split) for one in chosen)
    text = f"Best layer of each model on {corpus}, {study.split(corpus)}, chosen on {on}. p is corrected over layers."
    if any(one.target != EMOTION for one in chosen):
        text += " Compression above 1: the layer shortens the code of the labels."
    if any(one.choice.hindsight for one in chosen):
        text += " No interval covers a choice with hindsight."
    return Table(text, columns, tuple(rows), words=2).filled()


def _other_choices(study: Study, corpus: str, chosen: Sequence[_Chosen]) -> list[Table]:
    """Both layers, where development and scored rows disagree about the best one."""
    rows = []
    for one in chosen:
        choice = one.choice
        if choice.differs:
            score = number(one.layers.set_index("layer").loc[choice.best, headline_metric(one.target)])
            highest = (str(choice.highest), number(choice.highest_score))
            rows.append((one.model.label, one.target, str(choice.best), score, *highest))
    if not rows:
        return []
    columns = ("Model", "Dimension", "Chosen on development", "Score", "Highest, with hindsight", "Score")
    text = f"Where the scored rows of {corpus}, {study.split(corpus)}, would choose another layer than development."
    return [Table(text, columns, tuple(rows), words=2)]


def _rivals_table(study: Study, corpus: str, chosen: Sequence[_Chosen]) -> list[Table]:
    scores = rows_of(study.results.scores, corpus=corpus, fold="all", split=study.split(corpus))
    baselines = scores[scores["layer"].eq(-1).fillna(False).to_numpy(bool)]
    rows, choices = [], []
    for one in chosen:
        model, dimension, choice, score = one.model, one.target, one.choice, headline_metric(one.target)
        if model.random:
            continue
        choices.append(choice)
        # A baseline does not depend on the model: what its cache lacks, another cache of the corpus may have.
        first = (baselines["model"] != model.label).sort_values(kind="stable").index
        of_corpus = baselines.loc[first].query("dimension == @dimension").drop_duplicates(["probe", "features", "seed"])
        acoustic = of_corpus[of_corpus["probe"].isin(ACOUSTIC)]
        acoustic = acoustic[acoustic[score].notna()]
        cells = [model.label, dimension, one.score()]
        if len(acoustic):
            scored = acoustic.groupby("probe")[score].mean()
            layer = {"model": model.label, "corpus": corpus, "dimension": dimension, "split": choice.split}
            rival = best_baseline(study.results.scores, scored, layer, score, chosen_on=choice.chosen_on)
            choices += [rival] if len(scored) > 1 else []
            highest = f" ({BASELINE_NAMES[rival.highest]} {number(rival.highest_score)})" if rival.differs else ""
            cells.append(f"{BASELINE_NAMES[rival.best]} {number(scored[rival.best])}{highest}")
        else:
            cells.append(NOTHING)
        for name in ("duration", "text"):
            cells.append(number(next(iter(of_corpus.loc[of_corpus["probe"] == name, score]), None)))
        twin = study.twin(model)
        untrained = _chosen(study, twin, dimension) if twin else None
        choices += [untrained.choice] if untrained else []
        cells.append(untrained.score() if untrained else NOTHING)
        rows.append(tuple(cells))
    if not rows:
        return []
    columns = ("Model", "Dimension", "Best layer", "Best acoustics", "Duration", "Words", "Random twin, best layer")
    on = chosen_in_words((choice.chosen_on, choice.split) for choice in choices)
    text = (
        f"Rival explanations on {corpus}: what is reached without the model, or without its training. The best of each "
        f"is chosen on {on}."
    )
    if any(choice.differs for choice in choices):
        text = f"{text[:-1]}; in brackets, where it is another: the best of the scored rows, with hindsight."
    return [Table(text, columns, tuple(rows), words=2)]


def _lacking_controls(study: Study) -> list[Block]:
    scores = study.results.scores
    lacking: list[Block] = []
    if study.dimensions and not scores["null_high"].notna().any():
        lacking.append(Missing("There is no null of permuted labels.", study.fit_command()))
    if study.dimensions and not scores["compression"].notna().any():
        lacking.append(Missing("There is no description length.", study.fit_command()))
    for model in study.models:
        if model.probed and not model.random and study.twin(model) is None:
            (file,) = file_stems([(model.label, "random")])
            text = (
                f"{model.label} has no random twin on {model.corpus}: how much its architecture reads untrained is not "
                "known. Extract one on the same corpus, and fit it beside the others."
            )
            command = f"{study.twin_command(model, f'{file}.h5')} && {study.fit_of(f'{file}.h5')}"
            lacking.append(Missing(text, command))
    for corpus in study.corpora:
        probed = study.of(corpus)
        there = set(scores.loc[scores["corpus"] == corpus, "probe"])
        for name in kept_beside():
            if probed and name not in there:
                told = BASELINES[name].label if BASELINES[name].acoustic else WORDS.in_words
                text = f"There is no baseline of {told} on {corpus}. One cache that has it serves all of the corpus."
                lacking.append(Missing(text, study.baseline_command(probed[0], name)))
    return lacking
