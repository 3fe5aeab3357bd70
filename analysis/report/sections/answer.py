"""What was asked, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...measures.directions import RULE
from ...measures.verdicts import VERDICTS
from ...tables import END_TO_END
from ..claim import EQUALITY, RULES, Claim, smallest_of
from ..content import Answers, Block, Findings, Folded, Items, Missing, Paragraph, counted, known, listed
from ..material import Material
from ..sentences import answers
from .curves import main_figures


def answer_section(material: Material) -> list[Block]:
    """The answer in sentences and one figure; then every claim with its verdict, and the rules by which it got it."""
    study, claims = material.study, material.claims
    trained = [model.label for corpus in study.corpora for model in study.of(corpus, random=False)]
    ends = dict.fromkeys(run["model"] for run in study.runs(probe=END_TO_END))
    wanted = [*study.dimensions, *(["emotion categories"] if study.has_emotion else [])]
    asked = f"Which layers of {listed(dict.fromkeys(trained))}" if trained else f"What {listed(ends)} learned"
    asked += f" carry {listed(wanted)}" if trained else f" of {listed(wanted)}"
    asked += f" on {listed(study.corpora)}; whether plain acoustics, untrained weights or chance explain as much"
    question = f"{asked}{'; and what training end to end adds' if ends and trained else ''}?"
    said = answers(study, claims)
    blocks: list[Block] = [Answers(said)] if said else []
    blocks += main_figures(study)
    if not claims:
        return [*blocks, Missing("These results allow no claim to be tested.", study.fit_command("--dim all"))]
    findings = tuple(claim.finding() for claim in claims)
    # Why a claim was not tested stands with it; how the others were, below.
    brief = tuple(replace(finding, how="") if finding.numbers else finding for finding in findings)
    blocks += [Paragraph(_tally(claims)), Findings(brief)]
    depth = [RULE] if any(claim.subject == "depth" for claim in claims) else []
    tested = Items(tuple(f"{finding.statement} {finding.how}" for finding in findings if finding.numbers))
    rules = [RULES, *_equality(claims), _family(claims), *depth]
    blocks.append(
        Folded(
            "How each claim was tested, and what the verdicts mean",
            (Paragraph(question), tested, *map(Paragraph, rules)),
        )
    )
    return blocks


def _tally(claims: Sequence[Claim]) -> str:
    by_verdict: dict[str, list[Claim]] = {}
    for claim in claims:
        by_verdict.setdefault(claim.verdict, []).append(claim)
    counts = [f"{len(by_verdict[name])} {name}" for name in VERDICTS if name in by_verdict]
    text = f"Of {counted(len(claims), 'claim')}, {listed(counts)}."
    if small := sum(bool(claim.beside) for claim in claims):
        text += f" Of the differences that are decided, {small} {'is' if small == 1 else 'are'} too small to matter."
    if alone := sum(claim.decided_alone for claim in claims):
        text += f" Taken alone, before the correction for all claims, {alone} of the undecided would be decided."
    return text


def _equality(claims: Sequence[Claim]) -> list[str]:
    """The rule of what is practically equal, where any claim has it."""
    smallest = smallest_of(claims)
    if smallest is None:
        return []
    metrics = dict.fromkeys(claim.measure.rpartition(" ")[2] for claim in claims if known(claim.smallest))
    return [EQUALITY.format(smallest=f"{smallest:g}", metrics=listed(metrics))]


def _family(claims: Sequence[Claim]) -> str:
    tested = sum(known(claim.p) for claim in claims)
    both = any(known(claim.p_equal) for claim in claims)
    two = (
        " Of the two tests of a difference, that it is there and that it is small, at most one can be wrong, so that "
        "they count as one; where the difference is decided, the other still counts as half."
        if both
        else ""
    )
    return (
        f"p values are corrected by Holm over all tests of this page, for {counted(tested, 'claim')}; a claim on depth "
        f"has three.{two} Intervals are of each claim alone. Where the error of the resampling left a verdict open, it "
        "was computed again on more resamples."
    )
