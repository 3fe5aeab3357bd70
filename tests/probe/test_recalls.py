"""Recalls of categories, and intervals where one of them is rare."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from emoprobe import fit_layers
from emoprobe.probe.planning import plan
from emoprobe.probe.recalls import common_classes, recalls, told
from emoprobe.probe.results import load_results
from emoprobe.probe.scoring import Scored, score
from emoprobe.testing.caches import write_cache

NAMES = ["angry", "calm", "odd", "sad"]


def outcome(truth: np.ndarray, predicted: np.ndarray, speakers: list[str], *, labelled: np.ndarray | None = None):
    labelled = np.ones(len(truth), bool) if labelled is None else labelled
    split = plan([""] * len(truth), speakers, labelled, labelled[:, None], n_folds=3, seed=0, ungrouped=False)
    scored = Scored(
        split=split,
        truth=truth,
        labelled=labelled,
        predictions=predicted[None],
        identity=[{"layer": 0}],
        penalties=[None],
        categories=NAMES,
        ids=[f"u{i}" for i in range(len(truth))],
        speakers=speakers,
        nulls=[None],
        codes=[None],
    )
    return score(scored, resamples=200, seed=0)


def some(rare: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels of which `rare` are the third category, and predictions right two times in three."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 3], size=120)
    truth[7 : 7 + rare] = 2
    predicted = np.where(rng.random(120) < 2 / 3, truth, rng.choice([0, 1, 3], size=120))
    return truth, predicted, [f"s{i % 10}" for i in range(120)]


def test_scores_and_recalls_are_those_of_scikit_learn():
    truth, predicted, speakers = some(9)
    found = outcome(truth, predicted, speakers)
    pooled = found.scores[0]
    assert pooled["uar"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert pooled["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert pooled["classes"] == 4
    assert [row["category"] for row in found.recalls] == NAMES
    np.testing.assert_allclose(
        [row["recall"] for row in found.recalls], recall_score(truth, predicted, average=None), rtol=1e-12
    )
    np.testing.assert_allclose(
        [row["precision"] for row in found.recalls], precision_score(truth, predicted, average=None), rtol=1e-12
    )
    assert [row["n"] for row in found.recalls] == np.bincount(truth).tolist()
    assert [row["predicted"] for row in found.recalls] == np.bincount(predicted, minlength=4).tolist()


def test_a_rare_category_is_left_out_of_the_interval_by_its_name():
    truth, predicted, speakers = some(2)
    found = outcome(truth, predicted, speakers)
    pooled = found.scores[0]
    # The others have the interval that they have where nobody says anything of the rare one.
    without = outcome(truth, predicted, speakers, labelled=truth != 2).scores[0]
    for column in ("", "_low", "_high"):
        assert pooled[f"uar_common{column}"] == pytest.approx(without[f"uar{column}"], abs=1e-12)
    # UAR takes the rare recall as it is: a quarter of it, and three quarters of the others.
    rare = recall_score(truth, predicted, average=None)[2]
    assert pooled["uar"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    for column in ("uar_low", "uar_high"):
        assert pooled[column] == pytest.approx((3 * without[column] + rare) / 4, abs=0.01)
    assert pooled["uar_low"] < pooled["uar"] < pooled["uar_high"]
    assert pooled["macro_f1_low"] < pooled["macro_f1"] < pooled["macro_f1_high"]
    assert "odd (2 of 2 speakers)" in pooled["reason"]
    assert any("odd (2 of 2 speakers)" in line for line in found.reasons)
    odd = found.recalls[2]
    assert np.isnan(odd["recall_low"])
    assert odd["reason"] == "too rare for an interval"
    assert np.isfinite([row["recall_low"] for k, row in enumerate(found.recalls) if k != 2]).all()


def test_a_category_that_a_part_lacks_is_said():
    truth, predicted, speakers = some(0)
    found = outcome(truth, predicted, speakers)
    assert found.scores[0]["classes"] == 3
    assert np.isfinite(found.scores[0]["uar_low"])
    assert found.reasons == ["cross-validation: UAR averages angry, calm, sad: no utterance of odd is scored"]
    assert found.recalls[2]["reason"] == "none is scored"
    assert np.isnan(found.recalls[2]["recall"])


def test_which_categories_are_common():
    support = np.zeros((10, 4))
    support[:3, 0] = [3, 1, 1]  # 5 of 3 speakers
    support[:2, 1] = [50, 50]  # of 2 speakers alone
    support[:4, 2] = 1  # 4 rows
    np.testing.assert_array_equal(common_classes(support), [True, False, False, False])
    assert told(NAMES, support).endswith("calm (100 of 2 speakers), odd (4 of 4 speakers)")
    assert told(NAMES, support, unit="group").endswith("odd (4 of 4 groups)")
    # Where there are but two speakers, none is missing from any resample that has a score.
    np.testing.assert_array_equal(common_classes(support[:2]), [False, True, False, False])


def test_the_interval_of_a_recall_is_that_of_a_share():
    """Of utterances that are each their own speaker, as wide as the normal approximation has it."""
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1], 200)
    predicted = np.where(rng.random(400) < 0.7, truth, 1 - truth)
    counts = np.zeros((400, 1, 2, 2))
    counts[np.arange(400), 0, truth, predicted] = 1
    found = recalls(counts, resamples=2000, seed=0)
    recall = found["recall"][0]
    spread = 1.96 * np.sqrt(recall * (1 - recall) / 200)
    np.testing.assert_allclose(found["recall_high"][0] - found["recall_low"][0], 2 * spread, rtol=0.1)
    np.testing.assert_allclose((found["recall_high"][0] + found["recall_low"][0]) / 2, recall, atol=0.01)


@pytest.mark.slow
def test_a_fit_keeps_recalls_and_null_in_its_folder(tmp_path):
    table = write_cache(
        tmp_path / "c.h5", n=150, layers=2, width=8, planted={"arousal": 1, "valence": 0, "dominance": 0}
    )
    fit_layers(
        tmp_path / "c.h5", dimensions="emotion", folds=3, resamples=100, permutations=99, out=tmp_path / "results"
    )
    results = load_results(tmp_path / "results")
    predicted = results.predictions[results.predictions["probe"] == "logistic"]
    kept = results.recalls[results.recalls["probe"] == "logistic"].set_index(["layer", "category"])["recall"]
    for layer, rows in predicted.groupby("layer"):
        names = sorted(set(table["emotion"]))
        expected = recall_score(rows["true_category"], rows["predicted_category"], labels=names, average=None)
        np.testing.assert_allclose(kept[layer].loc[names], expected, rtol=1e-12)
    layers = results.select(probe="logistic", fold="all").set_index("layer")
    assert layers.loc[1, "p"] == 0.01  # where arousal was planted, from which the categories were cut
    assert layers.loc[0, "p"] > 0.05
    assert layers.loc[1, "selectivity"] == pytest.approx(layers.loc[1, "tested"] - layers.loc[1, "null_mean"])
    assert layers.loc[1, "p_holm"] == pytest.approx(0.02)
    acoustics = results.select(probe="mfcc", fold="all")
    assert acoustics["p"].notna().all()
    # Another run over the same folder fits nothing, and a folder of before there were recalls still opens.
    for file in ("recalls.csv", "recalls.parquet"):
        (tmp_path / "results" / file).unlink()
    assert len(load_results(tmp_path / "results").recalls) == 0


@pytest.mark.slow
def test_scores_of_before_categories_were_tested_still_open(tmp_path):
    write_cache(tmp_path / "c.h5", n=60, layers=2, width=4)
    fit_layers(tmp_path / "c.h5", dimensions="valence", folds=3, resamples=20, permutations=9, out=tmp_path / "results")
    assert not (tmp_path / "results" / "recalls.csv").exists()
    path = tmp_path / "results" / "scores.parquet"
    old = ["classes", "uar_common", "uar_common_low", "uar_common_high", "tested"]
    pd.read_parquet(path).drop(columns=old).to_parquet(path, index=False)
    assert load_results(tmp_path / "results").scores[old].isna().all(axis=None)
