"""What can be claimed: every claim of a page, tested and corrected together."""

from __future__ import annotations

from collections.abc import Iterator

from ..measures.settling import settle
from .claim import Claim, Draft
from .depth_claims import DEEP, SHALLOW, depth_claims
from .paired_claims import paired_claims
from .settings import ReportSettings
from .study import Study


def claims(study: Study, *, seed: int = 0, smallest: float = ReportSettings.smallest) -> list[Claim]:
    """All claims that the results allow to put, with p values corrected together.

    Parameters
    ----------
    study : Study
    seed : int
        Of the bootstrap. Verdicts do not depend on it (:func:`~emoprobe.analysis.measures.settling.settle`).
    smallest : float
        The smallest difference of interest; 0 where every difference is.
    """
    drafts = [draft for corpus in study.corpora for draft in _of_corpus(study, corpus, seed, smallest)]
    settled = settle([draft.question for draft in drafts])
    return [draft.word(one) for draft, one in zip(drafts, settled, strict=True)]


def _of_corpus(study: Study, corpus: str, seed: int, smallest: float) -> Iterator[Draft]:
    trained = study.of(corpus, random=False)
    on = f" on {corpus}" if len(study.corpora) > 1 else ""
    if {SHALLOW, DEEP} <= set(study.dimensions):
        yield from depth_claims(study, corpus, trained, on, seed)
    yield from paired_claims(study, corpus, trained, on, seed, smallest)
