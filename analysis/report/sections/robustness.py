"""Whether the main verdicts hang on a choice that could have been made otherwise."""

from __future__ import annotations

from functools import partial

import pandas as pd

from ...figures.robustness import TOGETHER, plot_robustness
from ...measures.specifications import CHOICES, FACTORS
from ...measures.specified_claims import CLAIMS
from ...tables import named_parts
from ..content import Block, Items, Paragraph, Table, counted, interval, known, listed, number, probability
from ..material import Material
from ..pictures import picture

_READ = (
    "Every row is a fit of its own, with one choice made otherwise than by default, or, where it was asked for, "
    "several. Verdicts here are of one specification alone, without correction, so that by chance alone about one in "
    "twenty differs from undecided. What tells is whether they agree: a claim that stands above under the default "
    "alone hangs on that choice. Specifications share utterances, and are no independent repetitions."
)


def robustness_section(material: Material) -> list[Block]:
    """Each claim under every specification: figures, and a table."""
    answer = material.study.answers.get("robustness")
    if answer is None or not len(answer):
        return []
    blocks: list[Block] = [Paragraph(_READ), Items(_choices(answer))]
    for (model, corpus), part in named_parts(answer, "model", "corpus"):
        for name, claims in TOGETHER.items():
            if not part["claim"].isin(claims).any():
                continue
            alt = f"Claims on {name} of {model} on {corpus} under each specification; the table has the numbers."
            draw = partial(plot_robustness, answer, model=model, corpus=corpus, claims=name)
            blocks.append(picture(("robustness", model, corpus, name), draw, alt=alt))
        blocks.append(_table(model, corpus, part))
        blocks += _reasons(part)
    return blocks


def _choices(answer: pd.DataFrame) -> tuple[str, ...]:
    """What the choices that were made are, in sentences."""
    made = [choice for choice in CHOICES if (answer[choice.factor] == choice.name).any()]
    known = {choice.factor for choice in CHOICES}
    varied = [factor for factor in FACTORS if answer[factor].nunique() > 1]
    said = [f"{choice.factor}, {choice.name}: {choice.about}." for choice in made if choice.factor in varied]
    others = (factor for factor in varied if factor not in known)
    return (*said, *(f"{factor}: {listed(dict.fromkeys(answer[factor]))}." for factor in others))


def _table(model: str, corpus: str, part: pd.DataFrame) -> Table:
    varied = [factor for factor in FACTORS if part[factor].nunique() > 1]
    first = part.iloc[0]
    rows = []
    for row in part.to_dict("records"):
        otherwise = [f"{factor}: {row[factor]}" for factor in varied if row[factor] != first[factor]]
        claim = f"{row['claim']} of {row['dimension']}" if row["dimension"] else str(row["claim"])
        rows.append(
            (
                claim,
                listed(otherwise) or "by default",
                row["verdict"] + (f": {row['statement']}" if known_text(row["statement"]) else ""),
                number(row["estimate"]),
                interval(row["low"], row["high"]),
                probability(row["p"]) if known(row["p"]) else number(None),
            )
        )
    order = list(dict.fromkeys(cells[0] for cells in rows))
    rows = sorted(rows, key=lambda cells: order.index(cells[0]))
    estimates = "; ".join(f"{name}: {what}" for name, what in CLAIMS.items() if (part["claim"] == name).any())
    text = (
        f"Claims on {model} on {corpus} under {counted(len(part.drop_duplicates(list(FACTORS))), 'specification')}. "
        f"Estimates: {estimates}. p of a slope is the larger of two scales; that of depth is of the difference alone."
    )
    columns = ("Claim", "Otherwise than by default", "Verdict", "Estimate", "95 % interval", "p")
    return Table(text, columns, tuple(rows), words=3)


def known_text(value: object) -> bool:
    """Whether a cell of words says anything."""
    return isinstance(value, str) and bool(value)


def _reasons(part: pd.DataFrame) -> list[Block]:
    lacking = part[part["reason"].map(known_text)].drop_duplicates([*FACTORS, "reason"])
    said = [
        f"Not fitted: {listed(str(row[factor]) for factor in FACTORS if known_text(row[factor]))}: {row['reason']}."
        for row in lacking.to_dict("records")
    ]
    return [Items(tuple(said))] if said else []
