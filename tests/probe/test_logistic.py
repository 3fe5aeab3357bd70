"""Logistic regression against scikit-learn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from emoprobe.probe.logistic import logistic_probe
from emoprobe.probe.softmax import fit_softmax
from emoprobe.probe.splits import cross_validation

PENALTIES = (1.0, 100.0, 10_000.0)


def collinear(rows: int, width: int, classes: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features that vary much more along some directions than along others, and classes in them."""
    rng = np.random.default_rng(seed)
    spectrum = np.geomspace(1, 1e-3, width)
    x = (rng.standard_normal((rows, width)) * spectrum) @ rng.standard_normal((width, width))
    noisy = x[:, :classes] / x[:, :classes].std(0) + rng.standard_normal((rows, classes))
    noisy[:, 0] += 0.5  # so that the classes are of different sizes
    return (x - x.mean(0)) / x.std(0), noisy.argmax(1)


@pytest.mark.parametrize(("rows", "width", "classes"), [(150, 30, 4), (150, 30, 2), (60, 90, 3)])
def test_weights_and_scores_are_those_of_scikit_learn(rows, width, classes):
    x, y = collinear(rows, width, classes)
    for penalty, fit in zip(PENALTIES, fit_softmax(x, y, PENALTIES, tolerance=1e-6), strict=True):
        reference = LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-9, max_iter=20_000).fit(x, y)
        coef, scores = fit.coef.T, fit.scores(x)
        if classes == 2:
            coef, scores = coef[1:] - coef[:1], scores[:, 1] - scores[:, 0]
        else:  # a constant of each row is free
            scores = scores - scores.mean(1, keepdims=True)
        expected = reference.decision_function(x)
        expected = expected if classes == 2 else expected - expected.mean(1, keepdims=True)
        assert fit.converged
        np.testing.assert_allclose(coef, reference.coef_, atol=1e-3 * np.abs(reference.coef_).max())
        np.testing.assert_allclose(scores, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("classes", [2, 5])
def test_answers_are_those_of_scikit_learn_but_on_the_border(classes):
    x, y = collinear(150, 30, classes)
    for penalty, fit in zip(PENALTIES, fit_softmax(x, y, PENALTIES), strict=True):
        reference = LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-9, max_iter=20_000).fit(x, y)
        expected = reference.decision_function(x)
        margin = np.abs(expected) if classes == 2 else np.diff(np.sort(expected, axis=1)[:, -2:])[:, 0]
        clear = margin > 0.02 * np.abs(expected).max()
        assert clear.mean() > 0.8
        np.testing.assert_array_equal(fit.scores(x).argmax(1)[clear], reference.predict(x)[clear])


def test_the_order_of_the_penalties_changes_nothing():
    x, y = collinear(80, 20, 3)
    there, back = fit_softmax(x, y, PENALTIES), fit_softmax(x, y, PENALTIES[::-1])[::-1]
    for one, other in zip(there, back, strict=True):
        np.testing.assert_array_equal(one.coef, other.coef)


def test_classes_weigh_the_same_whatever_their_size():
    """At a penalty that leaves no weights, only the intercepts are left: balanced, they are equal."""
    x, y = collinear(200, 5, 3)
    (fit,) = fit_softmax(x, y, [1e9])
    assert np.abs(fit.coef).max() < 1e-5
    np.testing.assert_allclose(fit.intercept - fit.intercept.mean(), 0, atol=1e-3)


def test_features_that_do_not_vary_are_given_no_weight():
    x, y = collinear(80, 6, 3)
    (fit,) = fit_softmax(np.column_stack([x, np.zeros(80)]), y, [1.0], tolerance=1e-6)
    (without,) = fit_softmax(x, y, [1.0], tolerance=1e-6)
    assert np.abs(fit.coef[-1]).max() < 1e-12
    np.testing.assert_allclose(fit.coef[:-1], without.coef, atol=1e-3)


def test_states_are_held_in_double_precision_one_training_part_at_a_time():
    """The part, and its turned copy: 16 bytes a value of the part that is trained on."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4000, 128)).astype("f4"), np.arange(4000) % 3
    kept = x.copy()
    folds = cross_validation(np.arange(4000), np.arange(4000) % 30, 5)[:1]
    tracemalloc.start()
    found = logistic_probe(lambda rows: x[rows], y, folds, penalties=[100.0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.predictions >= 0).sum() == 800
    assert peak < 18 * x.size
    np.testing.assert_array_equal(x, kept)


def test_what_is_read_is_not_changed():
    """Also where a reader gives double precision out of its own memory."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((90, 5)), np.arange(90) % 3
    kept = x.copy()
    (fold,) = cross_validation(np.arange(90), np.arange(90) // 30, 3)[:1]
    logistic_probe(lambda rows: x[rows[0] : rows[-1] + 1] if np.ptp(rows) + 1 == len(rows) else x[rows], y, [fold])
    np.testing.assert_array_equal(x, kept)
