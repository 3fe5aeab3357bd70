"""What a CPU computes with stays in the process, and the user's own settings stay the user's."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from emoprobe.allocation import keeping_memory

#: Pages are counted, whatever size the system would give them: prctl 41 is PR_SET_THP_DISABLE.
COUNT = """
import ctypes, resource, threading
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
import numpy as np
from emoprobe.allocation import keeping_memory

def faults(times, megabytes=128):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        array = np.empty(megabytes << 20, np.uint8)
        array[::4096] = 1
        del array
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

usual = faults(8)
with keeping_memory() as kept, keeping_memory():
    faults(1)
    meanwhile = [faults(8)]
    thread = threading.Thread(target=lambda: meanwhile.append(faults(8)))
    thread.start(), thread.join()
    large = [np.ones(1 << 20, np.uint8) for _ in range(256)]
    pins, large = bytes(200_000), None
    held = resident()
print(kept, usual, *meanwhile, held - resident())
"""


def count(**environment: str) -> tuple[str, list[int]]:
    """Whether memory is kept; page faults of arrays made again and again: as ever, then meanwhile here and in a thread;
    and the pages that are given back at the end.
    """
    own = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    command = [sys.executable, "-c", COUNT]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=plain | environment).stdout.split()
    return answer[0], [int(word) for word in answer[1:]]


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is of Linux")


def test_freed_memory_is_not_asked_for_again_and_given_back_at_the_end():
    kept, (usual, *meanwhile, back) = count()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    pages = (128 << 20) // resource.getpagesize()
    assert usual >= 8 * pages  # as ever: each time anew
    assert max(meanwhile) < pages
    assert back > pages  # though something that lies behind is still in use


def test_the_users_own_allocator_stays():
    kept, faults = count(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept == "False"
    assert faults[1] > faults[0] // 2


def test_nothing_is_done_for_another_device():
    with keeping_memory("cuda") as kept:
        assert not kept
