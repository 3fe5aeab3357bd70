"""Which categories are fitted: the rule of --classes, the usual sets, and warnings of categories that do not match."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoprobe.errors import UserError
from emoprobe.jsontext import from_json, to_json
from emoprobe.probe.classes import ALL, USUAL, Classes, chosen_classes, told
from emoprobe.probe.fit import fit_caches
from emoprobe.probe.mismatches import mismatches
from emoprobe.probe.settings import FitSettings
from emoprobe.probe.targets import Labels, plan_target
from emoprobe.testing.caches import write_cache

IEMOCAP = {"ang": 1103, "hap": 595, "sad": 1084, "neu": 1708, "exc": 1041, "fru": 1849, "oth": 3}


@pytest.mark.parametrize(
    ("rule", "members"),
    [
        ("ang hap=hap+exc neu sad", {"ang": ("ang",), "hap": ("hap", "exc"), "neu": ("neu",), "sad": ("sad",)}),
        ("calm=calm+'very calm' 'very sad'", {"calm": ("calm", "very calm"), "very sad": ("very sad",)}),
        ("negative=ang+sad  positive=hap", {"negative": ("ang", "sad"), "positive": ("hap",)}),
        (r"'hap\+exc' c='a\=b'+'\+' 'x\\y'", {"hap+exc": ("hap+exc",), "c": ("a=b", "+"), "x\\y": ("x\\y",)}),
        (r"'x\y' b", {"x\\y": ("x\\y",), "b": ("b",)}),
    ],
)
def test_a_rule_reads_back_as_it_is_written(rule: str, members: dict) -> None:
    assert Classes.parse(rule).members == members
    assert Classes.parse(str(Classes.parse(rule))) == Classes.parse(rule)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("ang", "two classes or more"),
        ("ang ang sad", "'ang' is there twice"),
        ("ang hap=ang+hap", "ang would be in two classes"),
        ("ang hap=hap+", "'hap=hap+' is neither"),
        ("ang hap+exc", "'hap+exc' is neither"),
        ("ang a=b=c", "'a=b=c' is neither"),
        ("ang a+b=c", "'a+b=c' is neither"),
        ("ang =hap", "'=hap' is neither"),
        ("ang ''", "'' is neither"),
        ("ang hap=+exc", "'hap=+exc' is neither"),
        ("ang 'sad", "a quote is not closed"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, said: str) -> None:
    with pytest.raises(UserError, match="--classes") as refused:
        FitSettings(dimensions=("emotion",), classes=rule)
    assert said in str(refused.value)


def test_a_rule_without_categories_is_refused() -> None:
    with pytest.raises(UserError, match="--target emotion"):
        FitSettings(classes="ang sad")


def test_the_usual_classes_are_the_default_of_their_corpus_alone() -> None:
    assert str(chosen_classes(None, "iemocap", IEMOCAP)) == "ang hap=hap+exc neu sad"
    assert chosen_classes(None, "mine", IEMOCAP) == Classes.every(IEMOCAP)
    assert chosen_classes(ALL, "iemocap", IEMOCAP) == Classes.every(IEMOCAP)
    assert chosen_classes(None, "msp-podcast", dict.fromkeys("ASHUFDCNO", 5)).names == list("ASHUFDCN")
    # What is not there is no class, and a corpus with other names is fitted as it is.
    assert str(chosen_classes(None, "iemocap", {"ang": 4, "exc": 2, "fru": 1})) == "ang hap=exc"
    assert chosen_classes(None, "iemocap", {"angry": 4, "happy": 2}).names == ["angry", "happy"]


def test_what_is_merged_and_left_out_is_told_with_counts() -> None:
    said = told(chosen_classes(None, "iemocap", IEMOCAP), None, "iemocap", IEMOCAP)
    assert "--classes 'ang hap=hap+exc neu sad'" in said[0]
    assert "class hap is hap (595) and exc (1,041)" in said
    assert "1,852 utterances of other categories are left out (fru 1,849, oth 3)" in said
    assert told(chosen_classes(ALL, "iemocap", IEMOCAP), ALL, "iemocap", IEMOCAP) == []


def test_a_class_that_nobody_has_is_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match="no utterance of 'iemocap' is 'happy'; there is ang 1,103, exc 1,041"):
        chosen_classes("ang happy", "iemocap", IEMOCAP)


@pytest.mark.parametrize("corpus", USUAL)
def test_the_usual_classes_are_a_rule(corpus: str) -> None:
    assert len(Classes.parse(USUAL[corpus]).members) > 1


def table_with(tmp_path: Path, emotions: list[str], **columns):
    return write_cache(tmp_path / "cache.h5", n=len(emotions), emotion=emotions, **columns)


def said_of(table, *, corpus: str = "mine", classes: str | None = None) -> list[str]:
    labels = Labels.of(table.assign(status="done"), classes=classes, corpus=corpus)
    return mismatches(labels, plan_target(labels, "emotion", FitSettings(dimensions=("emotion",)), corpus=corpus))


def test_one_class_under_several_names_is_told_with_the_rule_that_merges_it(tmp_path: Path) -> None:
    emotions = ["anger"] * 40 + ["Anger"] * 20 + ["ang"] * 20 + ["sad"] * 20 + ["calm"] * 20
    table = table_with(tmp_path, emotions, speaker=[f"s{row % 12}" for row in range(120)])
    (said,) = said_of(table)
    assert "'Anger' (20) and 'ang' (20) and 'anger' (40)" in said
    assert "--classes 'anger=Anger+ang+anger calm sad'" in said
    assert said_of(table, classes="anger=Anger+ang+anger calm sad") == []


def test_names_that_begin_several_others_are_not_taken_for_one(tmp_path: Path) -> None:
    emotions = ["dis", "disgust", "disappointment", "calm"] * 30
    assert said_of(table_with(tmp_path, emotions)) == []


def test_classes_on_one_side_of_the_split_alone_are_told(tmp_path: Path) -> None:
    emotions = (["anger"] * 20 + ["calm"] * 20 + ["sad"] * 20) + (["ang"] * 20 + ["calm"] * 20 + ["sad"] * 20)
    said = said_of(table_with(tmp_path, emotions, split=["train"] * 60 + ["test"] * 60))
    assert any("'ang' (20) and 'anger' (20)" in line for line in said)
    assert "in 'train' and not in 'test': anger (20)" in said
    assert any("'ang' is recognised nowhere in 'test': its 20 utterances" in line for line in said)


def test_a_class_of_one_fold_alone_is_told(tmp_path: Path) -> None:
    speakers = [f"s{row % 12}" for row in range(120)]
    emotions = ["shame" if name == "s3" else ("sad", "calm")[row % 5 > 2] for row, name in enumerate(speakers)]
    (said,) = said_of(table_with(tmp_path, emotions, speaker=speakers))
    assert said.startswith("'shame' is recognised nowhere in fold ")
    assert "its 10 utterances" in said


def test_rare_classes_are_told_with_the_rule_that_leaves_them_out(tmp_path: Path) -> None:
    emotions = ["calm", "sad"] * 59 + ["other"] * 2
    said = said_of(table_with(tmp_path, emotions))
    assert any("other 2; to leave them out: --classes 'calm sad'" in line for line in said)


def renamed(path: Path, corpus: str) -> Path:
    """The cache with another corpus's name."""
    from emoprobe.extract.layout import layout_sha256, seal_layout

    with h5py.File(path, "r+") as file:
        provenance = from_json(file.attrs["provenance"])
        provenance["corpus"]["name"] = corpus
        file.attrs["provenance"] = to_json(provenance)
        file.attrs["layout_sha256"] = layout_sha256(file)
    seal_layout(path)
    return path


@pytest.mark.slow
def test_fitted_classes_are_those_of_the_rule_and_another_rule_is_another_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    emotions = rng.choice(["ang", "hap", "exc", "neu", "sad", "fru"], 180)
    write_cache(tmp_path / "c.h5", n=180, emotion=emotions)
    cache = renamed(tmp_path / "c.h5", "iemocap")
    lines: list[str] = []

    def fit(classes: str | None = None, **settings):
        settings = FitSettings.of(
            dimensions="emotion", probe="logistic", classes=classes, penalties=(1.0, 100.0), resamples=20, **settings
        )
        return fit_caches([cache], settings, out=tmp_path / "results", say=lines.append)

    usual = fit()
    there = Counter(emotions)
    entry = next(entry for entry in usual.protocol if entry["probe"] == "logistic")
    assert entry["categories"] == ["ang", "hap", "neu", "sad"]
    assert entry["settings"]["classes"] == "ang hap=hap+exc neu sad"
    assert entry["cache"]["labelled"] == 180 - there["fru"]
    assert f"{there['fru']:,} utterances of other categories are left out (fru {there['fru']})" in "\n".join(lines)
    predictions = usual.predictions[(usual.predictions["probe"] == "logistic") & (usual.predictions["layer"] == 0)]
    assert Counter(predictions["true_category"])["hap"] == there["hap"] + there["exc"]

    lines.clear()
    fit()
    assert any("not fitted again" in line for line in lines)
    lines.clear()
    every = fit(ALL)
    assert not any("not fitted again" in line for line in lines)
    entry = next(entry for entry in every.protocol if entry["probe"] == "logistic")
    assert entry["categories"] == sorted(there)
    assert "classes" not in entry["settings"]


def test_folds_do_not_depend_on_the_classes(tmp_path: Path) -> None:
    emotions = np.random.default_rng(1).choice(["ang", "sad", "fru"], 120)
    ratings = np.where(np.arange(120) % 3, np.nan, np.arange(120) / 20)
    table = write_cache(tmp_path / "c.h5", emotion=emotions, arousal=ratings, valence=np.nan, dominance=np.nan)
    splits = [
        plan_target(Labels.of(table.assign(status="done"), classes=rule), "arousal", FitSettings(), corpus="mine")
        for rule in (ALL, "ang sad")
    ]
    for one, other in zip(splits[0].folds, splits[1].folds, strict=True):
        np.testing.assert_array_equal(one.train, other.train)


@given(st.lists(st.text("ab+=\\\\'\" é", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=6, unique=True))
def test_every_category_has_a_rule_that_reads_back(names: list[str]) -> None:
    """Whatever a corpus calls its categories, the rule that the protocol holds and messages suggest can be typed."""
    for classes in (Classes.every(names), Classes({names[0]: (names[0],), names[1]: tuple(names[1:])})):
        assert Classes.parse(str(classes)) == classes
        (typed,) = shlex.split(shlex.quote(str(classes)))
        assert Classes.parse(typed) == classes


def test_suggested_rules_of_names_with_marks_can_be_typed() -> None:
    there = {"hap+exc": 40, "Hap+Exc": 20, "a=b": 30, "few": 2}
    typed = "--classes 'ang hap+exc'"
    with pytest.raises(UserError) as refused:
        Classes.parse(shlex.split(typed)[1])
    (advised,) = re.findall(r"write ('.*')\)", str(refused.value))
    assert Classes.parse(f"ang {advised}").names == ["ang", "hap+exc"]
    assert chosen_classes(r"'hap\+exc' 'a\=b'", "mine", there).names == ["hap+exc", "a=b"]
