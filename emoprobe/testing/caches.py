"""Small caches whose truth is known: each dimension is planted in one layer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from emoprobe.extract.corpora import COLUMNS, DIMENSIONS
from emoprobe.extract.corpora.table import empty_columns
from emoprobe.extract.layout import Plan, checksum, lay_out, mean_layer_norms


def write_cache(  # noqa: PLR0913 (options of the user's, each given by its name)
    path: Path,
    *,
    n: int = 120,
    layers: int = 4,
    width: int = 12,
    speakers: int = 12,
    planted: Mapping[str, int] | None = None,
    noise: float = 0.3,
    seed: int = 0,
    label: str = "planted",
    corpus: str = "handmade",
    pending: int = 0,
    **columns: Any,
) -> pd.DataFrame:
    """Write a cache in which each dimension is a noisy direction of one layer's states.

    States are standard normal, and those of one layer know nothing of another's. So the best layer of a dimension, and
    how well it can do, are known before any probe is fitted: a CCC of ``2 s / (2 s + noise²)`` with many utterances,
    where s, about 1, is the variance of the labels less `noise²`, and none at the other layers.

    Parameters
    ----------
    path : Path
        The cache; replaced if there is one.
    n : int
        Utterances.
    layers, width : int
        Layers, and the size of a hidden state.
    speakers : int
        They take turns.
    planted : mapping of str to int, optional
        The layer of each dimension; by default arousal in layer 1, valence in the last, dominance in ``2 % layers``.
    noise : float
        Standard deviation of what no layer knows of a label; that of what its layer knows is about 1.
    seed : int
        Of states and labels.
    label : str
        Of the model that the cache is said to be of. "NAME (random 1)", as ``probe-extract`` calls it, is the twin of
        NAME with random weights; with another `seed`, and the labels of NAME's cache as columns, it knows nothing of
        them.
    corpus : str
        Name of the corpus.
    pending : int
        The last so many utterances are not extracted yet.
    **columns
        Columns of the table of utterances by name (:data:`emoprobe.extract.corpora.COLUMNS`), each one value or one an
        utterance, in place of those that are made here.

    Returns
    -------
    DataFrame
        The table of utterances with the labels.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from emoprobe import HiddenStateCache
    >>> with TemporaryDirectory() as folder:
    ...     table = write_cache(Path(folder) / "planted.h5", n=20, layers=3, gender="f")
    ...     with HiddenStateCache(Path(folder) / "planted.h5") as cache:
    ...         print(cache.states().shape, set(cache.utterances["gender"]))
    (3, 20, 12) {'f'}
    """
    rng = np.random.default_rng(seed)
    planted = {"arousal": 1, "valence": layers - 1, "dominance": 2 % layers} if planted is None else planted
    states = rng.standard_normal((layers, n, width))
    table = pd.DataFrame(
        {
            "id": [f"u{i:04d}" for i in range(n)],
            "path": [f"u{i:04d}.wav" for i in range(n)],
            "speaker": [f"s{i % speakers:02d}" for i in range(n)],
            "gender": "",
            "split": "",
            "emotion": "",
            "transcript": "",
        }
    )
    for dimension in DIMENSIONS:
        direction = rng.standard_normal(width) / np.sqrt(width)
        table[dimension] = 4 + states[planted[dimension]] @ direction + noise * rng.standard_normal(n)
    table["emotion"] = np.where(table["arousal"] > 4.4, "angry", np.where(table["arousal"] < 3.6, "sad", "neutral"))
    for name, values in columns.items():
        table[name] = values
    empty = pd.DataFrame(empty_columns(n))
    table = table.join(empty[[name for name in empty if name not in table]])
    table = table[list(COLUMNS)].copy()
    table["samples"], table["frames"], table["frame_start"] = 16000, 49, np.arange(n) * 49
    table["seconds"], table["status"], table["reason"] = 1.0, "pending", ""
    states = states.astype("<f4")
    statistics = ("mean", "std", "mean_ln")
    acoustics = {"logmel": 6, "mfcc": 5}
    provenance = {
        "model": {"label": label, "weights_sha256": "0" * 64, "revision": None, **_name(label)},
        "corpus": {"name": corpus, "sha256": "1" * 64},
        "pooling": list(statistics),
        "precision": "float32",
        "versions": {},
    }
    names = tuple(f"block {k}" for k in range(layers))
    lay_out(path, Plan(table, statistics, names, width, acoustics, provenance, "/corpus"))
    with h5py.File(path, "r+") as file:
        file["pooled/mean"][:] = states
        file["pooled/std"][:] = np.abs(rng.standard_normal(states.shape))
        normed = states - states.mean(-1, keepdims=True)
        file["pooled/mean_ln"][:] = normed / normed.std(-1, keepdims=True)
        for name, size in acoustics.items():
            values = rng.standard_normal((n, size))
            values[:, 0] = 0.5 * (table["arousal"].fillna(4) - 4) + rng.standard_normal(n)
            file[f"acoustic/{name}"][:] = values
        file["frame_norm"][:] = np.linalg.norm(states, axis=-1)
        file["layers/norm"][:] = np.nan
        status = np.array(["done"] * n, dtype=object)
        if pending:
            status[-pending:] = "pending"
        file["utterances/status"][:] = status
    write_checksums(path)
    return table


def _name(label: str) -> dict[str, Any]:
    """What provenance says of a model called `label`."""
    twin = re.fullmatch(r"(.+) \(random (\d+)\)", label)
    return {"name": twin[1], "random_init": int(twin[2])} if twin else {"name": label}


def write_checksums(path: Path) -> None:
    """Write the checksums of what a cache holds, and its layers' norms, as if it had been extracted so.

    For a test that changes states of a cache, and wants no damage to be told.

    Parameters
    ----------
    path : Path
        A cache; its finished utterances get their checksums anew.
    """
    with h5py.File(path, "r+") as file:
        statistics = [s for s in json.loads(file.attrs["provenance"])["pooling"] if s in file["pooled"]]
        norms, frames = file["frame_norm"][:], file["utterances/frames"][:]
        pooled = [file[f"pooled/{name}"][:] for name in statistics]
        acoustics = [file[f"acoustic/{name}"][:] for name in sorted(file["acoustic"])]
        done = file["utterances/status"][:] == b"done"
        for row in np.flatnonzero(done):
            parts = [values[row] for values in acoustics]
            file["utterances/checksum"][row] = checksum(np.stack([p[:, row] for p in pooled]), norms[:, row], parts)
        if done.any():
            file["layers/norm"][:] = mean_layer_norms(norms[:, done], frames[done])
