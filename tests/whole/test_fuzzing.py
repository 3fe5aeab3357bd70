"""A part of the fuzz run (`make fuzz`), and that its verdicts see what they are to see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.kinds import Case, make, order
from tests.fuzz.running import Ended
from tests.fuzz.verdicts import faults_of_answer, faults_of_tree, snapshot

INPUTS = 60
SEED = 2305


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_every_input_is_answered_by_a_result_a_listed_reason_or_one_line(tmp_path):
    arguments = ["--inputs", str(INPUTS), "--seed", str(SEED), "--jobs", "1", "--seconds", "300"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments, "--findings", str(tmp_path / "findings")],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{INPUTS} inputs" in ended.stdout


CASE = Case("plot", ("results",), "none", own=("figures/*",))
TRACEBACK = 'Traceback (most recent call last):\n  File "probe/fit.py", line 3, in fit\nKeyError: 1\n'


@pytest.mark.parametrize(
    ("status", "err", "fault"),
    [
        (0, "", None),
        (0, "note: two files are alike\n", None),
        (2, "note: x\nerror: c.h5 is damaged\n", None),
        (2, "usage: probe-plot\nprobe-plot: error: argument --metric: invalid choice\n", None),
        (3, "left out: a.wav: empty: it holds no samples\n", None),
        (None, "", "no end after"),
        (-11, "", "signal 11"),
        (-9, "error: c.h5 is damaged\n", "signal 9"),
        (1, TRACEBACK, "fit.py fit: KeyError: 1"),
        (2, "error: a\nerror: b\n", "2 error lines"),
        (2, "", "0 error lines"),
        (2, "error: a\x07\n", "control characters"),
        (2, "error: \n", "says nothing"),
        (2, f"error: {'x' * 10_000}\n", "characters"),
        (3, "", "nothing is listed"),
        (1, "", "exit status 1"),
        (5, "", "exit status 5"),
        (0, "error: x\n", "exit status 0 with an error line"),
        (0, "[W1126 12:00:00.0 NNPACK.cpp:61] Could not initialize NNPACK!\n", "a warning"),
        (0, "probe/fit.py:12: RuntimeWarning: divide by zero\n", "a warning"),
    ],
)
def test_a_verdict_sees_what_is_not_promised(status, err, fault):
    faults = faults_of_answer(CASE, Ended(status, "", err, 1.0))
    assert (fault is None) == (not faults)
    if fault is not None:
        assert any(fault in one for one in faults), faults


def test_exit_status_1_is_for_verify_alone():
    assert not faults_of_answer(Case("extract", ("--verify",), ""), Ended(1, "", "error: c.h5 is damaged\n", 1.0))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda tree: (tree / "figures" / "own.png").write_text("new"), None),
        (lambda tree: (tree / "figures" / "more.png").write_text("new"), None),
        (lambda tree: (tree / "notes").write_text("new"), "changed or removed: notes"),
        (lambda tree: (tree / "notes").unlink(), "changed or removed: notes"),
        (lambda tree: (tree / "figures" / "foreign.png").write_text("new"), "changed or removed: figures/foreign.png"),
        (lambda tree: (tree / "harmed.txt").touch(), "executed"),
        (lambda tree: (tree / ".model.new").write_text("half"), "left behind"),
    ],
)
def test_a_verdict_sees_what_changes_on_disk(change, fault, tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("notes", "figures/own.png", "figures/foreign.png"):
        (tmp_path / name).write_text("old")
    before = snapshot(tmp_path)
    change(tmp_path)
    faults = faults_of_tree(CASE, before, snapshot(tmp_path))
    assert faults == [] if fault is None else len(faults) == 1 and fault in faults[0], faults


def test_a_seed_draws_the_same_inputs_in_the_same_order(tmp_path):
    first, second = (order(7, ("transcripts", "cache")) for _ in range(2))
    assert [next(first) for _ in range(50)] == [next(second) for _ in range(50)]
    tree = tmp_path / "tree"
    (tree / "corpus").mkdir(parents=True)

    def made(number: int) -> tuple[Case, dict[str, str]]:
        for path in (tree / "corpus").iterdir():
            path.unlink()
        (tree / "corpus" / "manifest.csv").write_text("id,path\n1,a.wav\n2,b.wav\n")
        return make(tree, "invented_manifest", 7, number), snapshot(tree)

    cases = [made(number) for number in range(8)]
    assert cases == [made(number) for number in range(8)]
    assert len({str(files) for _, files in cases}) > 4
