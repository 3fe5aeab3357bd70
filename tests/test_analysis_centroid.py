"""The relevance centroid: a closed form, a naive bootstrap, and planted depths."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoprobe.analysis import relevance_centroids
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
    found = relevance_centroids(Results(pd.DataFrame(), pd.DataFrame(), [], both)).set_index("model")
    assert list(found.index) == ["m", "student", "student − m"]
    difference = found.loc["student − m"]
    assert difference["centroid"] == pytest.approx(found.loc["student", "centroid"] - found.loc["m", "centroid"])
    assert difference["low"] > 0
    assert difference["p"] < 0.01


def test_planted_depths_are_told_apart_and_equal_ones_are_not():
    shallow, deep = np.linspace(0.9, 0.2, 13), np.linspace(0.2, 0.9, 13)
    found = relevance_centroids(planted({"arousal": shallow, "valence": deep, "dominance": shallow}))
    found = found.set_index("dimension")
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
