"""A command tells the one that usually comes next, and that one runs as it stands."""

from __future__ import annotations

import shlex

import pytest

from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.testing import make_corpus, save_speech_model


def next_of(capsys) -> list[str]:
    program, *words = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("next: "))
    assert program == "emoprobe"
    return words


@pytest.mark.slow
def test_from_a_corpus_to_the_report_by_what_each_command_tells(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    corpus = make_corpus(tmp_path / "a corpus", utterances=24, speakers=6)
    save_speech_model(tmp_path / "hubert")
    assert emoprobe(["extract", "--corpus", str(corpus), "--model", "hubert", "--out", "my states.h5"]) == 0
    words = next_of(capsys)
    assert words == ["fit", "my states.h5"]
    assert emoprobe([*words, "--permutations", "20", "--resamples", "20", "--no-mdl", "--dim", "arousal"]) == 0
    words = next_of(capsys)
    assert words == ["report", "results"]
    assert emoprobe([*words, "--quick"]) == 0
    assert (tmp_path / "report" / "report.html").is_file()
