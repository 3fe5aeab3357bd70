"""The sections of the report, in their order."""

from __future__ import annotations

from functools import partial

from emoprobe.parallel import shared_out

from ...measures.inquiries import INQUIRIES
from ..content import Section
from ..material import Material, SectionKind
from .answer import answer_section
from .categories import categories_section
from .ceiling import ceiling_section
from .contribution import contribution_section
from .curves import curves_section
from .erasure import erasure_section
from .fairness import fairness_section
from .limits import limits_section
from .methods import methods_section
from .protocol import protocol_section
from .relevance import relevance_section
from .robustness import robustness_section
from .similarity import similarity_section
from .systems import systems_section
from .words_or_voice import words_or_voice_section

SECTIONS = (
    SectionKind("answer", "The answer", answer_section, open=True, long=True),
    SectionKind("protocol", "Corpus and protocol", protocol_section),
    SectionKind("curves", "Curves over layers, with controls", curves_section, long=True),
    SectionKind("categories", "Categories of emotion", categories_section, long=True),
    SectionKind("relevance", "Learned weights and second opinions", relevance_section, long=True),
    SectionKind("similarity", "Similarity", similarity_section, long=True),
    # Questions that are asked by name stand where they were asked.
    SectionKind("ceiling", INQUIRIES["ceiling"].title, ceiling_section),
    SectionKind("contribution", INQUIRIES["contribution"].title, contribution_section),
    SectionKind("erasure", INQUIRIES["erasure"].title, erasure_section),
    SectionKind("words_or_voice", INQUIRIES["words_or_voice"].title, words_or_voice_section),
    SectionKind("robustness", INQUIRIES["robustness"].title, robustness_section),
    SectionKind("systems", "Models trained end to end, beside all others", systems_section, long=True),
    SectionKind("fairness", "Fairness across speakers", fairness_section, long=True),
    SectionKind("limits", "Limits", limits_section, open=True),
    SectionKind("methods", "Methods and references, ready to paste", methods_section),
)


#: Predictions up to which processes are given them: a hundred megabytes.
MOST = 500_000


def sections(material: Material, *, workers: int | None = None) -> tuple[Section, ...]:
    """All sections, in the order of the report; one that has nothing to say is left out.

    Parameters
    ----------
    material : Material
    workers : int, optional
        Processes that build them, where that pays; as many as there are processors by default.
    """
    if len(material.study.results.predictions) > MOST:  # every process would hold all of them
        workers = 1
    long = [number for number, kind in enumerate(SECTIONS) if kind.long]
    built = dict(zip(long, shared_out(partial(_built, material), long, workers=workers), strict=True))
    every = (built[number] if kind.long else _built(material, number) for number, kind in enumerate(SECTIONS))
    return tuple(section for section in every if section.blocks)


def _built(material: Material, number: int) -> Section:
    kind = SECTIONS[number]
    return Section(kind.name, kind.title, tuple(kind.build(material)), kind.open)
