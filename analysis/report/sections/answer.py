"""What was asked, and the answer."""

from __future__ import annotations

from collections.abc import Sequence

from ...measures.directions import RULE
from ...tables import END_TO_END
from ..claim import RULES, Claim
from ..content import (
    Block,
    Findings,
    Missing,
    Paragraph,
    counted,
    known,
    listed,
)
from ..material import Material


def answer_section(material: Material) -> list[Block]:
    """What was asked; every claim with its verdict; and the rules by which it got it."""
    study, claims = material.study, material.claims
    trained = [model.label for corpus in study.corpora for model in study.of(corpus, random=False)]
    ends = dict.fromkeys(run["model"] for run in study.runs(probe=END_TO_END))
    wanted = [*study.dimensions, *(["emotion categories"] if study.has_emotion else [])]
    asked = f"Which layers of {listed(dict.fromkeys(trained))}" if trained else f"What {listed(ends)} learned"
    asked += f" carry {listed(wanted)}" if trained else f" of {listed(wanted)}"
    asked += f" on {listed(study.corpora)}; whether plain acoustics, untrained weights or chance explain as much"
    blocks: list[Block] = [Paragraph(f"{asked}{'; and what training end to end adds' if ends and trained else ''}.")]
    if not claims:
        return [*blocks, Missing("These results allow no claim to be tested.", study.fit_command("--dim all"))]
    blocks += [Paragraph(_tally(claims)), Findings(tuple(claim.finding() for claim in claims))]
    depth = f" {RULE}" if any(claim.subject == "depth" for claim in claims) else ""
    return [*blocks, Paragraph(f"{RULES} {_family(claims)}{depth}")]


def _tally(claims: Sequence[Claim]) -> str:
    by_verdict: dict[str, list[Claim]] = {}
    for claim in claims:
        by_verdict.setdefault(claim.verdict, []).append(claim)
    counts = [
        f"{len(by_verdict[name])} {name}"
        for name in ("supported", "contradicted", "undecided", "not tested")
        if name in by_verdict
    ]
    text = f"Of {counted(len(claims), 'claim')}, {listed(counts)}."
    if alone := sum(claim.decided_alone for claim in claims):
        text += f" Taken alone, before the correction for all claims, {alone} of the undecided would be decided."
    return text


def _family(claims: Sequence[Claim]) -> str:
    tested = sum(known(claim.p) for claim in claims)
    return (
        f"p values are corrected by Holm over all tests of this page, for {counted(tested, 'claim')}; a claim on depth "
        "has three. Intervals are of each claim alone. Where the error of the resampling left a verdict open, it was "
        "computed again on more resamples."
    )
