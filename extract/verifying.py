"""Compare what a cache holds with the checksums that were written with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .cache_file import CacheFile
from .frame_parts import FrameParts
from .layout import DONE, PENDING, PROBLEMS, checksum, checksum_of, mean_layer_norms

#: States that are read at a time to be compared with their checksums, and the threads that do it: hashing lets the
#: others run.
_BLOCK_BYTES, _THREADS = 1 << 25, min(4, os.cpu_count() or 1)

#: What is told of an utterance, by its name.
WRONG_STATES = "the states of {} have changed since they were written"


@dataclass(frozen=True)
class Damage:
    """Something that has changed since it was written.

    Attributes
    ----------
    what : str
        For a person.
    rows : ndarray of int
        Utterances that it concerns; none where it concerns all alike.
    """

    what: str
    rows: np.ndarray


def damage_of(file: CacheFile, *, frames: bool = True) -> Iterator[Damage]:
    """Everything that has changed since it was written; with the single frames, if there are any, or without."""
    names = file.description["id"]
    marks, reasons = file.marks(), file.hdf5["utterances/reason"][:]
    stored = file.hdf5["utterances/checksum"][:]
    there = dict(checksums_of(file, np.nonzero(marks == DONE)[0]))
    for row, mark in enumerate(marks):
        wrong = wrong_mark(mark, reasons[row], stored[row])
        if not wrong and mark == DONE and there[row] != stored[row]:
            wrong = WRONG_STATES
        if wrong:
            yield Damage(wrong.format(names[row]), np.array([row]))
    done = file.done
    norm = file.hdf5["layers/norm"][:]
    if file.complete and done.any():  # norms that are not there yet are no damage: the next run writes them
        wanted = mean_layer_norms(file.view("frame_norm")[:, done], file.description["frames"].to_numpy()[done])
        for layer in np.nonzero(norm != wanted)[0]:
            yield Damage(f"the mean norm of layer {layer} has changed since it was written", np.array([], dtype=int))
    if frames and "frames" in file.hdf5:
        yield from _damaged_parts(file)


def wrong_mark(mark: str, reason: bytes, stored: bytes) -> str:
    """What is wrong with the status, the reason and the checksum of an utterance, whatever its states are.

    Parameters
    ----------
    mark : str
        What stands in the place of its status.
    reason, stored : bytes
        Its reason and its checksum.

    Returns
    -------
    str
        With ``{}`` for the utterance; empty where nothing is wrong.
    """
    if mark == DONE:
        return WRONG_STATES if reason else ""
    if mark in PROBLEMS:
        is_written = stored == checksum_of(mark.encode(), reason)
        return "" if is_written else "the reason why {} was left out has changed since it was written"
    return "" if mark == PENDING else "the status of {} is damaged"


def checksums_of(file: CacheFile, rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """Each row with the checksum of what is there now, computed in blocks of rows by a few threads."""
    pooled = [file.view(f"pooled/{s}") for s in file.statistics]
    norms = file.view("frame_norm")
    acoustics = [file.view(f"acoustic/{name}") for name in sorted(file.hdf5["acoustic"])]

    def of_block(block: np.ndarray) -> list[tuple[int, bytes]]:
        first, end = int(block[0]), int(block[-1]) + 1
        # Rows that follow each other are read in one piece a layer; what is left out between them comes along.
        states = np.empty((end - first, len(pooled), file.n_layers, file.width), "<f4")
        for s, values in enumerate(pooled):
            states[:, s] = values[:, first:end].transpose(1, 0, 2)
        lengths = np.ascontiguousarray(norms[:, first:end].T)
        return [
            (int(row), checksum(states[row - first], lengths[row - first], [values[row] for values in acoustics]))
            for row in block
        ]

    size = max(1, _BLOCK_BYTES // (4 * len(pooled) * file.n_layers * file.width))
    # By number and not by count: rows far from each other are no block.
    blocks = np.split(rows, np.flatnonzero(np.diff(rows // size)) + 1) if len(rows) else []
    with ThreadPoolExecutor(_THREADS) as threads:
        for block in threads.map(of_block, blocks):
            yield from block


def _damaged_parts(file: CacheFile) -> Iterator[Damage]:
    parts = FrameParts(file)
    frames = file.description["frames"].to_numpy()
    for index in range(len(parts)):
        rows = np.nonzero((parts.part_of == index) & file.done & (frames > 0))[0]
        part = parts.path(index)
        if len(rows) and not part.is_file():
            yield Damage(f"the single frames in {part} are missing", rows)
        elif len(rows) and not parts.is_intact(index):
            yield Damage(f"the single frames in {part} have changed since they were written", rows)
