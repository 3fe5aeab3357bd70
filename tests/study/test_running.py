"""Steps run one after another, and how each ends is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.errors import UserError
from emoprobe.locks import hold_lock
from emoprobe.study.facts import place_of
from emoprobe.study.running import Shown, run_steps, told_time
from emoprobe.study.steps import Plan, Step
from emoprobe.testing import make_corpus

#: A program of steps: prints its words, and ends with the status that the first one names.
PROGRAM = (sys.executable, "-c", "import sys; print(*sys.argv[1:]); print('mend it', file=sys.stderr); "
           "sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else 0)")  # fmt: skip


def plan_of(out: Path, *commands: str) -> Plan:
    out.mkdir(exist_ok=True)
    return Plan(tuple(Step(f"do {name}", (name, "and more")) for name in commands), (), out, out / "teacher.h5")


def test_steps_run_in_their_order_and_each_keeps_what_it_prints(tmp_path, capfd):
    said = []
    plan = plan_of(tmp_path / "out", "one", "3", "two")
    status = run_steps(plan, program=PROGRAM, again="again", say=said.append)
    assert status == 3  # some files left out, and gone on
    assert said[:3] == ["step 1 of 3: do one", "step 2 of 3: do 3", "step 3 of 3: do two"]
    assert said[3].startswith("3 steps in ")
    logs = sorted((tmp_path / "out" / "logs").iterdir())
    assert [log.name for log in logs] == ["01-one.txt", "02-3.txt", "03-two.txt"]
    assert logs[0].read_text() == "one and more\n"
    assert capfd.readouterr().err == "mend it\n" * 3


@pytest.mark.parametrize("shown", Shown)
def test_a_step_that_fails_is_the_last(tmp_path, capfd, shown):
    said, plan = [], plan_of(tmp_path / "out", "one", "2", "three")
    with pytest.raises(UserError) as failed:
        run_steps(plan, program=PROGRAM, again="emoprobe study x", shown=shown, say=said.append)
    told = str(failed.value)
    assert "step 2 of 3 (do 2) failed (exit status 2)" in told
    assert "go on with all that is left: emoprobe study x" in told
    assert told.endswith("try this step alone: emoprobe 2 'and more'")
    assert said == ["step 1 of 3: do one", "step 2 of 3: do 2"]
    captured = capfd.readouterr()
    assert ("mend it" in captured.err) == (shown is not Shown.STEPS)
    assert ("the last that it said: mend it" in told) == (shown is Shown.STEPS)
    assert ("one and more" in captured.out) == (shown is Shown.ALL)


def test_a_step_that_the_system_ends_is_told(tmp_path):
    program = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match=r"failed \(SIGKILL; the system may be out of memory\)"):
        run_steps(plan_of(tmp_path / "out", "one"), program=program, again="again")


STUDY = """
import signal, sys
from pathlib import Path
from emoprobe.study.running import run_steps
from emoprobe.study.steps import Plan, Step
out = Path(sys.argv[1])
child = "import os, sys, time; open(sys.argv[2], 'w').write(str(os.getpid())); time.sleep(600)"
plan = Plan((Step("sleep", ("sleep", str(out / "pid"))),), (), out, out / "teacher.h5")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
run_steps(plan, program=(sys.executable, "-c", child), again="")
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not end an orphan")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_step_outlives_its_study(tmp_path, number):
    study = subprocess.Popen([sys.executable, "-c", STUDY, str(tmp_path)], stderr=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    _wait_for(lambda: pid.exists() and pid.read_text())
    study.send_signal(number)
    study.wait(timeout=60)
    _wait_for(lambda: not _runs(int(pid.read_text())))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_for(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_a_step_made_before_can_be_replaced(tmp_path):
    """A step with other settings refuses what it made before; the study says how it is made anew."""
    plan = replace(plan_of(tmp_path / "out"), steps=(Step("extract", ("extract", "2")),))
    program = (sys.executable, "-c", "import sys; sys.exit(0 if '--overwrite' in sys.argv else 2)")
    with pytest.raises(UserError, match=r"to replace what it made with other settings: emoprobe study x --again 1;"):
        run_steps(plan, program=program, again="emoprobe study x")
    assert run_steps(plan.with_anew([1]), program=program, again="emoprobe study x") == 0


def test_a_second_process_in_the_folder_is_refused(tmp_path, monkeypatch, capsys):
    corpus = make_corpus(tmp_path / "corpus", utterances=6, speakers=3)
    out = tmp_path / "out"
    out.mkdir()
    with hold_lock(out / ".lock"):
        assert emoprobe(["study", str(corpus), "--out", str(out)]) == 2
    assert f"{out} is in use by another process: wait for it, or give another --out" in capsys.readouterr().err
    assert not list(out.iterdir())


def test_settings_that_the_user_wrote_are_not_replaced(tmp_path, monkeypatch, capsys):
    make_corpus(tmp_path / "corpus", utterances=6, speakers=3)
    monkeypatch.chdir(tmp_path)
    mine = 'corpus = "corpus/manifest.csv"  # not the other one\ntwins = 0\n'
    (tmp_path / "study.toml").write_text(mine)
    assert emoprobe(["study", "--out", ".", "--twins", "3"]) == 2
    assert "study.toml was written by somebody else" in capsys.readouterr().err
    assert (tmp_path / "study.toml").read_text() == mine


def test_a_preset_is_not_a_folder_of_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert emoprobe(["study", "demo", "--print"]) == 0
    assert "emoprobe demo-corpus study_out/demo_corpus" in capsys.readouterr().out
    assert place_of("demo") == "demo"
    assert place_of("msp-podcast:demo") == f"msp-podcast:{tmp_path / 'demo'}"
    assert place_of("facebook/hubert-base-ls960") == "facebook/hubert-base-ls960"


def test_time_is_told_for_a_person():
    assert [told_time(s) for s in (0.2, 59.4, 60, 3599, 3600, 9000)] == [
        "0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "2 h 30 min",
    ]  # fmt: skip
