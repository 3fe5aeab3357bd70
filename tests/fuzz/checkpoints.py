"""Checkpoints of others, and models and runs of our own training."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tests.fuzz.cases import Case, kind, made
from tests.fuzz.mutations import mutate_bytes, mutate_file, mutate_json, mutated_json, pick


@kind(3)
def checkpoint(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged or hostile checkpoint of somebody else."""
    name = pick(rng, ["speech", "speech", "text", "ctc"])
    what = _damage_checkpoint(tree / name, rng)
    match name:
        case "speech":
            return made("extract", what, out="new.h5")
        case "ctc":
            return made("transcribe", what, out="new.csv")
    return made("train", what, out="new", own=("results/*", "figures/*"))


@kind(2)
def saved_model(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged model that probe-train saved, its run, or that of probe-distill."""
    choice = rng.random()
    if choice < 0.7:
        what = _damage_checkpoint(tree / "trained" / "model", rng)
        return made("predict", what, out="new.csv")
    if choice < 0.85:
        files = sorted(path for path in tree.glob("student*/**/*") if path.is_file())
        path = pick(rng, files)
        what = f"{path.parent.name}/{mutate_file(path, rng)}"
        return made("distill", what, own=("student/*", "student-run/*"))
    files = sorted(path for path in (tree / "trained").rglob("*") if path.is_file() and "model" not in path.parts)
    what = mutate_file(pick(rng, files), rng)
    return made("train", f"trained/{what}", own=("trained/*", "results/*", "figures/*"))


class _Call:
    """Pickled, a call of a function of the system."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _damage_checkpoint(folder: Path, rng: np.random.Generator) -> str:
    """A file of it changed, or weights that are no weights."""
    weights = folder / "model.safetensors"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    described = [path for path in files if path.suffix == ".json"]
    match rng.integers(10):
        case 0:
            return f"{folder.name}/{mutate_file(pick(rng, files), rng)}"
        case 1 | 2 if weights.exists():
            return f"{folder.name}/{weights.name}: {_mutate_safetensors(weights, rng)}"
        case 3 | 4 if weights.exists():
            return f"{folder.name}/pytorch_model.bin: {_pickled(weights, rng)}"
        case 5:
            path = pick(rng, files)
            path.unlink()
            return f"{folder.name}/{path.name} removed"
    path = pick(rng, [folder / "config.json", *described])
    return f"{folder.name}/{path.name}: {mutate_json(path, rng)}"


def _mutate_safetensors(path: Path, rng: np.random.Generator) -> str:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    match rng.integers(4):
        case 0:
            return mutate_bytes(path, rng)
        case 1:
            text, what = mutated_json(data[8 : 8 + length].decode(), rng)
            header = text.encode("utf-8", "surrogatepass")
            path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
            return f"header: {what}"
        case 2:
            path.write_bytes(int(pick(rng, [0, 1, length - 1, 2**40, 2**63])).to_bytes(8, "little") + data[8:])
            return "length of the header"
    tensors = load_file(path)
    name = pick(rng, sorted(tensors))
    old = tensors[name]
    new = pick(
        rng, [torch.full_like(old, torch.nan), old.double(), old.long(), old[:-1] if old.dim() else old, old * 1e30]
    )
    tensors[name] = new.contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    return f"{name} is {new.dtype} {tuple(new.shape)}"


def _pickled(weights: Path, rng: np.random.Generator) -> str:

    tensors = load_file(weights)
    path = weights.with_name("pytorch_model.bin")
    weights.unlink()
    harm = _Call(os.system, "echo harmed > harmed.txt")
    match rng.integers(8):
        case 0:
            path.write_bytes(pickle.dumps(harm))
            return "a pickled call"
        case 1:
            torch.save({**tensors, "more": harm}, path)
            return "a pickled call among the weights"
        case 2:
            torch.save(list(tensors.values()), path)
            return "a list"
        case 3:
            torch.save({**tensors, next(iter(tensors)): "text"}, path)
            return "a text among the weights"
        case 4:
            torch.save(torch.nn.Linear(2, 2), path)
            return "a whole module"
        case 5:
            path.write_bytes(rng.bytes(1_000))
            return "noise"
        case 6:
            torch.save(tensors, path, _use_new_zipfile_serialization=False)
            return f"of the old form, {mutate_bytes(path, rng)}"
    torch.save(tensors, path)
    return mutate_bytes(path, rng)
