"""Work that is shared out comes back in its order and as it was, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from emoprobe.errors import UserError
from emoprobe.parallel import processors, shared_out
from emoprobe.processes import is_alive

slow = pytest.mark.slow  # processes are started


def solved(seed: int) -> tuple[int, np.ndarray]:
    """Who solved it, and a solution whose last bits depend on the number of threads."""
    x = np.random.default_rng(seed).standard_normal((300, 300))
    return os.getpid(), np.linalg.solve(x, x @ x)


def threads(_: int) -> list[int]:
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def refused(item: int) -> int:
    if item == 2:
        raise UserError("no. 2 cannot be done")
    return item


def killed(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_little_work_is_done_here_and_in_its_order():
    made = list(shared_out(solved, range(4), workers=2))
    assert {process for process, _ in made} == {os.getpid()}
    for seed, (_, solution) in enumerate(made):
        x = np.random.default_rng(seed).standard_normal((300, 300))
        np.testing.assert_allclose(solution, np.linalg.solve(x, x @ x), rtol=1e-6, atol=1e-6)


def test_one_worker_is_this_process_and_nothing_is_nothing():
    assert {process for process, _ in shared_out(solved, range(2), workers=1, pays=True)} == {os.getpid()}
    assert list(shared_out(solved, [], workers=2)) == []
    assert processors() >= 1


@slow
def test_processes_find_the_same_bits_with_one_thread_each():
    here = [solution for _, solution in shared_out(solved, range(5), workers=2, pays=False)]
    there = list(shared_out(solved, range(5), workers=2, pays=True))
    assert os.getpid() not in {process for process, _ in there}
    for one, (_, other) in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)
    for counts in shared_out(threads, range(3), workers=2, pays=True):
        assert set(counts) <= {1}


@slow
def test_an_error_is_told_as_it_would_be_here():
    with pytest.raises(UserError, match=r"no\. 2 cannot be done"):
        list(shared_out(refused, range(4), workers=2, pays=True))


@slow
def test_a_process_that_is_killed_is_told_with_a_remedy():
    with pytest.raises(UserError, match="fewer --workers"):
        list(shared_out(killed, range(4), workers=2, pays=True))
    assert list(shared_out(refused, [0, 1], workers=2, pays=True)) == [0, 1]  # others do not suffer


@slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell a process that its parent has ended")
def test_no_process_outlives_a_killed_parent(tmp_path):
    program = """
import os, signal, sys, time
from emoprobe.parallel import shared_out
def wait(item):
    print(os.getpid(), flush=True)
    time.sleep(600)
list(shared_out(wait, [0, 1], workers=2, pays=True))
"""
    with (tmp_path / "pids").open("w+") as said:
        parent = subprocess.Popen([sys.executable, "-c", program], stdout=said)
        deadline = time.monotonic() + 120
        while len(pids := (tmp_path / "pids").read_text().split()) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(pids) == 2
        parent.kill()
        parent.wait()
    while any(_runs(int(pid)) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_runs(int(pid)) for pid in pids)


def _runs(process: int) -> bool:
    """Whether it lives, and is no zombie that nobody has asked for yet."""
    if not is_alive(process):
        return False
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123 - it is no file that anybody wrote
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
