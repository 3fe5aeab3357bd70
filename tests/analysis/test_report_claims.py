"""Verdicts: what stands after correction, whatever the seed of the bootstrap, and what was chosen with hindsight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoprobe.analysis.measures.centroid import relevance_centroids
from emoprobe.analysis.measures.directions import Comparison
from emoprobe.analysis.measures.settling import FIRST, MOST, Question, of_blocks, settle, within
from emoprobe.analysis.measures.statements import depth_statements, settled_depths
from emoprobe.analysis.measures.verdicts import verdict
from emoprobe.analysis.report.claim import Claim
from emoprobe.analysis.report.claims import claims
from emoprobe.analysis.report.sections.answer import answer_section
from emoprobe.analysis.report.study import Model, Study
from emoprobe.probe import jackknife
from emoprobe.probe.jackknife import FIXED, IN_BLOCKS, REFITTED
from emoprobe.probe.permutation import holm
from emoprobe.probe.significance import paired_differences
from tests.analysis.test_centroid import planted
from tests.probe.test_selecting import material_of, probed


@dataclass(frozen=True)
class Given:
    """p values, counted on resamples."""

    p: tuple[float, ...]

    @property
    def intervals(self) -> tuple[str, ...]:
        return (FIXED,) * len(self.p)


def normal(shift: float, seed: int) -> Question[Given]:
    """A bootstrap of a normal estimate that many of its standard errors above 0."""

    def ask(resamples: int) -> Given:
        drawn = np.random.default_rng(seed).standard_normal(resamples) + shift
        return Given((2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (1 + resamples),))

    return Question(ask)


@pytest.mark.parametrize(
    ("value", "decided", "expected"),
    [
        (0.2, True, "supported"),
        (-0.2, True, "contradicted"),
        (0.2, False, "undecided"),
        (-0.2, False, "undecided"),
        (np.nan, False, "not tested"),
        (None, False, "not tested"),
    ],
)
def test_a_verdict_is_what_stands_after_correction(value, decided, expected):
    assert verdict(value, decided=decided) == expected


def claim(*, p: float, decided: bool) -> Claim:
    return Claim("twin", "A beats B.", "difference", 0.1, 0.01, 0.2, p, "", p_holm=3 * p, decided=decided)


def test_an_interval_beside_zero_decides_nothing_by_itself():
    alone = claim(p=0.03, decided=False)
    assert (alone.verdict, alone.decided_alone) == ("undecided", True)
    assert "decided alone, not after correction" in alone.finding().how
    assert not claim(p=0.03, decided=True).decided_alone
    material = replace(
        material_of(probed({})), claims=[alone, claim(p=0.001, decided=True), claim(p=0.4, decided=False)]
    )
    said = " ".join(getattr(block, "text", "") for block in answer_section(material))
    assert "Of 3 claims, 1 supported and 2 undecided. Taken alone, before the correction" in said
    assert "for all claims, 1 of the undecided would be decided." in said


def test_corrected_p_values_are_holms_over_all_tests_of_the_page():
    given = [(0.2, 0.001), (0.01,), (np.nan,), (0.03,)]
    settled = settle([Question(lambda resamples, p=p: Given(p), tests=len(p)) for p in given], most=FIRST)
    flat = [value for one in settled for value in one.corrected]
    np.testing.assert_allclose(flat, holm([value for p in given for value in p]))
    assert np.isnan(settled[2].corrected[0])
    assert settled[2].decided == (False,)


def test_the_error_of_a_bootstrap_p_value_holds_the_exact_one():
    from scipy import stats

    rng, exact = np.random.default_rng(0), 0.01
    count = rng.binomial(2000, exact / 2, size=20_000)
    low, high = within(2 * (1 + count) / 2001, np.full(len(count), 2000))
    assert (low <= exact).mean() > 0.9995
    assert (exact <= high).mean() > 0.9995
    assert within(np.array([np.nan]), np.array([2000]))[1] != within(np.array([1.0]), np.array([2000]))[1]
    # Closed form of none beyond: (1 - p / 2)^resamples = error.
    none = within(np.array([2 / 2001]), np.array([2000]))[1][0]
    assert (1 - none / 2) ** 2000 == pytest.approx(1e-4, rel=1e-6)
    assert stats.binom.cdf(0, 2000, none / 2) == pytest.approx(1e-4, rel=1e-6)


def test_a_large_page_can_still_decide():
    """200 tests: the smallest p value of 2,000 resamples times 200 is 0.2."""
    settled = settle([normal(8.0, 0), *(normal(0.3, seed) for seed in range(1, 200))])
    assert settled[0].decided == (True,)
    assert not any(one.decided[0] for one in settled[1:])
    assert settled[0].resamples >= 400 * 200


def test_twenty_seeds_give_one_verdict():
    """Tests that are near the limit: of 2,000 resamples the verdict is that of the seed."""
    shifts = [2.0, 2.1, 2.55, 3.5, 0.5]
    limit = holm([2 * float(_tail(shift)) for shift in shifts]) <= 0.05
    by_seed, naive = set(), set()
    for seed in range(20):
        questions = [normal(shift, 100 * seed + k) for k, shift in enumerate(shifts)]
        by_seed.add(tuple(one.decided[0] for one in settle(questions)))
        naive.add(tuple(holm([question.ask(FIRST).p[0] for question in questions]) <= 0.05))
    assert by_seed == {tuple(limit)}
    assert len(naive) > 1


def _tail(shift: float) -> float:
    from scipy import stats

    return float(stats.norm.sf(shift))


def test_what_stays_open_counts_as_undecided():
    """A p value at the limit itself."""
    (settled,) = settle([Question(lambda resamples: Given((0.05,)))])
    assert settled.resamples == MOST
    assert settled.decided == (False,)


@dataclass(frozen=True)
class Exact:
    """p values that no resample made."""

    p: tuple[float, ...]

    @property
    def intervals(self) -> tuple[str, ...]:
        return (REFITTED,) * len(self.p)


def test_a_p_value_without_an_error_of_its_own_is_taken_as_it_is():
    asked = []

    def ask(resamples: int) -> Exact:
        asked.append(resamples)
        return Exact((0.0499,))

    (settled,) = settle([Question(ask)])
    assert settled.decided == (True,)
    assert len(asked) == 1
    # The same number, counted on 2,000 resamples, could be above the level.
    (counted,) = settle([Question(lambda resamples: Given((0.0499,)))], most=FIRST)
    assert counted.decided == (False,)


@pytest.mark.slow
def test_a_difference_of_real_scores_has_one_verdict_by_any_seed():
    """The same claim that 2,000 resamples decide now so, now so."""
    results = planted({"arousal": np.array([0.6, 0.5])}, speakers=12, each=40, seed=20)
    naive, settled = set(), set()
    for seed in range(20):

        def ask(resamples: int, seed: int = seed) -> Given:
            one, other = ({"layer": layer} for layer in (0, 1))
            return Given((paired_differences(results, one, other, resamples=resamples, seed=seed)["p"].item(),))

        naive.add(ask(FIRST).p[0] <= 0.05)
        settled.add(settle([Question(ask)])[0].decided)
    assert naive == {True, False}
    assert len(settled) == 1


# What was chosen with hindsight ---------------------------------------------------------------------------------------


def with_rivals(development: dict[str, float], *, owner: str = "m") -> Study:
    """Layers that were chosen on development, and two acoustic baselines of which some have a score of it."""
    results = probed({0: 0.1, 1: 0.2, 2: 0.9})
    scores, predictions = results.scores, results.predictions
    mfcc, predicted = scores[scores["probe"] == "mfcc"], predictions[predictions["probe"] == "mfcc"]
    other = {"probe": "logmel", "features": "logmel", "model": owner}
    part = {"split": "development", "ccc_low": np.nan, "ccc_high": np.nan}
    of_development = [
        mfcc.assign(**part, ccc=value, probe=probe, features=probe, model=owner if probe == "logmel" else "m")
        for probe, value in development.items()
    ]
    return Study(
        replace(
            results,
            scores=pd.concat([scores, mfcc.assign(**other, ccc=0.2), *of_development], ignore_index=True),
            predictions=pd.concat([predictions, predicted.assign(**other)], ignore_index=True),
        ),
        (Model("m", "c", {"name": "m"}, "c.h5"),),
        (Path("results"),),
    )


def of_acoustics(study: Study) -> Claim:
    (acoustics,) = [claim for claim in claims(study) if claim.subject == "acoustics"]
    return acoustics


@pytest.mark.slow
def test_a_rival_that_was_chosen_on_the_scored_rows_is_called_so():
    fair = of_acoustics(with_rivals({"mfcc": 0.5, "logmel": 0.3}))
    assert "less MFCC" in fair.how
    assert "Chosen on development." in fair.how
    assert not fair.hindsight
    # One baseline lacks a score of the development part: the best is that of the scored rows, and the claim says so.
    unfair = of_acoustics(with_rivals({"mfcc": 0.5}))
    assert "less log-mel" in unfair.how
    assert "The layer was chosen on development; the rival on the same rows, with hindsight." in unfair.how
    assert unfair.hindsight


def test_a_baseline_of_another_cache_of_the_corpus_serves():
    shared = of_acoustics(with_rivals({"mfcc": 0.3, "logmel": 0.5}, owner="other model"))
    assert "less log-mel" in shared.how
    assert shared.verdict != "not tested"
    assert not shared.hindsight


def test_the_command_for_a_missing_baseline_names_cache_and_corpus(tmp_path):
    from emoprobe.cli.extract import parser

    given = ("--corpus", "msp-podcast:/data/My Corpus", "--model", "hubert-base")
    gone = Model("m", "c", {"name": "hubert-base"}, "c.h5", None, given)
    study = Study(probed({}), (gone,), (Path("results"),))
    command = study.baseline_command(gone, "egemaps")
    extract, fit = command.split(" && ")
    assert (
        extract
        == "probe-extract --corpus 'msp-podcast:/data/My Corpus' --model hubert-base --out c.h5 --baselines egemaps"
    )
    assert fit == "probe-fit c.h5 --out results"
    here = study.baseline_command(replace(gone, cache=Path("caches/c.h5")), "text")
    assert here.startswith("probe-extract --out caches/c.h5 --baselines text && probe-fit")
    import shlex

    options = parser().parse_args(shlex.split(extract)[1:])
    assert (options.corpus, options.baselines) == (given[1], ["egemaps"])


# Blocks of speakers ---------------------------------------------------------------------------------------------------


def test_the_error_of_blocks_holds_what_other_blocks_give():
    """A mean over 300 units: its jackknife by 100 random blocks of them, and by the units themselves."""
    rng = np.random.default_rng(4)
    values = rng.standard_normal(300)
    values += 0.15 - values.mean()  # two and a half standard errors
    (_, _, (exact,)) = jackknife.limits(np.array([values.mean()]), [without(values, np.arange(300))])
    assert 0.005 < exact < 0.05
    by_blocks = np.array(
        [
            jackknife.limits(np.array([values.mean()]), [without(values, rng.permutation(300) % 100)])[2][0]
            for _ in range(200)
        ]
    )
    low, high = of_blocks(by_blocks)
    assert by_blocks.max() / by_blocks.min() > 3  # the number that a seed gives is another with the next
    assert (low <= exact).all()
    assert (exact <= high).all()


def without(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    left = [values[block != number] for number in np.unique(block)]
    return np.array([[rows.mean()] for rows in left])


def test_a_p_value_of_blocks_decides_beyond_what_other_blocks_would_give():
    def decided(p: float, kind: str) -> bool:
        @dataclass(frozen=True)
        class Of:
            p: tuple[float, ...]
            intervals: tuple[str, ...]

        return settle([Question(lambda resamples: Of((p,), (kind,)))])[0].decided[0]

    assert decided(0.03, REFITTED)
    assert not decided(0.03, IN_BLOCKS)
    assert decided(0.001, IN_BLOCKS)


# Statements of depth --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_statements_of_depth_have_one_verdict_by_any_seed():
    """Curves whose slopes 2,000 resamples put on either side of the limit."""
    results = planted({"arousal": np.array([0.62, 0.45]), "valence": np.array([0.45, 0.62])}, speakers=12, each=30)
    counted, settled = set(), set()
    for seed in range(4):
        table = relevance_centroids(results, resamples=400, seed=seed)
        naive = Comparison.of(table, "arousal", "valence")
        counted.add(naive.statement(holm(naive.p) <= 0.05).text)
        table, statements = settled_depths(results, resamples=400, seed=seed)
        settled.add((statements["statement"].item(), statements["verdict"].item()))
        # On one table alone what its resamples leave open is not decided.
        once = depth_statements(relevance_centroids(results, resamples=400, seed=seed), resamples=400)
        assert once["verdict"].item() in {"undecided", statements["verdict"].item()}
    assert len(settled) == 1
