"""Models trained end to end, beside all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.probe.selecting import chosen_in_words

from ...figures.comparison import plot_comparison
from ...measures.comparison import compare_systems
from ...tables import METRICS, named_parts, records
from ..content import (
    NOTHING,
    Block,
    Missing,
    Table,
    number,
    whole,
    with_interval,
)
from ..material import Material
from ..pictures import picture
from ..study import EMOTION, Study
from .wording import quoted


def systems_section(material: Material) -> list[Block]:
    """Every system of each corpus: a figure and a table for dimensions, and for categories."""
    study = material.study
    blocks: list[Block] = []
    if not study.end_to_end:
        corpus = study.corpus_option(study.corpora[0])
        command = f"probe-train {corpus} --results {quoted(str(study.folders[0]))}"
        blocks.append(Missing("The results hold no model trained end to end.", command))
    for corpus in study.corpora:
        for metric, wanted in (("ccc", study.dimensions), ("uar", [EMOTION] if study.has_emotion else [])):
            choice: dict[str, Any] = {
                "corpus": corpus,
                "metric": metric,
                "dimensions": wanted,
                "split": study.split(corpus),
            }
            try:
                systems = compare_systems(study.results, **choice)
            except UserError:  # none of these dimensions on this corpus
                continue
            if (systems["probe"] != "mean").any():
                alt = f"{METRICS[metric]} with interval of every system on {corpus}; the table below has the numbers."
                name = ("comparison", corpus, *([metric] if metric != "ccc" else []))
                blocks.append(picture(name, partial(plot_comparison, study.results, **choice), alt=alt))
            blocks.append(_systems_table(study, corpus, metric, systems))
    return blocks


def _systems_table(study: Study, corpus: str, metric: str, systems: pd.DataFrame) -> Table:
    dimensions = list(dict.fromkeys(systems["dimension"]))
    rows: list[tuple[str, ...]] = []
    for (model, system), part in named_parts(systems, "model", "system"):
        by_dimension = {row.dimension: row for row in records(part.drop_duplicates("dimension"))}
        cells = [model or "no model", system, whole(part["seeds"].max())]
        for dimension in dimensions:
            if dimension not in by_dimension:
                cells.append(NOTHING)
                continue
            row = by_dimension[dimension]
            layer = f" (layer {row.layer})" if pd.notna(row.layer) else ""
            cells.append(with_interval(row.value, row.low, row.high) + layer)
        rows.append(tuple(cells))
        rows += _highest(model, system, by_dimension, dimensions)
    on = chosen_in_words(zip(systems["chosen_on"].fillna(""), systems["split"], strict=True))
    chosen = f" Layers chosen on {on}." if on else ""
    text = f"{METRICS[metric]} of every system on {corpus}, {study.split(corpus)}, with 95 % intervals.{chosen}"
    return Table(text, ("Model", "System", "Seeds", *dimensions), tuple(rows), words=2)


def _highest(
    model: str, system: str, by_dimension: Mapping[str, Any], dimensions: Sequence[str]
) -> list[tuple[str, ...]]:
    """A row of the layers that are best on the scored rows, where others were chosen."""
    cells = dict.fromkeys(dimensions, NOTHING)
    for dimension, row in by_dimension.items():
        if pd.notna(row.layer) and row.layer != row.highest_layer:
            cells[dimension] = f"{number(row.highest)} (layer {row.highest_layer})"
    return [(model, f"{system}, with hindsight", NOTHING, *cells.values())] if set(cells.values()) != {NOTHING} else []
