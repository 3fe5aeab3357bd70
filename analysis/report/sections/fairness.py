"""Fairness across speakers."""

from __future__ import annotations

from functools import partial

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.probe.selecting import chosen_in_words
from emoprobe.probe.units import GROUP

from ...figures.fairness import plot_fairness
from ...measures.fairness import FEWEST_UTTERANCES, fairness_table
from ...tables import named_parts, records
from ..content import (
    Block,
    Items,
    Missing,
    Table,
    counted,
    listed,
    number,
    whole,
    with_interval,
)
from ..material import Material
from ..pictures import picture
from ..study import Model
from .wording import as_sentence


def fairness_section(material: Material) -> list[Block]:
    """The scores of the deepest model of each corpus, by gender and by speaker."""
    study = material.study
    blocks: list[Block] = []
    for corpus in study.corpora:
        trained = [model for model in study.of(corpus, random=False) if study.dimensions]
        cached = next((model.cache for model in study.of(corpus) if model.cache), None)
        if not trained:
            continue
        if cached is None:
            command = study.report_command("--caches", *study.cache_files)
            blocks.append(Missing(f"The genders of {corpus} are in its caches, and none was found.", command))
            continue
        model = max(trained, key=lambda model: model.blocks or 0)
        try:
            table = fairness_table(
                study.results, cached, model=model.label, dimensions=study.dimensions, split=study.split(corpus)
            )
        except UserError as error:
            blocks.append(Missing(as_sentence(str(error))))
            continue
        blocks += _fairness_blocks(corpus, model, table)
    return blocks or [Missing("No layer was probed for a dimension.", study.fit_command("--dim all"))]


def _fairness_blocks(corpus: str, model: Model, table: pd.DataFrame) -> list[Block]:
    differences = table[table["group_by"] == "gender difference"]
    blocks: list[Block] = []
    alt = f"CCC of {model.label} on {corpus} for all, by gender and by speaker, one panel a dimension."
    blocks.append(picture(("fairness", model.label, corpus), partial(plot_fairness, table), alt=alt))
    groups = table[table["group_by"].isin(["all", "gender", "gender difference"])]
    rows = tuple(
        (
            row.dimension,
            row.group,
            whole(row.speakers),
            whole(row.n),
            with_interval(row.ccc, row.ccc_low, row.ccc_high),
            number(row.rmse),
            with_interval(row.bias, row.bias_low, row.bias_high),
            number(row.truth_std),
        )
        for row in records(groups)
    )
    columns = ("Dimension", "Group", "Speakers", "Utterances", "CCC, 95 % interval", "RMSE", "Bias, 95 % interval",
               "Spread of labels")  # fmt: skip
    on = chosen_in_words(zip(table["chosen_on"], table["split"], strict=True))
    text = (
        f"The best layer of {model.label}{f', chosen on {on}' if on else ''}, by gender, on {corpus}. A group whose "
        f"labels spread less scores a lower CCC at the same error. Intervals of genders and of their differences are "
        f"around the fixed probe.{_drawn_together(table)}{_other_layers(table)}"
    )
    blocks.append(Table(text, columns, rows, words=2))
    speakers = table[(table["group_by"] == "speaker") & table["ccc"].notna()]
    said = []
    for (dimension,), part in named_parts(speakers, "dimension"):
        low, high = part.iloc[part["ccc"].argmin()], part.iloc[part["ccc"].argmax()]
        said.append(
            f"{dimension.capitalize()} ranges over {counted(len(part), 'speaker')} from {number(low['ccc'])} "
            f"({low['group']}) to {number(high['ccc'])} ({high['group']})."
        )
    if said:
        blocks.append(Items(tuple(said)))
    else:
        blocks.append(
            Missing(f"No speaker has the {FEWEST_UTTERANCES} utterances that a score of one speaker asks for.")
        )
    if not len(differences):
        blocks.append(Missing("The corpus names no two genders among the speakers that were scored."))
    return blocks


def _drawn_together(table: pd.DataFrame) -> str:
    """That groups are resampled, and not speakers, where that is so."""
    together = (table["unit"] == GROUP).any()
    return " Intervals resample groups, the same ones for both genders of a difference." if together else ""


def _other_layers(table: pd.DataFrame) -> str:
    """The layers that are best on the scored rows, where others were chosen."""
    others = table[(table["layer"] != table["highest_layer"]).fillna(False)].drop_duplicates("dimension")
    named = [f"{row.dimension} layer {row.highest_layer} instead of {row.layer}" for row in records(others)]
    return f" Best on the scored rows, with hindsight: {listed(named)}." if named else ""
