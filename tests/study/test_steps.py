"""The steps of a study are commands that their own parsers take."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from emoprobe.analysis.measures.inquiries import INQUIRIES
from emoprobe.cli.ask import parser_of as parser_of_question
from emoprobe.cli.command import settings_of
from emoprobe.cli.emoprobe import SUBCOMMANDS
from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.errors import UserError
from emoprobe.extract.settings import ExtractionSettings
from emoprobe.study.facts import Facts, facts_of
from emoprobe.study.presets import PRESETS
from emoprobe.study.settings import Programme, StudySettings
from emoprobe.study.steps import plan
from emoprobe.study.tables import TABLES, default_of
from emoprobe.testing import make_corpus
from tests.cli.test_commandline import parser_of

FULL = Facts("speech", 100, 100, ("arousal", "valence", "dominance", "emotion"))


def steps_of(facts: Facts = FULL, tables: dict | None = None, **changes) -> list[str]:
    programme = Programme(replace(StudySettings(corpus="speech.csv"), **changes), tables or {})
    return [shlex.join(step.words) for step in plan(programme, facts, Path("out")).steps]


#: A value that is not the default, by table and key.
OTHER = {
    ("transcribe", "device"): "cpu", ("extract", "pool"): ("mean",), ("extract", "precision"): "bfloat16",
    ("fit", "features"): ("mean", "std"), ("fit", "classes"): "angry sad", ("fit", "head"): "mlp",
    ("fit", "permute_within_speakers"): False, ("train", "freeze"): (), ("train", "pooling"): "attentive",
    ("train", "layers"): "sum", ("train", "precision"): "bfloat16", ("train", "weights"): (1.0, 2.0, 1.0),
    ("fit", "penalties"): (1.0, 10.0), ("train", "speeds"): (0.9, 1.1),
    ("extract", "engine"): "ray", ("fit", "engine"): "ray", ("extract", "address"): "auto", ("fit", "address"): "auto",
    ("extract", "gpus"): "2",
}  # fmt: skip


@pytest.mark.parametrize("name", ["transcribe", "extract", "fit", "train", "report"])
def test_every_option_of_a_table_is_one_of_the_command(name, monkeypatch):
    """What is set in study.toml arrives in the command, with the same value."""
    table = TABLES[name]
    needed = ["--corpus", "c", "--model", "m"] if name == "transcribe" else []
    for key, (_, field) in table.fields().items():
        default = default_of(field)
        value = OTHER.get((name, key))
        if value is None:
            value = (not default) if isinstance(default, bool) else 7 if not isinstance(default, str) else "cuda"
        words = table.words({field.name: value})
        assert words, key
        given = getattr(parser_of(name, monkeypatch).parse_args([*needed, *words]), field.name)
        given = tuple(given) if isinstance(given, list) else given
        assert given == value or (value == () and given == ("none",)), key


def test_each_step_is_taken_by_its_command(monkeypatch, capsys):
    tables = {"extract": {"limit": 9}, "fit": {"mdl": False}, "train": {"epochs": 2}, "report": {"quick": True}}
    settings = StudySettings(corpus="speech.csv", twins=2, recogniser="whisper-tiny-en", ask=tuple(INQUIRIES))
    facts = replace(FULL, transcripts=10)
    planned = plan(Programme(settings, tables), facts, Path("out"))
    assert not planned.notes
    for step in planned.steps:
        assert step.command in SUBCOMMANDS
        if step.command == "ask":
            given = parser_of_question(INQUIRIES[step.words[1]]).parse_args(step.words[2:])
            assert len(given.caches) == 4
            continue
        given = parser_of(step.command.replace("-", "_"), monkeypatch).parse_args(step.words[1:])
        if step.command == "extract" and not given.baselines:
            assert settings_of(given, ExtractionSettings) == ExtractionSettings(limit=9)
            assert given.corpus == "out/transcripts/speech.csv"
        if step.command == "train" and not given.count:
            assert settings_of(given, TrainingSettings) == TrainingSettings(epochs=2, seeds=3)
    does = [step.does for step in planned.steps]
    assert does[0] == "transcribe the 90 utterances without words by whisper-tiny-en"
    assert does[-1] == "write the report"
    assert sum("end to end" in line for line in does) == sum("costs" in line for line in does) == 4


def test_the_systems_have_the_encoders_that_they_are_named_after(monkeypatch):
    trained = {}
    for line in steps_of(systems=("text", "student", "student+text", "teacher", "teacher+text")):
        words = shlex.split(line)
        if words[0] == "train" and "--count" not in words:
            given = parser_of("train", monkeypatch).parse_args(words[1:])
            trained[given.out.name] = (given.audio, given.text, given.layers)
    assert trained == {
        "text": ("none", "minilm", "last"),
        "student": ("distilhubert-nano", "none", "last"),
        "student-and-text": ("distilhubert-nano", "minilm", "last"),
        "teacher": ("hubert-nano", "none", "sum"),
        "teacher-and-text": ("hubert-nano", "minilm", "sum"),
    }
    assert ModelSettings(layers="sum")  # a value that there is


def test_revisions_and_the_language_go_to_their_commands():
    changes = {"teacher_revision": "t1", "student_revision": "s1", "text_revision": "x1", "language": "de"}
    lines = steps_of(replace(FULL, transcripts=0), recogniser="whisper", systems=("text", "student+text"), **changes)
    assert "--model whisper --language de " in lines[0]
    assert [word for line in lines[1:4] for word in shlex.split(line) if word in ("t1", "s1")] == ["t1", "s1", "t1"]
    trained = [line for line in lines if line.startswith("train --corpus")]
    assert "--audio-revision" not in trained[0]
    assert "--text-revision x1" in trained[0]
    assert "--audio-revision s1 --text-revision x1" in trained[1]


def test_what_cannot_be_is_left_out_and_said():
    programme = Programme(StudySettings(corpus="speech.csv", student="none"))
    planned = plan(programme, Facts("speech", 9, 0, ("valence",)), Path("out"))
    lines = [shlex.join(step.words) for step in planned.steps]
    assert not any("distilhubert" in line or "text=" in line or "emotion" in line for line in lines)
    assert not any("--audio none" in line for line in lines)
    told = "; ".join(planned.notes)
    assert "no text baseline: speech has no transcripts; recogniser (such as whisper-tiny-en)" in told
    assert "no end-to-end system student: student is none" in told
    assert "no end-to-end system text: speech has no transcripts" in told
    assert "speech has no label of arousal, dominance: not fitted" in told
    assert any("--dim valence --probe ridge" in line for line in lines)


def test_a_corpus_without_the_label_is_refused():
    with pytest.raises(UserError, match=r"has no label of valence \(it has emotion\)"):
        steps_of(replace(FULL, targets=("emotion",)), dimensions=("valence",), categories=False)
    assert any("--target emotion" in line for line in steps_of(replace(FULL, targets=("emotion",))))


def test_two_models_of_one_name_are_told_apart_and_one_model_twice_is_refused():
    steps = steps_of(teacher="lab/hubert", student="other/hubert", systems=())
    assert any("--model lab/hubert --out out/caches/lab-hubert.h5" in step for step in steps)
    assert any("--model other/hubert --out out/caches/other-hubert.h5" in step for step in steps)
    assert any("out/caches/lab-hubert-random-0.h5" in step for step in steps)
    with pytest.raises(UserError, match="teacher and student are both hubert-nano"):
        steps_of(student="hubert-nano")


def test_a_weighted_probe_reads_what_can_be_summed():
    programme = Programme(StudySettings(corpus="speech.csv"), {"fit": {"features": ("std",)}})
    planned = plan(programme, FULL, Path("out"))
    ridge, weighted = (step.words for step in planned.steps if step.model in ("ridge", "weighted"))
    assert ridge[ridge.index("--features") + 1] == "std"
    assert "--features" not in weighted
    assert "weighted probes read the mean: there is no weighted sum of std" in planned.notes


def test_a_step_is_made_anew_where_it_can_be():
    planned = plan(Programme(StudySettings(corpus="speech.csv")), FULL, Path("out"))
    first = planned.with_anew([1])
    assert first.steps[0].words == (*planned.steps[0].words, "--overwrite")
    assert first.steps[1:] == planned.steps[1:]
    report = len(planned.steps)
    with pytest.raises(UserError, match=rf"--again {report}: steps that can be made anew are 1, 2, "):
        planned.with_anew([1, report])


def test_how_the_corpus_is_read_goes_to_every_step():
    reading = {"columns": ("path=file",), "keep_words": ("speaker",), "ratings": "r.csv", "splits": "folds"}
    lines = steps_of(tables={"reading": reading}, systems=("student",))
    extract = next(line for line in lines if line.startswith("extract --corpus"))
    assert "--columns path=file --keep-words speaker --ratings r.csv --splits folds" in extract
    train = next(line for line in lines if line.startswith("train --corpus"))
    assert "--columns path=file --keep-words speaker --splits folds" in train
    lines = steps_of(tables={"reading": reading, "train": {"reliability": True}}, systems=("student",))
    assert "--ratings r.csv" in next(line for line in lines if line.startswith("train --corpus"))
    lines = steps_of(replace(FULL, transcripts=0), tables={"reading": reading}, recogniser="whisper-tiny-en")
    assert "--columns path=file --keep-words speaker --model whisper-tiny-en" in lines[0]
    assert "--columns" not in lines[1]  # the manifest that was written has our names


def test_the_last_fit_draws_what_all_of_them_found():
    fits = [line for line in steps_of() if line.startswith("fit ")]
    assert len(fits) > 1
    assert all("--no-figures" in line for line in fits[:-1])
    assert "--figures" in fits[-1]
    assert "--no-figures" not in fits[-1]


def test_the_facts_are_those_of_the_corpus(tmp_path):
    manifest = make_corpus(tmp_path / "speech", utterances=6, speakers=3)
    facts = facts_of(Programme(StudySettings(corpus=str(manifest))))
    assert facts.utterances == 6
    assert set(facts.targets) >= {"arousal", "valence"}
    assert facts_of(PRESETS["demo"].programme) == Facts(
        "demo", 1200, 1200, ("arousal", "valence", "dominance", "emotion")
    )


def test_printed_commands_can_be_pasted(tmp_path, monkeypatch, capsys):
    """With every character that a shell takes for its own."""
    manifest = make_corpus(tmp_path / "it's $HOME", utterances=6, speakers=3)
    monkeypatch.chdir(tmp_path)
    assert emoprobe(["study", str(manifest), "--print", "--out", "my study"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    words = shlex.split(lines[0])
    assert words[:4] == ["emoprobe", "extract", "--corpus", str(manifest)]
    assert words[words.index("--out") + 1] == "my study/caches/hubert-nano.h5"
    assert not (tmp_path / "my study").exists()
