"""Weights in pickle files: read by torch's restricted reader, once, and kept as safetensors from then on."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from emoprobe.errors import UserError, reason

from .home import cache_folder

#: The first torch whose restricted reader has no known hole: CVE-2025-32434 was mended in 2.6, CVE-2026-24747 in 2.10.
SAFE_TORCH = (2, 10)

# Where the classes of models are defined; a pickle of weights asks for none of them.
_MODULES = ("torch.nn.modules.", "torch.nn.utils.", "transformers.models.", "peft.", "speechbrain.", "fairseq.")


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def as_safetensors(files: Sequence[Path], hashes: Sequence[str]) -> Path:
    """The weights of one checkpoint's pickle files as one safetensors file in our cache, converted the first time.

    Any number of processes may ask at once: each writes a file of its own, which takes its place whole.

    Parameters
    ----------
    files : sequence of Path
        One ``pytorch_model.bin``, or all its shards.
    hashes : sequence of str
        Of each file (:func:`file_sha256`): the conversion is kept under them.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        If a file is damaged or holds anything but tensors, if torch is too old to read it safely, or the cache cannot
        be written.
    """
    from safetensors.torch import save_file

    key = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    converted = cache_folder() / "checkpoints" / key / "model.safetensors"
    if converted.is_file():
        return converted
    _refuse_old_torch(files[0])
    tensors = _apart({name: tensor for file in files for name, tensor in _read(file).items()})
    try:
        converted.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=converted.parent, prefix=".") as beside:
            whole = Path(beside) / converted.name
            save_file(tensors, whole, metadata={"format": "pt"})
            with whole.open("rb+") as file:
                os.fsync(file.fileno())
            whole.replace(converted)
    except OSError as error:
        raise UserError(
            f"{converted.parent} cannot be written ({reason(error)}), where the weights of {files[0]} are kept as "
            "safetensors; make room there, or set EMOPROBE_HOME to another folder"
        ) from error
    return converted


def _refuse_old_torch(file: Path) -> None:
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < SAFE_TORCH:
        needed = ".".join(map(str, SAFE_TORCH))
        raise UserError(
            f"{file} is a pickle, and torch {torch.__version__} can be made to run code by one (CVE-2026-24747, mended "
            f"in {needed}); `pip install 'torch>={needed}'`, or take a --revision that holds safetensors"
        )


def _load_restricted(file: Path) -> object:
    with warnings.catch_warnings():
        # Of a version of pickle that torch itself does not write: what it holds is checked all the same.
        warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))


def _read(file: Path) -> dict[str, torch.Tensor]:
    """Tensors of a pickle file by name; whatever else it would have made is not made."""
    try:
        stored = _load_restricted(file)
    except pickle.UnpicklingError as error:
        # What torch says goes on to recommend reading the file without restriction.
        asked = re.search(r"GLOBAL\s+(\S+)", str(error))
        if asked is None:
            raise UserError(f"{file} is damaged, or no file of weights; download it again") from error
        told = (
            f"{file} asks for {asked[1]}, which is more than weights and could run code: refused, nothing of it was run"
        )
        if asked[1].startswith(_MODULES):
            raise UserError(
                f"{told}. It is a model saved whole (torch.save(model, …)): load it with the program that wrote it, if "
                "you trust its source, and save the model with save_pretrained(FOLDER)"
            ) from error
        raise UserError(
            f"{told}. Take a checkpoint or a --revision that holds safetensors, from someone you trust"
        ) from error
    except Exception as error:  # a damaged file raises nearly anything
        raise UserError(f"{file} is damaged ({reason(error)}); download it again") from error
    if not isinstance(stored, dict) or not all(isinstance(name, str) for name in stored):
        raise UserError(f"{file} holds a {type(stored).__name__} and not weights by name; give another checkpoint")
    weights = {name: value for name, value in stored.items() if isinstance(value, torch.Tensor)}
    other = next((f"{name} ({type(value).__name__})" for name, value in stored.items() if name not in weights), None)
    if other is not None:
        raise UserError(
            f"{file} holds {other} beside the weights of a model: it is no checkpoint as transformers saves it; "
            "load it with the program that wrote it, and save the model with save_pretrained"
        )
    for name, tensor in weights.items():
        if (form := _unusual_form(tensor)) is not None:
            raise UserError(
                f"{file}: {name} is a {form} tensor, and only plain arrays of numbers can be read; make it one with "
                "the program that wrote it, and save the model with save_pretrained"
            )
    return weights


def _unusual_form(tensor: torch.Tensor) -> str | None:
    """What keeps a tensor from being an array of numbers in memory; None where it is one."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout is not torch.strided:
        return "sparse"
    return None if tensor.device.type == "cpu" else tensor.device.type


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of which none shares its memory with another, as safetensors wants them."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        values = tensor.detach().contiguous()
        storage = values.untyped_storage()
        shares = storage.data_ptr() in seen or storage.nbytes() != values.numel() * values.element_size()
        seen.add(storage.data_ptr())
        apart[name] = values.clone() if shares else values
    return apart
