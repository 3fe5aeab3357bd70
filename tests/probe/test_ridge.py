"""The ridge solver against scikit-learn's pipeline on the same folds, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from emoprobe.errors import UserError
from emoprobe.probe.arrays import inverse, solve_penalties
from emoprobe.probe.metrics import ccc
from emoprobe.probe.ridge import PENALTIES, RidgeProbe, choose, ridge_probe
from emoprobe.probe.splits import Fold, cross_validation, group_folds

# Gram matrices in float64 square the condition number; with the smallest penalty here (0.1) that leaves more than ten
# digits, and the promise is six.
TOLERANCE = 1e-8


def reference(x, targets, folds, penalties):
    """The same protocol by scikit-learn, one fit at a time."""
    predictions = np.full(targets.shape, np.nan)
    scores = np.full((len(folds), targets.shape[1], len(penalties)), np.nan)
    x = x.astype(np.float64)

    def fitted(train, rows, target, penalties):
        """Predictions of `rows` (penalty, rows); a pipeline of StandardScaler and Ridge, its scaler fitted once."""
        train = train[~np.isnan(targets[train, target])]
        scaler = StandardScaler().fit(x[train])
        scaled, held_out = scaler.transform(x[train]), scaler.transform(x[rows])
        return [Ridge(alpha=penalty).fit(scaled, targets[train, target]).predict(held_out) for penalty in penalties]

    for f, fold in enumerate(folds):
        for target in range(targets.shape[1]):
            truth, predicted = [], []
            for train, validation in fold.inner:
                validation = validation[~np.isnan(targets[validation, target])]
                if len(validation):
                    truth.append(targets[validation, target])
                    predicted.append(fitted(train, validation, target, penalties))
            scores[f, target] = ccc(np.concatenate(truth), np.concatenate(predicted, axis=1))
            best = penalties[np.nanargmax(scores[f, target])]
            for rows in fold.tests.values():
                predictions[rows, target] = fitted(fold.train, rows, target, [best])[0]
    return predictions, scores


def problem(n, width, n_targets, groups, missing, seed):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((width, width)) / np.sqrt(width)
    x = (rng.standard_normal((n, width)) @ mixing * rng.uniform(0.1, 30, width) + rng.normal(0, 20, width)).astype("f4")
    targets = (x - x.mean(0)) / x.std(0) @ rng.standard_normal((width, n_targets)) / np.sqrt(width)
    targets = 4 + targets + rng.standard_normal((n, n_targets))
    targets[rng.random(targets.shape) < missing] = np.nan
    return x, targets, rng.integers(0, groups, n)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    n=st.integers(40, 120),
    width=st.integers(1, 90),
    n_targets=st.integers(1, 2),
    n_folds=st.integers(3, 4),
    missing=st.sampled_from([0.0, 0.2]),
    chunk=st.integers(1, 150),
    seed=st.integers(0, 10_000),
)
@example(n=60, width=90, n_targets=2, n_folds=4, missing=0.2, chunk=17, seed=0)  # wider than there are rows
@example(n=60, width=59, n_targets=2, n_folds=3, missing=0.0, chunk=60, seed=1)  # wider than a fold
def test_equals_scikit_learn(n, width, n_targets, n_folds, missing, chunk, seed):
    x, targets, speaker = problem(n, width, n_targets, 3 * n_folds, missing, seed)
    groups = np.unique(speaker, return_inverse=True)[1]
    folds = cross_validation(np.arange(n), groups, n_folds, seed=seed)
    penalties = np.array([0.1, 10.0, 1e3])
    expected, scores = reference(x, targets, folds, penalties)
    found = ridge_probe(lambda rows: x[rows], targets, folds, penalties=penalties, chunk_rows=chunk)
    np.testing.assert_allclose(found.inner_scores, scores, atol=TOLERANCE)
    best = np.nanargmax(scores, -1)
    gap = np.sort(scores, -1)
    clear = gap[..., -1] - gap[..., -2] > 10 * TOLERANCE  # at a tie either choice is right
    np.testing.assert_array_equal(found.penalties[clear], penalties[best][clear])
    if clear.all():
        np.testing.assert_allclose(found.predictions, expected, atol=TOLERANCE * 10)
        for t in range(n_targets):
            assert ccc(targets[:, t], found.predictions[:, t]) == pytest.approx(
                ccc(targets[:, t], expected[:, t]), abs=TOLERANCE
            )


def test_equals_scikit_learn_on_an_official_split():
    x, targets, _ = problem(90, 20, 2, 9, 0.1, 3)
    train, development, test = np.arange(50), np.arange(50, 70), np.arange(70, 90)
    folds = [Fold("all", train, ((train, development),), {"development": development, "test": test})]
    expected, scores = reference(x, targets, folds, np.array(PENALTIES))
    found = ridge_probe(lambda rows: x[rows], targets, folds)
    np.testing.assert_allclose(found.inner_scores, scores, atol=TOLERANCE)
    np.testing.assert_allclose(found.predictions[50:], expected[50:], atol=TOLERANCE)
    assert np.isnan(found.predictions[:50]).all()


def test_a_target_does_not_depend_on_its_company():
    x, targets, speaker = problem(80, 12, 3, 9, 0.15, 5)
    folds = cross_validation(np.arange(80), np.unique(speaker, return_inverse=True)[1], 4)
    together = ridge_probe(lambda rows: x[rows], targets, folds)
    alone = ridge_probe(lambda rows: x[rows], targets[:, 1:2], folds)
    np.testing.assert_allclose(together.predictions[:, 1:2], alone.predictions, atol=1e-10)


@pytest.mark.parametrize("width", [10, 100])
def test_constant_features_change_nothing(width):
    x, targets, speaker = problem(60, width, 2, 9, 0.0, 7)
    folds = cross_validation(np.arange(60), np.unique(speaker, return_inverse=True)[1], 3)
    plain = ridge_probe(lambda rows: x[rows], targets, folds).predictions
    constant = np.concatenate([np.full((60, 1), 1e4, "f4"), x, np.zeros((60, 1), "f4")], 1)
    np.testing.assert_allclose(ridge_probe(lambda rows: constant[rows], targets, folds).predictions, plain, atol=1e-10)
    # Constant on the training rows of one fold only: what it does elsewhere must not leak into the prediction.
    part = np.zeros((60, 1), "f4")
    part[folds[0].tests["cross-validation"]] = 1e3
    found = ridge_probe(lambda rows: np.concatenate([x, part], 1)[rows], targets, folds[:1])
    alone = ridge_probe(lambda rows: x[rows], targets, folds[:1])
    np.testing.assert_allclose(found.predictions, alone.predictions, atol=1e-8)


def test_rescaling_matches_the_spread_of_held_out_training_rows():
    x, targets, speaker = problem(150, 30, 1, 15, 0.0, 9)
    folds = cross_validation(np.arange(150), np.unique(speaker, return_inverse=True)[1], 5)
    wide = x.astype(np.float64)  # scikit-learn would keep single precision
    penalties = [3000.0]  # far too large, so that the ridge shrinks visibly
    plain = ridge_probe(lambda rows: x[rows], targets, folds, penalties=penalties)
    scaled = ridge_probe(lambda rows: x[rows], targets, folds, penalties=penalties, rescale=True)
    for f, fold in enumerate(folds):
        truth, predicted = [], []
        for train, validation in fold.inner:
            model = make_pipeline(StandardScaler(), Ridge(alpha=penalties[0])).fit(wide[train], targets[train, 0])
            truth.append(targets[validation, 0])
            predicted.append(model.predict(wide[validation]))
        truth, predicted = np.concatenate(truth), np.concatenate(predicted)
        gain = truth.std() / predicted.std()
        rows = fold.tests["cross-validation"]
        expected = truth.mean() + gain * (plain.predictions[rows, 0] - predicted.mean())
        np.testing.assert_allclose(scaled.predictions[rows, 0], expected, atol=1e-8)
        assert gain > 1.2, f
    assert ccc(targets[:, 0], scaled.predictions[:, 0]) > ccc(targets[:, 0], plain.predictions[:, 0])


def test_a_constant_training_target_predicts_its_mean():
    x, targets, _ = problem(40, 5, 1, 4, 0.0, 2)
    train, test = np.arange(20), np.arange(20, 40)
    targets[train] = 3.3
    fold = Fold("all", train, ((train, test),), {"test": test})
    found = ridge_probe(lambda rows: x[rows], targets, [fold])
    np.testing.assert_allclose(found.predictions[test], 3.3, atol=1e-12)


def test_ties_take_the_largest_penalty():
    scores = np.array([[0.1, 0.5, 0.5, 0.2], [np.nan, np.nan, np.nan, np.nan], [np.nan, 0.3, 0.1, np.nan]])
    assert list(choose(scores)) == [2, 3, 1]


def test_refuses_what_has_no_answer():
    x, targets, _ = problem(20, 4, 1, 4, 0.0, 0)
    fold = Fold("all", np.arange(10), ((np.arange(10), np.arange(10, 20)),), {"test": np.arange(10, 20)})
    for penalties in ([], [0.0], [-1.0], [np.nan]):
        with pytest.raises(UserError, match="penalties must be positive"):
            ridge_probe(lambda rows: x[rows], targets, [fold], penalties=penalties)
    with pytest.raises(UserError, match="has a label"):
        ridge_probe(lambda rows: x[rows], targets * np.nan, [fold])
    x[3, 2] = np.nan
    with pytest.raises(UserError, match="feature 2 of utterance 3 is not a finite number"):
        ridge_probe(lambda rows: x[rows], targets, [fold])


def test_cholesky_equals_eigendecomposition():
    rng = np.random.default_rng(0)
    x, right = rng.standard_normal((50, 20)), rng.standard_normal((20, 3))
    values, vectors = np.linalg.eigh(x.T @ x)
    expected = [vectors @ ((vectors.T @ right) / (values + penalty)[:, None]) for penalty in PENALTIES]
    np.testing.assert_allclose(solve_penalties(x.T @ x, right, PENALTIES), expected, atol=1e-10)
    for penalty, solution in zip(PENALTIES, expected, strict=True):
        np.testing.assert_allclose(inverse(x.T @ x, penalty) @ right, solution, atol=1e-10)


@parametrize_with_checks([RidgeProbe(folds=3)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_estimator_equals_scikit_learn_with_groups_and_missing_labels():
    x, targets, speaker = problem(90, 8, 2, 12, 0.15, 4)
    probe = RidgeProbe(folds=4, random_state=1).fit(x, targets, groups=speaker)
    rows = np.flatnonzero(~np.isnan(targets).all(1))
    fold = group_folds(np.unique(speaker, return_inverse=True)[1][rows], 4, seed=1)
    plan = [Fold("all", rows, tuple((rows[fold != k], rows[fold == k]) for k in range(4)), {"new": np.arange(90)})]
    expected, _ = reference(x, targets, plan, np.array(PENALTIES))
    np.testing.assert_allclose(probe.predict(x), expected, atol=1e-8)
    assert probe.coef_.shape == (2, 8)
    assert probe.penalty_.shape == (2,)
