"""Intervals over speakers against a loop that draws the speakers' rows and scores them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix

from emoprobe import UserError
from emoprobe.probe import metrics
from emoprobe.probe.bootstrap import (
    CHUNK,
    confusion_by_speaker,
    intervals,
    leave_one_out,
    moments_by_speaker,
    resample_counts,
    stretched,
    sum_by_group,
)

MEASURES = {
    "ccc": metrics.ccc_from_moments,
    "pearson": metrics.pearson_from_moments,
    "rmse": metrics.rmse_from_moments,
}


def _data(seed=0, n=90, speakers=7, fits=3):
    rng = np.random.default_rng(seed)
    speaker = rng.integers(0, speakers, n)
    truth = 4 + rng.standard_normal(n) + rng.standard_normal(speakers)[speaker]
    return truth, truth + rng.standard_normal((fits, n)) * np.arange(1, fits + 1)[:, None], speaker


def test_equals_a_loop_over_resamples():
    truth, predictions, speaker = _data()
    resamples = CHUNK + 30  # more than is drawn at once
    found = intervals(moments_by_speaker(truth, predictions, speaker), MEASURES, resamples=resamples, seed=3)
    counts = np.concatenate(list(resample_counts(7, resamples, seed=3)))
    assert counts.shape == (resamples, 7)
    assert (counts.sum(1) == 7).all()
    drawn = {name: [] for name in MEASURES}
    for row in counts:
        rows = np.concatenate([np.tile(np.flatnonzero(speaker == s), int(k)) for s, k in enumerate(row)])
        for name in MEASURES:
            drawn[name].append(getattr(metrics, name)(truth[rows], predictions[:, rows]))
    scales = {"ccc": (np.arctanh, np.tanh), "pearson": (np.arctanh, np.tanh), "rmse": (np.log, np.exp)}
    for name, (forth, back) in scales.items():
        score = getattr(metrics, name)
        left_out = forth([score(truth[speaker != s], predictions[:, speaker != s]) for s in range(7)])
        scores = forth(np.array(drawn[name]))
        error = np.sqrt(6 / 7 * ((left_out - left_out.mean(0)) ** 2).sum(0))
        factor = stats.t.ppf(0.975, 6) / stats.norm.ppf(0.975) * error / scores.std(0)
        assert (factor > 1.1).all()
        expected = np.quantile(back(scores.mean(0) + factor * (scores - scores.mean(0))), [0.025, 0.975], axis=0)
        np.testing.assert_allclose(found[name], expected, atol=1e-10)


def test_confusion_matrices_too():
    rng = np.random.default_rng(1)
    truth, speaker = rng.integers(0, 3, 60), rng.integers(0, 6, 60)
    prediction = np.where(rng.random(60) < 0.6, truth, rng.integers(0, 3, 60))
    one = metrics.confusion(truth[:, None], prediction[:, None], 3)[:, None]
    sums = sum_by_group(one, speaker)
    found = intervals(sums, {"uar": metrics.uar_from_confusion}, resamples=100)["uar"]
    drawn = []
    for row in np.concatenate(list(resample_counts(6, 100))):
        rows = np.concatenate([np.tile(np.flatnonzero(speaker == s), int(k)) for s, k in enumerate(row)])
        drawn.append(metrics.uar(truth[rows], prediction[rows]))
    left_out = np.array([metrics.uar(truth[speaker != s], prediction[speaker != s]) for s in range(6)])
    wide = stretched(np.array(drawn)[:, None], left_out[:, None], scale="uar")
    np.testing.assert_allclose(found[:, 0], np.quantile(wide, [0.025, 0.975]), atol=1e-12)
    np.testing.assert_allclose(metrics.uar_from_confusion(leave_one_out(sums))[:, 0], left_out, atol=1e-12)


def test_stretching_keeps_the_mean_in_its_place_and_never_narrows():
    rng = np.random.default_rng(0)
    drawn = 0.5 + 0.1 * rng.standard_normal((400, 1))
    few = 0.5 + 0.1 * rng.standard_normal((6, 1))
    wide = stretched(drawn, few)
    ratio = (wide - drawn.mean()) / (drawn - drawn.mean())
    np.testing.assert_allclose(ratio, ratio[0, 0])
    assert wide.std() > drawn.std()
    np.testing.assert_allclose(stretched(drawn, np.full((6, 1), 0.5)), drawn, atol=1e-12)  # no spread
    np.testing.assert_allclose(stretched(drawn, few * np.nan), drawn, atol=1e-12)
    for scale in ("ccc", "pearson", "uar", "macro_f1"):
        found = stretched(np.clip(drawn, 0, 1), few, scale=scale)
        assert (found >= -1).all()
        assert (found <= 1).all()
        one = stretched(np.ones((9, 1)), np.ones((6, 1)), scale=scale)
        np.testing.assert_allclose(one, 1.0, atol=1e-9)  # a perfect score has no spread


def test_covers_the_score_of_the_population_about_as_often_as_it_says():
    """Speakers share an offset; an interval over utterances would be far too narrow here."""
    rng = np.random.default_rng(0)
    hits = {"speakers": 0, "utterances": 0}
    trials, speakers, each = 100, 40, 10
    # Truth t = a_s + e; prediction = a_s + b_s + d: with unit variances cov = 1, both variances 2 and 3.
    population = 2 * 1 / (2 + 3)
    for trial in range(trials):
        speaker = np.repeat(np.arange(speakers), each)
        offset = rng.standard_normal(speakers)[speaker]
        truth = offset + rng.standard_normal(speakers * each)
        prediction = offset + rng.standard_normal(speakers)[speaker] + rng.standard_normal(speakers * each)
        for kind, groups in (("speakers", speaker), ("utterances", np.arange(speakers * each))):
            sums = moments_by_speaker(truth, prediction[None], groups)
            low, high = intervals(sums, {"ccc": metrics.ccc_from_moments}, resamples=150, seed=trial)["ccc"][:, 0]
            hits[kind] += low <= population <= high
    # 95 % nominal; 100 trials have a standard error of 2 points. test_calibration.py asks for more.
    assert hits["speakers"] / trials > 0.88
    assert hits["utterances"] / trials < 0.75


def test_nothing_to_resample():
    truth, predictions, _ = _data()
    one = moments_by_speaker(truth, predictions, np.zeros(len(truth), int))
    assert np.isnan(intervals(one, MEASURES)["ccc"]).all()
    many = moments_by_speaker(truth, predictions, np.arange(len(truth)))
    assert np.isnan(intervals(many, MEASURES, resamples=0)["ccc"]).all()
    constant = moments_by_speaker(np.full(90, 0.1), predictions, np.arange(90) % 9)
    assert np.isnan(intervals(constant, MEASURES, resamples=50)["pearson"]).all()


def test_layers_share_their_resamples():
    truth, predictions, speaker = _data()
    sums = moments_by_speaker(truth, predictions, speaker)
    together = intervals(sums, MEASURES, resamples=60, seed=1)["ccc"]
    alone = intervals(sums[:, 1:2], MEASURES, resamples=60, seed=1)["ccc"]
    assert together[:, 1:2] == pytest.approx(alone, abs=1e-12)


def test_resamples_without_end_are_refused():
    with pytest.raises(UserError, match=r"at most 1,000,000"):
        next(resample_counts(3, 10**22))


def test_confusion_matrices_of_speakers_are_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    truth, predictions, speaker = rng.integers(0, 5, 90), rng.integers(0, 5, (3, 90)), rng.integers(0, 9, 90) * 7
    found = confusion_by_speaker(truth.astype(float), predictions.astype(float), speaker, 6)
    names = np.unique(speaker)
    assert (found.shape, found.dtype) == ((len(names), 3, 6, 6), np.float64)
    for k, name in enumerate(names):
        for fit, answers in enumerate(predictions):
            mine = speaker == name
            np.testing.assert_array_equal(found[k, fit], confusion_matrix(truth[mine], answers[mine], labels=range(6)))
    for wrong in (-1, 6):
        predictions[1, 40] = wrong
        with pytest.raises(ValueError, match="0 to 5"):
            confusion_by_speaker(truth, predictions, speaker, 6)


def test_confusion_matrices_of_many_utterances_take_no_matrix_each():
    """46,000 utterances, 25 layers, 8 classes: a matrix for each would be 589 MB."""
    rng = np.random.default_rng(0)
    truth, predictions = rng.integers(0, 8, 46_000), rng.integers(0, 8, (25, 46_000)).astype(float)
    speaker = rng.integers(0, 100, 46_000)
    tracemalloc.start()
    found = confusion_by_speaker(truth, predictions, speaker, 8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.sum() == predictions.size
    assert peak < 10e6
