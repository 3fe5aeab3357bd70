"""Methods and references, ready to paste."""

from __future__ import annotations

from ..bibliography import bibtex
from ..computed import Computed
from ..content import (
    Block,
    Code,
)
from ..methods import methods, version_of
from ..study import Study

# 9. Methods -----------------------------------------------------------------------------------------------------------


def methods_section(study: Study, computed: Computed) -> list[Block]:
    account = methods(study, opinions=computed.opinions, measures=computed.measures)
    text = "\n\n".join(account.paragraphs)
    return [Code(text, "Methods"), Code(bibtex(account.cited, version_of(study)), "BibTeX")]
