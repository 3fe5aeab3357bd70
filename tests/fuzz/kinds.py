"""All kinds of input; each changes the intact material in one way, drawn by the seed, and names the command to run.

A new kind is one function with ``@kind(weight)`` over it, in a module that is imported here.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np

from tests.fuzz import arguments, audio, checkpoints, corpora, outputs  # noqa: F401 - each registers its kinds
from tests.fuzz.cases import KINDS, Case


def make(tree: Path, name: str, seed: int, number: int) -> Case:
    """The input of a kind with this number, always the same for one seed."""
    function, _ = KINDS[name]
    return function(tree, np.random.default_rng([seed, sorted(KINDS).index(name), number]))


def clear(tree: Path, intact: Path) -> None:
    """The intact material again."""
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(intact, tree, symlinks=True, copy_function=_copy)


def _copy(source: str, target: str) -> str:
    """A file, a pipe or a device as it is."""
    mode = os.lstat(source)
    if stat.S_ISREG(mode.st_mode):
        return shutil.copy2(source, target)
    os.mknod(target, mode.st_mode, mode.st_rdev)
    return target


def order(seed: int, only: tuple[str, ...] = ()):
    """Kinds and numbers without an end, in proportion to the weights."""
    names = [name for name in sorted(KINDS) if not only or name in only]
    weights = np.array([KINDS[name][1] for name in names])
    rng = np.random.default_rng(seed)
    counts = dict.fromkeys(names, 0)
    while True:
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        yield name, counts[name]
        counts[name] += 1


def describe(case: Case) -> str:
    """As JSON, for the record of a finding."""
    record = {"command": case.command, "arguments": case.arguments, "mutation": case.mutation, "own": case.own}
    return json.dumps(record, indent=1, default=list)
