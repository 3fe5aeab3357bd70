"""The figures of questions that are asked by name, each drawn from the table of its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoprobe.defaults import FIGURES

from ..tables import named_parts
from .ceiling import plot_ceiling
from .contribution import plot_contribution
from .erasure import plot_erasure
from .files import write_drawings
from .kinds import AnswerKind, Wanted
from .robustness import each_group_of_claims, plot_robustness
from .words_or_voice import plot_words_or_voice

if TYPE_CHECKING:
    import pandas as pd


def each_subject(answer: pd.DataFrame) -> Iterator[Wanted]:
    """A figure for each model and corpus of a table of answers."""
    several = answer["corpus"].nunique() > 1
    for (model, corpus), _ in named_parts(answer, "model", "corpus"):
        yield Wanted((model, *((corpus,) if several else ())), {"model": model, "corpus": corpus})


#: The figures of each question, by its name.
ANSWERS = {
    kind.name: kind
    for kind in (
        AnswerKind("ceiling", each_subject, plot_ceiling),
        AnswerKind("contribution", each_subject, plot_contribution),
        AnswerKind("robustness", each_group_of_claims, plot_robustness),
        AnswerKind("erasure", each_subject, plot_erasure),
        AnswerKind("words_or_voice", each_subject, plot_words_or_voice),
    )
}


def answer_drawings(
    answers: Mapping[str, pd.DataFrame], *, caption: bool = False
) -> list[tuple[tuple[str, ...], Callable[..., Any]]]:
    """What to draw of answers, by the name of the question: the parts of each file name, and what draws it."""
    return [
        ((kind.name, *one.parts), partial(kind.draw, answers[name], **one.options, caption=caption))
        for name, kind in ANSWERS.items()
        if name in answers
        for one in kind.needs(answers[name])
    ]


def draw_answers(
    answers: Mapping[str, pd.DataFrame], figures: str | Path = FIGURES, *, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Draw the figures of answers, ``NAME_MODEL``, and write them into a folder.

    Parameters
    ----------
    answers : mapping of str to DataFrame
        Tables by the name of the question, such as :func:`emoprobe.analysis.load_answers` reads.
    figures : path
        Made where it is absent; files of the same name are replaced, whole or not at all.
    formats : sequence of str
        Of "png", "svg", "pdf".

    Returns
    -------
    list of Path
    """
    return write_drawings(answer_drawings(answers), Path(figures), formats)
