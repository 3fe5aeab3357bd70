"""Packed speech: one file of samples, one of what was said when.

A store is a folder: ``samples.i16`` (all utterances end to end, 16 kHz, raw little-endian int16) and ``index.npz``
(offsets, and for synthetic speech the time-stamped phones and words).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.jsontext import to_json
from emoprobe.storage import replacing

#: ``phones`` and ``words`` of an utterance: start, end and name of each, in seconds.
Spoken = Mapping[str, Sequence[tuple[float, float, str]]]


@dataclass(frozen=True)
class Store:
    """Packed utterances.

    Attributes
    ----------
    samples : numpy.ndarray of int16, shape (samples,)
        All utterances end to end (memory-mapped).
    offsets : numpy.ndarray of int64, shape (utterances + 1,)
    events : dict of str to tuple of (starts, ends, names, firsts)
        ``phones`` and ``words`` of synthetic speech: seconds within the utterance, index into the names, and for each
        utterance the first event's number.
    names : dict
        ``phones`` and ``words``: the names that the indices stand for.
    """

    samples: np.ndarray
    offsets: np.ndarray
    events: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    names: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def hours(self) -> float:
        """Of all utterances together."""
        return self.offsets[-1] / SAMPLE_RATE / 3600

    def wave(self, index: int) -> np.ndarray:
        """Samples of an utterance, int16, shape (samples,)."""
        return self.samples[self.offsets[index] : self.offsets[index + 1]]

    def label(self, kind: str, index: int, times: np.ndarray) -> np.ndarray:
        """Which phone or word sounds at each time; -1 where none does."""
        starts, ends, names, firsts = (self.events[kind][i] for i in range(4))
        part = slice(firsts[index], firsts[index + 1])
        if part.start == part.stop:
            return np.full(len(times), -1, np.int32)
        at = np.searchsorted(starts[part], times, side="right") - 1
        inside = (at >= 0) & (times < ends[part][np.maximum(at, 0)])
        return np.where(inside, names[part][np.maximum(at, 0)], -1).astype(np.int32)


def open_store(folder: Path) -> Store:
    """Open a store.

    Raises
    ------
    UserError
        If the folder does not hold a finished one.
    """
    index = Path(folder) / "index.npz"
    if not index.is_file():
        raise UserError(f"{folder} holds no finished store (no index.npz): make it again")
    with np.load(index, allow_pickle=False) as table:
        events = {
            kind: (table[f"{kind}_start"], table[f"{kind}_end"], table[f"{kind}_name"], table[f"{kind}_first"])
            for kind in ("phones", "words")
            if f"{kind}_start" in table
        }
        names = {kind: json.loads(str(table[f"{kind}_names"])) for kind in events}
        offsets = table["offsets"]
    samples = np.memmap(Path(folder) / "samples.i16", dtype="<i2", mode="r")
    if len(samples) != offsets[-1]:
        raise UserError(f"{folder}/samples.i16 is not as long as its index says: delete the folder and make it again")
    return Store(samples, offsets, events, names)


def write_store(folder: Path, waves: Iterable[np.ndarray], events: Sequence[Spoken] = ()) -> Path:
    """Write utterances (int16 arrays) and, for synthetic speech, what was said in each."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # The index comes last: a folder that has one is finished.
    with replacing(folder / "index.npz") as index, replacing(folder / "samples.i16") as samples:
        offsets = [0]
        with samples.open("wb") as file:
            for wave in waves:
                file.write(np.ascontiguousarray(wave, "<i2").tobytes())
                offsets.append(offsets[-1] + len(wave))
        with index.open("wb") as file:
            table: dict[str, Any] = {"offsets": np.array(offsets, np.int64), **_packed(events)}
            np.savez(file, **table)
    return folder


def _packed(events: Sequence[Spoken]) -> dict[str, np.ndarray]:
    """Phones and words of all utterances, end to end."""
    table: dict[str, np.ndarray] = {}
    for kind in ("phones", "words") if events else ():
        names = sorted({name for one in events for _, _, name in one[kind]})
        number = {name: i for i, name in enumerate(names)}
        flat = [event for one in events for event in one[kind]]
        table[f"{kind}_start"] = np.array([event[0] for event in flat], np.float32)
        table[f"{kind}_end"] = np.array([event[1] for event in flat], np.float32)
        table[f"{kind}_name"] = np.array([number[event[2]] for event in flat], np.int32)
        table[f"{kind}_first"] = np.cumsum([0] + [len(one[kind]) for one in events])
        table[f"{kind}_names"] = np.array(to_json(names))
    return table
