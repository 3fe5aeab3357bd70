"""Take over labels, splits, speakers and transcripts that have changed, where audio and model have not.

The cache is laid out anew with the new columns beside the old one, the states are copied, and it takes the old one's
place: its bytes are those of an extraction with the new labels, and a kill leaves the one or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
import pandas as pd

from .baselines.registry import BASELINES, kept_beside
from .cache import HiddenStateCache
from .corpora.cells import DIMENSIONS, EMOTION, PLACES
from .corpora.table import COLUMNS
from .layout import Plan, lay_out, open_hdf5, part_name, placed
from .sidecars import read_sidecar, sidecar_path, write_sidecar

#: What names the audio of an utterance; any other column of a corpus is a label.
AUDIO = ("id", "path", *PLACES)

_CHUNK = 1 << 24


def changed_labels(cache: HiddenStateCache, table: pd.DataFrame) -> dict[str, int] | None:
    """How many utterances have another label than in a cache, by column.

    Parameters
    ----------
    cache : HiddenStateCache
    table : pandas.DataFrame
        The corpus's columns as a cache holds them, paths relative to its root.

    Returns
    -------
    dict or None
        None where the audio is not the same: other utterances, another order, other files or parts of them.
    """
    there = cache.utterances
    if len(there) != len(table) or any(_differ(there[name], table[name]).any() for name in AUDIO):
        return None
    counts = {name: int(_differ(there[name], table[name]).sum()) for name in COLUMNS if name not in AUDIO}
    return {name: count for name, count in counts.items() if count}


def lost_targets(cache: HiddenStateCache, table: pd.DataFrame) -> list[str]:
    """Targets of which a cache holds labels, and the table none any more."""
    there = cache.utterances
    return [name for name in (*DIMENSIONS, EMOTION) if _held(there[name]) and not _held(table[name])]


def _held(column: pd.Series) -> bool:
    return bool((column.notna() & (column != "")).any())


def _differ(one: pd.Series, other: pd.Series) -> np.ndarray:
    return ((one.to_numpy() != other.to_numpy()) & ~(one.isna() & other.isna()).to_numpy()).astype(bool)


def refresh_labels(
    out: Path,
    table: pd.DataFrame,
    *,
    changed: dict,
    root: str,
    arguments: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Put the labels of `table` into a cache of the same audio, and into the baselines beside it that still hold.

    Parameters
    ----------
    out : Path
        The cache; the caller holds its lock.
    table : pandas.DataFrame
        As for :func:`changed_labels`, which has told that the audio is the same.
    changed : dict
        Provenance of the corpus, as the cache is to hold it, and of the shard where it is one.
    root, arguments
        As of :class:`.layout.Plan`.
    say : callable
        Told what becomes of the baselines.

    Raises
    ------
    UserError
        If the disk has no room for both caches.
    """
    with HiddenStateCache(out) as cache, open_hdf5(out) as old, out.open("rb") as source:
        before = cache.provenance["corpus"]
        same_words = not _differ(cache.utterances["transcript"], table["transcript"]).any()
        columns = {name: old[f"utterances/{name}"][:] for name in ("samples", "frames", "frame_start", "seconds")}
        plan = Plan(
            table[list(COLUMNS)].assign(
                **columns, status=cache.utterances["status"], reason=cache.utterances["reason"]
            ),
            cache.statistics,
            tuple(cache.layers["name"]),
            cache.width,
            {name: array.shape[1] for name, array in old["acoustic"].items()},
            {**cache.provenance, **changed},
            root,
            tuple(arguments),
        )
        frames = [] if "frames" not in old else old["frames/part_frames"][:].tolist()
        parts = [(part_name(index), count) for index, count in enumerate(frames)]

        def copy_states(temporary: Path) -> None:
            with open_hdf5(temporary) as new, temporary.open("r+b") as target:
                for name in placed(new):
                    _copy(source, old[name], target, new[name])
            # Last, since only the renaming is still to come: killed before that, the same command finds them done.
            _keep_baselines(out, before["sha256"], changed["corpus"], same_words=same_words, say=say)

        lay_out(out, plan, frame_sources=parts, fill=copy_states)


def _keep_baselines(out: Path, before: str, corpus: dict, *, same_words: bool, say: Callable[[str], None]) -> None:
    """Name the corpus of the new labels in the baselines beside a cache that do not depend on what has changed."""
    for name in kept_beside():
        path = sidecar_path(out, name)
        sidecar = read_sidecar(path) if path.exists() else None
        if sidecar is None or sidecar.about["corpus"]["sha256"] != before:
            continue
        if not BASELINES[name].acoustic and not same_words:
            say(f"{path} is of other transcripts: probe-extract --baselines {name} makes it anew")
            continue
        about = {**sidecar.about, "corpus": {part: corpus[part] for part in ("name", "sha256")}}
        write_sidecar(path, replace(sidecar, about=about))


def _copy(source: BinaryIO, old: h5py.Dataset, target: BinaryIO, new: h5py.Dataset) -> None:
    """The bytes of one array into the place of another of the same shape and type."""
    if (old.shape, old.dtype) != (new.shape, new.dtype):
        raise ValueError(f"{old.name} is {old.dtype} {old.shape}, and would be {new.dtype} {new.shape}")
    source.seek(old.id.get_offset())
    target.seek(new.id.get_offset())
    left = old.size * old.dtype.itemsize
    while left:
        data = source.read(min(left, _CHUNK))
        if not data:
            raise ValueError(f"{old.name} ends too early")
        target.write(data)
        left -= len(data)
