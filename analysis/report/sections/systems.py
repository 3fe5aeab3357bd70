"""Models trained end to end, beside all others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.probe.selecting import chosen_in_words

from ...figures.comparison import plot_comparison
from ...measures.comparison import compare_systems
from ...tables import METRICS
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

# 6. Systems -----------------------------------------------------------------------------------------------------------


def systems_section(material: Material) -> list[Block]:
    study = material.study
    blocks: list[Block] = []
    if not study.end_to_end:
        corpus = study.corpus_option(study.corpora[0])
        command = f"probe-train {corpus} --results {quoted(str(study.folders[0]))}"
        blocks.append(Missing("The results hold no model trained end to end.", command))
    for corpus in study.corpora:
        for metric, wanted in (("ccc", study.dimensions), ("uar", [EMOTION] if study.has_emotion else [])):
            choice = {"corpus": corpus, "metric": metric, "dimensions": wanted, "split": study.split(corpus)}
            try:
                found = compare_systems(study.results, **choice)
            except UserError:  # none of these dimensions on this corpus
                continue
            if (found["probe"] != "mean").any():
                alt = f"{METRICS[metric]} with interval of every system on {corpus}; the table below has the numbers."
                name = ("comparison", corpus, *([metric] if metric != "ccc" else []))
                blocks.append(picture(name, partial(plot_comparison, study.results, **choice), alt=alt))
            blocks.append(_systems_table(study, corpus, metric, found))
    return blocks


def _systems_table(study: Study, corpus: str, metric: str, found: pd.DataFrame) -> Table:
    dimensions = list(dict.fromkeys(found["dimension"]))
    rows = []
    for (model, system), part in found.groupby(["model", "system"], sort=False):
        by_dimension = part.drop_duplicates("dimension").set_index("dimension")
        cells = [model or "no model", system, whole(part["seeds"].max())]
        for dimension in dimensions:
            if dimension not in by_dimension.index:
                cells.append(NOTHING)
                continue
            row = by_dimension.loc[dimension]
            layer = f" (layer {int(row['layer'])})" if pd.notna(row["layer"]) else ""
            cells.append(with_interval(row["value"], row["low"], row["high"]) + layer)
        rows.append(tuple(cells))
        rows += _highest(model, system, by_dimension, dimensions)
    on = chosen_in_words(zip(found["chosen_on"].fillna(""), found["split"], strict=True))
    chosen = f" Layers chosen on {on}." if on else ""
    text = f"{METRICS[metric]} of every system on {corpus}, {study.split(corpus)}, with 95 % intervals.{chosen}"
    return Table(text, ("Model", "System", "Seeds", *dimensions), tuple(rows), words=2)


def _highest(model: str, system: str, by_dimension: pd.DataFrame, dimensions: Sequence[str]) -> list[tuple[str, ...]]:
    """A row of the layers that are best on the scored rows, where others were chosen."""
    cells = []
    for dimension in dimensions:
        row = by_dimension.loc[dimension] if dimension in by_dimension.index else None
        differs = row is not None and pd.notna(row["layer"]) and row["layer"] != row["highest_layer"]
        cells.append(f"{number(row['highest'])} (layer {int(row['highest_layer'])})" if differs else NOTHING)
    return [(model, f"{system}, with hindsight", NOTHING, *cells)] if set(cells) != {NOTHING} else []
