"""What a study takes is measured on a sample: a program of known speed is estimated at that speed."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import soundfile

from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.errors import UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.study.estimate import estimate, features_of, taken_by
from emoprobe.study.facts import facts_of
from emoprobe.study.sampling import SAMPLED, Taken, measure, write_sample
from emoprobe.study.settings import Programme, StudySettings
from emoprobe.study.steps import plan
from emoprobe.testing import make_corpus

pytestmark = pytest.mark.slow

#: Takes 0.1 s of the processor for each second of audio and 1,000 bytes an utterance, unless its output is there.
PROGRAM = """
import csv, sys, time
from pathlib import Path
words = sys.argv[1:]
out = Path(words[words.index("--out") + 1])
if "--baselines" in words:
    folder = out.with_name(out.name + ".baselines")
    out, corpus = folder / "text.h5", out.with_suffix(".csv")
else:
    corpus = Path(words[words.index("--corpus") + 1])
if not out.exists():
    out.parent.mkdir(parents=True, exist_ok=True)
    import soundfile
    rows = list(csv.DictReader(corpus.open()))
    busy = time.process_time() + 0.1 * sum(soundfile.info(row["path"]).duration for row in rows)
    while time.process_time() < busy:
        pass
    if "--model" in words and words[0] == "extract":
        out.with_suffix(".csv").write_bytes(corpus.read_bytes())
    out.write_bytes(b"x" * 1000 * len(rows))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), utterances=48, speakers=6)


def estimated(corpus: Path, folder: Path, tables: dict | None = None, **changes):
    program = (sys.executable, "-c", PROGRAM)
    programme = Programme(StudySettings(corpus=str(corpus), probes=("weighted",), twins=1, **changes), tables or {})
    facts = facts_of(programme)
    planned = plan(programme, facts, folder / "out")
    sampled = folder / "sampled"
    sampled.mkdir()
    return estimate(planned, programme, facts, sampled, program=program)


def test_a_program_of_known_speed_is_estimated_at_it(corpus, tmp_path):
    size, estimates = estimated(corpus, tmp_path, systems=("student",), seeds=2, tables={"train": {"epochs": 3}})
    paths = read_corpus(str(corpus)).utterances["path"]
    seconds = sum(soundfile.info(path).duration for path in paths)
    assert (size.utterances, size.unusable) == (48, 0)
    assert size.seconds == pytest.approx(seconds)
    by_step = {one.step.does: one for one in estimates}
    teacher, twin = by_step["extract the teacher, hubert-nano"], by_step["extract the random twin 0, hubert-nano"]
    assert teacher.disk == twin.disk == 48_000
    # However busy the machine is; the start of Python, and what it reads once, are all that comes to it.
    assert teacher.seconds == twin.seconds > 0.09 * seconds
    assert teacher.seconds < 0.2 * seconds + 30
    assert f"measured on {SAMPLED} utterances" in teacher.source
    assert teacher.memory > 1e6
    (training,) = (one for does, one in by_step.items() if "end to end" in does)
    assert training.source == "a guess, at most: 3 times the extraction, 3 epochs, 2 seeds"
    assert training.seconds > 3 * 3 * 2 * 0.09 * seconds
    (weighted,) = (one for does, one in by_step.items() if "weighted" in does)
    assert weighted.seconds is None
    assert weighted.source == "not estimated: trained until nothing improves"
    known = [one.seconds for one in estimates if one.seconds is not None]
    assert taken_by(estimates).seconds == pytest.approx(sum(known))


def test_a_limit_is_counted(corpus, tmp_path):
    _, estimates = estimated(corpus, tmp_path, systems=(), tables={"extract": {"limit": 12}})
    assert estimates[0].disk == 12_000


def test_what_is_not_here_is_not_measured(corpus, tmp_path):
    _, estimates = estimated(corpus, tmp_path, systems=(), teacher="nobody/model", student="hubert-large", text="none")
    teacher, student = estimates[0], estimates[1]
    assert teacher.seconds is None
    assert teacher.source == "not measured: nobody/model would have to be downloaded"
    assert student.disk == 48_000  # with random weights, which need no download


def test_words_that_are_missing_are_heard_in_the_sample(corpus, tmp_path):
    """One of 48 has no transcript: hearing is measured on a sample without any, and counted for the one."""
    table = pd.read_csv(corpus)
    table.loc[3, "transcript"] = ""
    some = corpus.with_name("some.csv")
    table.to_csv(some, index=False)
    _, estimates = estimated(
        some, tmp_path, systems=(), recogniser="whisper-tiny-en", tables={"extract": {"pool": ["std"]}}
    )
    heard = estimates[0]
    assert heard.step.command == "transcribe"
    assert heard.source.startswith(f"measured on {SAMPLED} utterances")
    assert 0 < heard.seconds < estimates[1].seconds + 30


@pytest.mark.parametrize(
    ("statistics", "asked", "features"),
    [(("std",), (), 7), (("mean", "std"), (), 14), (("mean", "std", "max"), ("mean+std+max", "mean"), 21)],
)
def test_features_are_those_that_probes_read(tmp_path, statistics, asked, features):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        for name in statistics:
            file[f"pooled/{name}"] = np.zeros((4, 5, 7))
        assert features_of(file, asked) == (4, features)


def test_what_a_process_took_more_than_another_is_no_matter_of_other_work():
    one, other = Taken(10.0, 0, processor=8.0), Taken(12.0, 0, processor=5.0)
    assert one.more_than(other, on_processor=True) == 3.0
    assert one.more_than(other, on_processor=False) == 0.0
    assert Taken(10.0, 0, 40.0).more_than(Taken(10.0, 0, 20.0), on_processor=True) == 5.0  # of four threads
    assert Taken(10.0, 0, 6.0).more_than(Taken(4.0, 0, 5.0), on_processor=False) == 6.0  # a device computed
    assert Taken(4.0, 0, 4.0).more_than(Taken(5.0, 0, 5.0), on_processor=True) == 0.0


def test_a_command_that_fails_is_told(tmp_path):
    program = (sys.executable, "-c", "import sys; print('error: no such thing'); sys.exit(2)")
    with pytest.raises(UserError, match=r"^no such thing$"):
        measure(program, tmp_path / "log.txt")


def test_a_sample_is_read_as_its_corpus_is(corpus, tmp_path):
    whole = read_corpus(str(corpus))
    rows = whole.utterances.index[[1, 5, 7]]
    write_sample(whole, rows, tmp_path / "some" / "sample.csv")
    sample = read_corpus(str(tmp_path / "some" / "sample.csv")).utterances
    for column in ("id", "path", "speaker", "transcript", "arousal", "valence"):
        expected = whole.utterances.loc[rows, column].reset_index(drop=True)
        pd.testing.assert_series_equal(sample[column], expected, check_dtype=False)


@pytest.mark.slow
def test_the_command_tells_a_line_a_step(corpus, tmp_path, monkeypatch, capsys):
    """With the real commands: the teacher is measured, and ridge probes are a guess from its layers."""
    monkeypatch.chdir(tmp_path)
    words = ["--student", "none", "--twins", "0", "--text", "none", "--baselines", "egemaps", "--systems", "none"]
    assert emoprobe(["study", str(corpus), *words, "--probes", "ridge", "--dry-run"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith("corpus ")
    assert "48 utterances" in lines[0]
    (teacher,) = (line for line in lines if "extract the teacher" in line)
    assert "times real time" in teacher
    (ridge,) = (line for line in lines if "fit ridge probes" in line)
    assert "a guess: " in ridge
    assert lines[-1].startswith("together: ")
    assert not any(tmp_path.iterdir())
