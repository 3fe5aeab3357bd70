"""Similarity of layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from ...figures.similarity import plot_feature_similarity, plot_similarity
from ...measures.alignment import MEASURES
from ...tables import BASELINE_NAMES, ordered_baselines
from ..content import (
    NOTHING,
    Block,
    Gallery,
    Paragraph,
    Table,
    listed,
    number,
)
from ..material import Material
from ..pictures import picture
from ..study import Study


def similarity_section(material: Material) -> list[Block]:
    """How alike the layers of each corpus are: with each other, with those of other models, with features."""
    study, computed = material.study, material.computed
    blocks: list[Block] = []
    for corpus in study.corpora:
        table = computed.similarity
        table = table[table["corpus"] == corpus]
        if len(table):
            blocks += _similarity_of(study, corpus, table)
    return [*blocks, *computed.lacking["similarity"]]


def _similarity_of(study: Study, corpus: str, table: pd.DataFrame) -> list[Block]:
    trained = [model.label for model in study.of(corpus, random=False)]
    layered = table[table["other_layer"].notna() & (table["measure"] == "cka")]
    figures, drawn = [], set()
    for model, other in layered[["model", "other"]].drop_duplicates().itertuples(index=False):
        if frozenset((model, other)) in drawn or model not in trained:
            continue
        drawn.add(frozenset((model, other)))
        rows = layered[(layered["model"] == model) & (layered["other"] == other)]
        pair = (model,) if model == other else (model, other)
        low, high = rows["value"].min(), rows["value"].max()
        alt = f"Linear CKA between layers of {listed(pair)} on {corpus}: {number(low, 2)} to {number(high, 2)}."
        draw = partial(plot_similarity, table, model=model, other=other, corpus=corpus)
        figures.append(picture(("similarity", *pair, corpus), draw, alt=alt))
    blocks: list[Block] = [Gallery(tuple(figures))] if figures else []
    featured = table[table["other_layer"].isna()]
    if len(featured):
        models = list(dict.fromkeys(featured["model"]))
        alt = f"What each layer of {listed(models)} shares with features; the table below has the highest of each."
        draw_features = partial(plot_feature_similarity, table, corpus=corpus)
        blocks += [picture(("features", corpus), draw_features, alt=alt), *_shared_words(featured, trained)]
        blocks.append(_shared_table(corpus, featured))
    return blocks + _counterparts(study, corpus, table)


def _shared_words(featured: pd.DataFrame, trained: Sequence[str]) -> list[Block]:
    """What the layers share with the words, from the first to the last: the paper's explanation of valence."""
    rows = featured[(featured["measure"] == "cka") & (featured["other"] == "text") & featured["value"].notna()]
    said = []
    for model in trained:
        part = rows[rows["model"] == model].sort_values("layer")
        if len(part):
            first, last = part.iloc[0], part.iloc[-1]
            said.append(
                f"What {model} shares with the words goes from {number(first['value'], 2)} at layer 0 to "
                f"{number(last['value'], 2)} at layer {last['layer']} (linear CKA)."
            )
    return [Paragraph(" ".join(said))] if said else []


def _shared_table(corpus: str, featured: pd.DataFrame) -> Table:
    names = ordered_baselines(featured["other"])
    rows = []
    for model in dict.fromkeys(featured["model"]):
        for name in names:
            cells = [model, BASELINE_NAMES.get(name, name)]
            for measure in MEASURES.values():
                part = featured[(featured["model"] == model) & (featured["other"] == name)]
                part = part[(part["measure"] == measure.name) & part["value"].notna()].sort_values("layer")
                if not len(part):
                    cells += [NOTHING] * 3
                    continue
                ends, best = part.iloc[[0, -1]]["value"], part.loc[part["value"].idxmax()]
                chance = f", chance {number(best['chance'], 2)}" if measure.weighted else ""
                cells += [number(value, 2) for value in ends]
                cells.append(f"{number(best['value'], 2)} at layer {best['layer']}{chance}")
            rows.append(tuple(cells))
    columns = ["Model", "Shares with"]
    columns += [
        f"{measure.short}, {where}" for measure in MEASURES.values() for where in ("layer 0", "last layer", "highest")
    ]
    unrelated = (
        f"{measure.short} {'is as high as its chance' if measure.weighted else 'of unrelated rows is 0'}"
        for measure in MEASURES.values()
    )
    text = f"What the layers share with features of {corpus}. {'; '.join(unrelated)}."
    return Table(text, tuple(columns), tuple(rows), words=2)


def _counterparts(study: Study, corpus: str, table: pd.DataFrame) -> list[Block]:
    """For each layer of the smaller model of a pair, the layer of the larger that is most alike."""
    trained = {model.label: model.blocks or 0 for model in study.of(corpus, random=False)}
    layered = table[table["other_layer"].notna() & (table["model"] != table["other"])]
    tables: list[Block] = []
    for model, other in layered[["model", "other"]].drop_duplicates().itertuples(index=False):
        if model not in trained or other not in trained or not trained[model] < trained[other]:
            continue
        rows = []
        pair = layered[(layered["model"] == model) & (layered["other"] == other) & layered["value"].notna()]
        for layer, part in pair.groupby("layer"):
            cells = [f"layer {layer}"]
            for name in MEASURES:
                values = part[part["measure"] == name]
                if not len(values):
                    cells += [NOTHING, NOTHING]
                    continue
                best = values.loc[values["value"].idxmax()]
                cells += [f"layer {best['other_layer']}", number(best["value"], 2)]
            rows.append(tuple(cells))
        columns = [model]
        for measure in MEASURES.values():
            columns += [f"Most alike in {other}, {measure.short}", measure.short]
        tables.append(Table(f"Which layer of {other} each layer of {model} is most like.", tuple(columns), tuple(rows)))
    return tables
