"""What our commands left: caches, results, stored measures; and any file in the place of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.fuzz.cases import Case, kind, made
from tests.fuzz.material import CLEAN
from tests.fuzz.mutations import mutate_file, mutate_hdf5, pick


@kind(4)
def cache(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged cache, and what reads one."""

    what = f"c.h5: {mutate_hdf5(tree / 'c.h5', rng)}"
    match rng.integers(8):
        case 0:
            return Case("extract", ("--verify", "--out", "c.h5"), what)
        case 1:
            return made("extract", what, own=("c.h5*",))
        case 2:
            return Case("extract", (*CLEAN["extract"][1], "--repair"), what, ("c.h5*",))
        case 3:
            return Case("similarity", ("c.h5", "--out", "new"), what)
        case 4:
            return Case(
                "report", ("results", "--caches", "c.h5", "--out", "new", "--quick", "--workers", "1", "--quiet"), what
            )
        case 5:
            return made("fit", what, own=("results/*", "figures/*"))
    return made("fit", what, out="new", figures="new-figures", compare="scores")


@kind(3)
def results(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged results folder, and what reads one."""
    if rng.random() < 0.1:  # what a report keeps of what it has computed from caches
        path = tree / "report" / pick(rng, ["relevance.csv", "similarity.csv"])
        return made("stored", f"report/{mutate_file(path, rng)}", own=("report/*",))
    files = sorted(path for path in (tree / "results").iterdir() if path.name not in ("foreign.txt", ".lock"))
    named = {}
    for path in files:
        named.setdefault(path.stem, []).append(path)
    path = pick(rng, pick(rng, list(named.values())))
    what = f"results/{mutate_file(path, rng)}"
    if rng.random() < 0.4:  # its other form would stand in
        for other in named[path.stem]:
            if other != path:
                other.unlink()
                what += f", {other.name} removed"
    match rng.integers(5):
        case 0:
            return Case("centroid", ("results",), what)
        case 1:
            return made("report", what, out="new")
        case 2:
            return made("fit", what, own=("results/*", "figures/*"))
    return made("plot", what, figures="new", format=pick(rng, ["png", "svg"]))


@kind(0.5)
def mixed(tree: Path, rng: np.random.Generator) -> Case:
    """Some file, whatever it is, in the place of another that a command reads."""
    sources = sorted(path for path in tree.rglob("*") if path.is_file() and "foreign" not in path.name)
    source = pick(rng, sources)
    targets = {
        "c.h5": made("fit", "", out="new", figures="new-figures"),
        "results/scores.parquet": made("plot", "", figures="new"),
        "results/protocol.json": made("report", "", out="new"),
        "corpus/manifest.csv": made("extract", "", out="new.h5"),
        "corpus/u003.wav": made("extract", "", out="new.h5"),
        "speech/config.json": made("extract", "", out="new.h5"),
        "speech/model.safetensors": made("extract", "", out="new.h5"),
        "trained/model/config.json": made("predict", "", out="new.csv"),
        "trained/model/model.safetensors": made("predict", "", out="new.csv"),
        "p.csv.journal": made("predict", "", own=("p.csv*",)),
    }
    target = pick(rng, sorted(targets))
    data = source.read_bytes()
    (tree / target).write_bytes(data)
    case = targets[target]
    what = f"{target} is {source.relative_to(tree)}"
    return Case(case.command, case.arguments, what, case.own)
