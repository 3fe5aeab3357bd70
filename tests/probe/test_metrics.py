"""Measures against audmetric and scikit-learn, and the sums that they follow from."""

from __future__ import annotations

import warnings

import audmetric
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score

from emoprobe.probe import metrics

# Both sides work in double precision on the same values; what differs is the order of a few hundred additions.
TOLERANCE = 1e-9

values = hnp.arrays(np.float64, 40, elements=st.floats(-5, 5).map(lambda x: round(x, 3)))


@settings(max_examples=60, deadline=None)
@given(truth=values, prediction=values, offset=st.sampled_from([0.0, 4.0, 1e4]))
def test_against_audmetric(truth, prediction, offset):
    assume(np.ptp(truth) > 0.01 and np.ptp(prediction) > 0.01)
    truth, prediction = truth + offset, prediction + offset
    assert metrics.ccc(truth, prediction) == pytest.approx(audmetric.concordance_cc(truth, prediction), abs=TOLERANCE)
    assert metrics.pearson(truth, prediction) == pytest.approx(stats.pearsonr(truth, prediction)[0], abs=TOLERANCE)
    assert metrics.rmse(truth, prediction) == pytest.approx(np.sqrt(np.mean((truth - prediction) ** 2)), abs=TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), classes=st.integers(2, 5), n=st.integers(1, 40))
def test_categories_against_scikit_learn(data, classes, n):
    numbers = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    truth, prediction = np.array(data.draw(numbers)), np.array(data.draw(numbers))
    present = np.unique(truth)
    names = np.array(["anger", "boredom", "calm", "disgust", "elation"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of predicted classes that are not in the truth
        expected = balanced_accuracy_score(truth, prediction)
    assert metrics.uar(names[truth], names[prediction]) == pytest.approx(expected, abs=1e-12)
    assert len(present) <= classes
    assert metrics.macro_f1(truth, prediction) == pytest.approx(
        f1_score(truth, prediction, average="macro", zero_division=0), abs=1e-12
    )


def test_leading_axes_and_missing_labels():
    rng = np.random.default_rng(0)
    truth, prediction = rng.standard_normal((2, 3, 50)), rng.standard_normal((2, 3, 50))
    truth[rng.random(truth.shape) < 0.2] = np.nan
    for name in ("ccc", "pearson", "rmse"):
        function = getattr(metrics, name)
        found = function(truth, prediction)
        assert found.shape == (2, 3)
        for i in np.ndindex(2, 3):
            kept = ~np.isnan(truth[i])
            assert found[i] == pytest.approx(function(truth[i][kept], prediction[i][kept]), abs=1e-14)
    # The same truth for every row of predictions, as for the layers of a model.
    assert metrics.ccc(truth[0, 0], prediction[:, 0]).shape == (2,)


@pytest.mark.parametrize("name", ["ccc", "pearson", "rmse"])
def test_from_sums_is_from_values(name):
    rng = np.random.default_rng(1)
    truth, prediction = 4 + rng.standard_normal(200), 4 + rng.standard_normal(200)
    parts = [metrics.moments(truth[k::3], prediction[k::3]) for k in range(3)]
    found = getattr(metrics, f"{name}_from_moments")(sum(parts))
    # Sums about zero of values near 4 lose about two of sixteen digits.
    assert found == pytest.approx(getattr(metrics, name)(truth, prediction), abs=1e-12)


def test_degenerate():
    assert np.isnan(metrics.ccc([1, 1], [1, 1]))
    assert metrics.ccc([1, 2], [1, 1]) == 0
    assert metrics.ccc([1, 1], [1, 2]) == 0
    assert np.isnan(metrics.pearson([1, 2, 3], [0.1, 0.1, 0.1]))
    assert np.isnan(metrics.pearson([0.1] * 7, [1, 2, 3, 4, 5, 6, 7]))
    assert np.isnan(metrics.ccc([np.nan, np.nan], [1, 2]))
    assert np.isnan(metrics.rmse([np.nan, np.nan], [1, 2]))
    assert np.isnan(metrics.ccc([], []))
    # A prediction that is missing is no prediction of zero.
    assert np.isnan(metrics.ccc([1, 2, 3], [1, np.nan, 3]))
    with pytest.raises(ValueError, match="axis of utterances"):
        metrics.ccc(1.0, 2.0)
    with pytest.raises(ValueError, match="classes must be"):
        metrics.confusion([0, 1], [0, 2], 2)


def test_a_constant_far_from_zero_has_no_correlation():
    """Rounding of the mean must not look like variance."""
    prediction = np.full(1000, 3.3)
    truth = np.random.default_rng(0).standard_normal(1000)
    sums = metrics.moments(truth, prediction)
    assert np.isnan(metrics.pearson_from_moments(sums))
    assert metrics.ccc_from_moments(sums) == 0


def test_ccc_is_the_population_form():
    """Lin's coefficient with biased variances; with unbiased ones it would be 0.6667 here."""
    truth, prediction = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])
    biased = 2 * (2 / 3) / (2 / 3 + 2 / 3 + 1)
    assert metrics.ccc(truth, prediction) == pytest.approx(biased, abs=1e-15)


def test_averages_over_some_classes_leave_the_others_out():
    counts = np.array([[[3, 1, 0], [0, 2, 0], [0, 0, 2]], [[3, 1, 0], [0, 2, 0], [0, 0, 0]]])
    first_two = np.array([True, True, False])
    np.testing.assert_allclose(metrics.uar_from_confusion(counts), [(0.75 + 1 + 1) / 3, (0.75 + 1) / 2])
    np.testing.assert_allclose(metrics.uar_from_confusion(counts, first_two), [(0.75 + 1) / 2] * 2)
    np.testing.assert_allclose(metrics.macro_f1_from_confusion(counts, first_two), [(6 / 7 + 4 / 5) / 2] * 2)
    assert np.isnan(metrics.uar_from_confusion(counts[1], np.array([False, False, True])))
