"""Killed at any instant and run again, a study ends as one that was never stopped.

One instant by default; ``EMOPROBE_KILLS=10 python -m pytest tests/study/test_kill_study.py`` for more. Each kill is a
SIGKILL to the study and to the step that runs.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from emoprobe.study.reading import read_programme
from emoprobe.testing.checkpoints import save_speech_model, save_text_model
from emoprobe.testing.corpora import make_corpus
from tests.cli.test_kill_commands import content, differing
from tests.thorough import kills

KILLS = kills(1)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> list[str]:
    """A study of a teacher, with the words as a rival."""
    root = tmp_path_factory.mktemp("material")
    corpus = make_corpus(root / "corpus", utterances=24, speakers=6)
    save_speech_model(root / "hubert")
    save_text_model(root / "text")
    words = ["--teacher", root / "hubert", "--student", "none", "--text", root / "text", "--twins", "0"]
    words += ["--baselines", "text", "--dim", "arousal", "--no-categories", "--probes", "ridge", "--systems", "none"]
    options = ["extract.device=cpu", "extract.workers=1", "fit.folds=3", "fit.resamples=20", "fit.permutations=20",
               "fit.mdl=false", "report.quick=true"]  # fmt: skip
    return list(map(str, ["study", corpus, *words, "--set", *options, "--out", "out", "--quiet"]))


def run(line: list[str], folder: Path, *, after: float | None = None) -> tuple[int, str]:
    """Run a study in a folder, in a group of processes that can be killed together."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder.with_name(f"{folder.name}.output")
    with output.open("wb") as file:
        program = [sys.executable, "-m", "emoprobe.cli.emoprobe"]
        started = subprocess.Popen([*program, *line], cwd=folder, stdout=file, stderr=file, start_new_session=True)
    timer = threading.Timer(600.0 if after is None else after, _kill, (started.pid,))
    timer.start()
    status = started.wait()
    timer.cancel()
    return status, output.read_text()


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def made(folder: Path) -> dict[str, object]:
    """What a study leaves, without what its steps printed: one that goes on says so."""
    return {name: value for name, value in content(folder).items() if "/logs/" not in name}


def test_a_study_that_is_killed_goes_on(line, tmp_path):
    began = time.monotonic()
    status, said = run(line, tmp_path / "whole" / "folder")
    duration = time.monotonic() - began
    assert status == 0, said
    assert "step 4 of 4: write the report" in said
    assert "arousal" in said.rpartition("what each printed is in")[2]  # carried by a layer, or by none for sure
    wanted = made(tmp_path / "whole" / "folder")
    assert {"out/study.toml", "out/study.json", "out/report/report.html", "out/caches/hubert.h5"} <= set(wanted)
    assert read_programme(tmp_path / "whole" / "folder" / "out" / "study.toml").table("fit")["permutations"] == 20
    draw, hit = random.Random(0), 0
    for trial in range(KILLS):
        folder, after = tmp_path / f"killed{trial}" / "folder", duration * draw.random()
        hit += run(line, folder, after=after)[0] == -signal.SIGKILL
        status, said = run(line, folder)
        assert status == 0, f"killed after {after:.2f} s: {said}"
        assert differing(made(folder), wanted) == [], f"killed after {after:.2f} s"
    print(f"{hit} of {KILLS} kills hit a study that takes {duration:.1f} s")


def test_another_study_is_refused_in_its_folder(line, tmp_path):
    folder = tmp_path / "folder"
    out = folder / "out"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("mine")
    status, said = run(line, folder)
    assert status == 2
    assert "mine.txt was not written by this program" in said
    (out / "mine.txt").unlink()
    (out / "study.json").write_text('{"format": "emoprobe run 1", "cleared": true, "settings": {"teacher": "other"}}')
    status, said = run(line, folder)
    assert status == 2
    assert "holds another run: " in said
    assert "teacher (there other, now " in said
    assert sorted(path.name for path in out.iterdir()) == ["study.json"]
