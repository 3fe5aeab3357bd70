"""The numbers of shards into one cache: rows by turns, each compared with its checksum on the way, block by block."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError, reason

from .layout import CHECKSUM_BYTES, checksum, offsets_of, open_hdf5
from .verifying import WRONG_STATES

#: Bytes of one block of the new cache, and the threads that copy one each. Larger blocks are mapped from the system and
#: given back each time, which takes longer; of many shards they are larger all the same, or each read would be tiny.
_BLOCK_BYTES, _MOST_BLOCK_BYTES, _THREADS = 1 << 24, 1 << 26, min(4, os.cpu_count() or 1)

#: Rows of each shard in a block, where that makes no block too large.
_ROWS_A_SHARD = 32


@dataclass(frozen=True)
class Source:
    """A shard whose numbers are copied.

    Attributes
    ----------
    path : Path
    fd : int
        Of the file, open for reading: what replaces it meanwhile is another shard.
    offsets : mapping of str to int
        Where each of :func:`.layout.placed` lies.
    utterances : int
    done : ndarray of bool, (utterances,)
        Whose states are there.
    checksums : ndarray of bytes, (utterances,)
    names : sequence of str
        Of the utterances, for a message.
    repair : str
        What extracts damaged ones again.
    """

    path: Path
    fd: int
    offsets: Mapping[str, int]
    utterances: int
    done: np.ndarray
    checksums: np.ndarray
    names: Sequence[str]
    repair: str


def interleave(
    sources: Sequence[Source],
    target: Path,
    *,
    statistics: Sequence[str],
    n_layers: int,
    width: int,
    acoustics: Mapping[str, int],
    advance: Callable[[int], object],
) -> None:
    """Copy the numbers of all utterances, and write their checksums.

    What an utterance without states has in their place is not copied, since no checksum covers it.

    Parameters
    ----------
    sources : sequence of Source
        Number k holds the rows k, k + len(sources), and so on, of the whole.
    target : Path
        A cache that is laid out for all.
    statistics : sequence of str
        In the order in which checksums take them.
    n_layers, width : int
    acoustics : mapping of str to int
        Widths of the acoustic baselines, by name.
    advance : callable
        Told the number of utterances that are copied, block by block.

    Raises
    ------
    UserError
        If an utterance is not what was written, naming shard and remedy; or a shard cannot be read.
    OSError
        If the target cannot be written.
    """
    with open_hdf5(target) as file:
        offsets = offsets_of(file)
    fd = os.open(target, os.O_RDWR)
    try:
        copy = _Copy(sources, fd, offsets, tuple(statistics), n_layers, width, tuple(sorted(acoustics.items())))
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="join")
        try:
            for count in pool.map(copy.block, copy.starts()):
                advance(count)
        finally:
            pool.shutdown(cancel_futures=True)  # interrupted or refused, it does not copy the rest first
        _write(fd, copy.checksums(), offsets["utterances/checksum"])
    finally:
        os.close(fd)


@dataclass(frozen=True)
class _Copy:
    """What all blocks have in common."""

    sources: Sequence[Source]
    fd: int
    offsets: Mapping[str, int]
    statistics: tuple[str, ...]
    n_layers: int
    width: int
    acoustics: tuple[tuple[str, int], ...]

    @property
    def utterances(self) -> int:
        return sum(source.utterances for source in self.sources)

    @property
    def rows(self) -> int:
        """Rows of a block."""
        of_one = 4 * self.n_layers * (len(self.statistics) * self.width + 1)
        wanted = max(_BLOCK_BYTES, min(_MOST_BLOCK_BYTES, _ROWS_A_SHARD * len(self.sources) * of_one))
        return max(1, wanted // of_one)

    def starts(self) -> range:
        """First rows of the blocks."""
        return range(0, self.utterances, self.rows)

    def checksums(self) -> np.ndarray:
        """Of all utterances, in the order of the corpus."""
        whole = np.empty(self.utterances, f"S{CHECKSUM_BYTES}")
        for k, source in enumerate(self.sources):
            whole[k :: len(self.sources)] = source.checksums
        return whole

    def block(self, start: int) -> int:
        """Copy the block that begins with a row; returns its rows."""
        count, n = min(self.rows, self.utterances - start), len(self.sources)
        states = np.empty((len(self.statistics), self.n_layers, count, self.width), "<f4")
        norms = np.empty((self.n_layers, count), "<f4")
        acoustics = [np.empty((count, width), "<f4") for _, width in self.acoustics]
        for k, source in enumerate(self.sources):
            first, end = (-(-(row - k) // n) for row in (start, start + count))  # its first rows from there on
            if first < end:
                taken = slice(first * n + k - start, None, n)
                states[:, :, taken], norms[:, taken], parts = self._read(source, first, end - first)
                for whole, part in zip(acoustics, parts, strict=True):
                    whole[taken] = part
        for statistic, values in zip(self.statistics, states, strict=True):
            for layer in range(self.n_layers):
                place = 4 * self.width * (layer * self.utterances + start)
                _write(self.fd, values[layer], self.offsets[f"pooled/{statistic}"] + place)
        for layer in range(self.n_layers):
            _write(self.fd, norms[layer], self.offsets["frame_norm"] + 4 * (layer * self.utterances + start))
        for (name, width), whole in zip(self.acoustics, acoustics, strict=True):
            _write(self.fd, whole, self.offsets[f"acoustic/{name}"] + 4 * width * start)
        return count

    def _read(self, source: Source, first: int, rows: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """States, norms and acoustics of rows of a shard that follow each other, compared with their checksums."""
        states = np.empty((len(self.statistics), self.n_layers, rows, self.width), "<f4")
        norms = np.empty((self.n_layers, rows), "<f4")
        acoustics = [np.empty((rows, width), "<f4") for _, width in self.acoustics]
        for statistic, values in zip(self.statistics, states, strict=True):
            for layer in range(self.n_layers):
                place = 4 * self.width * (layer * source.utterances + first)
                _read(source, values[layer], source.offsets[f"pooled/{statistic}"] + place)
        for layer in range(self.n_layers):
            _read(source, norms[layer], source.offsets["frame_norm"] + 4 * (layer * source.utterances + first))
        for (name, width), values in zip(self.acoustics, acoustics, strict=True):
            _read(source, values, source.offsets[f"acoustic/{name}"] + 4 * width * first)
        for row in range(rows):
            if not source.done[first + row]:
                states[:, :, row], norms[:, row] = 0, 0
                for values in acoustics:
                    values[row] = 0
            elif source.checksums[first + row] != checksum(
                states[:, :, row], norms[:, row], [values[row] for values in acoustics]
            ):
                raise UserError(
                    f"{source.path}: {WRONG_STATES.format(source.names[first + row])}, and nothing is joined; bring "
                    f"the shard back from a copy, or extract again what is damaged: {source.repair}"
                )
        return states, norms, acoustics


def _read(source: Source, values: np.ndarray, place: int) -> None:
    """Fill an array that lies in one piece from a place in a shard."""
    view = values.data.cast("B")
    try:
        while view:
            count = os.preadv(source.fd, [view], place)
            if count == 0:
                raise UserError(f"{source.path} ends before its numbers do: it was cut off while it was joined")
            view, place = view[count:], place + count
    except OSError as error:
        raise UserError(
            f"{source.path} cannot be read ({reason(error)}); that says nothing about what it holds: mend the disk or "
            "the connection, and run the same command again"
        ) from error


def _write(fd: int, values: np.ndarray, place: int) -> None:
    view = values.view("u1").data.cast("B")  # also of texts, which no view can be cast from
    while view:
        count = os.pwrite(fd, view, place)
        view, place = view[count:], place + count
