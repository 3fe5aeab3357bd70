"""The noise ceiling: what the errors of the ratings allow."""

from __future__ import annotations

from functools import partial

import pandas as pd

from emoprobe.probe.selecting import reported_split

from ...figures.ceiling import plot_ceiling
from ...tables import named_parts
from ..content import Block, Items, Paragraph, Table, number, whole, with_interval
from ..material import Material
from ..pictures import picture

_READ = (
    "A label is the mean of a few ratings, and off by an error that no model can foretell. The ceiling is the highest "
    "CCC, and the highest Pearson's r, that any prediction can have on these labels; the opinion of all people itself "
    "would have the CCC of the next column, since it varies less than the labels. A share near 1 leaves nothing to "
    "explain; differences between corpora and dimensions of unlike ceilings are compared as shares."
)


def ceiling_section(material: Material) -> list[Block]:
    """The ceiling of each dimension, and how near the layers come to it."""
    answer = material.study.answers.get("ceiling")
    if answer is None or not len(answer):
        return []
    blocks: list[Block] = [Paragraph(_READ)]
    for (model, corpus), of_subject in named_parts(answer, "model", "corpus"):
        split = reported_split(of_subject["split"])
        rows = of_subject[of_subject["split"] == split]
        own = rows[rows["probe"] == ""]
        alt = f"Noise ceiling of {corpus} and the layers of {model} as a share of it; the table has the numbers."
        draw = partial(plot_ceiling, answer, model=model, corpus=corpus, split=split)
        blocks += [picture(("ceiling", model, corpus), draw, alt=alt), _table(model, corpus, split, rows, own)]
        doubts = tuple(f"{row['dimension']}: {row['reason']}." for row in own.to_dict("records") if row["reason"])
        blocks += [Items(doubts)] if doubts else []
    return blocks


def _table(model: str, corpus: str, split: str, rows: pd.DataFrame, own: pd.DataFrame) -> Table:
    cells = []
    for row in own.to_dict("records"):
        layers = rows[(rows["dimension"] == row["dimension"]) & rows["layer"].ge(0).fillna(False)]
        shares = layers["share"].dropna()
        reached = f"{number(shares.min(), 2)} to {number(shares.max(), 2)}" if len(shares) else number(None)
        cells.append(
            (
                row["dimension"],
                whole(row["n"]),
                number(row["raters"], 1),
                with_interval(row["reliability"], row["reliability_low"], row["reliability_high"], 2),
                number(row["split_half"], 2),
                with_interval(row["ceiling"], row["ceiling_low"], row["ceiling_high"], 2),
                number(row["calibrated"], 2),
                number(row["rmse"], 2),
                reached,
            )
        )
    columns = (
        "Dimension", "Utterances", "Ratings of each", "Reliability", "Split-half", "Ceiling",
        "CCC of the opinion of all", "Lowest RMSE", "Share that layers reach",
    )  # fmt: skip
    where = f", {split}" if split else ""
    return Table(f"Noise ceiling on {corpus}{where}, and the layers of {model}.", columns, tuple(cells))
