"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import importlib
import os
import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

from emoprobe import UserError
from emoprobe.cli.command import CommandParser, file_name, in_lines, tell_left_out
from emoprobe.cli.emoprobe import SUBCOMMANDS
from emoprobe.cli.emoprobe import main as emoprobe_main
from emoprobe.cli.running import run_command
from emoprobe.endtoend.prediction import PredictionSettings
from emoprobe.errors import plain
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.extraction import ExtractionSettings
from emoprobe.transcribe.transcription import TranscriptionSettings
from emoprobe.version import version

#: Every module that has a command, as `main(arguments)`.
COMMANDS = (
    "ask",
    "centroid",
    "clean",
    "compare",
    "corpora",
    "demo_corpus",
    "demo_evaluate",
    "demo_pretrain",
    "demo_teach",
    "distill",
    "export",
    "extract",
    "fit",
    "join",
    "models",
    "plot",
    "predict",
    "probing_corpora",
    "relevance",
    "report",
    "similarity",
    "study",
    "train",
    "transcribe",
)
#: An empty text means something here: no title.
FREE = {"--title"}
#: Those that read a corpus, all of them by its name.
READERS = ("distill", "export", "extract", "predict", "train", "transcribe")


class Asked(Exception):
    """Carries the parser of a command that was about to read its arguments."""


def parser_of(name: str, monkeypatch: pytest.MonkeyPatch) -> CommandParser:
    def stop(self, *_):
        raise Asked(self)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(Asked) as caught:
            importlib.import_module(f"emoprobe.cli.{name}").main([])
    return caught.value.args[0]


def test_every_command_is_listed_here() -> None:
    """Arguments are read in `cli/` alone, one file a command, and each is a subcommand of `emoprobe`."""
    root = Path(__file__).parents[2]
    rooms = ("analysis", "cli", "demo", "distil", "emoprobe", "endtoend", "extract", "probe", "study", "transcribe")
    files = [path for room in rooms for path in (root / room).rglob("*.py")]
    readers = [path.relative_to(root) for path in files if "Parser(" in path.read_text(encoding="utf-8")]
    shared = {Path("cli/parsing.py"), Path("cli/emoprobe.py")}
    assert {path for path in readers if path not in shared} == {Path("cli", f"{name}.py") for name in COMMANDS}
    assert sorted(name.replace("-", "_") for name in SUBCOMMANDS) == sorted(COMMANDS)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", ["emoprobe", *COMMANDS])
def test_every_module_of_a_command_runs_it(name: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """As `python -m emoprobe.cli.NAME` does, and several processes of one training are started."""
    monkeypatch.setattr(sys, "argv", [name, "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"emoprobe.cli.{name}", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"emoprobe {version()}\n"


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_an_empty_name_or_path(
    name: str, blank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    parser = parser_of(name, monkeypatch)
    assert isinstance(parser, CommandParser)
    tried = 0
    for action in parser._actions:
        if action.nargs == 0 or FREE & set(action.option_strings):
            continue
        words = [blank] * (action.nargs if isinstance(action.nargs, int) else 1)
        with pytest.raises(SystemExit) as stopped:
            parser.parse_args([*action.option_strings[-1:], *words])
        assert stopped.value.code == 2
        said = capsys.readouterr().err
        is_text = action.type in (None, Path, file_name)
        expected = ("is empty; give a value",) if is_text else ("invalid int", "invalid float")
        assert any(message in said for message in expected), said
        assert (action.option_strings[-1:] or [action.metavar or action.dest])[0] in said
        tried += 1
    assert tried > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_bytes_that_are_no_utf8(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    parser = parser_of(name, monkeypatch)
    given = os.fsdecode(b"caf\xe9")
    for action in parser._actions:
        if action.nargs == 0 or action.type is file_name:  # audio that is only read may have any name
            continue
        words = [given] * (action.nargs if isinstance(action.nargs, int) else 1)
        with pytest.raises(SystemExit) as stopped:
            parser.parse_args([*action.option_strings[-1:], *words])
        assert stopped.value.code == 2
        said = capsys.readouterr().err
        expected = ("invalid int", "invalid float", "invalid choice", "is no UTF-8", "are no UTF-8")
        assert any(message in said for message in expected), said
        said.encode()  # the message itself can be printed


def test_a_name_that_cannot_be_written_is_told_in_one_line(capsys: pytest.CaptureFixture) -> None:
    def write() -> int:
        os.fsdecode(b"/home/caf\xe9/r").encode()
        return 0

    assert run_command(write) == 2
    said = capsys.readouterr().err
    assert r"'/home/caf\udce9/r' holds bytes that are no UTF-8" in said
    assert said.count("\n") == 1

    def other() -> int:
        "é".encode("ascii")
        return 0

    with pytest.raises(UnicodeEncodeError):  # a fault of ours, and not of a name
        run_command(other)


def test_an_unset_variable_does_not_run_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from emoprobe.cli.extract import main

    monkeypatch.chdir(tmp_path)
    for argument in ("--corpus", "--model", "--out"):
        for given in ([argument, ""], [f"{argument}="]):
            with pytest.raises(SystemExit) as stopped:
                main(given)
            assert stopped.value.code == 2
            assert f"argument {argument}: is empty" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
    for spec in ("", "  "):
        with pytest.raises(UserError, match="is empty"):
            read_corpus(spec)


@pytest.mark.parametrize("name", READERS)
def test_every_command_that_reads_a_corpus_can_keep_its_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {flag for action in parser_of(name, monkeypatch)._actions for flag in action.option_strings}
    assert {"--corpus", "--keep-words"} <= options


def test_those_are_all_that_read_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with_corpus = [
        name
        for name in COMMANDS
        if any("--corpus" in action.option_strings for action in parser_of(name, monkeypatch)._actions)
    ]
    assert sorted(with_corpus) == sorted((*READERS, "demo_evaluate"))  # that one reads the demonstration alone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("é, 中 and ‘x’", "é, 中 and ‘x’"),
        (" two\nlines\tand \r\n more ", "two lines and more"),
        ("bell \a, \x0f, \x1b[31mred", r"bell \x07, \x0f, \x1b[31mred"),
        ("\udcff.wav", r"\xff.wav"),
        ("a" * 1_200 + "b" * 5_000 + "c" * 700, "a" * 1_200 + " … (5,000 characters) … " + "c" * 700),
        ("turned \u202e round", r"turned \u202e round"),
    ],
)
def test_an_error_is_one_line_that_any_terminal_shows(text, expected, capsys):
    def fail():
        raise UserError(text)

    assert plain(text) == expected
    assert run_command(fail) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"


def test_arguments_that_nobody_knows_are_told_on_one_line(capsys):
    with pytest.raises(SystemExit):
        CommandParser(prog="probe").parse_args(["a\n\x1b[2J", "\udcff"])
    assert capsys.readouterr().err.splitlines()[-1] == r"probe: error: unrecognized arguments: a \x1b[2J \xff"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e308, 10**20])
@pytest.mark.parametrize("name", ["batch_seconds", "longest", "workers"])
def test_a_setting_that_is_no_amount_is_refused_by_name(name, value):
    for settings in (ExtractionSettings, PredictionSettings, TranscriptionSettings):
        with pytest.raises(UserError, match=f"{name} is .*it must be a number above 0"):
            settings(**{name: value})
        assert getattr(settings(**{name: 1e9}), name) == 1e9


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("ft", "there is no 'ft': did you mean fit?"),
        ("xyz", "there is no 'xyz': emoprobe --help lists the subcommands"),
    ],
)
def test_a_misspelt_subcommand_is_answered_with_the_nearest(given, answer, capsys):
    with pytest.raises(SystemExit) as ended:
        emoprobe_main([given])
    assert ended.value.code == 2
    assert answer in capsys.readouterr().err


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_command_tells_the_version(name, capsys):
    with pytest.raises(SystemExit) as ended:
        emoprobe_main([name, "--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("emoprobe 0.")


def test_what_is_left_out_is_listed_alike_by_every_command(capsys: pytest.CaptureFixture) -> None:
    """On one line each, whatever its name holds, and no more than can be read where the rest stands in a file."""
    table = pd.DataFrame({"path": ["a\x1b[31m\nb.wav"], "status": "missing", "reason": "it is\tgone"})
    tell_left_out(in_lines(table))
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.strip().isprintable()
    assert line.startswith("left out: a")
    assert ": missing: it is" in line
    many = [f"u{k}: reason" for k in range(25)]
    tell_left_out(many, what="egemaps", elsewhere="column `reason` of c.h5")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"left out of egemaps: {one}" for one in many[:20]] + ["… and 5 more: column `reason` of c.h5"]
    tell_left_out(many)
    assert len(capsys.readouterr().err.splitlines()) == 25


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_is_written_in_the_markup_of_the_docs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "``" not in parser_of(name, monkeypatch).format_help()


def test_an_option_of_several_values_may_be_given_again():
    parser = CommandParser()
    parser.add_argument("--columns", nargs="+", default=["a"])
    parser.add_argument_group("more").add_argument("--layer", type=int, default=3)
    assert parser.parse_args([]).columns == ["a"]
    given = parser.parse_args(["--columns", "b", "c", "--layer", "1", "--columns", "d", "--layer", "2"])
    assert vars(given) == {"columns": ["b", "c", "d"], "layer": 2}
