"""One manner in every command: what its help says, what is the same in all, and what answers a misspelt name."""

from __future__ import annotations

import argparse
import re
import sys

import pytest

from emoprobe.analysis.measures.inquiries import INQUIRIES
from emoprobe.cli.ask import parser_of as parser_of_question
from emoprobe.cli.emoprobe import main
from emoprobe.cli.running import run_command
from emoprobe.cli.screen import screen_width, table_lines, told_run, wrapped
from emoprobe.errors import UserError
from tests.cli.test_commandline import COMMANDS, parser_of

#: What a help text must not begin with: it says what the option does, by a verb or as a question is asked.
FRAGMENT = re.compile(r"(of|over|between|among|where|which|that|such|for|in|no|at most|as|by|from|with|and the)\b")

#: Several commands under one name, each with options of its own.
OF_SEVERAL = {"ask"}


def all_parsers(monkeypatch) -> dict[str, argparse.ArgumentParser]:
    parsers = {name: parser_of(name, monkeypatch) for name in COMMANDS}
    return parsers | {f"ask {name}": parser_of_question(inquiry) for name, inquiry in INQUIRIES.items()}


def test_every_help_has_examples_and_says_what_each_option_does(monkeypatch) -> None:
    wrong = []
    for name, parser in all_parsers(monkeypatch).items():
        shown = parser.format_help()
        assert (
            f"  emoprobe {name if name.startswith('ask') else name.replace('_', '-')}"
            in shown.partition("\nexamples:\n")[2]
        ), name
        for action in parser._actions:
            said = action.help
            if said is not argparse.SUPPRESS and (not said or FRAGMENT.match(said)):
                wrong.append(f"{name} {action.option_strings or action.dest}: {said}")
    assert wrong == []


def test_every_command_has_its_options_in_groups(monkeypatch) -> None:
    """Beside what argparse itself adds, none stands in the general group of a command of more than a few options."""
    for name, parser in all_parsers(monkeypatch).items():
        general = {option for action in parser._optionals._group_actions for option in action.option_strings}
        if len(parser._actions) > 10 and name not in {"report", "study"}:
            assert general == {"-h", "--help", "--version"}, name


def test_every_command_can_be_quiet_or_verbose(monkeypatch) -> None:
    for name, parser in all_parsers(monkeypatch).items():
        if name not in OF_SEVERAL:
            options = {option for action in parser._actions for option in action.option_strings}
            assert {"--quiet", "--verbose", "--version", "--help"} <= options, name


def test_an_option_of_one_name_says_the_same_in_every_command(monkeypatch) -> None:
    """--longest leaves out, and --cut cuts; --features are statistics of the cache, --baselines what stands beside."""
    said: dict[str, set[str]] = {}
    for parser in (parser for name, parser in all_parsers(monkeypatch).items() if name != "study"):
        for action in parser._actions:
            for option in action.option_strings[:1]:
                said.setdefault(option, set()).add((action.help or "").partition(" (default")[0])
    for option in ("--quiet", "--verbose", "--longest", "--cut", "--format", "--ungrouped", "--columns", "--workers"):
        texts = said[option]
        allowed = {"--quiet": 9, "--workers": 4}.get(option, 1)
        assert len(texts) <= allowed, (option, texts)
    assert all("statistic" in text or "feature set" in text for text in said["--features"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fit", "--dim", "arousl"], "did you mean arousal?"),
        (["fit", "--probe", "rigde"], "did you mean ridge?"),
        (["fit", "--sed", "3"], "did you mean --seed?"),
        (["extract", "--model", "hubert-bse"], "did you mean hubert-base?"),
        (["extract", "--model", "hubert-nano", "--device", "cdua"], "--device cdua: did you mean cuda?"),
        (["extract", "--model", "hubert-nano", "--corpus", "emdb:x"], "did you mean emodb?"),
        (["extract", "--precision", "bfloat"], "did you mean bfloat16?"),
        (["train", "--dim", "valnce"], "--dim valnce: did you mean valence?"),
        (["train", "--device", "gpu"], "--device gpu: "),
        (["train", "--text", "distilbrt"], "did you mean distilbert?"),
        (["transcribe", "--corpus", "demo", "--model", "whisper-tiny-em"], "did you mean whisper-tiny-en?"),
        (["relevance", "x.h5", "--opinions", "banded-rige"], "did you mean banded_ridge?"),
        (["similarity", "x.h5", "--features", "men"], "did you mean mean?"),
        (["ask", "celing"], "did you mean ceiling?"),
        (["models", "hubrt-large"], "did you mean hubert-large?"),
        (["corpora", "emodbb"], "did you mean emodb?"),
        (["compares"], "did you mean compare?"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_one_that_was_meant(words, told, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert told in capsys.readouterr().err


def test_a_table_is_never_wider_than_the_screen(monkeypatch) -> None:
    rows = [["a name that is long " * 4, "0.71 [0.62, 0.80]", "yes"], ["short", "-0.02", "no"]]
    for columns in ("60", "80", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        lines = table_lines(["name", "CCC", "here"], rows)
        assert max(map(len, lines)) <= screen_width() <= min(100, int(columns))
        assert all(line.count("]") or line.count("-0.02") or line.startswith("name") for line in lines)
        assert max(map(len, wrapped("word " * 90).splitlines())) <= screen_width()


def test_a_column_without_values_is_left_out() -> None:
    assert table_lines(["a", "b", "p"], [["x", "", "0.1"], ["y", "", "< 0.001"]]) == [
        "a        p",
        "x      0.1",
        "y  < 0.001",
    ]


def test_baselines_are_called_as_in_the_figures() -> None:
    assert told_run("mfcc", "mfcc") == "MFCC"
    assert told_run("text", "text") == "words"
    assert told_run("ridge", "mean+std") == "ridge (mean+std)"


def test_verbose_tells_logs_the_place_of_an_error_and_what_it_took(capsys) -> None:
    import logging

    def body() -> int:
        logging.getLogger("somebody").info("loading")
        raise UserError("no")

    before = logging.getLogger().level, list(logging.getLogger().handlers)
    assert run_command(body, verbose=True) == 2
    said = capsys.readouterr().err
    assert "log: somebody: loading\n" in said
    assert "in body" in said
    assert said.endswith("error: no\n")
    assert re.search(r"^took \d+\.\d s and at most [\d,]+ MB of memory$", said, re.MULTILINE)
    assert (logging.getLogger().level, list(logging.getLogger().handlers)) == before
    assert run_command(body) == 2
    assert capsys.readouterr().err == "error: no\n"


def test_help_imports_nothing_heavy_for_the_shared_helpers() -> None:
    """What every command imports stands above its parser; a bar's library is loaded with the first bar."""
    import subprocess

    code = "import sys, emoprobe.cli.command, emoprobe.progress; print({'tqdm', 'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
