"""Centroid and slope: closed forms, a naive bootstrap, planted depths, and the rule that makes a statement of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoprobe.analysis import relevance_centroids
from emoprobe.analysis.measures.directions import Comparison, Signed
from emoprobe.errors import UserError
from emoprobe.probe import Results, ccc
from emoprobe.probe.bootstrap import resample_counts, stretched


def planted(signal: dict[str, np.ndarray], *, speakers: int = 15, each: int = 20, seed: int = 0) -> Results:
    """Predictions whose every layer follows the truth with a correlation of its own."""
    rng = np.random.default_rng(seed)
    n = speakers * each
    rows = []
    for dimension, strength in signal.items():
        truth = rng.normal(size=n)
        for layer, share in enumerate(strength):
            prediction = share * truth + np.sqrt(1 - share**2) * rng.normal(size=n)
            rows.append(
                pd.DataFrame(
                    {
                        "model": "m", "corpus": "c", "dimension": dimension, "probe": "ridge", "features": "mean",
                        "layer": layer, "seed": 0, "split": "test", "fold": "all",
                        "id": [f"u{i}" for i in range(n)], "speaker": [f"s{i % speakers}" for i in range(n)],
                        "truth": truth, "prediction": prediction,
                    }
                )
            )  # fmt: skip
    return Results(pd.DataFrame(), pd.DataFrame(), [], pd.concat(rows, ignore_index=True))


def naive(table: pd.DataFrame, chosen: list[str]) -> float:
    """Signed centroid of the utterances of the chosen speakers, drawn with repetition, layer by layer."""
    scores = []
    for _, part in table.groupby("layer"):
        drawn = pd.concat([part[part["speaker"] == speaker] for speaker in chosen])
        scores.append(float(ccc(drawn["truth"], drawn["prediction"])))
    depth = np.arange(len(scores)) / (len(scores) - 1)
    return float(np.dot(scores, depth) / np.sum(scores))


def on(table: pd.DataFrame, scale: str) -> pd.DataFrame:
    """The rows of one scale."""
    return table[table["scale"] == scale]


@pytest.mark.slow
def test_it_equals_the_closed_form_and_a_naive_bootstrap():
    results = planted({"arousal": np.array([0.8, 0.5, 0.3, -0.1])})
    found = relevance_centroids(results, resamples=60, seed=3).iloc[0]
    table = results.predictions
    names = sorted(table["speaker"].unique())
    assert found["centroid"] == pytest.approx(naive(table, names), abs=1e-12)
    drawn = []
    for counts in np.concatenate(list(resample_counts(len(names), 60, seed=3))):
        drawn.append(naive(table, [s for s, count in zip(names, counts, strict=True) for _ in range(int(count))]))
    left_out = [naive(table, [s for s in names if s != name]) for name in names]
    moved = np.array(drawn) - np.mean(drawn) + found["centroid"]
    wide = stretched(moved[:, None], np.array(left_out)[:, None])
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(wide, [0.025, 0.975]), abs=1e-12)
    assert found["weighted_by"] == "CCC above 0"
    assert np.isnan(found["p"])


def test_layers_are_weighed_by_what_they_know_above_their_null():
    strength, null = np.array([0.6, 0.5, 0.4]), np.array([0.3, 0.1, 0.45])
    results = planted({"arousal": strength})
    table = results.predictions
    scores = pd.DataFrame(
        {
            "model": "m", "corpus": "c", "dimension": "arousal", "probe": "ridge", "features": "mean", "fold": "all",
            "split": "test", "layer": [0, 1, 2], "null_mean": null,
        }
    )  # fmt: skip
    found = relevance_centroids(Results(scores, pd.DataFrame(), [], table), resamples=50).iloc[0]
    score = np.array([float(ccc(part["truth"], part["prediction"])) for _, part in table.groupby("layer")])
    weight = score - null
    assert weight[2] < 0 < weight.sum()
    assert found["centroid"] == pytest.approx(weight @ [0, 0.5, 1] / weight.sum(), abs=1e-12)
    assert found["weighted_by"] == "CCC above the mean of permuted labels"
    # A null that is missing for one layer would weigh the layers unlike each other.
    partly = Results(scores.iloc[:2], pd.DataFrame(), [], table)
    assert relevance_centroids(partly, resamples=5).iloc[0]["weighted_by"] == "CCC above 0"


def nulls(value: float | None = 0.05, permuted: str | None = None, **about) -> tuple[pd.DataFrame, dict]:
    """A null of three layers, and the protocol of its run."""
    name = {"model": "m", "corpus": "c", "dimension": "arousal", "probe": "ridge", "features": "mean", **about}
    scores = pd.DataFrame({**name, "fold": "all", "split": "test", "layer": [0, 1, 2], "null_mean": value})
    return scores, {**name, "settings": {"permuted": permuted} if permuted else {}}


@pytest.mark.parametrize(
    ("one", "other", "comparable"),
    [
        (("among utterances", 0.05), ("among utterances", 0.05), True),
        (("among utterances", 0.05), ("within speakers", 0.05), False),
        (("among utterances", 0.05), (None, np.nan), False),
        ((None, np.nan), (None, np.nan), True),
    ],
)
@pytest.mark.parametrize("between", [{"dimension": "valence"}, {"model": "student"}])
def test_sides_that_are_weighed_by_different_things_are_not_compared(one, other, comparable, between):
    strength = np.array([0.6, 0.5, 0.4])
    table = planted({"arousal": strength}).predictions
    table = pd.concat([table, table.assign(**between)], ignore_index=True)
    sides = [nulls(one[1], one[0]), nulls(other[1], other[0], **between)]
    results = Results(pd.concat([side[0] for side in sides]), pd.DataFrame(), [side[1] for side in sides], table)
    found = relevance_centroids(results, resamples=50)
    found = found[found["scale"] == "ccc"]
    assert found["centroid"].iloc[:2].notna().all()
    (difference,) = found[(found["dimension"] + found["model"]).str.contains("−")].to_dict("records")
    numbers = [difference[name] for name in ("centroid", "low", "high", "p")]
    if comparable:
        assert np.isfinite(numbers).all()
        assert difference["weighted_by"] == found["weighted_by"].iloc[0]
    else:
        assert np.isnan(numbers).all()
        for words in ("not compared", *found["weighted_by"].unique()[:2]):
            assert words in difference["weighted_by"]


@pytest.mark.parametrize("nobody", ["", "unknown", " NaN", np.nan])
def test_utterances_of_nobody_are_not_one_speaker(nobody):
    results = planted({"arousal": np.array([0.6, 0.4])}, speakers=6, each=5)
    table = results.predictions
    table["speaker"] = table["speaker"].astype(object)
    table.loc[table["speaker"].isin(["s4", "s5"]), "speaker"] = nobody
    found = relevance_centroids(results, resamples=20).iloc[0]
    assert found["speakers"] == 4 + 2 * 5
    assert np.isfinite([found["low"], found["high"]]).all()


def test_a_curve_below_its_null_has_no_centroid():
    found = relevance_centroids(planted({"arousal": np.array([-0.3, -0.5, -0.4])}), resamples=50).iloc[0]
    assert np.isnan([found["centroid"], found["low"], found["high"]]).all()
    assert found["defined"] < 0.1


def test_models_are_told_apart_on_the_same_speakers():
    shallow, deep = np.linspace(0.9, 0.2, 9), np.linspace(0.2, 0.9, 5)
    one, other = planted({"arousal": shallow}), planted({"arousal": deep})
    both = pd.concat([one.predictions, other.predictions.assign(model="student")], ignore_index=True)
    found = on(relevance_centroids(Results(pd.DataFrame(), pd.DataFrame(), [], both)), "ccc").set_index("model")
    assert list(found.index) == ["m", "student", "student − m"]
    difference = found.loc["student − m"]
    assert difference["centroid"] == pytest.approx(found.loc["student", "centroid"] - found.loc["m", "centroid"])
    assert difference["low"] > 0
    assert difference["p"] < 0.01


def test_planted_depths_are_told_apart_and_equal_ones_are_not():
    shallow, deep = np.linspace(0.9, 0.2, 13), np.linspace(0.2, 0.9, 13)
    found = relevance_centroids(planted({"arousal": shallow, "valence": deep, "dominance": shallow}))
    found = on(found, "ccc").set_index("dimension")
    assert found.loc["arousal", "centroid"] < 0.45 < 0.55 < found.loc["valence", "centroid"]
    assert found.loc["valence − arousal", "low"] > 0
    assert found.loc["valence − arousal", "p"] < 0.01
    same = found.loc["dominance − arousal"]
    assert same["low"] < 0 < same["high"]
    assert same["p"] > 0.05


def test_layers_that_know_nothing_have_no_centroid_or_a_wide_one():
    found = relevance_centroids(planted({"valence": np.zeros(5)}, speakers=6, each=5)).iloc[0]
    assert np.isnan(found["low"]) or found["high"] - found["low"] > 0.3
    table = relevance_centroids(planted({"valence": np.array([0, 0.1, 0]), "arousal": np.array([0.1, 0, 0])}, each=5))
    low, high = table["low"].dropna(), table["high"].dropna()
    assert (low >= [0 if "−" not in name else -1 for name in table.loc[low.index, "dimension"]]).all()
    assert (high <= 1).all()


def test_what_is_not_there_is_said():
    results = planted({"arousal": np.array([0.5, 0.5])})
    with pytest.raises(UserError, match="probe-fit --probe mlp"):
        relevance_centroids(results, probe="mlp")
    with pytest.raises(UserError, match="there are test"):
        relevance_centroids(results, split="development")


# Scales ---------------------------------------------------------------------------------------------------------------


def test_slope_and_centroid_equal_closed_forms_on_every_scale():
    results = planted({"arousal": np.array([0.3, 0.5, 0.8, 0.6])}, speakers=200, each=20)
    table = results.predictions
    found = relevance_centroids(results, resamples=0).set_index("scale")
    r = np.array([np.corrcoef(part["truth"], part["prediction"])[0, 1] for _, part in table.groupby("layer")])
    score = np.array([float(ccc(part["truth"], part["prediction"])) for _, part in table.groupby("layer")])
    depth = np.arange(4) / 3
    # What noise adds to a square is about (1 - r²)² / n, far below the tolerance with 4,000 utterances.
    for scale, weight, tolerance in (
        ("ccc", score, 1e-9),
        ("r2", r**2, 2e-3),
        ("odds", r**2 / (1 - r**2), 4e-3),
    ):
        line = np.polyfit(depth, weight, 1)
        assert found.loc[scale, "slope"] == pytest.approx(line[0] / weight.mean(), abs=5 * tolerance)
        assert found.loc[scale, "centroid"] == pytest.approx(weight @ depth / weight.sum(), abs=tolerance)


@pytest.mark.slow
def test_what_noise_adds_to_a_square_is_taken_away():
    """Of weak layers, few utterances: explained variance is too high by a known amount, and not after correction."""
    from emoprobe.analysis.measures.scales import SCALES, noise_bias
    from emoprobe.probe.bootstrap import leave_one_out, moments_by_speaker

    rng, n, rho = np.random.default_rng(0), 60, 0.3
    plain, corrected = [], []
    for _ in range(600):
        truth = rng.standard_normal(n)
        prediction = rho * truth + np.sqrt(1 - rho**2) * rng.standard_normal(n)
        sums = moments_by_speaker(truth, prediction[None], np.arange(n))
        whole, left_out = (SCALES["r2"].weights(some) for some in (sums.sum(0), leave_one_out(sums)))
        plain.append(whole[0])
        corrected.append(whole[0] - noise_bias(whole, left_out)[0])
    assert np.mean(plain) - rho**2 > 0.008
    assert abs(np.mean(corrected) - rho**2) < 0.005


def test_strength_bends_a_score_and_not_the_odds_and_label_noise_the_other_way_round():
    """One profile of the signal-to-noise ratio, in the population: what each scale makes of its centroid."""
    from emoprobe.analysis.measures.scales import concordance, explained, odds

    profile, depth = np.linspace(0.25, 1, 13), np.linspace(0, 1, 13)

    def centroids(strength: float, reliability: float) -> dict[str, float]:
        r2 = reliability * strength * profile / (1 + strength * profile)
        # The best linear prediction has the variance r², and a covariance with the label of r².
        zero = np.zeros_like(r2)
        sums = np.stack([zero + 1, zero, zero, zero + 1, r2, r2], -1)
        weights = {"ccc": concordance(sums), "r2": explained(sums), "odds": odds(sums)}
        weights["odds of the ceiling"] = odds(sums, reliability)
        return {name: weight @ depth / weight.sum() for name, weight in weights.items()}

    plain, strong, noisy, both = centroids(1, 1), centroids(4, 1), centroids(1, 0.5), centroids(4, 0.5)
    assert strong["ccc"] < plain["ccc"] - 0.02
    assert strong["r2"] < plain["r2"] - 0.02
    assert strong["odds"] == pytest.approx(plain["odds"], abs=1e-9)
    assert noisy["r2"] == pytest.approx(plain["r2"], abs=1e-9)
    assert noisy["odds"] < plain["odds"] - 0.02
    # Both at once bend every scale, unless the share that can be explained is known. None falls below a half.
    assert abs(both["r2"] - plain["r2"]) > 0.02 < abs(both["odds"] - plain["odds"])
    assert both["odds of the ceiling"] == pytest.approx(plain["odds"], abs=1e-9)
    assert min(min(one.values()) for one in (plain, strong, noisy, both)) > 0.51


def test_a_ceiling_reaches_the_table_and_a_wrong_one_is_refused():
    results = planted({"arousal": np.array([0.3, 0.6])})
    plain, bounded = (
        on(relevance_centroids(results, ceilings=ceilings, resamples=0), "odds").iloc[0]
        for ceilings in (None, {"arousal": 0.5})
    )
    assert bounded["slope"] > plain["slope"]
    with pytest.raises(UserError, match="share of arousal"):
        relevance_centroids(results, ceilings={"arousal": 0.0})


def test_in_a_cross_validation_nothing_is_read_by_the_mean_of_other_folds():
    """A probe that predicts the mean of its training labels has a correlation far below 0: the folds alone make it."""
    from emoprobe.analysis.measures.centroid import training_means
    from emoprobe.analysis.measures.scales import explained
    from emoprobe.probe.baselines import mean_predictor
    from emoprobe.probe.metrics import moments
    from emoprobe.probe.splits import cross_validation

    rng, speaker = np.random.default_rng(1), np.repeat(np.arange(20), 30)
    truth = rng.standard_normal(600) + rng.standard_normal(20)[speaker]
    folds = cross_validation(np.arange(600), speaker, 5)
    names = np.empty(600, dtype=object)
    for fold in folds:
        names[fold.tests["cross-validation"]] = fold.name
    means = training_means(truth, names.astype(str))
    np.testing.assert_allclose(means, mean_predictor(truth[:, None], folds)[:, 0], rtol=1e-12)
    prediction = means + 0.02 * rng.standard_normal(600)
    assert explained(moments(truth, prediction)) < -0.05
    assert abs(explained(moments(truth, prediction - means))) < 0.01
    np.testing.assert_allclose(training_means(truth, np.full(600, "all")), truth.mean())


# What may be said -----------------------------------------------------------------------------------------------------

YES, NO = (0.01, True), (0.4, False)


@pytest.mark.parametrize(
    ("one", "other", "apart", "said", "sign"),
    [
        ((-1, YES), (1, YES), (1, YES), "arousal is carried by shallower layers than valence", 1),
        ((-1, YES), (1, YES), (1, NO), "arousal is carried by shallower layers than valence", 1),
        ((1, YES), (-1, YES), (-1, YES), "arousal is carried by shallower layers than valence", -1),
        ((1, YES), (1, YES), (1, YES), "arousal and valence both rise with depth", 1),
        ((-1, YES), (-1, YES), (1, YES), "arousal and valence both fall with depth", 1),
        ((1, NO), (1, YES), (1, YES), "valence rises with depth; of arousal neither is shown", 1),
        ((-1, NO), (1, YES), (1, NO), "valence rises with depth; of arousal neither is shown", 1),
        ((-1, NO), (1, YES), (1, YES), "valence rises with depth, and arousal does not follow it", 1),
        ((-1, NO), (-1, YES), (-1, YES), "valence falls with depth; of arousal neither is shown", 1),
        ((-1, YES), (1, NO), (1, YES), "arousal falls with depth, and valence does not follow it", 1),
        ((1, YES), (-1, NO), (-1, YES), "arousal rises with depth, and valence does not follow it", 1),
        ((1, YES), (-1, NO), (1, YES), "arousal rises with depth; of valence neither is shown", 1),
        ((-1, NO), (1, NO), (1, YES), "arousal is carried by shallower layers than valence", 0),
    ],
)
def test_a_statement_follows_from_slopes_and_difference(one, other, apart, said, sign):
    tests = [Signed(of, p) for of, (p, _) in (one, other, apart)]
    statement = Comparison("arousal", "valence", (tests[0], tests[1]), tests[2]).statement(
        [decided for _, (_, decided) in (one, other, apart)]
    )
    assert (statement.text, statement.sign) == (said, sign)
    assert all((one, other, apart)[place][1] is YES for place in statement.rests_on) == (sign != 0)


def test_scales_that_disagree_decide_nothing():
    assert Signed.of([0.2, 0.1], [0.01, 0.03]) == Signed(1, 0.03)
    assert Signed.of([0.2, -0.1], [0.01, 0.03]) == Signed(0, 1.0)
    assert np.isnan(Signed.of([0.2, np.nan], [0.01, np.nan]).p)


def test_a_comparison_reads_the_table_whichever_dimension_comes_first():
    shallow, deep = np.linspace(0.7, 0.2, 7), np.linspace(0.2, 0.7, 7)
    for order in (("arousal", "valence"), ("valence", "arousal")):
        curves = {"arousal": shallow, "valence": deep}
        table = relevance_centroids(planted({name: curves[name] for name in order}))
        comparison = Comparison.of(table, "arousal", "valence")
        assert [slope.sign for slope in comparison.slopes] == [-1, 1]
        assert comparison.difference.sign == 1
        assert max(comparison.p) < 0.01
