"""What a cache knows of each utterance without the model: its length, acoustic statistics, and the tables beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emoprobe.errors import UserError

from .baselines.registry import kept_beside
from .cache_file import CacheFile
from .sidecars import read_about, read_sidecar, sidecar_path


def acoustics_of(file: CacheFile) -> dict[str, np.ndarray]:
    """Acoustic baselines by name, each (utterances, width) float32; NaN for an utterance that is not done."""
    acoustics = {}
    for name in file.hdf5["acoustic"]:
        acoustics[name] = np.array(file.view(f"acoustic/{name}"))
        acoustics[name][~file.done] = np.nan
    return acoustics


def baselines_of(file: CacheFile) -> dict[str, dict]:
    """Every baseline by name; of those beside the cache, what made them and the hash of their table.

    Raises
    ------
    UserError
        If one of them is of another corpus, or damaged.
    """
    baselines: dict[str, dict] = {"duration": {}} | {name: {} for name in file.hdf5["acoustic"]}
    for name in kept_beside():
        path = sidecar_path(file.path, name)
        if path.exists():
            about = read_about(path)
            _refuse_other_corpus(file, path, about)
            baselines[name] = {"settings": about["settings"], "sha256": about["sha256"]}
    return baselines


def read_baseline(file: CacheFile, name: str) -> np.ndarray:
    """Features of one baseline, (utterances, width) float32; see :meth:`.cache.HiddenStateCache.baseline`.

    Raises
    ------
    UserError
        If there is no such baseline, or its file is of another corpus, or damaged.
    """
    if name == "duration":
        seconds = np.where(file.done, file.description["seconds"].to_numpy(), np.nan)
        return np.stack([seconds, np.log(seconds)], axis=1).astype(np.float32)
    if name in file.hdf5["acoustic"]:
        return acoustics_of(file)[name]
    path = sidecar_path(file.path, name)
    if name not in kept_beside() or not path.exists():
        raise UserError(
            f"{file.path} has no baseline {name!r} (it has {', '.join(baselines_of(file))}); "
            f"probe-extract --baselines makes {', '.join(kept_beside())}"
        )
    sidecar = read_sidecar(path)
    _refuse_other_corpus(file, path, sidecar.about)
    if len(sidecar.ids) != file.n_utterances:
        raise UserError(
            f"{path} has {len(sidecar.ids)} rows, and the cache beside it {file.n_utterances}; {_anew(file, path)}"
        )
    return np.where(file.done[:, None], sidecar.features, np.float32(np.nan))


def _refuse_other_corpus(file: CacheFile, path: Path, about: dict) -> None:
    if about["corpus"]["sha256"] != file.provenance["corpus"]["sha256"]:
        raise UserError(
            f"{path} is of another corpus ({about['corpus']['name']}, {about['corpus']['sha256'][:12]}…) than the "
            f"cache beside it; {_anew(file, path)}"
        )


def _anew(file: CacheFile, path: Path) -> str:
    return f"make it anew with probe-extract --out {file.path} --baselines {path.stem}, or remove it"
