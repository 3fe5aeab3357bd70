"""Practically equal: two one-sided tests, one family with the tests of differences, and how a page says it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from emoprobe.analysis.measures.family import corrected_together
from emoprobe.analysis.measures.settling import Question, settle
from emoprobe.analysis.report.claim import Claim
from emoprobe.analysis.report.claims import claims
from emoprobe.analysis.report.content import Document, Section
from emoprobe.analysis.report.html import to_html
from emoprobe.analysis.report.markdown import to_markdown
from emoprobe.analysis.report.paired_claims import SHARES
from emoprobe.analysis.report.sections.answer import answer_section
from emoprobe.analysis.report.settings import ReportSettings
from emoprobe.errors import UserError
from emoprobe.probe import drawing, jackknife
from emoprobe.probe.jackknife import REFITTED
from emoprobe.probe.permutation import holm
from tests.analysis.test_report_claims import with_rivals
from tests.probe.test_selecting import material_of, probed
from tests.simulated_equivalence import PAGES, SMALLEST, count, wrong_pages
from tests.simulated_probes import CROSSED, OFFICIAL, Design

# The test ------------------------------------------------------------------------------------------------------------


def test_p_of_equality_is_that_of_two_one_sided_t_tests() -> None:
    """The jackknife of a mean is its standard error, so that scipy's tests of one sample are the reference."""
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.2, -0.45, 0.9):
        values = rng.normal(shift, 1, 24)
        without = ((values.sum() - values) / 23)[:, None]
        below = stats.ttest_1samp(values, 0.5, alternative="less").pvalue
        above = stats.ttest_1samp(values, -0.5, alternative="greater").pvalue
        p = jackknife.equivalence(values.mean(keepdims=True), [without], 0.5)[0]
        assert p == pytest.approx(min(1.0, 2 * max(below, above)), rel=1e-9)


@pytest.mark.parametrize("spread", [0.1, 0.2])
def test_equality_and_interval_agree(spread: float) -> None:
    rng = np.random.default_rng(1)
    without = rng.normal(0, spread / 20, (20, 200)) + rng.normal(0, 0.02, 200)
    score = without.mean(0)
    low, high, _ = jackknife.limits(score, [without])
    inside = (low > -0.1) & (high < 0.1)
    assert 0 < inside.sum() < 200
    np.testing.assert_array_equal(jackknife.equivalence(score, [without], 0.1) <= 0.05, inside)


def test_two_that_are_one_are_equal_for_sure() -> None:
    without = np.zeros((5, 1))
    assert jackknife.equivalence(np.zeros(1), [without], 0.05)[0] == 0
    assert jackknife.equivalence(np.full(1, 0.2), [without + 0.2], 0.05)[0] == 1
    assert np.isnan(jackknife.equivalence(np.zeros(1), [without[:1]], 0.05)[0])


@pytest.mark.slow
def test_resamples_are_counted_beyond_the_nearer_end() -> None:
    """Of normal resamples the count is the tail of the normal distribution."""
    rng = np.random.default_rng(2)
    units = rng.normal(0.03, 0.1, 40)
    without = ((units.sum() - units) / 39)[:, None]
    draws = rng.multinomial(40, np.full(40, 1 / 40), size=200_000) @ units[:, None] / 40
    low, high, _ = drawing.limits(draws, without)
    for margin in (high[0] - 0.001, high[0] + 0.001):
        p = drawing.equivalence(draws, without, margin)[0]
        exact = jackknife.equivalence(units.mean(keepdims=True), [without], margin)[0]
        assert p == pytest.approx(exact, rel=0.1)
        assert (p <= 0.05) == (low[0] > -margin and high[0] < margin)
    assert np.isnan(drawing.equivalence(draws[:0], without, 0.08)[0])


# One family ----------------------------------------------------------------------------------------------------------


def test_one_test_a_claim_is_holms_family() -> None:
    p = [0.2, 0.001, np.nan, 0.03, 0.011]
    np.testing.assert_allclose(corrected_together(p, range(5), np.ones(5)), holm(p))


def test_a_second_test_costs_the_first_step_nothing() -> None:
    """The smallest of m claims is compared with 0.05 / m, whether equality is tested beside or not."""
    p = np.array([0.004, 1.0, 0.3, 1.0, 0.6, 1.0])
    assert corrected_together(p, [0, 0, 1, 1, 2, 2], SHARES * 3)[0] == pytest.approx(3 * 0.004)


def test_what_is_rejected_no_longer_counts() -> None:
    # Both tests of claim 0 are rejected: it counts 1, then half, then nothing.
    corrected = corrected_together([0.001, 0.002, 0.02, 0.9], [0, 0, 1, 1], SHARES * 2)
    np.testing.assert_allclose(corrected, [2 * 0.001, 1.5 * 0.002, 0.02, 0.5 * 0.9])


@dataclass(frozen=True)
class Exact:
    """p values that no resample made."""

    p: tuple[float, ...]

    @property
    def intervals(self) -> tuple[str, ...]:
        return (REFITTED,) * len(self.p)


def test_a_page_settles_both_kinds_together() -> None:
    given = [(0.5, 0.02), (0.01, 1.0)]
    alone = [Question(lambda _, p=p: Exact(p), tests=2, shares=SHARES) for p in given]
    plain = Question(lambda _: Exact((0.04, 0.9, 0.9)), tests=3)
    settled = settle([*alone, plain])
    expected = corrected_together([0.5, 0.02, 0.01, 1, 0.04, 0.9, 0.9], [0, 0, 1, 1, 2, 3, 4], [*SHARES * 2, 1, 1, 1])
    np.testing.assert_allclose([value for one in settled for value in one.corrected], expected)
    assert [settle([question])[0].decided for question in alone] == [(False, True), (True, False)]


@pytest.mark.parametrize("error", [0.01, 0.05])
@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wrong_more_often_than_its_level(name: str, error: float) -> None:
    """Whatever share of its claims is at 0, at the margin, or beyond."""
    wrong = wrong_pages(PAGES[name], SMALLEST, error, correlation=0.0, pages=1000)
    assert wrong <= stats.binom.ppf(0.999, 1000, 0.05)


def test_two_families_would_be_wrong_more_often() -> None:
    """The same pages, differences and equalities each corrected by themselves: what the one family is for."""
    rng, wrong, error, sizes = np.random.default_rng(3), 0, 0.01, np.repeat([0.0, SMALLEST], 6)
    for _ in range(1000):
        estimate = sizes + error * rng.standard_normal(12)
        different = holm(2 * stats.norm.sf(np.abs(estimate) / error)) <= 0.05
        equal = holm(stats.norm.sf((SMALLEST - np.abs(estimate)) / error)) <= 0.05
        wrong += bool(different[:6].any() or equal[6:].any())
    assert wrong > stats.binom.ppf(0.999, 1000, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("design", [CROSSED, OFFICIAL], ids=lambda design: design.name)
def test_layers_that_differ_by_the_margin_are_not_called_equal(design: Design) -> None:
    counts = count(24, design, 80)
    limit = stats.binom.ppf(0.999, 80, 0.05)
    assert counts.equal_at_margin <= limit
    assert counts.any_wrong <= limit
    # Within a margin of 0.2 CCC 24 speakers tell that two layers of one truth are equal.
    assert counts.equal_of_one_truth_within_margin >= 70


# What a page says ----------------------------------------------------------------------------------------------------


def claim(*, value: float, decided: bool, equal: bool) -> Claim:
    return Claim("twin", "A beats B.", "difference in CCC", value, value - 0.01, value + 0.01, 0.3, "", p_holm=0.6,
                 decided=decided, smallest=0.05, p_equal=0.001, p_equal_corrected=0.003, equal=equal)  # fmt: skip


def test_a_small_difference_that_is_there_is_said_to_be_both() -> None:
    both = claim(value=-0.02, decided=True, equal=True)
    assert (both.verdict, both.beside) == ("contradicted", "and smaller than 0.05")
    equal = claim(value=0.005, decided=False, equal=True)
    assert (equal.verdict, equal.beside, equal.decided_alone) == ("practically equal", "", False)
    assert "Smaller than 0.05: p = 0.001, corrected = 0.003" in equal.finding().how
    assert equal.finding().p == "0.003 (of being smaller)"
    material = replace(material_of(probed({})), claims=[both, equal])
    blocks = answer_section(material)
    said = " ".join(getattr(block, "text", "") for block in blocks)
    assert "Of 2 claims, 1 contradicted and 1 practically equal. Of the differences that are decided, 1 is too" in said
    folded = " ".join(getattr(block, "text", "") for block in blocks[-1].blocks)
    assert "smaller than 0.05 in CCC, the smallest of interest" in folded
    document = Document("Title", "", (Section("answer", "Answer", tuple(blocks)),))
    page = to_html(document)
    assert 'class="practically-equal"' in page
    assert "contradicted, and smaller than 0.05</span>" in page
    assert "**Contradicted, and smaller than 0.05**" in to_markdown(document, ["figure.png"] * len(document.figures()))


@pytest.mark.slow
def test_two_layers_of_one_truth_are_practically_equal_within_a_wide_margin() -> None:
    """The claims of real predictions: undecided without a margin, equal within one that the interval lies inside."""
    study = with_rivals({"mfcc": 0.5, "logmel": 0.3})
    (without,) = [one for one in claims(study, smallest=0) if one.subject == "acoustics"]
    assert np.isnan(without.smallest)
    assert np.isnan(without.p_equal)
    margin = max(abs(without.low), abs(without.high)) + 0.02
    (within,) = [one for one in claims(study, smallest=margin) if one.subject == "acoustics"]
    assert (within.value, within.p) == (without.value, without.p)
    assert within.equal
    assert within.beside == f"and smaller than {margin:g}" * within.decided
    tighter = min(abs(without.low), abs(without.high), abs(without.value)) / 2
    assert not next(one for one in claims(study, smallest=tighter) if one.subject == "acoustics").equal


def test_a_margin_has_to_be_one() -> None:
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="--smallest"):
            ReportSettings(smallest=wrong)
