"""All tensors of a checkpoint by their names in its files, whichever format and however many files they are in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import torch

from emoprobe.errors import UserError, reason

from .files import Files, read_settings
from .pickled import as_safetensors, file_sha256
from .weight_files import WEIGHT_FILES, other_weights


class Tensors(NamedTuple):
    """The weights of a checkpoint, as they are stored.

    Attributes
    ----------
    by_name : dict of str to Tensor
        By the name in the file; those of numbers with a fraction in float32.
    format : str
        "safetensors" or "pickle".
    files : dict of str to str
        Hash (sha256) of each file.
    """

    by_name: dict[str, torch.Tensor]
    format: str
    files: dict[str, str]


def read_tensors(files: Files, source: str) -> Tensors:
    """Every tensor of a checkpoint.

    Parameters
    ----------
    files : Repository or LocalFolder
    source : str
        The checkpoint, for messages.

    Raises
    ------
    UserError
        If there are no weights, or they cannot be read.
    """
    for name, kind in WEIGHT_FILES.items():
        path = files.path(name)
        if path is None:
            continue
        paths = [path] if path.suffix != ".json" else _shards(path, files, source)
        for each in paths:
            _refuse_pointer(each)
        hashes = [file_sha256(each) for each in paths]
        stored = [as_safetensors(paths, hashes)] if kind == "pickle" else paths
        by_name = {key: value for each in stored for key, value in _read(each).items()}
        return Tensors(by_name, kind, dict(zip((each.name for each in paths), hashes, strict=True)))
    raise UserError(
        f"{source}: no weights that can be read ({' or '.join(n for n in WEIGHT_FILES if '.json' not in n)}); "
        f"{other_weights(files.names()) or files.lacking()}"
    )


def _shards(index: Path, files: Files, source: str) -> list[Path]:
    shard_of = read_settings(index, source).get("weight_map")
    names = list(shard_of.values()) if isinstance(shard_of, dict) else []
    if not names or not all(isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name) for name in names):
        raise UserError(f"{index} of {source} is damaged (it names no files beside it); download it again")
    paths = []
    for name in sorted(set(names)):
        path = files.path(name)
        if path is None:
            raise UserError(f"{source}: {name}, which {index.name} names, is not there; {files.lacking()}")
        paths.append(path)
    return paths


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file by name, those of numbers with a fraction in float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"the weights in {path} are damaged ({reason(error)}); delete it and download it again"
        ) from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise UserError(f"{path} is a pointer of Git LFS and holds no weights; run `git lfs pull` in its folder")
