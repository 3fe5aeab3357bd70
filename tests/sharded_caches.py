"""An invented cache of a whole corpus and those of its shards, as `probe-extract` would write them of these states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from emoprobe.extract.batching import frame_starts, plan_batches
from emoprobe.extract.corpora.table import COLUMNS, Corpus, empty_columns
from emoprobe.extract.layout import Plan, lay_out, layout_sha256, seal_layout
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.provenance import PROVENANCE
from emoprobe.extract.sharding import Shard
from emoprobe.extract.writer import CacheWriter
from emoprobe.fields import check_fields
from emoprobe.jsontext import from_json, to_json

LAYERS, WIDTH, STATISTICS, ACOUSTICS = 3, 4, ("mean", "std"), {"logmel": 3, "mfcc": 2}


def make_table(n: int, *, seed: int = 0):
    """A corpus of `n` utterances; some have no sound, one tells who speaks, and one is a part of its file."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    columns = {name: [f"{name}{k}" if name in ("id", "path") else "" for k in range(n)] for name in COLUMNS[:7]}
    table = pd.DataFrame({**columns, **empty_columns(n)})
    for name in ("arousal", "valence", "dominance"):
        table[name] = rng.normal(size=n)
    table.loc[n - 1, "group"] = "the last one's alone"
    table = table[list(COLUMNS)].copy()
    table["samples"] = rng.integers(400, 40_000, n)
    bad = rng.random(n) < 0.2
    bad[0] = False
    table.loc[bad, "samples"] = 0
    table["seconds"] = table["samples"] / SAMPLE_RATE
    table["frames"] = table["samples"] // 320
    table["status"] = np.where(bad, "missing", "done")
    table["reason"] = np.where(bad, "no such file: é", "")
    return table


def identity(table) -> dict:
    corpus = Corpus("invented", Path("/invented"), table[list(COLUMNS)].reset_index(drop=True))
    return {"name": corpus.name, "sha256": corpus.sha256, "utterances": len(corpus), "notes": ["invented"]}


def write_sharded(folder: Path, *, n: int, count: int, seed: int = 0) -> tuple[Path, list[Path]]:
    """Write the cache of all utterances, and one a shard; returns their paths.

    Parameters
    ----------
    folder : Path
    n : int
        Utterances.
    count : int
        Shards.
    seed : int
        Of lengths, labels and states.
    """
    rng = np.random.default_rng([seed, 1])
    table = make_table(n, seed=seed)
    states = rng.normal(size=(len(STATISTICS), LAYERS, n, WIDTH)).astype(np.float32)
    norms = rng.random((LAYERS, n), np.float32)
    acoustics = {name: rng.normal(size=(n, width)).astype(np.float32) for name, width in ACOUSTICS.items()}
    whole = {
        "model": {"label": "m", "name": "/models/m", "weights_sha256": "0" * 64, "normalise": True},
        "corpus": identity(table),
        "pooling": list(STATISTICS),
        "frames": False,
        "precision": "float32",
        "longest_seconds": 60.0,
        "batch_seconds": 4.0,
        "device": "cpu",
        "methods": {"pooling": 1, "acoustics": 1},
        "versions": {"python": "3", "torch": "2"},
        "precision_check": None,
    }
    arguments = ("--corpus", "/invented/m.csv", "--model", "/models/m")

    def write(path: Path, rows: np.ndarray, provenance: dict, *more: str) -> None:
        part = table.iloc[rows].reset_index(drop=True)
        batches = plan_batches(part["samples"].to_numpy(), budget=4 * SAMPLE_RATE)
        part["frame_start"] = frame_starts(batches, part["frames"].to_numpy())
        done = np.flatnonzero(part["status"] == "done")
        laid = part.assign(status=np.where(part["status"] == "done", "pending", part["status"]))
        check_fields(provenance, path, PROVENANCE.required, PROVENANCE.optional, remedy="")
        names = tuple(f"block {k}" for k in range(LAYERS))
        plan = Plan(laid, STATISTICS, names, WIDTH, ACOUSTICS, provenance, "/invented", (*arguments, *more))
        lay_out(path, plan)
        there = rows[done]
        with CacheWriter(path) as writer:
            if len(done):
                values = {name: all_rows[there] for name, all_rows in acoustics.items()}
                writer.write(done.tolist(), states[:, :, there], norms[:, there], values, {})
            writer.commit()
            writer.finish()

    write(folder / "whole.h5", np.arange(n), whole)
    shards = []
    for number in range(1, count + 1):
        rows = np.asarray(Shard(number, count).rows(n))
        told = {"number": number, "count": count, "corpus": whole["corpus"], "padded_to": 1}
        record = {**whole, "corpus": identity(table.iloc[rows]), "shard": told}
        shards.append(folder / f"shard-{number}.h5")
        write(shards[-1], rows, record, "--shard", f"{number}/{count}")
    return folder / "whole.h5", shards


def change(path: Path, edit: Callable[[dict], None]) -> None:
    """Change what a cache says of its making, as if it had been made so."""
    with h5py.File(path, "r+") as file:
        record = from_json(file.attrs["provenance"])
        edit(record)
        file.attrs["provenance"] = to_json(record, ensure_ascii=False)
        file.attrs["layout_sha256"] = layout_sha256(file)
    seal_layout(path)
