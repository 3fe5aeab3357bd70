"""Compute a baseline in a process that is killed in the middle of a write."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path


def add_and_die(path: str, encoder: str, die_at: int, threads: int) -> None:
    """Compute with small parts and so many threads; be killed half-way through the write of that number."""
    import pyarrow.parquet as pq
    import torch

    from emoprobe import HiddenStateCache
    from emoprobe.extract.baselines import add_baselines
    from emoprobe.extract.baselines.registry import BASELINES

    BASELINES["text"] = replace(BASELINES["text"], part=4)
    write, count = pq.write_table, 0

    def write_and_die(table, where):
        nonlocal count
        count += 1
        write(table, where)
        if count == die_at:
            content = Path(where).read_bytes()
            Path(where).write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    pq.write_table = write_and_die
    torch.set_num_threads(threads)  # the last bits of an embedding depend on it
    with HiddenStateCache(path) as cache:
        add_baselines(cache, [f"text={encoder}"], progress=False)
