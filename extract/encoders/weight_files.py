"""Which files of a checkpoint hold its weights, and what to say of those that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from emoprobe.errors import UserError

#: Files of weights in the order in which they are looked for, and their format. An index names the shards.
WEIGHT_FILES = {
    "model.safetensors": "safetensors",
    "model.safetensors.index.json": "safetensors",
    "pytorch_model.bin": "pickle",
    "pytorch_model.bin.index.json": "pickle",
}

_LOAD = "load it with the program that wrote it, and save the model for transformers with save_pretrained(FOLDER)"
_OTHER_FRAMEWORK = "load it there with transformers 4 and save_pretrained(FOLDER), or take another revision or model"

#: Files of weights under other names, what they are, and what to do; the first that is there is told.
_OTHERS = (
    ("adapter_model.*", "an adapter, which changes a model and is none", "merge it into its model (peft: "
     "merge_and_unload), and save that with save_pretrained(FOLDER)"),
    ("*.safetensors", "of another name", "if it holds the whole model, rename it to model.safetensors"),
    ("tf_model.h5", "of TensorFlow", _OTHER_FRAMEWORK),
    ("flax_model.msgpack", "of Flax", _OTHER_FRAMEWORK),
    ("*.onnx", "a network for ONNX Runtime, without weights by name", "take the checkpoint that it was made from"),
    ("*.gguf", "of llama.cpp", "take the checkpoint that it was made from"),
    ("*.ckpt", "a training checkpoint of another program, such as Lightning or SpeechBrain", _LOAD),
    ("*.nemo", "an archive of NeMo", _LOAD),
    ("*.pt", "a pickle of another program, such as fairseq", _LOAD),
    ("*.pth", "a pickle of another program", _LOAD),
    ("*.bin", "of another name", "if it holds the weights of the whole model by name, rename it to pytorch_model.bin"),
)  # fmt: skip

#: What transformers' Trainer leaves beside a model; no weights of it.
_OF_A_TRAINING = ("training_args.bin", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*")


def other_weights(names: Iterable[str]) -> str:
    """What can be said of files that hold weights under another name; nothing where there is none."""
    names = sorted(name for name in names if not any(fnmatchcase(name, other) for other in _OF_A_TRAINING))
    for pattern, what, remedy in _OTHERS:
        for name in names:
            if fnmatchcase(name, pattern):
                return f"{name} is {what}: {remedy}"
    return ""


def is_whole(folder: Path) -> bool:
    """Whether a configuration and all the weights of a checkpoint are in a folder."""
    if not (folder / "config.json").is_file():
        return False
    for name in WEIGHT_FILES:
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix != ".json":
            return True
        try:
            shards = json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
            return all((folder / shard).is_file() for shard in set(shards))
        except (ValueError, OSError, KeyError, TypeError, AttributeError):
            return False
    return False


def refuse_dangling(path: Path, remedy: str) -> None:
    """Refuse a link whose target is gone, as when a cache was tidied up or copied without its blobs.

    Raises
    ------
    UserError
    """
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to {path.readlink()}, which is gone; {remedy}")
