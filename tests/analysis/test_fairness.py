"""Scores by gender and by speaker are those of the rows themselves, and their intervals are of the right thing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from emoprobe import HiddenStateCache, fit_layers
from emoprobe.analysis.figures.fairness import plot_fairness
from emoprobe.analysis.measures.fairness import COLUMNS, fairness_table
from emoprobe.errors import UserError
from emoprobe.probe.jackknife import FIXED, REFITTED
from emoprobe.probe.metrics import ccc, pearson, rmse
from emoprobe.probe.results import PREDICTIONS, SCORES, Results, table
from emoprobe.probe.significance import score_intervals
from emoprobe.testing.caches import write_cache

DRAWS = {"resamples": 200}


def handmade(
    *, speakers: int = 12, each: int = 30, seeds: int = 1, shift: float = 0.0, noise=(0.5, 0.5), seed: int = 0, **same
) -> tuple[Results, pd.DataFrame]:
    """Predictions of two layers, the second better; odd speakers are male, whose predictions are `shift` too high."""
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    n = speakers * each
    of = np.repeat(np.arange(speakers), each)
    male = of % 2 == 1
    truth = rng.normal(4, 1, n)
    run = {"model": "m", "corpus": "c", "dimension": "valence", "probe": "ridge", "features": "mean", "split": "test"}
    run |= same
    for layer, factor in ((0, 3.0), (1, 1.0)):
        for k in range(seeds):
            predicted = truth + factor * np.where(male, noise[1], noise[0]) * rng.standard_normal(n) + shift * male
            for i in range(n):
                place = {"layer": layer, "seed": k, "fold": "all", "id": f"u{i}", "speaker": f"s{of[i]:02d}"}
                rows.append(run | place | {"truth": truth[i], "prediction": predicted[i]})
            scores.append(run | {"layer": layer, "seed": k, "fold": "all", "ccc": float(ccc(truth, predicted))})
    genders = pd.DataFrame({"id": [f"u{i}" for i in range(n)], "gender": np.where(male, "male", "female")})
    return Results(table(scores, SCORES), table([], {}), [], table(rows, PREDICTIONS)), genders


def row(found: pd.DataFrame, group: str) -> pd.Series:
    (place,) = np.flatnonzero(found["group"] == group)
    return found.iloc[place]


def test_scores_are_those_of_the_rows_of_each_group():
    results, genders = handmade(shift=0.4)
    found = fairness_table(results, genders, **DRAWS)
    assert tuple(found.columns) == COLUMNS
    assert (found["layer"] == 1).all()
    rows = results.predictions.query("layer == 1").merge(genders, on="id")
    for group, part in [("all", rows), *rows.groupby("gender"), *rows.groupby("speaker")]:
        its = row(found, group)
        truth, predicted = part["truth"].to_numpy(), part["prediction"].to_numpy()
        for name, measure in (("ccc", ccc), ("pearson", pearson), ("rmse", rmse)):
            # Sums by speaker and two passes over the rows differ by rounding.
            assert its[name] == pytest.approx(float(measure(truth, predicted)), abs=1e-10)
        assert its["bias"] == pytest.approx((predicted - truth).mean(), abs=1e-10)
        assert its["truth_std"] == pytest.approx(truth.std())
        assert (its["n"], its["speakers"]) == (len(part), part["speaker"].nunique())
        assert its["ccc_low"] < its["ccc"] < its["ccc_high"]
        assert its["bias_low"] < its["bias"] < its["bias_high"]
    assert row(found, "s01")["gender"] == "male"
    between = row(found, "female − male")
    for name in ("ccc", "pearson", "rmse", "bias"):
        assert between[name] == pytest.approx(row(found, "female")[name] - row(found, "male")[name])
    assert between["bias_high"] < 0


def test_intervals_draw_speakers_within_a_group_and_utterances_within_a_speaker():
    # Each speaker has an error of their own and next to none besides: what is uncertain is which speakers there are.
    rng = np.random.default_rng(1)
    results, genders = handmade(noise=(1e-3, 1e-3))
    results.predictions["prediction"] += results.predictions["speaker"].map(
        {f"s{k:02d}": rng.normal() for k in range(12)}
    )
    found = fairness_table(results, genders, layer=1, **DRAWS)
    female = row(found, "female")
    errors = [row(found, f"s{k:02d}")["bias"] for k in range(0, 12, 2)]
    # Student's interval of a mean of 6; 200 resamples give its ends to a tenth or so.
    width = 2 * stats.t.ppf(0.975, 5) * np.std(errors, ddof=1) / np.sqrt(6)
    assert female["bias_high"] - female["bias_low"] == pytest.approx(width, rel=0.15)
    one = row(found, "s00")
    assert one["bias_high"] - one["bias_low"] < 0.01


@pytest.mark.slow
def test_the_interval_of_the_difference_covers_it():
    """No difference between the genders: an interval of 95 % excludes zero in about one case of twenty."""
    excluded = []
    for seed in range(120):
        results, genders = handmade(speakers=40, each=5, seed=seed)
        between = row(fairness_table(results, genders, layer=1, fewest=2, resamples=300), "female − male")
        excluded.append(not between["ccc_low"] <= 0 <= between["ccc_high"])
    # 120 draws at 5 %: 6, with a standard deviation of 2.4; 16 is 4 of them more.
    assert 1 <= sum(excluded) <= 16


def test_seeds_are_averaged():
    results, genders = handmade(seeds=3)
    found = fairness_table(results, genders, layer=1, **DRAWS)
    parts = results.predictions.query("layer == 1").groupby("seed")
    expected = np.mean([float(ccc(part["truth"].to_numpy(), part["prediction"].to_numpy())) for _, part in parts])
    assert row(found, "all")["ccc"] == pytest.approx(expected)
    assert row(found, "all")["n"] == 360


def test_the_layer_is_chosen_on_the_development_part_by_the_mean_over_seeds():
    results, genders = handmade(seeds=2)
    found = fairness_table(results, genders, **DRAWS)
    assert (found["layer"] == 1).all()
    assert found["chosen_on"].eq("test").all()
    assert fairness_table(results, genders, layer=1, **DRAWS)["chosen_on"].eq("").all()
    # One seed of layer 1 scores best of all, but on average layer 0 is the better.
    luck = {(0, 0): 0.5, (0, 1): 0.5, (1, 0): 0.9, (1, 1): 0.0}
    ccc_of = [luck[place] for place in zip(results.scores["layer"], results.scores["seed"], strict=True)]
    development = results.scores.assign(split="development", ccc=ccc_of)
    both = Results(pd.concat([results.scores, development]), results.weights, [], results.predictions)
    found = fairness_table(both, genders, **DRAWS)
    assert (found["layer"] == 0).all()
    assert found["chosen_on"].eq("development").all()
    figure = Figure()
    plot_fairness(found, figure=figure)
    said = "layer: valence 0 (best on these rows, with hindsight: 1); chosen on development"
    assert said in figure.get_supxlabel().replace("\n", " ")


def test_speakers_with_few_utterances_get_no_ccc_and_the_reason():
    results, genders = handmade(each=8)
    found = fairness_table(results, genders, **DRAWS)
    speaker = row(found, "s03")
    assert np.isnan(speaker[["ccc", "ccc_low", "ccc_high", "pearson"]].to_numpy(float)).all()
    assert speaker["reason"] == "fewer than 20 utterances"
    assert np.isfinite([speaker["rmse"], speaker["bias_low"]]).all()
    assert np.isfinite(row(fairness_table(results, genders, fewest=8, **DRAWS), "s03")["ccc"])


def test_unknown_speakers_and_genders_are_no_groups():
    results, genders = handmade()
    results.predictions["speaker"] = results.predictions["speaker"].replace("s00", "")
    genders.loc[30:59, "gender"] = ""
    found = fairness_table(results, genders, **DRAWS)
    assert set(found.loc[found["group_by"] == "speaker", "group"]) == {f"s{k:02d}" for k in range(1, 12)}
    assert row(found, "female")["speakers"] == 30 + 5
    assert row(found, "male")["speakers"] == 5
    assert row(found, "s01")["gender"] == ""
    nobody = fairness_table(results, genders.assign(gender=""), **DRAWS)
    assert set(nobody["group_by"]) == {"all", "speaker"}


def test_one_speaker_has_a_score_and_no_interval():
    results, genders = handmade(speakers=2)
    found = fairness_table(results, genders, **DRAWS)
    for group in ("female", "female − male"):
        its = row(found, group)
        assert np.isfinite(its["ccc"])
        assert np.isnan([its["ccc_low"], its["bias_low"]]).all()
        assert its["reason"] == "too few to resample: no interval"


@pytest.mark.slow
def test_a_cache_and_its_results(tmp_path):
    split = ["train" if i % 12 < 4 else "development" if i % 12 < 6 else "test" for i in range(240)]
    gender = ["female" if i % 2 else "male" for i in range(240)]
    write_cache(tmp_path / "c.h5", n=240, gender=gender, split=split)
    settings = {"features": "mean", "penalties": (1.0,), "resamples": 50, "permutations": 0, "seeds": 2}
    results = fit_layers(tmp_path / "c.h5", probe=("ridge", "weighted"), **settings)
    results.save(tmp_path / "results")
    for source in (tmp_path / "c.h5", HiddenStateCache(tmp_path / "c.h5")):
        found = fairness_table(tmp_path / "results", source, resamples=50)
        assert list(dict.fromkeys(found["dimension"])) == ["arousal", "valence", "dominance"]
        best = results.best_layers().query("probe == 'ridge' and split == 'development'").set_index("dimension")
        # Groups are resampled around the fixed probe; of all there are refits, as of the scores.
        assert found.groupby("group_by")["interval"].unique().map(set).to_dict() == {
            "all": {REFITTED}, "gender": {FIXED}, "gender difference": {FIXED}, "speaker": {FIXED}
        }  # fmt: skip
        scores = score_intervals(results, probe="ridge", split="test", resamples=50).set_index(["dimension", "layer"])
        for dimension, part in found[found["group_by"] == "all"].set_index("dimension").iterrows():
            assert part["layer"] == best.loc[dimension, "layer"]
            assert part["chosen_on"] == "development"
            for column, theirs in (("ccc", "score"), ("ccc_low", "low"), ("ccc_high", "high")):
                assert part[column] == pytest.approx(scores.loc[(dimension, part["layer"]), theirs])
    summed = fairness_table(results, source, probe="weighted", dimensions=["valence"], **DRAWS)
    assert summed["layer"].isna().all()
    expected = results.select(probe="weighted", split="test", dimension="valence")["ccc"].mean()
    assert row(summed, "all")["ccc"] == pytest.approx(expected)
    mfcc = fairness_table(results, source, probe="mfcc", dimensions=["arousal"], **DRAWS)
    assert (mfcc["layer"] == -1).all()


def test_what_is_not_there_is_said():
    results, genders = handmade()
    with pytest.raises(UserError, match="no predictions of probe='mlp', layer=3"):
        fairness_table(results, genders, probe="mlp", layer=3)
    with pytest.raises(UserError, match="columns id and gender"):
        fairness_table(results, genders.drop(columns="gender"))
    with pytest.raises(UserError, match="does not know 360 of the 360 utterances"):
        fairness_table(results, genders.assign(id="other"))


# Figure ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["ccc", "bias"])
def test_what_is_drawn_is_the_table(measure):
    results, genders = handmade(shift=0.3)
    found = fairness_table(results, genders, **DRAWS)
    figure = Figure()
    (axes,) = plot_fairness(found, measure=measure, figure=figure)
    marks = {line.get_gid(): line for line in axes.get_lines() if str(line.get_gid()).startswith(("group", "speaker"))}
    assert len(marks) == 3 + 12
    speakers = []
    for name, mark in marks.items():
        group = name.split("-")[1]
        assert mark.get_ydata()[0] == row(found, group)[measure]
        if name.startswith("speaker"):
            speakers.append((mark.get_xdata()[0], mark.get_ydata()[0]))
    assert [y for _, y in sorted(speakers)] == sorted(y for _, y in speakers)
    assert marks["speaker-s00-valence"].get_marker() != marks["speaker-s01-valence"].get_marker()
    assert [text.get_text() for text in axes.get_xticklabels()][:3] == ["all", "female", "male"]
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "layer: valence 1; chosen on the same rows, with hindsight" in caption
    assert "360 utterances, 12 speakers" in caption
    assert f"{row(found, 'female − male')[measure]:+.2f}".replace("-", "−") in caption


@pytest.mark.slow
def test_many_speakers_are_not_named_and_those_without_ccc_are_counted():
    results, genders = handmade(speakers=60)
    few = results.predictions.query("speaker != 's07' or id == 'u210'")
    results = Results(results.scores, results.weights, [], few)
    figure = Figure()
    (axes,) = plot_fairness(fairness_table(results, genders, **DRAWS), figure=figure)
    figure.draw_without_rendering()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["all", "female", "male"]
    assert "1 speaker with too few" in figure.get_supxlabel().replace("\n", " ")


def test_figures_of_several_models_need_a_name():
    one, genders = handmade()
    other, _ = handmade(model="n")
    both = Results(
        pd.concat([one.scores, other.scores]), one.weights, [], pd.concat([one.predictions, other.predictions])
    )
    found = fairness_table(both, genders, **DRAWS)
    with pytest.raises(UserError, match="choose by model= among m, n"):
        plot_fairness(found)
    plot_fairness(found, model="n", figure=Figure())
    with pytest.raises(UserError, match="no interval of 'rmse'"):
        plot_fairness(found, model="n", measure="rmse")
