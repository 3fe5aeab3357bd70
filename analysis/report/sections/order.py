"""The sections of the report, in their order."""

from __future__ import annotations

from ..claims import Claim
from ..computed import Computed
from ..content import (
    Section,
)
from ..study import Study
from .answer import answer_section
from .curves import curves_section
from .fairness import fairness_section
from .limits import limits_section
from .methods import methods_section
from .protocol import protocol_section
from .relevance import relevance_section
from .similarity import similarity_section
from .systems import systems_section


def sections(study: Study, found: list[Claim], computed: Computed) -> tuple[Section, ...]:
    """All sections, in the order of the report."""
    return (
        Section("answer", "What was asked, and the answer", tuple(answer_section(study, found))),
        Section("protocol", "Corpus and protocol", tuple(protocol_section(study))),
        Section("curves", "Curves over layers, with controls", tuple(curves_section(study))),
        Section("relevance", "Learned weights and second opinions", tuple(relevance_section(study, computed))),
        Section("similarity", "Similarity", tuple(similarity_section(study, computed))),
        Section("systems", "Models trained end to end, beside all others", tuple(systems_section(study))),
        Section("fairness", "Fairness across speakers", tuple(fairness_section(study))),
        Section("limits", "Limits", tuple(limits_section(study, found))),
        Section("methods", "Methods and references, ready to paste", tuple(methods_section(study, computed))),
    )
