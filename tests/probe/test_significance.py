"""Intervals and paired differences against loops over resamples, by hand, and what must be refused."""

from __future__ import annotations

import tracemalloc
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from emoprobe.errors import UserError
from emoprobe.probe import Results, ccc
from emoprobe.probe.bootstrap import moments_by_speaker, resample_counts, stretched
from emoprobe.probe.differences import DIFFERENCES
from emoprobe.probe.drawing import Sums, _seed_weights, draw_resamples, limits
from emoprobe.probe.permutation import holm
from emoprobe.probe.results import PREDICTIONS, SCORES, WEIGHTS, table
from emoprobe.probe.significance import (
    INTERVALS,
    dimensions_compared,
    features_compared,
    layers_compared,
    models_compared,
    paired_differences,
    probes_compared,
    score_intervals,
)

SPEAKERS, EACH = 10, 12
N = SPEAKERS * EACH
RESAMPLES = 400


def predicted(truth, strength, rng, **name) -> pd.DataFrame:
    """Predictions of one system that follow the truth with a correlation of `strength`."""
    frame = {
        "model": "a", "corpus": "c", "dimension": "arousal", "probe": "ridge", "features": "mean", "layer": 0,
        "seed": 0, "split": "test", "fold": "all",
    } | name  # fmt: skip
    noise = rng.standard_normal(N) + rng.standard_normal(SPEAKERS)[np.arange(N) % SPEAKERS]
    return pd.DataFrame(
        frame
        | {
            "id": [f"u{i:03d}" for i in range(N)],
            "speaker": [f"s{i % SPEAKERS}" for i in range(N)],
            "truth": truth,
            "prediction": strength * truth + (1 - strength) * noise,
        }
    )


def of(*frames, scores=()) -> Results:
    predictions = table(pd.concat(frames, ignore_index=True), PREDICTIONS)
    return Results(table(list(scores), SCORES), table([], WEIGHTS), [], predictions)


def planted(seed=0) -> Results:
    """Two models, arousal shallow and valence deep; a learned sum of three seeds; end to end with and without text."""
    rng = np.random.default_rng(seed)
    truths = {name: rng.standard_normal(N) for name in ("arousal", "valence")}
    frames = []
    for model, layers in (("a", 5), ("b", 3)):
        for dimension, truth in truths.items():
            curve = np.linspace(0.8, 0.3, layers) if dimension == "arousal" else np.linspace(0.2, 0.9, layers)
            for layer, strength in enumerate(curve):
                frames.append(predicted(truth, strength, rng, model=model, dimension=dimension, layer=layer))
    for seed in range(3):
        frames.append(predicted(truths["arousal"], 0.7, rng, probe="weighted", layer=None, seed=seed))
        for features, strength in (("audio", 0.4), ("audio+text", 0.8)):
            name = {"probe": "end-to-end", "features": features, "layer": None, "seed": seed, "dimension": "valence"}
            frames.append(predicted(truths["valence"], strength, rng, **name))
    return of(*frames)


def naive(frame, counts, seeds_drawn, seeds):
    """Score of one resample: rows of the speakers drawn, mean over the seeds drawn."""
    found = []
    for seed in seeds_drawn:
        part = frame[frame["seed"] == seeds[seed]].sort_values("id")
        speaker = np.unique(part["speaker"], return_inverse=True)[1]
        rows = np.concatenate([np.tile(np.flatnonzero(speaker == s), int(k)) for s, k in enumerate(counts)])
        found.append(float(ccc(part["truth"].to_numpy()[rows], part["prediction"].to_numpy()[rows])))
    return np.mean(found)


@pytest.fixture(scope="module")
def results() -> Results:
    return planted()


@pytest.mark.slow
def test_intervals_equal_a_loop_over_speakers_and_seeds(results):
    found = score_intervals(results, probe="weighted", resamples=60, seed=5)
    assert tuple(found.columns) == INTERVALS
    row = found.iloc[0]
    assert (row["seeds"], row["speakers"], row["n"]) == (3, SPEAKERS, N)
    frame = results.predictions[results.predictions["probe"] == "weighted"]
    weights = np.random.default_rng([5, 3, 1]).multinomial(3, np.full(3, 1 / 3), size=60)
    counts = np.concatenate(list(resample_counts(SPEAKERS, 60, seed=5)))
    drawn = np.array([naive(frame, c, range(3), [0, 1, 2]) for c in counts])
    redrawn = [naive(frame, c, np.repeat(np.arange(3), w), [0, 1, 2]) for c, w in zip(counts, weights, strict=True)]
    # Three seeds drawn with replacement have a mean that varies 2/3 as much as the mean of three new ones.
    with_seeds = drawn + np.sqrt(3 / 2) * (np.array(redrawn) - drawn)
    left_out = [naive(frame, 1 - np.eye(SPEAKERS)[s], range(3), [0, 1, 2]) for s in range(SPEAKERS)]
    wide = np.arctanh(stretched(drawn[:, None], np.array(left_out)[:, None], scale="ccc")[:, 0])
    wide = np.tanh(wide + np.arctanh(with_seeds) - np.arctanh(drawn))
    assert row["score"] == pytest.approx(naive(frame, np.ones(SPEAKERS), range(3), [0, 1, 2]), abs=1e-12)
    np.testing.assert_allclose([row["low"], row["high"]], np.quantile(wide, [0.025, 0.975]), atol=1e-12)


def test_a_difference_equals_a_loop_over_resamples(results):
    found = paired_differences(results, {"layer": 0, "model": "a"}, {"layer": 2, "model": "b"}, resamples=80, seed=2)
    assert tuple(found.columns) == DIFFERENCES
    row = found[found["dimension"] == "arousal"].iloc[0]
    table = results.predictions[results.predictions["dimension"] == "arousal"]
    sides = [table[(table["model"] == m) & (table["layer"] == k)] for m, k in (("a", 0), ("b", 2))]

    def difference(counts):
        one, other = (naive(side, counts, [0], [0]) for side in sides)
        return one - other

    drawn = [difference(c) for c in np.concatenate(list(resample_counts(SPEAKERS, 80, seed=2)))]
    left_out = [difference(1 - np.eye(SPEAKERS)[s]) for s in range(SPEAKERS)]
    wide = stretched(np.array(drawn)[:, None], np.array(left_out)[:, None])[:, 0]
    assert row["difference"] == pytest.approx(difference(np.ones(SPEAKERS)), abs=1e-12)
    np.testing.assert_allclose([row["low"], row["high"]], np.quantile(wide, [0.025, 0.975]), atol=1e-12)
    assert row["p"] == pytest.approx(min(1, 2 * (1 + min((wide <= 0).sum(), (wide >= 0).sum())) / 81))
    assert (row["one"], row["other"]) == ("a, layer 0", "b, layer 2")
    np.testing.assert_allclose(found["p_holm"], holm(found["p"]))
    swapped = paired_differences(results, {"layer": 2, "model": "b"}, {"layer": 0, "model": "a"}, resamples=80, seed=2)
    np.testing.assert_allclose(swapped["difference"], -found["difference"])
    np.testing.assert_allclose(swapped["low"], -found["high"], atol=1e-12)
    np.testing.assert_allclose(swapped["p"], found["p"])


def test_pairing_tells_apart_what_separate_intervals_do_not():
    """Two systems that err alike: each score is unsure, their difference is not."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(N)
    one = predicted(truth, 0.6, rng)
    other = one.assign(layer=1, prediction=one["prediction"] + 0.15 * rng.standard_normal(N))
    both = of(one, other)
    apart = score_intervals(both, resamples=RESAMPLES)
    assert apart["low"].max() < apart["high"].min()
    difference = paired_differences(both, {"layer": 0}, {"layer": 1}, resamples=RESAMPLES).iloc[0]
    assert (difference["high"] - difference["low"]) < 0.5 * (apart["high"] - apart["low"]).min()


def test_layers_against_the_best(results):
    found = layers_compared(results, model="a", probe="ridge", resamples=RESAMPLES)
    for dimension, best in (("arousal", 0), ("valence", 4)):
        part = found[found["dimension"] == dimension]
        assert set(part["other"]) == {f"layer {best}"}
        assert set(part["one"]) == {f"layer {k}" for k in range(5) if k != best}
        assert (part["difference"] < 0).all()
        np.testing.assert_allclose(part["p_holm"], holm(part["p"]))
        assert part["chosen_on"].eq("test").all()
        far = part[part["one"] == f"layer {4 - best}"].iloc[0]
        assert far["high"] < 0
        assert far["p_holm"] < 0.05
    against = layers_compared(results, against=2, model="a", probe="ridge", dimension="arousal", resamples=50)
    assert set(against["other"]) == {"layer 2"}
    with pytest.raises(UserError, match="no layer 9"):
        layers_compared(results, against=9, model="a", probe="ridge")


def test_the_best_layer_is_chosen_on_the_development_part_where_there_is_one():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(N)
    frames = [predicted(truth, strength, rng, layer=k) for k, strength in enumerate((0.5, 0.8, 0.6))]
    shared = {"model": "a", "corpus": "c", "dimension": "arousal", "probe": "ridge", "features": "mean", "fold": "all"}
    scores = [shared | {"split": "development", "layer": k, "ccc": c} for k, c in enumerate((0.3, 0.4, 0.9))]
    found = layers_compared(of(*frames, scores=scores), resamples=50)
    assert set(found["other"]) == {"layer 2"}
    assert set(found["chosen_on"]) == {"development"}


def test_models_at_their_best_and_at_equal_depth(results):
    best = models_compared(results, probe="ridge", resamples=RESAMPLES).set_index("dimension")
    assert best.loc["arousal", "layer"] == 0  # both at layer 0, so it is shared
    assert (best.loc["arousal", "one"], best.loc["arousal", "other"]) == ("b", "a")
    assert (best.loc["valence", "one"], best.loc["valence", "other"]) == ("b, layer 2", "a, layer 4")
    depth = models_compared(results, probe="ridge", at="depth", dimension="valence", resamples=RESAMPLES)
    assert list(depth["one"]) == ["a", "a, layer 2", "a, layer 4"]
    assert list(depth["other"]) == ["b", "b, layer 1", "b, layer 2"]
    np.testing.assert_allclose(depth["p_holm"], holm(depth["p"]))
    assert (depth["p"] > 0.05).sum() >= 2  # the curves are the same at equal depth


def test_dimensions_features_and_probes(results):
    dimensions = dimensions_compared(results, model="a", probe="ridge", resamples=RESAMPLES).iloc[0]
    assert (dimensions["one"], dimensions["other"]) == ("valence, layer 4", "arousal, layer 0")
    features = features_compared(results, probe="end-to-end", resamples=RESAMPLES).iloc[0]
    assert (features["one"], features["other"]) == ("audio+text", "audio")
    assert features["low"] > 0
    assert features["p"] < 0.01
    probes = probes_compared(results, model="a", resamples=50)
    assert len(probes) == 3  # weighted with ridge; end to end, twice, with ridge
    assert not (probes["one"].str.startswith("end-to-end") & probes["other"].str.startswith("end-to-end")).any()


@pytest.mark.slow
def test_baselines_do_not_pad_the_family_of_models():
    """Six models, each with the same baselines: only their layers are compared, and a clear difference is found."""
    rng = np.random.default_rng(3)
    truths = {name: rng.standard_normal(N) for name in ("arousal", "valence")}
    frames = []
    for dimension, truth in truths.items():
        baselines = {name: predicted(truth, 0.3, rng, probe=name, features=name, layer=-1) for name in ("mfcc", "text")}
        for model, strength in zip("abcdef", (0.1, 0.9, 0.5, 0.5, 0.5, 0.5), strict=True):
            about = {"model": model, "dimension": dimension}
            frames += [frame.assign(**about) for frame in baselines.values()]
            frames += [predicted(truth, strength / (1 + layer), rng, layer=layer, **about) for layer in (0, 1)]
    results = of(*frames)
    found = models_compared(results, resamples=RESAMPLES)
    assert set(found["probe"]) == {"ridge"}
    for _, part in found.groupby("dimension"):
        assert len(part) == 15
        np.testing.assert_allclose(part["p_holm"], holm(part["p"]))
        assert part["p_holm"].min() < 0.05
    both = paired_differences(results, {"model": "a"}, {"model": "b"}, resamples=RESAMPLES)
    assert set(both["probe"]) == {"ridge"}
    named = paired_differences(results, {"model": "a", "probe": "mfcc"}, {"model": "b", "probe": "mfcc"}, resamples=9)
    assert named["difference"].eq(0).all()
    # Beside other probes of the same model a baseline is a system like any other, and models do not share a family.
    probes = probes_compared(results, resamples=RESAMPLES)
    for _, part in probes.groupby(["model", "dimension"]):
        assert len(part) == 3
        np.testing.assert_allclose(part["p_holm"], holm(part["p"]))


def test_resamples_suffice_for_the_family():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(N)
    frames = [predicted(truth, 0.95 if layer == 0 else 0.05, rng, layer=layer) for layer in range(7)]
    found = layers_compared(of(*frames), resamples=20)
    assert found["p"].min() == pytest.approx(2 / (1 + 40 * 6))
    assert found["p_holm"].max() < 0.05
    assert np.isnan(layers_compared(of(*frames), resamples=0)["p"]).all()


def test_the_seeds_vary_as_much_as_they_do_and_leave_the_speakers_their_correction():
    """Seeds that differ a lot, or not at all, on few speakers."""
    weights = _seed_weights(3, 200_000, 0)
    np.testing.assert_allclose(weights.sum(1), 1)
    values = np.array([0.1, 0.5, 0.6])
    # The variance of a mean of three is that of the three over 3; 200,000 draws give it to 0.3 % or so.
    assert (weights @ values).var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)
    rng = np.random.default_rng(0)
    speakers, spread, seeds = 5, 0.1, 0.05
    means = rng.normal(0, spread, speakers)
    drawn = np.concatenate(list(resample_counts(speakers, 20_000))) @ means[:, None] / speakers
    left_out = ((means.sum() - means) / (speakers - 1))[:, None]
    other = rng.normal(0, seeds, drawn.shape)
    low, high, _ = limits(drawn, left_out, with_seeds=drawn + other)
    widened = np.std(stretched(drawn, left_out))
    assert widened > 1.3 * drawn.std()
    # Both spreads add in quadrature; neither is exactly normal, hence the tolerance.
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * np.hypot(widened, seeds), rel=0.05)


@pytest.mark.slow
def test_many_speakers_are_resampled_in_parts():
    """Counts of all resamples at once would take 8 x 2,000 x 20,000 bytes, 320 MB."""
    rng = np.random.default_rng(0)
    sums = [moments_by_speaker(rng.standard_normal(20_000), rng.standard_normal((1, 20_000)), np.arange(20_000))] * 2
    tracemalloc.start()
    drawn = draw_resamples(Sums(sums, 20_000), "ccc", 2000, 0).drawn
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert drawn.shape == (2000, 2)
    assert peak < 200e6  # a part of 250 resamples is 40 MB, held in three forms while it is made


@pytest.mark.slow
def test_pairs_that_score_other_utterances_do_not_narrow_each_other():
    rng = np.random.default_rng(4)
    truth = rng.standard_normal(N)
    frames = {model: predicted(truth, 0.6, rng, model=model) for model in "abcd"}
    frames["c"] = frames["c"].iloc[20:]
    found = models_compared(of(*frames.values()), resamples=240)
    assert list(zip(found["other"], found["one"], strict=True)) == list(combinations("abcd", 2))
    for row in found.itertuples():
        assert row.n == (N - 20 if "c" in (row.one, row.other) else N)
        alone = of(frames[row.one], frames[row.other])
        pair = paired_differences(alone, {"model": row.one}, {"model": row.other}, resamples=240).iloc[0]
        np.testing.assert_allclose([row.difference, row.low, row.high], pair[["difference", "low", "high"]].tolist())


def test_only_what_both_score_is_compared_and_disagreement_is_refused():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(N)
    one, other = predicted(truth, 0.8, rng), predicted(truth, 0.5, rng, layer=1)
    found = paired_differences(of(one, other.iloc[30:]), {"layer": 0}, {"layer": 1}, resamples=20).iloc[0]
    same = paired_differences(of(one.iloc[30:], other.iloc[30:]), {"layer": 0}, {"layer": 1}, resamples=20).iloc[0]
    assert found["n"] == N - 30
    assert found["difference"] == same["difference"]
    wrong = other.assign(truth=other["truth"] + 1)
    with pytest.raises(UserError, match="disagree"):
        paired_differences(of(one, wrong), {"layer": 0}, {"layer": 1})
    with pytest.raises(UserError, match="disagree"):
        paired_differences(of(one, other.assign(speaker="s0")), {"layer": 0}, {"layer": 1})
    with pytest.raises(UserError, match="no utterance in common"):
        paired_differences(of(one.iloc[:9], other.iloc[9:]), {"layer": 0}, {"layer": 1})


def test_what_is_not_there_is_said(results):
    with pytest.raises(UserError, match=r"there is model a, b"):
        score_intervals(results, model="c")
    with pytest.raises(UserError, match="not by colour"):
        score_intervals(results, colour="red")
    with pytest.raises(UserError, match="choose one of ccc"):
        score_intervals(results, metric="accuracy")
    with pytest.raises(UserError, match="no predictions of what uar scores"):
        score_intervals(results, metric="uar")
    with pytest.raises(UserError, match=r"predictions\.parquet"):
        score_intervals(Results.empty())
    with pytest.raises(UserError, match="in common"):
        paired_differences(results, {"probe": "weighted"}, {"probe": "end-to-end"})


def test_one_speaker_has_no_interval_and_an_unknown_one_is_their_own():
    rng = np.random.default_rng(0)
    frame = predicted(rng.standard_normal(N), 0.5, rng)
    one = score_intervals(of(frame.assign(speaker="s0")), resamples=30).iloc[0]
    assert one["speakers"] == 1
    assert np.isnan(one["low"])
    assert score_intervals(of(frame.assign(speaker="")), resamples=30)["speakers"].item() == N


# Categories -----------------------------------------------------------------------------------------------------------


def named(layer: int, truth: np.ndarray, answers: np.ndarray) -> pd.DataFrame:
    """Predictions of categories by one layer, of utterances of 12 speakers."""
    n = len(truth)
    rows = {"model": "a", "corpus": "c", "dimension": "emotion", "probe": "logistic", "features": "mean"}
    rows |= {"layer": layer, "seed": 0, "split": "test", "fold": "all", "id": [f"u{i:03d}" for i in range(n)]}
    rows |= {"speaker": [f"s{i % 12}" for i in range(n)], "true_category": truth, "predicted_category": answers}
    return table(rows, PREDICTIONS)


def categories(rare: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and the answers of a good layer and of one that guesses."""
    rng = np.random.default_rng(4)
    names = np.array(["angry", "calm", "sad"], dtype=object)
    truth = names[rng.integers(0, 3, 180)]
    truth[:rare] = "odd"
    guess = names[rng.integers(0, 3, 180)]
    return truth, np.where(rng.random(180) < 0.6, truth, guess), guess


def test_categories_are_compared_by_uar():
    truth, good, guess = categories()
    results = of(named(0, truth, good), named(1, truth, guess))
    (row,) = paired_differences(results, {"layer": 0}, {"layer": 1}, metric="uar").itertuples()
    assert row.score_one == pytest.approx(balanced_accuracy_score(truth, good))
    assert row.score_other == pytest.approx(balanced_accuracy_score(truth, guess))
    assert 0 < row.low < row.difference < row.high
    assert row.p < 0.01
    assert row.without == ""
    (score, _) = score_intervals(results, metric="macro_f1")["score"]
    assert score == pytest.approx(f1_score(truth, good, average="macro"))


def test_layers_are_compared_with_the_one_that_is_reported_whatever_is_rare():
    """The best layer is that of the highest UAR of all categories, as everywhere else."""
    truth, good, guess = categories(rare=2)
    finds_the_rare = np.where(truth == "odd", "odd", np.where(np.arange(len(truth)) % 9 == 0, guess, good))
    results = of(named(0, truth, good), named(1, truth, finds_the_rare))
    common = truth != "odd"
    of_common = [recall_score(truth[common], answers[common], average="macro") for answers in (good, finds_the_rare)]
    assert of_common[0] > of_common[1]
    (row,) = layers_compared(results, metric="uar", resamples=50).itertuples()
    assert "layer 1" in row.other


def test_a_rare_category_takes_no_part_in_a_comparison():
    truth, good, guess = categories(rare=2)
    kept = truth != "odd"
    (row,) = paired_differences(
        of(named(0, truth, good), named(1, truth, guess)), {"layer": 0}, {"layer": 1}, metric="uar"
    ).itertuples()
    assert row.without == "odd"
    expected = recall_score(truth[kept], good[kept], labels=["angry", "calm", "sad"], average="macro")
    assert row.score_one == pytest.approx(expected)
    assert np.isfinite([row.low, row.high, row.p]).all()
