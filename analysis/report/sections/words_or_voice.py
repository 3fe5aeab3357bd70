"""Whether probes react to words or to the voice."""

from __future__ import annotations

from functools import partial

import pandas as pd

from ...figures.words_or_voice import plot_words_or_voice
from ...measures.reactions import OF_MANNERS, OF_TEXTS
from ...tables import named_parts
from ..content import Block, Paragraph, Table, number, with_interval
from ..material import Material
from ..pictures import picture

_READ = (
    "The probes of each layer read speech in which the texts change and the manner does not, and speech in which the "
    f"manner changes and the texts do not. Where the first correlates with the {OF_TEXTS} of the texts, the answer "
    "reacts to "
    f"words; where the second correlates with the {OF_MANNERS} of the manner, to the voice. Spreads are in the unit of "
    "the answers on the training rows. The speech is synthetic where nothing else is named: a reaction is shown, its "
    "absence is not."
)


def words_or_voice_section(material: Material) -> list[Block]:
    """The curves of the reactions, and their numbers in each layer."""
    answer = material.study.answers.get("words_or_voice")
    if answer is None or not len(answer):
        return []
    blocks: list[Block] = [Paragraph(_READ)]
    for (model, corpus), rows in named_parts(answer, "model", "corpus"):
        alt = f"Reactions to words and to the voice in each layer of {model}, trained on {corpus}; the table has them."
        draw = partial(plot_words_or_voice, answer, model=model, corpus=corpus)
        blocks += [picture(("words_or_voice", model, corpus), draw, alt=alt), _table(model, corpus, rows)]
    return blocks


def _table(model: str, corpus: str, rows: pd.DataFrame) -> Table:
    cells = tuple(
        (
            row["dimension"],
            f"{row['layer']}",
            with_interval(row["words_r"], row["words_low"], row["words_high"], 2),
            with_interval(row["voice_r"], row["voice_low"], row["voice_high"], 2),
            number(row["words_sd"], 2),
            number(row["voice_sd"], 2),
            with_interval(row["share"], row["share_low"], row["share_high"], 2),
        )
        for row in rows.to_dict("records")
    )
    first = rows.iloc[0]
    columns = (
        "Dimension", "Layer", f"r with {OF_TEXTS} of words", f"r with {OF_MANNERS} of voice", "Moved by words",
        "Moved by voice", "Share of the voice",
    )  # fmt: skip
    text = (
        f"{model}, trained on {corpus}: reactions to {first['words']} ({first['words_units']} texts) and "
        f"{first['voice']} ({first['voice_units']} pairs of text and voice). Intervals are around the fixed probe."
    )
    return Table(text, columns, cells)
