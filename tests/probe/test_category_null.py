"""The null of permuted categories: against distances computed one by one, and over many true nulls."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from emoprobe.probe.category_null import category_null
from emoprobe.probe.permutation import exchangeable, permutations, summarise
from emoprobe.probe.planning import plan
from emoprobe.probe.splits import Split

SPLIT = "cross-validation"


def folded(speakers: np.ndarray, parts: list[str] | None = None) -> Split:
    n = len(speakers)
    labelled = np.ones(n, bool)
    return plan(parts or [""] * n, list(speakers), labelled, labelled[:, None], n_folds=3, seed=0, ungrouped=False)


def some(rows: int = 90, width: int = 6, classes: int = 3, *, planted: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((rows, width)), rng.choice(classes, size=rows, p=[0.5, 0.3, 0.2])
    x[:, 0] += planted * y
    return x, y, np.array([f"s{i % 9}" for i in range(rows)])


def reference(x: np.ndarray, y: np.ndarray, split: Split, penalties: np.ndarray) -> float:
    """UAR of the nearest class mean, distance by distance."""
    answers = np.full(len(y), -1)
    for fold, penalty in zip(split.folds, penalties, strict=True):
        scaler = StandardScaler().fit(x[fold.train])
        inside = scaler.transform(x[fold.train])
        metric = np.linalg.inv(inside.T @ inside + penalty * np.eye(x.shape[1]))
        means = np.stack([inside[y[fold.train] == k].mean(0) for k in range(y.max() + 1)])
        for rows in fold.tests.values():
            away = scaler.transform(x[rows])[:, None] - means
            answers[rows] = np.einsum("nkw,wv,nkv->nk", away, metric, away).argmin(1)
    return balanced_accuracy_score(y, answers)


@pytest.mark.parametrize("width", [6, 120])  # 120: fewer rows than features
def test_true_and_permuted_labels_score_as_distance_by_distance(width):
    x, y, speakers = some(width=width, planted=0.7)
    split = folded(speakers)
    sets = exchangeable(split.folds, split.groups)
    found = category_null(lambda rows: x[rows], y, split.folds, sets, count=7, seed=3)
    assert found.tested[SPLIT] == pytest.approx(reference(x, y, split, found.penalties))
    (order,) = permutations(sets, 7, seed=3)
    expected = [reference(x, y[given], split, found.penalties) for given in order]
    np.testing.assert_allclose(found.permuted[SPLIT], expected)


def test_unlabelled_rows_take_no_part():
    x, y, speakers = some(planted=1.0)
    holes = y.copy()
    holes[::7] = -1
    kept = holes >= 0
    split, without = folded(speakers), folded(speakers[kept])
    assert len(split.folds) == len(without.folds)
    # Folds of all rows, and the same folds of the labelled ones alone.
    place = np.cumsum(kept) - 1
    folds = [
        type(fold)(
            fold.name,
            place[fold.train[kept[fold.train]]],
            tuple((place[a[kept[a]]], place[b[kept[b]]]) for a, b in fold.inner),
            {name: place[rows[kept[rows]]] for name, rows in fold.tests.items()},
        )
        for fold in split.folds
    ]
    sets = exchangeable(split.folds, split.groups)
    one = category_null(lambda rows: x[rows], holes, split.folds, sets, count=20)
    other = category_null(lambda rows: x[kept][rows], y[kept], folds, sets[kept], count=20)
    assert one.tested == pytest.approx(other.tested)
    np.testing.assert_allclose(one.permuted[SPLIT], other.permuted[SPLIT])


def test_a_category_of_two_rows_takes_no_part():
    x, y, speakers = some(planted=0.7)
    rare = y.copy()
    rare[[10, 40]] = 3
    split = folded(speakers)
    sets = exchangeable(split.folds, split.groups)
    with_rare = category_null(lambda rows: x[rows], rare, split.folds, sets, count=30)
    without = np.where(rare == 3, -1, rare)
    expected = category_null(lambda rows: x[rows], without, split.folds, sets, count=30)
    assert with_rare.tested == expected.tested
    np.testing.assert_array_equal(with_rare.permuted[SPLIT], expected.permuted[SPLIT])


def test_what_is_there_is_found():
    x, y, speakers = some(planted=2.5)
    split = folded(speakers)
    sets = exchangeable(split.folds, split.groups)
    found = category_null(lambda rows: x[rows], y, split.folds, sets, count=199)
    assert summarise(found.tested[SPLIT], found.permuted[SPLIT])["p"] == 1 / 200


def rejected(datasets: int, *, official: bool, within_speakers: bool = False) -> float:
    """Share of true nulls with p at most 0.05; the categories are of different sizes."""
    low = []
    for seed in range(datasets):
        x, y, speakers = some(48, 5, seed=seed)
        parts = ["train" if int(name[1:]) < 6 else "test" for name in speakers] if official else None
        split = folded(speakers, parts)
        sets = exchangeable(split.folds, split.groups, within_speakers=within_speakers)
        found = category_null(
            lambda rows, x=x: x[rows], y, split.folds, sets, count=99, seed=seed, penalties=(1.0, 30.0, 1000.0)
        )
        (name,) = found.tested
        low.append(summarise(found.tested[name], found.permuted[name])["p"] <= 0.05)
    return float(np.mean(low))


@pytest.mark.slow
@pytest.mark.parametrize("official", [False, True])
def test_a_true_null_is_rejected_about_one_time_in_twenty(official):
    # 3 standard deviations of 150 draws of 5 % are 5.3 %; the scores are coarse, which makes the test a little safer.
    assert 0.005 < rejected(150, official=official) < 0.05 + 0.053


@pytest.mark.slow
@pytest.mark.parametrize("within_speakers", [False, True])
def test_true_nulls_are_rejected_at_their_level(within_speakers):
    # 3 standard deviations of 1,000 draws of 5 % are 2.1 %.
    assert 0.025 < rejected(1000, official=False, within_speakers=within_speakers) < 0.071
