"""Learned weights and second opinions."""

from __future__ import annotations

from functools import partial

import pandas as pd

from emoprobe.probe.schema import ordered_dimensions

from ...curves import layer_weights
from ...figures.relevance import plot_relevance
from ...figures.weights import plot_weights
from ...measures.opinions import OPINIONS
from ...measures.relevance import agreement, starts
from ...tables import Subject
from ..content import (
    Block,
    Gallery,
    Missing,
    Table,
    known,
    listed,
    number,
)
from ..material import Material
from ..pictures import picture
from ..study import Model, Study


def relevance_section(material: Material) -> list[Block]:
    """The learned weights of each model, and what each opinion says of its layers."""
    study, computed = material.study, material.computed
    blocks: list[Block] = []
    weighed = [
        model
        for model in study.models
        if ((study.results.weights["model"] == model.label) & (study.results.weights["corpus"] == model.corpus)).any()
    ] if len(study.results.weights) else []  # fmt: skip
    figures = []
    for model in weighed:
        draw = partial(plot_weights, study.results, model=model.label, corpus=model.corpus)
        figures.append(picture(("weights", model.label, model.corpus), draw, alt=_weights_in_words(study, model)))
    blocks += [Gallery(tuple(figures))] if figures else []
    if study.dimensions and not weighed:
        blocks.append(Missing("No weighted sum of layers was learned.", study.fit_command("--probe weighted")))
    for model in study.models:
        rows = computed.relevance
        rows = rows[(rows["model"] == model.label) & (rows["corpus"] == model.corpus)]
        if len(rows):
            blocks += _opinions(model, rows)
    return [*blocks, *computed.lacking["relevance"]]


def _opinions(model: Model, rows: pd.DataFrame) -> list[Block]:
    compared = agreement(rows)
    names = [name for name in OPINIONS if name in set(rows["opinion"])]
    cells, said = [], []
    for dimension in ordered_dimensions(rows["dimension"]):
        of = rows[(rows["dimension"] == dimension) & ~starts(rows)]
        best = of.loc[of.groupby("opinion")["relevance"].idxmax()].set_index("opinion")
        layers = []
        for name in names:
            row = best.loc[name]
            sure = not known(row["low"]) or row["low"] > 0
            layers.append(f"{row['layer']}{'' if sure else ' ?'}")
        tau = compared.loc[compared["dimension"] == dimension, "kendall"].mean()
        cells.append((dimension, *layers, number(tau, 2)))
        said.append(f"{dimension}: Kendall's tau {number(tau, 2)} on average")
    features = listed(dict.fromkeys(rows["features"]))
    text = (
        f"Most relevant layer of {model.label} by each opinion, on pooled states ({features}); a question mark: its "
        "interval, around the fixed fits, includes zero. Agreement: Kendall's tau between two opinions over the "
        "layers, the mean over pairs. 1 for the same order, 0 for unrelated ones; the lower, the less a single opinion "
        "counts. Where a cumulative opinion starts, it compares with nothing, and that layer is left out. "
        "All of it is of the scored rows, with hindsight: the layer that the answer reports was not chosen by it."
    )
    columns = ("Dimension", *(OPINIONS[name].label.capitalize() for name in names), "Agreement")
    alt = f"What {len(names)} opinions say of each layer of {model.label}; {'; '.join(said)}."
    draw = partial(plot_relevance, rows, model=model.label, corpus=model.corpus)
    return [picture(("relevance", model.label, model.corpus), draw, alt=alt), Table(text, columns, tuple(cells))]


def _weights_in_words(study: Study, model: Model) -> str:
    said = []
    for dimension in study.dimensions:
        weights = layer_weights(study.results.weights, Subject(model.label, model.corpus), dimension=dimension)
        if weights is not None:
            raw, normed = weights.raw.mean(0), weights.normed.mean(0)
            said.append(
                f"{dimension} most on layer {raw.argmax()} ({number(raw.max(), 2)}), norm-corrected on layer "
                f"{normed.argmax()} ({number(normed.max(), 2)})"
            )
    return f"Learned weights of the layers of {model.label} on {model.corpus}: {'; '.join(said)}."
