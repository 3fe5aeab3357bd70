"""Methods and references, ready to paste."""

from __future__ import annotations

from ..bibliography import bibtex
from ..claim import smallest_of
from ..content import Block, Code, Folded
from ..material import Material
from ..methods import methods, version_of


def methods_section(material: Material) -> list[Block]:
    """The methods in sentences, and the entries of BibTeX that they cite."""
    study, computed = material.study, material.computed
    smallest = smallest_of(material.claims)
    account = methods(study, opinions=computed.opinions, measures=computed.measures, smallest=smallest)
    text = "\n\n".join(account.paragraphs)
    references = Code(bibtex(account.cited, version_of(study)), "BibTeX")
    return [Code(text, "Methods"), Folded(f"{len(account.cited)} references as BibTeX", (references,))]
