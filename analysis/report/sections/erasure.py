"""What is left of each thing where another is erased from a layer."""

from __future__ import annotations

from functools import partial

import pandas as pd

from ...figures.erasure import plot_erasure
from ...measures.erasure import surely_lost
from ...tables import named_parts
from ..content import Block, Paragraph, Table, number, with_interval
from ..material import Material
from ..pictures import picture

_READ = (
    "What a linear probe reads of one thing is taken out of a layer, by an eraser that is fitted on the training rows "
    "alone, and probes are fitted again to what is left. What they lose beyond what the same costs with its values "
    "permuted was carried by the directions of what is gone. Three warnings. A loss does not say that the model uses "
    "what was erased. Linear erasure leaves what a nonlinear reader may find. And where the labels of two things "
    "correlate (the last column), taking one out takes the other with it, whether or not the layer keeps them apart. "
    "Of a thing itself no linear probe on the training rows has anything left, by construction; such pairs are left "
    "out here."
)


def erasure_section(material: Material) -> list[Block]:
    """The curves after each erasure, and every pair at the layer where the read thing is read best."""
    answer = material.study.answers.get("erasure")
    if answer is None or not len(answer):
        return []
    blocks: list[Block] = [Paragraph(_READ)]
    for (model, corpus), rows in named_parts(answer, "model", "corpus"):
        alt = f"What is left in each layer of {model} on {corpus} after each erasure; the table has the numbers."
        draw = partial(plot_erasure, answer, model=model, corpus=corpus)
        blocks += [picture(("erasure", model, corpus), draw, alt=alt), _table(model, corpus, rows)]
    return blocks


def _table(model: str, corpus: str, rows: pd.DataFrame) -> Table:
    cells = []
    for (erased, read), curve in named_parts(rows[rows["erased"] != rows["read"]], "erased", "read"):
        best = curve.iloc[curve["before"].argmax()]
        cells.append(
            (
                erased,
                read,
                f"{best['layer']}",
                f"{best['rank']}",
                number(best["before"]),
                with_interval(best["after"], best["low"], best["high"]),
                number(best["control"]),
                with_interval(best["lost"], best["lost_low"], best["lost_high"]),
                f"{int(surely_lost(curve).sum())} of {len(curve)}",
                number(best["shared"], 2),
            )
        )
    columns = (
        "Erased", "Read", "Layer", "Directions", "CCC before", "CCC after", "After it is permuted",
        "Lost beyond that", "Layers with a loss", "Shared variance of labels",
    )  # fmt: skip
    text = (
        f"{model} on {corpus}: erased and read in the layer where the latter is read best before, which is chosen with "
        "hindsight. Intervals are over speakers, around the fixed fits; layers with a loss are those after Holm's "
        "correction over the layers of a pair."
    )
    return Table(text, columns, tuple(cells), words=2)
