"""What a layer adds to acoustics and words, and what the words explain of it."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import pandas as pd

from emoprobe.probe.schema import ordered_dimensions

from ...figures.contribution import plot_contribution
from ...measures.contribution import IN_STATES, LEAST, R2, SHARED, SLOPE, STATEMENT, corrected, verdict
from ...tables import named_parts
from ..content import Block, Finding, Findings, Paragraph, Table, number, probability, with_interval
from ..material import Material
from ..pictures import picture

_READ = (
    "Nested regressions on the layer, on acoustics and on the words tell what of the labels only one of them explains, "
    "and what several have in common. What a layer has in common with the words it may have from the words, or from a "
    "voice that says the same as they do: the share of its states that the words explain tells which is likely. A part "
    "below 0 is none, or one that shows only together."
)

#: Parts that the table tells of the first, the middle and the last layer.
_TOLD = ("layer", SHARED, "beyond text", "unique layer")


def contribution_section(material: Material) -> list[Block]:
    """The parts of each model's layers, and how the explanation by the words stands."""
    answer = material.study.answers.get("contribution")
    if answer is None or not len(answer):
        return []
    answer = corrected(answer)  # over all models of the page
    blocks: list[Block] = [Paragraph(_READ)]
    findings = []
    for (model, corpus), rows in named_parts(answer, "model", "corpus"):
        alt = f"Parts of explained variance over the layers of {model} on {corpus}; the table has the numbers."
        draw = partial(plot_contribution, answer, model=model, corpus=corpus)
        blocks += [picture(("contribution", model, corpus), draw, alt=alt), _parts(model, corpus, rows)]
        findings.append(_finding(model, corpus, rows))
    return [*blocks, Findings(tuple(findings))]


def _parts(model: str, corpus: str, rows: pd.DataFrame) -> Table:
    explained = rows[rows["quantity"] == R2]
    last = int(explained["layer"].max())
    cells = []
    for dimension in ordered_dimensions(name for name in rows["dimension"] if name):
        for layer in dict.fromkeys((0, last // 2, last)):
            part = explained[(explained["dimension"] == dimension) & (explained["layer"] == layer)]
            told = {row["part"]: row for row in part.to_dict("records")}
            alone = (number(told[name]["value"], 2) for name in ("acoustics", "text", "total"))
            cells.append((dimension, str(layer), *alone, *(_number(told[name], 2) for name in _TOLD)))
    columns = (
        "Dimension", "Layer", "Acoustics", "Words", "All three", "Layer", "Words explain as well", "Beyond words",
        "Only the layer",
    )  # fmt: skip
    caption = f"Explained variance (R²) on {corpus} and its parts; first, middle and last layer of {model}."
    return Table(caption, columns, tuple(cells), words=2)


def _finding(model: str, corpus: str, rows: pd.DataFrame) -> Finding:
    slopes = rows[rows["quantity"] == SLOPE].to_dict("records")
    of = {(row["dimension"], row["part"]): row for row in slopes}
    numbers = []
    for key, said in ((("", IN_STATES["text"]), "words in the states"), (("valence", SHARED), "in common of valence")):
        if key in of:
            p = f"p {probability(of[key]['p'])}, corrected {probability(of[key]['p_holm'])}"
            numbers.append(f"{said} {_number(of[key], 3)}, {p}")
    how = (
        "Change of R² from the first layer to the last, on a straight line: of the layer's states that the words "
        "explain, and of what layer and words have in common of valence. Both have to rise, and not by less than "
        f"{LEAST:g}; p is corrected over these slopes of all dimensions and models of this section."
    )
    return Finding(f"{STATEMENT} ({model} on {corpus})", verdict(rows), "; ".join(numbers), how)


def _number(row: dict[Hashable, Any], digits: int) -> str:
    return with_interval(row["value"], row["low"], row["high"], digits)
