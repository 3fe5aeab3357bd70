"""Exploration and confirmation: who explores, what is chosen where, and that a choice gains nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.analysis.report.claims import claims
from emoprobe.analysis.report.study import gather
from emoprobe.analysis.report.writing import write_report
from emoprobe.cli.fit import main, summary
from emoprobe.errors import UserError
from emoprobe.probe.fit import fit_layers
from emoprobe.probe.halves import CONFIRMATION, EXPLORATION, HALVES, halves
from emoprobe.probe.planning import plan
from emoprobe.probe.selecting import choose, reported_split
from emoprobe.testing.caches import write_cache
from tests.simulated_choices import gains

pytestmark = pytest.mark.slow

QUICK = {"dimensions": ("arousal", "valence"), "folds": 3, "resamples": 50, "permutations": 0, "mdl": False}

# Who explores --------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.sampled_from("fm")), min_size=12, max_size=90), st.integers(0, 3))
def test_halves_share_nobody_and_hold_everybody(rows, seed):
    whole, kinds = np.array([number for number, _ in rows]), ["fm"[number % 2] for number, _ in rows]
    sets = len(np.unique(whole))
    if sets < 6:
        with pytest.raises(UserError, match="too few"):
            halves(np.arange(len(rows)), whole, kinds, seed=seed)
        return
    first, second = halves(np.arange(len(rows)), whole, kinds, seed=seed)
    assert sorted([*first, *second]) == list(range(len(rows)))
    assert not set(whole[first]) & set(whole[second])
    assert len(np.unique(whole[first])) - len(np.unique(whole[second])) == sets % 2


def test_halves_are_alike_in_gender_and_size_and_drawn_by_the_seed():
    sizes = np.array([4, 4, 10, 10, 30, 30, 5, 5, 11, 11, 31, 31])
    whole = np.repeat(np.arange(12), sizes)
    gender = np.where(whole < 6, "female", "male").tolist()
    drawn = set()
    for seed in range(20):
        first, second = halves(np.arange(len(whole)), whole, gender, seed=seed)
        for half in (first, second):
            assert sorted(sizes[np.unique(whole[half])]) == [4, 5, 10, 11, 30, 31]
        drawn.add(tuple(np.unique(whole[first])))
    assert len(drawn) > 10
    again, _ = halves(np.arange(len(whole)), whole, gender, seed=19)
    np.testing.assert_array_equal(again, first)


def planned(split: list[str], names: list[str], **options):
    everybody = np.ones(len(names), bool)
    return plan(split, names, everybody, everybody, alike=[""] * len(names), **options)


def test_groups_stay_whole():
    """A speaker in two groups joins them."""
    names = [f"s{k // 3}" for k in range(48)]
    groups = [f"g{k // 6}" for k in range(48)]
    groups[5] = "g1"
    split = planned([""] * 48, names, groups=groups)
    explored = np.concatenate([fold.tests[EXPLORATION] for fold in split.exploration.folds])
    confirmed = np.concatenate([fold.tests[CONFIRMATION] for fold in split.folds])
    assert not set(split.whole[explored]) & set(split.whole[confirmed])
    assert "in 4 sets" in split.notes[0]


def test_a_cross_validation_becomes_two_halves():
    names = [f"s{k % 12}" for k in range(60)]
    split = planned([""] * 60, names, folds=[f"{k % 2}" for k in range(60)])
    assert split.kind == HALVES
    explored = {row for fold in split.exploration.folds for row in fold.tests[EXPLORATION]}
    confirmed = {row for fold in split.folds for row in fold.tests[CONFIRMATION]}
    assert explored | confirmed == set(range(60))
    assert not {names[row] for row in explored} & {names[row] for row in confirmed}
    for fold in split.exploration.folds:
        assert set(fold.train) | {row for pair in fold.inner for rows in pair for row in rows} <= explored
    for fold in split.folds:
        # Fitted on confirming speakers alone, with penalties and epochs of exploring ones.
        assert set(fold.train) | set(fold.tests[CONFIRMATION]) == confirmed
        assert {row for pair in fold.inner for rows in pair for row in rows} == explored
        assert set(fold.stopping[1]) == explored
    assert any("the column 'fold' is not used" in note for note in split.notes)


def test_a_test_part_confirms_as_it_is():
    names = [f"s{k // 2}" for k in range(24)]
    own = ["train"] * 16 + ["test"] * 8
    everybody = np.ones(24, bool)
    plain, split = plan(own, names, everybody, everybody), planned(own, names)
    for one, other in zip(plain.folds, split.folds, strict=True):
        assert list(one.tests) == list(other.tests)
        np.testing.assert_array_equal(one.tests["test"], other.tests["test"])
    explored = np.concatenate([rows for fold in split.exploration.folds for rows in fold.tests.values()])
    assert sorted(explored) == list(range(16))
    assert any("nothing on 'test': that confirms" in note for note in split.notes)


def test_a_development_part_explores_or_confirms():
    names = [f"s{k // 2}" for k in range(24)]
    with_test = planned(["train"] * 12 + ["development"] * 4 + ["test"] * 8, names)
    assert with_test.exploration is None
    assert any("chosen on 'development', and nothing on a test part" in note for note in with_test.notes)
    alone = planned(["train"] * 16 + ["development"] * 8, names)
    assert list(alone.folds[0].tests) == [CONFIRMATION]
    assert alone.exploration is not None


def test_too_few_speakers_are_told():
    names = [f"s{k % 4}" for k in range(40)]
    with pytest.raises(UserError, match=r"4 speakers .* are too few: 3 have to explore and 3 to confirm"):
        planned([""] * 40, names)
    few = ["a"] * 10 + ["b"] * 10 + ["c"] * 20
    with pytest.raises(UserError, match=r"its 2 speakers .* are too few for 3"):
        planned(["train"] * 20 + ["test"] * 20, few)


# What is chosen where ------------------------------------------------------------------------------------------------


def test_the_exploration_chooses_and_the_confirmation_is_reported(tmp_path: Path) -> None:
    write_cache(tmp_path / "c.h5", n=160, speakers=16, gender=["f", "m"] * 80)
    results = fit_layers(tmp_path / "c.h5", confirm=True, **QUICK)
    assert set(results.scores["split"]) == {EXPLORATION, CONFIRMATION}
    assert reported_split(results.scores["split"]) == CONFIRMATION
    best = results.best_layers().query("probe == 'ridge' and split == 'confirmation'").set_index("dimension")
    assert best["layer"].to_dict() == {"arousal": 1, "valence": 3}  # as planted
    assert set(best["chosen_on"]) == {EXPLORATION}
    assert "hindsight" not in summary(results)
    assert "Best layers on confirmation are chosen on exploration." in summary(results)
    (entry,) = [one for one in results.protocol if (one["probe"], one["dimension"]) == ("ridge", "valence")]
    assert entry["settings"]["confirm"] is True
    assert entry["split"]["counts"] == {EXPLORATION: 80, CONFIRMATION: 80}
    assert sum(entry["split"]["exploration"]["counts"].values()) == 80


def test_what_the_confirmation_is_changes_no_choice(tmp_path: Path) -> None:
    """Other labels of the confirming speakers: neither layer, nor penalty, nor score of the exploration moves."""
    table = write_cache(tmp_path / "c.h5", n=160, speakers=16)
    before = fit_layers(tmp_path / "c.h5", confirm=True, **QUICK)
    confirms = set(before.predictions.query("split == 'confirmation'")["id"])
    rows = np.flatnonzero(table["id"].isin(confirms))
    rng = np.random.default_rng(1)
    other = {name: table[name].to_numpy(copy=True) for name in ("arousal", "valence", "dominance")}
    for values in other.values():
        values[rows] = rng.permutation(values[rows])
    write_cache(tmp_path / "other.h5", n=160, speakers=16, **other)
    after = fit_layers(tmp_path / "other.h5", confirm=True, **QUICK)
    for split, columns in ((EXPLORATION, ["ccc", "penalty"]), (CONFIRMATION, ["penalty"])):
        one, both = (results.select(split=split)[columns].to_numpy(float) for results in (before, after))
        np.testing.assert_array_equal(one, both)
    chosen = [results.best_layers().query("split == 'confirmation'")["layer"].tolist() for results in (before, after)]
    assert chosen[0] == chosen[1]
    assert before.select(probe="ridge", split=CONFIRMATION, dimension="valence", layer=3)["ccc"].iloc[0] > 0.5
    assert after.select(probe="ridge", split=CONFIRMATION, dimension="valence", layer=3)["ccc"].iloc[0] < 0.5


def test_a_report_of_halves_knows_of_no_hindsight(tmp_path: Path) -> None:
    write_cache(tmp_path / "c.h5", n=160, speakers=16)
    command = [str(tmp_path / "c.h5"), "--dim", "all", "--confirm", "--permutations", "0", "--mdl", "--quiet"]
    options = ["--out", str(tmp_path / "results"), "--figures", str(tmp_path / "figures")]
    command[command.index("--mdl")] = "--no-mdl"
    assert main([*command, *options]) == 0
    study = gather([tmp_path / "results"], quick=True)
    tested = claims(study)
    assert not any(claim.hindsight for claim in tested)
    assert all("Chosen on exploration." in claim.how for claim in tested if claim.subject == "acoustics")
    page = next(iter(write_report(tmp_path / "results", out=tmp_path / "report", quick=True))).read_text("utf-8")
    assert "hindsight" not in page
    assert "Layers and rivals were chosen on other speakers (80 utterances in 5 folds)" in page
    assert "5 folds of a confirmation half of the speakers (80 utterances, drawn by seed 0)" in page
    assert "inner folds of the exploration half that keep every speaker on one side" in page


def test_halves_are_fitted_once_and_apart_from_what_has_none(tmp_path: Path, capsys) -> None:
    write_cache(tmp_path / "c.h5", n=120, speakers=12)
    folder = tmp_path / "results"
    hashes = []
    for confirm in (True, True, False):
        fit_layers(tmp_path / "c.h5", out=folder, confirm=confirm, **QUICK)
        entry = fit_layers(tmp_path / "c.h5", out=folder, confirm=confirm, **QUICK).protocol[0]
        hashes.append((entry["hash"], (folder / "protocol.json").stat().st_mtime_ns))
    assert hashes[0] == hashes[1]
    assert hashes[2][0] != hashes[0][0]


def test_the_best_of_the_confirmation_is_not_looked_at():
    import pandas as pd

    choice = choose(pd.Series([0.3, 0.5]), pd.Series([0.4, 0.2]), CONFIRMATION, "ccc", part=EXPLORATION)
    assert (choice.best, choice.chosen_on, choice.differs) == (0, EXPLORATION, False)
    # The exploration itself is chosen with hindsight, and so is what it does not score.
    assert choose(pd.Series([0.3, 0.5]), pd.Series([0.3, 0.5]), EXPLORATION, "ccc", part=EXPLORATION).hindsight
    assert choose(pd.Series([0.3, 0.5]), pd.Series([0.4]), CONFIRMATION, "ccc", part=EXPLORATION).hindsight


@pytest.mark.slow
def test_a_choice_gains_nothing_on_other_speakers() -> None:
    """Of equally good layers the best has more than the mean where it is chosen, and the mean where it is not."""
    before, after = (gains(150, official=False, confirm=confirm)[0] for confirm in (False, True))
    errors = [one.std(ddof=1) / np.sqrt(len(one)) for one in (before, after)]
    assert before.mean() > 5 * errors[0]
    assert abs(after.mean()) < 3.3 * errors[1]


@pytest.mark.slow
def test_an_official_split_keeps_the_luck_of_its_training_speakers_alone() -> None:
    """On the test part the chosen probe scores what it is worth, which is more than the mean of its layer."""
    before, after = (np.subtract(*gains(100, official=True, confirm=confirm)) for confirm in (False, True))
    errors = [one.std(ddof=1) / np.sqrt(len(one)) for one in (before, after)]
    assert before.mean() > 5 * errors[0]
    assert abs(after.mean()) < 3.3 * errors[1]
