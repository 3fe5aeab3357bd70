"""Speakers and groups: no fold splits either, given folds are used and checked, and intervals resample the larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.analysis.measures.centroid import relevance_centroids
from emoprobe.analysis.measures.fairness import fairness_table
from emoprobe.analysis.measures.problems import problems
from emoprobe.analysis.measures.relevance_settings import RelevanceSettings
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache
from emoprobe.probe.bootstrap import intervals, moments_by_speaker
from emoprobe.probe.fit import fit_layers
from emoprobe.probe.metrics import rmse_from_moments
from emoprobe.probe.planning import plan
from emoprobe.probe.results import load_results
from emoprobe.probe.settings import FitSettings
from emoprobe.probe.significance import score_intervals
from emoprobe.probe.splits import CROSS_VALIDATION
from emoprobe.probe.targets import Labels, plan_target
from emoprobe.probe.units import Units, count_speakers, speaker_groups, unit_of
from emoprobe.testing.caches import write_cache

cells = st.lists(
    st.tuples(st.sampled_from(["", *"abcdefg"]), st.sampled_from(["", *"123456"])), min_size=1, max_size=40
)


def connected(pairs: list[tuple[str, str]]) -> list[set[int]]:
    """Rows that share a speaker or a group, by joining sets until nothing changes."""
    sets = [(_keys(row, *pair), {row}) for row, pair in enumerate(pairs)]
    while True:
        for i, (keys, rows) in enumerate(sets):
            j = next((j for j in range(i + 1, len(sets)) if sets[j][0] & keys), None)
            if j is not None:
                sets[i] = (keys | sets[j][0], rows | sets[j][1])
                del sets[j]
                break
        else:
            return [rows for _, rows in sets]


def _keys(row: int, speaker: str, group: str) -> set:
    return {("row", row)} | ({("s", speaker)} if speaker else set()) | ({("g", group)} if group else set())


def partition(numbers: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in np.unique(numbers)}


@settings(max_examples=150, deadline=None)
@given(pairs=cells)
def test_sets_are_those_that_share_neither_speaker_nor_group(pairs):
    speakers, groups = map(list, zip(*pairs, strict=True))
    units = Units.of(speakers, groups)
    assert partition(units.whole) == {frozenset(rows) for rows in connected(pairs)}


@settings(max_examples=50, deadline=None)
@given(pairs=cells)
def test_without_groups_speakers_are_all_there_is(pairs):
    speakers = [speaker for speaker, _ in pairs]
    for units in (Units.of(speakers), Units.of(speakers, [""] * len(speakers))):
        for numbers in (units.speakers, units.whole, units.resampled):
            np.testing.assert_array_equal(numbers, speaker_groups(speakers))
        assert (units.unit, set(units.names), units.grouped) == ("speaker", {""}, False)


def test_the_larger_of_speakers_and_groups_is_resampled():
    # Two actors a session, as in IEMOCAP; one row of nobody in the first.
    session = Units.of(["a", "b", "c", "d", ""], ["1", "1", "2", "2", "1"])
    assert partition(session.resampled) == {frozenset({0, 1, 4}), frozenset({2, 3})}
    assert (session.unit, session.names) == ("group", ["1", "1", "2", "2", "1"])
    # One speaker of several dialogues, each with themselves: the speaker is the larger.
    monologue = Units.of(["a", "a", "b", "b"], ["1", "2", "3", "4"])
    assert partition(monologue.resampled) == {frozenset({0, 1}), frozenset({2, 3})}
    assert (monologue.unit, set(monologue.names)) == ("speaker", {""})
    # Two friends in every dialogue, as in MELD: one set for folds, and the larger kind for intervals.
    crossed = Units.of(["a", "b", "a", "b", "a", "b"], ["1", "1", "2", "2", "3", "3"])
    assert len(set(crossed.whole)) == 1
    assert partition(crossed.resampled) == {frozenset({0, 2, 4}), frozenset({1, 3, 5})}
    assert crossed.unit == "speaker"
    (_, said) = crossed.told(np.arange(6))
    assert said.startswith("intervals resample speakers, and are too narrow")


def planned(n: int, speakers: list[str], groups: list[str], *, split: list[str] | None = None, **options):
    return plan(split or [""] * n, speakers, np.ones(n, bool), np.ones((n, 1), bool), groups=groups, **options)


@settings(max_examples=60, deadline=None)
@given(pairs=cells, n_folds=st.integers(3, 5), seed=st.integers(0, 3))
def test_no_fold_splits_a_speaker_or_a_group(pairs, n_folds, seed):
    speakers, groups = map(list, zip(*pairs, strict=True))
    if not any(groups):
        return
    if len(connected(pairs)) < n_folds:
        with pytest.raises(UserError, match=r"too few for \d folds|ask for at most"):
            planned(len(pairs), speakers, groups, n_folds=n_folds, seed=seed)
        return
    split = planned(len(pairs), speakers, groups, n_folds=n_folds, seed=seed)
    for fold in split.folds:
        for train, held_out in ((fold.train, fold.tests[CROSS_VALIDATION]), *fold.inner):
            for names in (speakers, groups):
                assert not {names[row] for row in train} & {names[row] for row in held_out} - {""}


def test_a_speaker_of_two_groups_joins_them_and_is_counted():
    speakers = ["a", "b", "a", "c", "d", "e", "f", "g", "h", "i"]
    groups = ["1", "1", "2", "2", "3", "3", "4", "4", "5", "5"]
    split = planned(10, speakers, groups, n_folds=4)
    assert any(
        "1 speaker is in more than one group" in note and "4 sets of the 5 groups" in note for note in split.notes
    )
    with pytest.raises(UserError, match=r"9 speakers in 5 groups make 4 sets.*at most 4 with --folds"):
        planned(10, speakers, groups, n_folds=5)
    with pytest.raises(UserError, match=r"2 speakers in 3 groups make 1 set .*--columns group= --refresh-labels"):
        planned(6, list("ababab"), list("112233"), n_folds=3)


SESSIONS = [f"Session{k}" for k in (10, 9, 1, 2, 3)]


def dialogues(n: int = 100) -> dict[str, list[str]]:
    """Two speakers a session, who take turns."""
    return {
        "speaker": [f"{SESSIONS[row % 5]}{'MF'[row // 5 % 2]}" for row in range(n)],
        "group": [SESSIONS[row % 5] for row in range(n)],
    }


def test_given_folds_are_used_as_they_are_and_named_in_order():
    made = dialogues()
    split = planned(100, made["speaker"], made["group"], folds=made["group"], n_folds=3)
    assert split.kind == "folds of the corpus"
    assert [fold.name for fold in split.folds] == ["Session1", "Session2", "Session3", "Session9", "Session10"]
    for fold in split.folds:
        assert {made["group"][row] for row in fold.tests[CROSS_VALIDATION]} == {fold.name}
        assert len(fold.inner) == 4
    assert split.leakage == []
    assert split.kept_whole == "speaker and group"
    assert "each fold is one group: one group is left out at a time" in split.notes


def test_leakage_of_given_folds_is_reported_for_speakers_and_groups():
    made = dialogues()
    folds = list(made["group"])
    folds[0] = "Session9"  # an utterance of Session10's man, held out with Session9
    split = planned(100, made["speaker"], made["group"], folds=folds)
    assert {
        "parts": ["fold Session9", "the other folds"],
        "speakers": [{"speaker": "Session10M", "first": 1, "second": 9}],
        "groups": [{"group": "Session10", "first": 1, "second": 19}],
    } in split.leakage
    assert split.kept_whole == ""
    said = [note for note in split.notes if note.startswith("LEAKAGE in the corpus's own folds")]
    assert said == [
        "LEAKAGE in the corpus's own folds: 1 speaker is in more than one of them, with 10 utterances",
        "LEAKAGE in the corpus's own folds: 1 group is in more than one of them, with 20 utterances",
    ]


def test_many_given_folds_choose_on_fewer_inner_ones():
    speakers = [f"s{row % 24}" for row in range(96)]
    split = planned(96, speakers, [""] * 96, folds=speakers, n_folds=5)
    assert len(split.folds) == 24
    assert {len(fold.inner) for fold in split.folds} == {5}
    for fold in split.folds:
        for train, held_out in fold.inner:
            assert not {speakers[row] for row in train} & {speakers[row] for row in held_out}


def test_utterances_of_no_fold_are_left_out_and_counted():
    made = dialogues()
    folds = ["" if row >= 90 else name for row, name in enumerate(made["group"])]
    split = planned(100, made["speaker"], made["group"], folds=folds)
    assert "10 of 100 utterances are in no fold and are left out" in split.notes
    assert max(row for fold in split.folds for row in fold.train) < 90


@pytest.mark.parametrize(("name", "said"), [("all", "can be called 'all'"), ("1", "name two folds or more")])
def test_folds_that_cannot_be_used_are_refused(name: str, said: str) -> None:
    made = dialogues(20)
    with pytest.raises(UserError, match=said):
        planned(20, made["speaker"], made["group"], folds=[name] * 19 + [name if said.startswith("name") else "b"])


def test_groups_that_an_official_split_shares_are_reported():
    made = dialogues(40)
    split = planned(40, made["speaker"], made["group"], split=["train"] * 32 + ["test"] * 8)
    (leak,) = split.leakage
    assert {entry["group"] for entry in leak["groups"]} == set(SESSIONS)
    assert any(note.startswith("LEAKAGE") and "5 groups are in both 'train'" in note for note in split.notes)
    for train, held_out in split.folds[0].inner:
        assert not {made["group"][row] for row in train} & {made["group"][row] for row in held_out}


def test_inner_folds_keep_the_larger_kind_where_everybody_meets_everybody():
    # Six friends, two in each of 60 dialogues, as in MELD.
    rng = np.random.default_rng(0)
    pairs = [rng.choice(6, 2, replace=False) for _ in range(60)]
    speakers = [f"friend {friend}" for pair in pairs for friend in pair]
    groups = [f"dialogue {k}" for k in range(60) for _ in range(2)]
    split = planned(120, speakers, groups, split=["train"] * 90 + ["test"] * 30)
    assert split.units.unit == "speaker"
    assert split.kept_whole == "speaker"
    assert any("grouped by speaker alone, since" in note for note in split.notes)
    for train, held_out in split.folds[0].inner:
        assert not {speakers[row] for row in train} & {speakers[row] for row in held_out}
    with pytest.raises(UserError, match="make 1 set that shares neither"):
        planned(120, speakers, groups)


def test_a_cache_of_iemocap_without_sessions_is_told(tmp_path: Path) -> None:
    table = write_cache(tmp_path / "c.h5", n=60).assign(status="done")
    for corpus, told in (("iemocap", True), ("mine", False)):
        split = plan_target(Labels.of(table), "arousal", FitSettings(), corpus=corpus)
        assert any("has no groups here" in note for note in split.notes) is told


def test_a_split_and_folds_are_not_mixed_up():
    made = dialogues(40)
    split = planned(40, made["speaker"], made["group"], split=["train"] * 32 + ["test"] * 8, folds=made["group"])
    assert split.kind == "official"
    assert any("'fold' is not used" in note for note in split.notes)


def test_speakers_are_counted_without_the_unknown_ones():
    assert count_speakers(["a", "b", " a", "", "Unknown"]) == (2, 2)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory) -> tuple[Path, object]:
    folder = tmp_path_factory.mktemp("grouped")
    sessions = [f"Session{row % 8}" for row in range(160)]
    write_cache(
        folder / "c.h5",
        n=160,
        group=sessions,
        speaker=[f"{name}{'FM'[row // 8 % 2]}" for row, name in enumerate(sessions)],
        gender=[("female", "male")[row // 8 % 2] for row in range(160)],
    )
    return folder / "c.h5", fit_layers(
        folder / "c.h5",
        out=folder / "results",
        folds=4,
        penalties=(1.0, 100.0),
        resamples=200,
        permutations=0,
        mdl=False,
    )


@pytest.mark.slow
def test_intervals_of_a_grouped_corpus_resample_its_groups_everywhere(grouped) -> None:
    _, results = grouped
    row = results.select(probe="ridge", dimension="valence", layer=3, fold="all").iloc[0]
    assert (row["unit"], row["units"], row["speakers"]) == ("group", 8, 16)
    found = results.refits
    found = found[(found["probe"] == "ridge") & (found["dimension"] == "valence") & (found["layer"] == 3)]
    assert len(set(found["unit"])) == len(found) == 8
    assert all(unit.startswith("group ") for unit in found["unit"])
    row = results.select(probe="mean", dimension="valence", fold="all").iloc[0]
    assert (row["unit"], row["units"]) == ("group", 8)
    found = results.predictions
    found = found[(found["probe"] == "mean") & (found["dimension"] == "valence")]
    # Sums by session, numbered as the corpus has them, straight from the ids.
    group = found["id"].str[1:].astype(int) % 8
    sums = moments_by_speaker(found["truth"].to_numpy(), found["prediction"].to_numpy()[None], group.to_numpy())
    low, high = intervals(sums, {"rmse": rmse_from_moments}, resamples=200)["rmse"][:, 0]
    assert (row["rmse_low"], row["rmse_high"]) == pytest.approx((low, high), abs=1e-9)
    entry = next(entry for entry in results.protocol if entry["probe"] == "ridge")
    assert entry["interval"].startswith("95 % jackknife over groups")
    assert entry["cache"]["groups"] == 8
    assert entry["split"]["kept_whole"] == "speaker and group"
    assert "intervals resample groups" in entry["split"]["notes"]
    again = score_intervals(results, probe="ridge", dimension="valence", layer=3)
    assert tuple(again.loc[0, ["unit", "units", "speakers"]]) == ("group", 8, 16)
    centroids = relevance_centroids(results, resamples=100)
    assert set(centroids["unit"]) == {"group"}
    assert set(centroids["units"]) == {8}


@pytest.mark.slow
def test_genders_who_talk_to_each_other_are_drawn_together(grouped) -> None:
    cache, results = grouped
    table = fairness_table(results, cache, dimensions=["valence"], layer=3, resamples=300)
    whole = table[table["group_by"] == "all"].iloc[0]
    assert (whole["unit"], whole["units"], whole["speakers"]) == ("group", 8, 16)
    difference = table[table["group_by"] == "gender difference"].iloc[0]
    assert difference["units"] == 8
    assert difference["ccc_low"] < difference["ccc"] < difference["ccc_high"]
    assert set(table.loc[table["group_by"] == "speaker", "unit"]) == {"utterance"}


@pytest.mark.slow
def test_tables_of_a_version_that_knew_no_groups_are_read(grouped, tmp_path: Path) -> None:
    _, results = grouped
    results.save(tmp_path)
    for name, added in (("scores", ["unit", "units"]), ("predictions", ["group"])):
        path = tmp_path / f"{name}.parquet"
        pd.read_parquet(path).drop(columns=added).to_parquet(path)
    read = load_results(tmp_path)
    assert set(read.scores["unit"]) == {""}
    assert score_intervals(read, probe="ridge", dimension="valence", layer=3).loc[0, "unit"] == "speaker"


def shared_groups() -> tuple[list[str], list[str], list[str]]:
    """60 speakers a part, each in many of the 150 groups of the part: parts, speakers, groups."""
    rng = np.random.default_rng(0)
    parts = ["train"] * 1400 + ["development"] * 300 + ["test"] * 300
    speakers = [f"{part}{number}" for part, number in zip(parts, rng.integers(0, 60, 2000), strict=True)]
    return parts, speakers, [f"{part}{number}" for part, number in zip(parts, rng.integers(0, 150, 2000), strict=True)]


def test_groups_that_everybody_shares_leave_the_inner_folds_to_the_speakers():
    parts, speakers, groups = shared_groups()
    split = planned(2000, speakers, groups, split=parts)
    (fold,) = split.folds
    assert len(fold.inner) == 5
    assert split.kept_whole == "speaker"
    assert any("5 inner folds of 'train', grouped by speaker alone, since" in note for note in split.notes)
    np.testing.assert_array_equal(split.whole, speaker_groups(speakers))
    for train, held_out in fold.inner:
        assert not {speakers[row] for row in train} & {speakers[row] for row in held_out}
    # Of the same corpus with few speakers there is no more than the development part to choose on.
    few = [f"{part}{row % 4}" for row, part in enumerate(parts)]
    (fold,) = planned(2000, few, groups, split=parts).folds
    assert [tuple(map(len, pair)) for pair in fold.inner] == [(1400, 300)]


@pytest.mark.slow
def test_blocks_and_folds_made_elsewhere_keep_what_inner_folds_keep(tmp_path: Path) -> None:
    """Description lengths and banded ridges part the training rows again, where two speakers are not all one set."""
    speakers = [f"s{row % 4}" for row in range(120)]
    groups = [f"g{row % 7}" for row in range(120)]
    split = ["train"] * 80 + ["development"] * 20 + ["test"] * 20
    write_cache(tmp_path / "c.h5", n=120, layers=2, width=4, speaker=speakers, group=groups, split=split,
                planted={"valence": 1, "arousal": 0, "dominance": 0})  # fmt: skip
    with HiddenStateCache(tmp_path / "c.h5") as cache:
        (problem,) = problems(cache, RelevanceSettings(dimensions=("valence",), folds=3))
        assert problem.folds[0].inner[0][1].min() >= 80  # chosen on the development part, so folds are made anew
        np.testing.assert_array_equal(problem.whole, speaker_groups(speakers))
    results = fit_layers(tmp_path / "c.h5", dimensions=("valence",), probe="ridge", penalties=(1.0,), permutations=0,
                         resamples=0)  # fmt: skip
    assert np.isfinite(results.select(probe="ridge", fold="all")["mdl_bits"]).all()


def test_few_groups_are_not_drawn_in_the_place_of_speakers():
    """Three groups that name 6 of 10,000 rows are fewer than 100 speakers, and nobody is torn apart for them."""
    speakers, groups = [f"s{row % 100}" for row in range(10000)], [""] * 10000
    for number, (one, other) in enumerate([(0, 1), (1, 2), (0, 2)]):
        groups[200 * number + one] = groups[200 * number + other] = f"g{number}"
    units = Units.of(speakers, groups)
    assert (units.unit, set(units.names)) == ("speaker", {""})
    assert partition(units.resampled) == partition(speaker_groups(speakers))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("speakers", "groups", "unit"),
    [
        # Crossed, drawn by speaker; two rows of nobody are drawn with their group.
        (["a", "a", "b", "b", "c", "", "", "d"], ["1", "2", "1", "3", "3", "4", "5", "6"], "speaker"),
        # Two to a session, where a session is known: most rows are of no session.
        (["a", "b", "c", "d", "e", "f", "g", "h"], ["1", "1", "", "", "", "", "", ""], "speaker"),
        (["a", "b", "c", "d", "e", "f", "g", "h"], ["1", "1", "2", "2", "3", "3", "", ""], "group"),
    ],
)
def test_every_table_names_the_same_unit(speakers, groups, unit, tmp_path: Path) -> None:
    units = Units.of(speakers, groups)
    assert units.unit == unit_of(units.names) == unit
    n = 240
    columns = {
        "speaker": [f"{speakers[row % 8]}{row // 24}" if speakers[row % 8] else "" for row in range(n)],
        "group": [f"{groups[row % 8]}{row // 24}" if groups[row % 8] else "" for row in range(n)],
    }
    table = write_cache(tmp_path / "c.h5", n=n, layers=3, width=4, **columns,
                        gender=[("female", "male")[row % 2] for row in range(n)])  # fmt: skip
    results = fit_layers(tmp_path / "c.h5", dimensions=("valence",), probe="ridge", folds=3, penalties=(1.0,),
                         resamples=50, permutations=0, mdl=False)  # fmt: skip
    scores = results.select(probe="ridge", layer=2, fold="all")
    compared = score_intervals(results, probe="ridge", dimension="valence", layer=2)
    fair = fairness_table(results, table, dimensions=["valence"], layer=2, resamples=50)
    centroids = relevance_centroids(results, resamples=50)
    told = {(row["unit"], int(row["units"])) for row in (
        scores.iloc[0], compared.iloc[0], fair[fair["group_by"] == "all"].iloc[0], centroids.iloc[0])}  # fmt: skip
    assert told == {(unit, len(np.unique(Units.of(columns["speaker"], columns["group"]).resampled)))}
    entry = next(entry for entry in results.protocol if entry["probe"] == "ridge")
    assert entry["interval"].startswith(f"95 % jackknife over {unit}s")
