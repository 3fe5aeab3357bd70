"""Probes that are trained: a planted layer is found, pooling commutes, a fit does not depend on its company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emoprobe.errors import UserError
from emoprobe.probe.logistic import logistic_probe
from emoprobe.probe.metrics import ccc, uar
from emoprobe.probe.mlp import MLPSettings, mlp_probe
from emoprobe.probe.splits import Fold
from emoprobe.probe.training import EarlyStopping, batches, ccc_loss
from emoprobe.probe.weighted import WeightedSettings, norm_corrected, weighted_probe

LAYERS, ROWS, WIDTH = 5, 240, 8
FOLD = Fold("all", np.arange(140), ((np.arange(140), np.arange(140, 190)),), {"test": np.arange(190, ROWS)})
QUICK = WeightedSettings(epochs=120, patience=30, batch=64, rate=1e-2, decay=0.01)


def planted(layer, *, seed=0, scale=None, n_targets=1, shared=1.0):
    """States of layers that share a part, and targets that only one layer's own part predicts."""
    rng = np.random.default_rng(seed)
    common = shared * rng.standard_normal((1, ROWS, WIDTH))
    own = rng.standard_normal((LAYERS, ROWS, WIDTH))
    direction = rng.standard_normal((WIDTH, n_targets)) / np.sqrt(WIDTH)
    targets = 4 + own[layer] @ direction + 0.2 * rng.standard_normal((ROWS, n_targets))
    scale = np.ones(LAYERS) if scale is None else np.asarray(scale)
    return ((common + own) * scale[:, None, None] + 3.0).astype("f4"), targets


def reader(states):
    return lambda rows, layers=slice(None): states[layers][:, rows]


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "head"), [(0, "linear"), (3, "linear"), (2, "mlp")])
def test_weighted_sum_finds_the_planted_layer(layer, head):
    states, targets = planted(layer, shared=0.0)
    settings = WeightedSettings(head=head, epochs=120, patience=40, batch=64, rate=5e-3, decay=0.01)
    found = weighted_probe(reader(states), targets, [FOLD], seeds=(0, 1), settings=settings, device="cpu")
    assert found.weights.shape == (2, 1, 1, LAYERS)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert (found.weights[:, 0, 0].argmax(-1) == layer).all()
    # Chance is 1/5; the margin leaves room for what the other layers' noise earns.
    assert found.weights[:, 0, 0, layer].min() > 0.5
    test = FOLD.tests["test"]
    assert ccc(targets[test, 0], found.predictions[:, test, 0]).min() > 0.75
    assert np.isnan(found.predictions[:, :190]).all()


@pytest.mark.slow
def test_norm_correction_undoes_a_layer_of_longer_states():
    """Two layers hold the same; one is four times as long: it gets less weight, and the same corrected weight."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((ROWS, WIDTH))
    targets = 4 + base @ rng.standard_normal((WIDTH, 1)) / np.sqrt(WIDTH) + 0.3 * rng.standard_normal((ROWS, 1))
    noise = rng.standard_normal((2, ROWS, WIDTH))
    states = np.stack([base + noise[0], 4 * (base + noise[1])]).astype("f4")
    norms = np.linalg.norm(states, axis=-1).mean(-1)
    settings = WeightedSettings(epochs=300, patience=100, batch=64, rate=5e-3, decay=0.01)
    found = weighted_probe(reader(states), targets, [FOLD], settings=settings, device="cpu")
    raw, corrected = found.weights[:, 0, 0], norm_corrected(found.weights, norms)[:, 0, 0]
    assert (raw[:, 0] > raw[:, 1] + 0.3).all()
    # Independent noise of equal size makes the even mixture the best one; 190 rows settle it to about a tenth.
    assert np.abs(corrected - 0.5).max() < 0.2
    np.testing.assert_allclose(corrected.sum(-1), 1, atol=1e-6)


@pytest.mark.slow
def test_a_mean_that_all_utterances_share_is_no_part_of_a_layers_length():
    """Two layers hold the same; one lies far from the origin: its norm is ten times as long, its weight the same."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((ROWS, WIDTH))
    targets = 4 + base @ rng.standard_normal((WIDTH, 1)) / np.sqrt(WIDTH) + 0.3 * rng.standard_normal((ROWS, 1))
    noise = rng.standard_normal((2, ROWS, WIDTH))
    states = np.stack([base + noise[0], base + noise[1] + 14]).astype("f4")
    settings = WeightedSettings(epochs=300, patience=100, batch=64, rate=5e-3, decay=0.01)
    found = weighted_probe(reader(states), targets, [FOLD], settings=settings, device="cpu")
    train = FOLD.stopping[0]
    centred = states[:, train] - states[:, train].mean(1, keepdims=True)
    scale = np.sqrt((centred**2).mean((0, 1)))
    np.testing.assert_allclose(found.lengths[0], np.sqrt(((centred / scale) ** 2).mean((1, 2))), rtol=1e-4)
    assert np.abs(found.corrected[:, 0, 0] - 0.5).max() < 0.2
    norms = np.linalg.norm(states, axis=-1).mean(-1)
    assert norm_corrected(found.weights, norms)[:, 0, 0, 1].min() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("normed", [False, True])
def test_pooling_commutes_with_the_weighted_sum(normed):
    """The probe trained on pooled states is, on frames, the weighted sum of frames, pooled, then the head."""
    rng = np.random.default_rng(1)
    frames = rng.standard_normal((LAYERS, ROWS, 7, WIDTH)) * np.arange(1, LAYERS + 1)[:, None, None, None] + 1.5
    if normed:
        frames = torch.nn.functional.layer_norm(torch.from_numpy(frames), (WIDTH,)).numpy()
    targets = 3 + frames[2].mean(1) @ rng.standard_normal((WIDTH, 2))
    pooled = frames.mean(2).astype("f4")
    found = weighted_probe(reader(pooled), targets, [FOLD], seeds=(0,), settings=QUICK, device="cpu")
    test = FOLD.tests["test"]
    for t in range(2):
        summed = np.einsum("l,lnfw->nfw", found.weights[0, 0, t], frames[:, test])
        by_frames = summed.mean(1) @ found.coef[0, 0, t] + found.intercept[0, 0, t]
        # The pooled path works in single precision.
        np.testing.assert_allclose(by_frames, found.predictions[0, test, t], atol=2e-4)


def test_pooling_does_not_commute_with_a_layer_norm():
    """Why the cache pools normed frames apart: normed after pooling they are something else."""
    frames = np.random.default_rng(2).standard_normal((50, 9, WIDTH)) * np.linspace(0.1, 5, 9)[:, None]
    norm = lambda x: torch.nn.functional.layer_norm(torch.from_numpy(x), (WIDTH,)).numpy()  # noqa: E731
    assert np.abs(norm(frames).mean(1) - norm(frames.mean(1))).max() > 0.1


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_weighted_fit_does_not_depend_on_its_company(head):
    states, targets = planted(1, n_targets=2)
    targets[::7, 1] = np.nan
    settings = WeightedSettings(head=head, epochs=15, patience=5, batch=64)
    both = weighted_probe(reader(states), targets, [FOLD], seeds=(0, 1), settings=settings, device="cpu")
    # Matrix products of other shapes round otherwise, in single precision, and 15 epochs carry that on.
    close = {"atol": 2e-3}
    one = weighted_probe(reader(states), targets[:, :1], [FOLD], seeds=(0, 1), settings=settings, device="cpu")
    np.testing.assert_allclose(both.predictions[..., :1], one.predictions, **close)
    seed = weighted_probe(reader(states), targets, [FOLD], seeds=(0,), settings=settings, device="cpu")
    np.testing.assert_allclose(both.predictions[:1], seed.predictions, **close)
    # Distinct seeds are distinct, though.
    assert np.nanmax(np.abs(both.predictions[0] - both.predictions[1])) > 0.01


def test_streaming_equals_memory_and_a_seed_repeats():
    states, targets = planted(1)
    runs = []
    for memory in (2.0, 2.0, 0.0):
        settings = WeightedSettings(epochs=20, patience=20, batch=64, memory=memory)
        runs.append(weighted_probe(reader(states), targets, [FOLD], settings=settings, device="cpu"))
    np.testing.assert_array_equal(runs[0].predictions, runs[1].predictions)
    np.testing.assert_allclose(runs[0].predictions, runs[2].predictions, atol=1e-5)
    np.testing.assert_allclose(runs[0].weights, runs[2].weights, atol=1e-6)


@pytest.mark.slow
def test_mlp_beats_a_line_where_the_truth_is_bent():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((3, 600, 4)).astype("f4")
    targets = (states[1, :, :1] ** 2 + 0.1 * rng.standard_normal((600, 1))).astype(float)
    fold = Fold("all", np.arange(400), ((np.arange(400), np.arange(400, 500)),), {"test": np.arange(500, 600)})
    found = mlp_probe(
        reader(states), 3, targets, [fold], settings=MLPSettings(epochs=150, patience=40, rate=5e-3), device="cpu"
    )
    test = fold.tests["test"]
    scores = ccc(targets[test, 0], found[:, test, 0])
    assert scores[1] > 0.7
    assert scores[[0, 2]].max() < 0.3


def test_an_mlp_fit_does_not_depend_on_its_company():
    states, targets = planted(2, n_targets=2)
    states[:, :, 3] = 7.0  # a constant feature
    settings = MLPSettings(epochs=8, patience=8, batch=64)
    together = mlp_probe(reader(states), LAYERS, targets, [FOLD], settings=settings, device="cpu")
    few = MLPSettings(epochs=8, patience=8, batch=64, memory=1e-5)  # one layer at once
    np.testing.assert_allclose(
        together, mlp_probe(reader(states), LAYERS, targets, [FOLD], settings=few, device="cpu"), atol=1e-3
    )
    np.testing.assert_allclose(
        together[..., 1:],
        mlp_probe(reader(states), LAYERS, targets[:, 1:], [FOLD], settings=settings, device="cpu"),
        atol=1e-3,
    )
    np.testing.assert_array_equal(
        together, mlp_probe(reader(states), LAYERS, targets, [FOLD], settings=settings, device="cpu")
    )


def test_ccc_loss_is_the_metric_and_has_its_gradient():
    rng = np.random.default_rng(0)
    truth, prediction = rng.standard_normal((2, 30, 3))
    truth[rng.random(truth.shape) < 0.2] = np.nan
    guess = torch.tensor(prediction, requires_grad=True)
    loss = ccc_loss(guess, torch.tensor(truth))
    np.testing.assert_allclose(loss.detach(), 1 - ccc(truth.T, prediction.T), atol=1e-12)
    assert torch.autograd.gradcheck(lambda p: ccc_loss(p, torch.tensor(truth)), guess)
    nothing = ccc_loss(guess, torch.full((30, 3), torch.nan))
    nothing.sum().backward()
    assert (nothing == 1).all()
    assert torch.isfinite(guess.grad).all()


def test_early_stopping_keeps_each_fit_at_its_best():
    parameter = torch.zeros(2)
    stopping = EarlyStopping([parameter], (2,), patience=2)
    scores = [[0.1, 0.5], [0.3, 0.4], [0.2, np.nan], [0.9, 0.9], [0.1, 0.1], [0.1, 0.1]]
    over = []
    for epoch, score in enumerate(scores):
        parameter.fill_(epoch)
        over.append(stopping.update(epoch, np.array(score)))
    stopping.restore()
    # The second was over after two epochs without a rise, before its 0.9.
    assert parameter.tolist() == [3.0, 0.0]
    assert over == [False] * 5 + [True]


def test_batches_hold_every_row_once():
    parts = list(batches(np.arange(50, 103), 16, np.random.default_rng(0)))
    assert sorted(np.concatenate(parts)) == list(range(53))
    assert {len(part) for part in parts} <= {13, 14}


def test_logistic_finds_the_planted_layer_and_equals_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    states, targets = planted(3)
    classes = np.digitize(targets[:, 0], np.quantile(targets[:, 0], [0.3, 0.6]))
    classes[::11] = -1
    scores = []
    for layer in range(LAYERS):
        found = logistic_probe(lambda rows, layer=layer: states[layer][rows], classes, [FOLD])
        test = FOLD.tests["test"][classes[FOLD.tests["test"]] >= 0]
        scores.append(uar(classes[test], found.predictions[test]))
        train = FOLD.train[classes[FOLD.train] >= 0]
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=1 / found.penalties[0], class_weight="balanced", max_iter=1000)
        ).fit(states[layer][train].astype(float), classes[train])
        # Both stop at a gradient of 1e-4: a row on the border may fall either way.
        expected = model.predict(states[layer][test].astype(float))
        assert (expected == found.predictions[test]).mean() > 0.97
    assert int(np.argmax(scores)) == 3


def test_logistic_with_more_features_than_rows():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x, classes = rng.standard_normal((60, 90)), rng.integers(0, 3, 60)
    x[:, 0] += 2 * classes
    fold = Fold("all", np.arange(40), ((np.arange(30), np.arange(30, 40)),), {"test": np.arange(40, 60)})
    found = logistic_probe(lambda rows: x[rows], classes, [fold], penalties=[10.0])
    scaler = StandardScaler().fit(x[:40])
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
    scores = model.fit(scaler.transform(x[:40]), classes[:40]).decision_function(scaler.transform(x[40:]))
    # Both stop at a gradient of 1e-4: a row whose two best classes are that near may fall either way.
    second, first = np.sort(scores, axis=1)[:, -2:].T
    clear = first - second > 0.02
    assert clear.sum() >= 15
    np.testing.assert_array_equal(found.predictions[40:][clear], scores.argmax(1)[clear])


def test_logistic_with_one_category():
    x = np.random.default_rng(0).standard_normal((ROWS, 3))
    with pytest.raises(UserError, match="two categories"):
        logistic_probe(lambda rows: x[rows], np.zeros(ROWS, int), [FOLD])
    classes = np.zeros(ROWS, int)
    classes[150:] = 1  # the training rows hold one only
    found = logistic_probe(lambda rows: x[rows], classes, [FOLD])
    assert (found.predictions[190:] == 0).all()
    assert found.notes
