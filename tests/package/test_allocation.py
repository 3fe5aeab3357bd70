"""What a CPU computes with stays in the process, and the user's own settings stay the user's."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

COUNT = """
import resource, threading
import numpy as np
from emoprobe.allocation import keep_freed_memory

def faults(times, megabytes=128):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        array = np.empty(megabytes << 20, np.uint8)
        array[::4096] = 1
        del array
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(keep_freed_memory())
faults(1)
found = [faults(8)]
thread = threading.Thread(target=lambda: found.append(faults(8)))
thread.start(), thread.join()
print(*found)
"""


def count(**environment: str) -> tuple[str, list[int]]:
    """What it says, and the page faults of arrays made again and again here and in a thread."""
    own = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    # numpy asks for huge pages, of which there may be none: pages are counted, of whatever size.
    command = [sys.executable, "-c", COUNT]
    answer = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**plain, "NUMPY_MADVISE_HUGEPAGE": "0", **environment}
    ).stdout.split()
    return answer[0], [int(word) for word in answer[1:]]


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is of Linux")


def test_freed_memory_is_not_asked_for_again():
    kept, faults = count()
    if kept == "False":
        pytest.skip("the C library is not glibc, or another allocator is loaded")
    assert max(faults) < (128 << 20) // resource.getpagesize()  # the pages of one array, and there were eight


def test_the_users_own_allocator_stays():
    kept, faults = count(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept == "False"
    assert min(faults) >= 8 * (128 << 20) // resource.getpagesize()  # what the other test would count without
