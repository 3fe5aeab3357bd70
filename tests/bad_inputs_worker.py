"""Run `probe-extract` many times in one process and say how each run ended; a process of its own, since it may crash.

Each line of standard input is a job in JSON: ``{"runs": [[argument, ...], ...], "cache": path, "dump": path}``. The
answer is one line: exit status, output and traceback of each run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback

import numpy as np
import torch


def run(arguments: list[str]) -> dict[str, object]:
    from emoprobe.cli.extract import main

    out, err = io.StringIO(), io.StringIO()
    status: object = None
    trace = ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except BaseException:  # whatever leaves the command is a finding
            trace = traceback.format_exc()
    return {"status": status, "out": out.getvalue(), "err": err.getvalue(), "trace": trace}


def dump(cache_path: str, target: str) -> str:
    """Everything that a reader can take from a cache, as plain arrays."""
    from emoprobe.extract.cache import HiddenStateCache

    try:
        with HiddenStateCache(cache_path) as cache:
            table = cache.utterances
            arrays = {column: table[column].to_numpy().astype(str) for column in ("id", "status", "reason", "path")}
            arrays |= {name: cache.states(name) for name in cache.statistics} | cache.acoustics
        np.savez(target, **arrays)
    except BaseException:
        return traceback.format_exc()
    return ""


def main() -> None:
    torch.set_num_threads(1)
    # The decoders' own remarks go to the real standard error, below Python: out of the way.
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    for line in sys.stdin:
        job = json.loads(line)
        runs = [run(arguments) for arguments in job["runs"]]
        dumped = dump(job["cache"], job["dump"]) if runs[-1]["status"] in (0, 3) else ""
        os.write(answers, json.dumps({"runs": runs, "dump": dumped}).encode() + b"\n")


if __name__ == "__main__":
    main()
