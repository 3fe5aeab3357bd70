"""No speaker on both sides of a made split, ever; what an official split breaks is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.errors import UserError
from emoprobe.probe.leakage import refuse_leakage
from emoprobe.probe.planning import plan
from emoprobe.probe.splits import CROSS_VALIDATION, Fold, cross_validation, group_folds
from emoprobe.probe.units import speaker_groups

speakers = st.lists(st.sampled_from([f"s{k}" for k in range(9)] + ["", "Unknown"]), min_size=12, max_size=80)


@settings(max_examples=100, deadline=None)
@given(names=speakers, n_folds=st.integers(3, 6), seed=st.integers(0, 5))
def test_no_speaker_on_both_sides(names, n_folds, seed):
    groups = speaker_groups(names)
    rows = np.arange(len(names))
    if len(set(groups)) < n_folds:
        with pytest.raises(UserError, match=r"cannot fill|are too few"):
            cross_validation(rows, groups, n_folds, seed=seed)
        return
    folds = cross_validation(rows, groups, n_folds, seed=seed)
    scored = np.concatenate([fold.tests[CROSS_VALIDATION] for fold in folds])
    assert sorted(scored) == list(rows)  # each row is scored once
    for fold in folds:
        test = fold.tests[CROSS_VALIDATION]
        named = {names[row] for row in test} - {"", "Unknown"}
        assert not named & {names[row] for row in fold.train}
        assert set(fold.train) | set(test) == set(rows)
        validated = np.concatenate([validation for _, validation in fold.inner])
        assert sorted(validated) == sorted(fold.train)
        for train, validation in fold.inner:
            assert not set(train) & set(test)
            assert not {names[r] for r in train} - {"", "Unknown"} & {names[r] for r in validation} & named
            assert not set(groups[train]) & set(groups[validation])


@settings(max_examples=50, deadline=None)
@given(names=speakers)
def test_unknown_speakers_are_each_their_own(names):
    groups = speaker_groups(names)
    unknown = [row for row, name in enumerate(names) if name in ("", "Unknown")]
    assert all((groups == groups[row]).sum() == 1 for row in unknown)
    known = len({name for name in names if name not in ("", "Unknown")})
    assert len(set(groups)) == known + len(unknown)


def test_folds_are_balanced_and_depend_on_the_seed_alone():
    groups = np.repeat(np.arange(20), 5)
    folds = group_folds(groups, 5, seed=3)
    assert set(np.bincount(folds)) == {20}
    np.testing.assert_array_equal(folds, group_folds(groups, 5, seed=3))
    assert any((folds != group_folds(groups, 5, seed=other)).any() for other in range(3))


def _plan(split, names, labelled=None, **options):
    n = len(names)
    labelled = np.ones(n, bool) if labelled is None else labelled
    return plan(split, names, np.ones(n, bool), labelled, **options)


def test_official_split_with_development():
    names = [f"s{k // 2}" for k in range(12)]
    split = ["train"] * 6 + ["development"] * 2 + ["test1"] * 2 + ["test2"] * 2
    found = _plan(split, names)
    (fold,) = found.folds
    assert found.kind == "official"
    assert list(fold.tests) == ["development", "test1", "test2"]
    ((train, validation),) = fold.inner
    assert list(train) == list(range(6))
    assert list(validation) == [6, 7]
    assert not found.leakage


def test_development_alone_is_scored_and_not_chosen_on():
    names = [f"s{k // 2}" for k in range(12)]
    (fold,) = _plan(["train"] * 8 + ["development"] * 4, names).folds
    assert list(fold.tests) == ["development"]
    for train, validation in fold.inner:
        assert max(train.max(), validation.max()) < 8


def test_a_test_split_without_labels_is_not_scored():
    names = [f"s{k // 2}" for k in range(12)]
    split = ["train"] * 6 + ["development"] * 2 + ["test1"] * 2 + ["test3"] * 2
    found = _plan(split, names, labelled=np.arange(12) < 10)
    assert list(found.folds[0].tests) == ["development", "test1"]
    assert any("test3" in note for note in found.notes)


def test_official_leakage_is_reported_with_speakers_and_counts():
    names = ["a"] * 3 + ["b"] * 3 + ["c"] * 2 + ["a", "d"]
    split = ["train"] * 6 + ["development"] * 2 + ["test"] * 2
    found = _plan(split, names)
    assert found.leakage == [{"parts": ["train", "test"], "speakers": [{"speaker": "a", "first": 3, "second": 1}]}]
    assert any("LEAKAGE" in note and "'train' (3 utterances)" in note for note in found.notes)


def test_unknown_speakers_do_not_leak():
    split = ["train"] * 6 + ["development"] * 2 + ["test"] * 2
    assert not _plan(split, [""] * 10).leakage


@pytest.mark.parametrize("split", [[""] * 12, ["train"] * 8 + ["test"] * 4])
def test_speakers_who_are_partly_unknown_are_counted_aloud(split):
    names = ["a", "b", "c", "d", "e", "f", "g", "", "h", "", "unknown", "i"]
    usable = np.array([True] * 11 + [False])
    found = plan(split, names, usable, np.ones((12, 1), bool), n_folds=3)
    assert found.unknown_speakers == 3
    (said,) = [note for note in found.notes if "no speaker" in note]
    assert said.startswith("3 of 11 utterances have no speaker: each counts as a speaker of its own")
    overlap = [note for note in found.notes if "cannot be excluded" in note]
    if found.kind == "official":
        assert overlap == [
            "whether 'train' and 'test' share speakers cannot be excluded: the speaker is unknown of 1 of 8 in 'train' "
            "and 2 of 3 in 'test'"
        ]
    else:
        assert said.endswith("whether folds share their voices cannot be told")
        assert not overlap


def test_made_leakage_is_refused():
    groups = np.array([0, 0, 1, 1, 2])
    folds = [Fold("1", np.array([0, 2]), (), {"test": np.array([1, 4])})]
    with pytest.raises(UserError, match=r"fold 1 trains on speakers.*anna \(1 and 1"):
        refuse_leakage(folds, groups, ["anna", "anna", "bert", "bert", "carl"])


def test_no_speakers_needs_a_word():
    with pytest.raises(UserError, match="--ungrouped"):
        _plan([""] * 20, [""] * 20)
    assert _plan([""] * 20, [""] * 20, ungrouped=True).kind == "ungrouped folds"


def test_ungrouped_is_refused_where_speakers_are_known():
    with pytest.raises(UserError, match="names no speaker, and this one does"):
        _plan([""] * 20, [f"s{k % 7}" for k in range(20)], ungrouped=True)


def test_too_few_speakers_names_the_remedy():
    with pytest.raises(UserError, match="at most 4 with --folds"):
        _plan([""] * 20, [f"s{k % 4}" for k in range(20)], n_folds=5)
    with pytest.raises(UserError, match="too few: one scores"):
        _plan([""] * 20, [f"s{k % 4}" for k in range(20)], n_folds=2)
    with pytest.raises(UserError, match="no speaker is left"):
        _plan(["train"] * 10 + ["test"] * 10, ["a"] * 10 + ["b"] * 10)


def test_folds_do_not_depend_on_which_target_is_labelled():
    names = [f"s{k % 10}" for k in range(60)]
    one = _plan([""] * 60, names, labelled=np.arange(60) % 3 > 0)
    other = _plan([""] * 60, names)
    for a, b in zip(one.folds, other.folds, strict=True):
        np.testing.assert_array_equal(a.train, b.train)
