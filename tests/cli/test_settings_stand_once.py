"""A setting stands once: its name, type and default are those of a dataclass, from which the commands are filled."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoprobe.analysis.measures.relevance_settings import RelevanceSettings
from emoprobe.analysis.report.settings import ReportSettings
from emoprobe.cli.command import CommandParser, add_setting, settings_of
from emoprobe.demo.corpus import CorpusSettings
from emoprobe.demo.evaluate import EvaluationSettings
from emoprobe.demo.pretrain_settings import PretrainSettings
from emoprobe.demo.probing import ProbingSettings
from emoprobe.demo.teaching_settings import TeachingSettings
from emoprobe.distil.settings import DistillSettings, Keeping, Running
from emoprobe.endtoend.settings import ModelSettings, PredictionSettings, TrainingSettings
from emoprobe.endtoend.window_settings import WindowSettings
from emoprobe.extract.settings import ExtractionSettings
from emoprobe.parallel import ProcessSettings
from emoprobe.probe.settings import FitSettings
from emoprobe.study.settings import StudySettings
from emoprobe.transcribe.settings import TranscriptionSettings
from tests.cli.test_commandline import parser_of

#: Each command with the settings that its options fill, and how many of these it has options for.
FILLED = [
    ("demo_corpus", CorpusSettings, 3),
    ("demo_evaluate", EvaluationSettings, 3),
    ("demo_pretrain", PretrainSettings, 15),
    ("demo_pretrain", Keeping, 2),
    ("demo_teach", TeachingSettings, 10),
    ("demo_teach", Running, 4),
    ("distill", DistillSettings, 11),
    ("distill", Running, 4),
    ("extract", ExtractionSettings, 13),
    ("fit", FitSettings, 15),
    ("fit", ProcessSettings, 1),
    ("predict", PredictionSettings, 4),
    ("predict", WindowSettings, 2),
    ("probing_corpora", ProbingSettings, 5),
    ("relevance", RelevanceSettings, 9),
    ("report", ReportSettings, 4),
    ("study", StudySettings, 17),
    ("train", ModelSettings, 16),
    ("train", TrainingSettings, 31),
    ("transcribe", TranscriptionSettings, 6),
]


def defaults_of(settings: type) -> dict[str, Any]:
    """Settings that options can fill, with their defaults; the columns of a corpus have words of their own."""
    of_corpora = {"keep_words", "columns"} if settings is TranscriptionSettings else set()
    return {field.name: field.default for field in fields(settings) if field.name not in of_corpora}


@pytest.mark.parametrize(("command", "settings", "count"), FILLED)
def test_an_option_has_the_default_of_its_setting(command, settings, count, monkeypatch) -> None:
    defaults = defaults_of(settings)
    actions = {action.dest: action for action in parser_of(command, monkeypatch)._actions if action.dest in defaults}
    assert {name: action.default for name, action in actions.items()} == {name: defaults[name] for name in actions}
    assert len(actions) == count
    given_nothing = argparse.Namespace(**{name: action.default for name, action in actions.items()})
    assert settings_of(given_nothing, settings) == settings()


@pytest.mark.parametrize(("command", "settings", "count"), FILLED)
def test_no_command_gives_a_setting_another_default(command, settings, count, monkeypatch) -> None:
    """Nothing but `add_setting`, which asks the dataclass, adds the option of a setting."""
    source = Path(__file__).parents[2].joinpath("cli", f"{command}.py").read_text(encoding="utf-8")
    names = {action.dest for action in parser_of(command, monkeypatch)._actions} & set(defaults_of(settings))
    own = {name for name in names if re.search(rf'add_argument\(\s*"--(no-)?{name.replace("_", "-")}"', source)}
    assert not own


WORDS = st.text("abcxyz", min_size=1, max_size=5)
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(abs)
COUNTS = st.integers(0, 10**6)
KINDS = {
    "int": COUNTS,
    "int | None": COUNTS,
    "float": NUMBERS,
    "float | None": NUMBERS,
    "str": WORDS,
    "str | None": WORDS,
    "tuple[int, ...]": st.lists(COUNTS, min_size=1, max_size=4).map(tuple),
    "tuple[float, ...] | None": st.lists(NUMBERS, min_size=1, max_size=4).map(tuple),
    "tuple[str, ...]": st.lists(WORDS, min_size=1, max_size=4).map(tuple),
    "tuple[int, int]": st.tuples(COUNTS, COUNTS),
}


@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_an_option_takes_the_values_of_its_setting(data: st.DataObject, kind: str) -> None:
    """Whatever its type: left out it has the default, given it has what was given."""
    default, value = data.draw(KINDS[kind]), data.draw(KINDS[kind])
    settings = make_dataclass("Settings", [("a_name", kind, default)], frozen=True)
    parser = CommandParser()
    add_setting(parser, settings, "a_name", help="default: %(default)s")
    assert settings_of(parser.parse_args([]), settings) == settings()
    words = map(str, value if isinstance(value, tuple) else (value,))
    filled = settings_of(parser.parse_args(["--a-name", *words]), settings)
    assert filled == settings(value)
    assert type(filled.a_name) is type(value)
    assert "--a-name" in parser.format_help()


@pytest.mark.parametrize("default", [True, False])
def test_a_switch_turns_its_setting_round(default: bool) -> None:
    settings = make_dataclass("Settings", [("a_name", bool, default)], frozen=True)
    parser = CommandParser()
    add_setting(parser, settings, "a_name", help="")
    assert settings_of(parser.parse_args([]), settings) == settings()
    option = "--no-a-name" if default else "--a-name"
    assert settings_of(parser.parse_args([option]), settings) == settings(not default)


def test_a_default_is_told_in_the_words_of_the_command() -> None:
    settings = make_dataclass("Settings", [("few", "tuple[str, ...]", ("a", "b")), ("rate", "float", 5e-5)])
    parser = CommandParser()
    for name in get_type_hints(settings):
        add_setting(parser, settings, name, help="default: %(default)s")
    assert "default: a b" in parser.format_help()
    assert "default: 5e-05" in parser.format_help()
