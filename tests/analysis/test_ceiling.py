"""The noise ceiling: planted reliabilities come out, and no prediction beats what is said to be the best."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoprobe.analysis import CeilingSettings, ask, noise_ceiling, spearman_brown, split_half
from emoprobe.analysis.measures.reliability import share_of_ceiling
from emoprobe.errors import UserError
from emoprobe.probe import ccc, fit_layers, pearson
from emoprobe.testing import write_cache
from tests.analysis.test_asking import rated_cache


def rated(n: int, reliability: float, raters: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """True opinions of variance 1, and ratings of each; the mean of them has the reliability, for equal numbers."""
    rng = np.random.default_rng(seed)
    noise = np.sqrt((1 - reliability) / reliability * len(raters) / (1 / raters).sum())
    true = rng.standard_normal(n)
    return true, [t + noise * rng.standard_normal(k) for t, k in zip(true, raters, strict=True)]


def summary(ratings: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([one.mean() for one in ratings]),
        np.array([one.std(ddof=1) if len(one) > 1 else np.nan for one in ratings]),
        np.array([len(one) for one in ratings], dtype=float),
    )


@pytest.mark.slow
@pytest.mark.parametrize("reliability", [0.2, 0.5, 0.8, 0.95])
def test_a_planted_reliability_comes_out_without_bias(reliability):
    """Over 200 small corpora of 60 utterances with 1 to 6 ratings each: within 4 standard errors of their mean."""
    raters = np.random.default_rng(5).integers(1, 7, 60)
    found = [noise_ceiling(*summary(rated(60, reliability, raters, seed=seed)[1])) for seed in range(200)]
    # What a corpus of this size has: the variance of its own true opinions is not quite 1.
    truth = []
    for seed in range(200):
        true, ratings = rated(60, reliability, raters, seed=seed)
        label = summary(ratings)[0]
        truth.append(1 - np.var(label - true) / np.var(label, ddof=1))
    errors = np.array([one.reliability for one in found]) - truth
    assert abs(errors.mean()) < 4 * errors.std(ddof=1) / np.sqrt(len(errors)) + 0.01
    assert np.isclose(found[0].raters, 60 / (1 / raters).sum())


def test_many_utterances_give_the_planted_numbers():
    raters = np.full(20_000, 5)
    true, ratings = rated(20_000, 0.7, raters)
    mean, spread, number = summary(ratings)
    found = noise_ceiling(mean, spread, number)
    assert np.isclose(found.reliability, 0.7, atol=0.01)
    assert np.isclose(spearman_brown(found.single, 5), found.reliability)
    assert np.isclose(found.ceiling, np.sqrt(0.7), atol=0.01)
    # No prediction is better than the true opinion, and the one that is stretched to the labels' spread.
    stretched = true.mean() + (true - true.mean()) / np.sqrt(0.7)
    assert np.isclose(pearson(mean, true), found.ceiling, atol=0.01)
    assert np.isclose(ccc(mean, stretched), found.ceiling, atol=0.01)
    assert np.isclose(ccc(mean, true), found.calibrated, atol=0.01)
    assert np.isclose(np.sqrt(np.mean((mean - true) ** 2)), found.rmse, rtol=0.02)
    for factor in (0.6, 0.8, 1.0, 1.4, 2.0):
        assert ccc(mean, factor * true) <= found.ceiling + 0.01


def test_two_halves_agree_with_the_spread():
    raters = np.random.default_rng(1).integers(2, 9, 3000)
    _, ratings = rated(3000, 0.6, raters)
    utterance = np.repeat(np.arange(3000), raters)
    halves = split_half(utterance, np.concatenate(ratings), halves=20)
    found = noise_ceiling(*summary(ratings))
    assert np.isclose(halves, found.reliability, atol=0.03)
    assert np.isclose(found.reliability, 0.6, atol=0.03)
    assert np.isnan(split_half([0, 0, 1], [1.0, 2.0, 3.0]))


@pytest.mark.parametrize(("single", "raters"), [(0.3, 2), (0.5, 10), (0.9, 1)])
def test_spearman_and_brown_undo_themselves(single, raters):
    raised = spearman_brown(single, raters)
    assert np.isclose(spearman_brown(raised, 1 / raters), single)
    assert raised >= single


def test_a_share_has_the_interval_of_a_ratio():
    assert np.allclose(share_of_ceiling((0.4, 0.3, 0.5), (0.8, 0.8, 0.8)), (0.5, 0.375, 0.625))
    rng = np.random.default_rng(0)
    drawn = rng.normal(0.4, 0.05, 200_000) / rng.normal(0.8, 0.03, 200_000)
    reach = 1.96 * np.array([0.05, 0.03])
    value, low, high = share_of_ceiling((0.4, 0.4 - reach[0], 0.4 + reach[0]), (0.8, 0.8 - reach[1], 0.8 + reach[1]))
    assert np.allclose((low, high), np.quantile(drawn, (0.025, 0.975)), atol=0.003)
    assert np.isnan(share_of_ceiling((0.4, 0.3, 0.5), (0.8, 0.0, 0.9))[1])
    assert np.isnan(share_of_ceiling((0.4, 0.3, 0.5), (0.0, 0.0, 0.9))[0])
    assert value == 0.5


@pytest.mark.slow
def test_an_interval_holds_the_planted_ceiling(tmp_path):
    """The ceiling of 60 small corpora of 12 speakers: held 95 times in 100, up to the error of so many."""
    from emoprobe.analysis.measures.reliability import ceiling_of, rating_terms
    from emoprobe.probe.bootstrap import intervals, sum_by_group

    held = 0
    for seed in range(300):
        _, ratings = rated(120, 0.6, np.full(120, 4), seed=seed)
        sums = sum_by_group(rating_terms(*summary(ratings)), np.arange(120) % 12)[:, None]
        low, high = intervals(sums, {"pearson": ceiling_of}, resamples=400, seed=seed)["pearson"][:, 0]
        held += low <= np.sqrt(0.6) <= high
    assert 0.91 <= held / 300 <= 0.985


@pytest.mark.slow
def test_the_answer_names_the_planted_ceiling_and_shares(tmp_path):
    """Errors of variance 1/5 on labels of variance 1.16 or so: what a layer can reach is known."""
    single = rated_cache(tmp_path / "c.h5", n=600, layers=3, noise=0.0)
    fit_layers(tmp_path / "c.h5", out=tmp_path / "results", permutations=0, mdl=False)
    single.to_csv(tmp_path / "single.csv", index=False)
    answer = ask("ceiling", [tmp_path / "c.h5"], results=tmp_path / "results")
    own = answer[answer["probe"] == ""].set_index("dimension")
    truth = write_cache(tmp_path / "true.h5", n=600, layers=3, noise=0.0)
    for dimension, row in own.iterrows():
        planted = np.var(truth[dimension], ddof=1) / (np.var(truth[dimension], ddof=1) + 0.2)
        assert np.isclose(row["reliability"], planted, atol=0.04)
        assert row["reliability_low"] < row["reliability"] < row["reliability_high"]
    layers = answer[answer["layer"].ge(0).fillna(False)]
    best = layers.groupby("dimension")["share"].max()
    # What the layer knows is the whole truth: its share is that of a calibrated prediction over the ceiling.
    assert np.allclose(best, own.loc[best.index, "calibrated"] / own.loc[best.index, "ceiling"], atol=0.03)
    by_single = ask(
        "ceiling", [tmp_path / "c.h5"], CeilingSettings(ratings=tmp_path / "single.csv"), results=tmp_path / "other"
    ).set_index("dimension")
    assert np.allclose(by_single["reliability"], own.loc[by_single.index, "reliability"])
    assert np.allclose(by_single["split_half"], by_single["reliability"], atol=0.05)
    assert by_single["share"].isna().all()  # there are no scores in that folder


def test_labels_without_a_spread_are_refused_with_what_helps(tmp_path):
    write_cache(tmp_path / "c.h5", n=40, layers=2)
    with pytest.raises(UserError, match=r"no utterance of 'handmade' has the spread .*--ratings FILE --refresh-labels"):
        ask("ceiling", [tmp_path / "c.h5"], results=tmp_path / "results")
    pd.DataFrame({"id": ["x"], "rater": ["a"], "valence": [1]}).to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(UserError, match="none of its ids"):
        ask("ceiling", [tmp_path / "c.h5"], CeilingSettings(ratings=tmp_path / "none.csv"), results=tmp_path / "r")
    with pytest.raises(UserError, match="unknown dimension"):
        CeilingSettings(dimensions=("anger",))


def test_labels_that_are_not_the_mean_of_the_ratings_are_told(tmp_path):
    single = rated_cache(tmp_path / "c.h5", n=100, layers=2)
    single["arousal"] = single["arousal"].sample(frac=1, random_state=0).to_numpy()
    single.to_csv(tmp_path / "single.csv", index=False)
    settings = CeilingSettings(ratings=tmp_path / "single.csv", dimensions=("arousal",), resamples=100)
    answer = ask("ceiling", [tmp_path / "c.h5"], settings, results=tmp_path / "results")
    assert "are not the mean of these ratings" in answer["reason"].iloc[0]
