"""Options and their values."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path

import numpy as np

from tests.fuzz.cases import Case, kind
from tests.fuzz.material import CLEAN
from tests.fuzz.mutations import pick
from tests.fuzz.running import COMMANDS

WORDS = (
    "", " ", "-1", "0", "1", "2", "2.5", "-0.0", "nan", "inf", "1e308", "10000000000000000000000", "x", "é", "\udcff",
    "a\nb", "all", "none", "auto", "cpu", "cuda", "cuda:99", "mps", "meta", "foreign.txt", "foreign", "odd/empty",
    "odd/nothing", "odd/dangling", "odd/loop", "odd/pipe", "odd/null", "odd/full", "odd/zero", "corpus",
    "corpus/u001.wav", "corpus/manifest.csv", "c.h5", "results", "results/scores.csv", "speech", "trained",
    "trained/model", "p.csv", ".", "..", "absent/deep/x", "x" * 300, "y/" * 2_100, "$(touch harmed.txt)",
    "msp-podcast:", "msp-podcast:msp", "iemocap:absent", "nobody:corpus", "manifest:corpus/manifest.csv",
    "http://localhost:1/x", "a/b", "a/b/c", "../../..", "~", "--", "*",
)  # fmt: skip

#: Options of which a large number is more work and no error.
WORK = ("--epochs", "--steps", "--seeds", "--patience", "--limit", "--decay", "--warmup")
#: Options that want another machine or much time.
LEFT_OUT = (
    "--help",
    "--version",
    "--baselines",
    "--random-init",
    "--audio-random",
    "--text-random",
    "--frames",
    "--threads",
)


def options_of(name: str) -> list[str]:
    """The options that a command's help lists."""
    module, function, _ = COMMANDS[CLEAN[name][0]]
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        getattr(import_module(module), function)(["--help"])
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text.getvalue())) - set(LEFT_OUT))


@kind(4)
def arguments(tree: Path, rng: np.random.Generator) -> Case:
    """Options and their values: wrong, odd, contradicting."""
    names = [name for name in CLEAN for _ in range(1 if name in ("train", "distill", "report", "stored") else 3)]
    name = pick(rng, names)
    command, given = CLEAN[name]
    given = list(given)
    if "--out" in given:
        given[given.index("--out") + 1] = "new"
    known = options_of(name)
    for _ in range(pick(rng, [1, 1, 1, 2, 3])):
        if rng.random() < 0.2 or not known:  # an argument without an option
            value = pick(rng, WORDS)
            place = 0 if given and not given[0].startswith("-") else len(given)
            given[place : place + (rng.random() < 0.7)] = [value]
            continue
        option = pick(rng, known)
        value = pick(rng, WORDS)
        if option in WORK and (re.fullmatch(r"\d+(e\+?\d+)?", value) or re.fullmatch(r"\d*\.\d+", value)):
            value = value if float(value) <= 3 else "2"
        if value == "demo" or (option == "--corpus" and value == "all"):
            value = "corpus"
        if option in given and rng.random() < 0.8:
            given[given.index(option) + 1 : given.index(option) + 2] = [value]
        else:
            given += [option] if rng.random() < 0.3 else [option, value]
    if "--out" in known and "--overwrite" in known and rng.random() < 0.2:
        given.append("--overwrite")
    own = ("c.h5", "c.h5.lock", "p.csv*", "w.csv*", "results/*", "figures/*", "report/*", "trained/*", "odd/empty")
    return Case(command, tuple(given), "arguments", own)
