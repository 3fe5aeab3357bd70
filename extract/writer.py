"""The one writer of a cache: fills in numbers at places laid out before, and marks what is done after its data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError
from emoprobe.locks import LockHeld, hold_lock
from emoprobe.ownership import refuse_foreign_lock
from emoprobe.storage import write_file

from .cache import HiddenStateCache
from .layout import (
    CHECKSUM_BYTES,
    DONE,
    PENDING,
    REASON_BYTES,
    STATUS_BYTES,
    checksum,
    checksum_of,
    fixed,
    frames_folder,
    mean_layer_norms,
    open_hdf5,
    part_name,
    placed,
)


def _sync(fd: int) -> None:
    """Have the data on disk when this returns; macOS knows only the slower call."""
    getattr(os, "fdatasync", os.fsync)(fd)


@contextmanager
def lock_cache(path: Path) -> Iterator[None]:
    """Refuse a second writer for as long as the lock is held.

    Raises
    ------
    UserError
        If another process is writing the cache.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give --out the name of a file, such as {path / 'hidden_states.h5'}")
    place = path.with_name(f"{path.name}.lock")
    refuse_foreign_lock(place)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold_lock(place))
        except LockHeld as holder:
            raise UserError(
                f"{path} is being written by {holder}; wait for it, or give another place with --out"
            ) from None
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); give another place with --out") from error
        yield


class CacheWriter:
    """Writes batches into a cache that is laid out. Hold :func:`lock_cache` while it is open.

    HDF5 is asked once where each dataset lies; then plain writes go to those places, so that the file's structure is
    never touched again.

    Parameters
    ----------
    path : Path
        A cache, complete or not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with HiddenStateCache(path) as cache:
            self.statistics = cache.statistics
            self.n_layers, self.n_utterances, self.width = cache.n_layers, cache.n_utterances, cache.width
            self._status = cache.utterances["status"].to_numpy().copy()
        with open_hdf5(path) as file:
            self.acoustics = tuple(sorted(file["acoustic"]))
            self._acoustic_widths = {name: file["acoustic"][name].shape[1] for name in self.acoustics}
            self._offsets = {name: file[name].id.get_offset() for name in placed(file)}
            self.frames = file["utterances/frames"][:]
        self._fd = os.open(path, os.O_RDWR)

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)

    def pending(self, rows: np.ndarray) -> bool:
        """Whether any of the rows is still to come."""
        return PENDING in set(self._status[rows])

    def write(
        self,
        rows: Sequence[int],
        states: np.ndarray,
        norms: np.ndarray,
        acoustics: dict[str, np.ndarray],
        problems: dict[int, tuple[str, str]],
    ) -> None:
        """Write the utterances of one batch, then mark them.

        Parameters
        ----------
        rows : sequence of int
            Utterances that came out well.
        states : ndarray, (statistics, layers, rows, width), float32
        norms : ndarray, (layers, rows), float32
        acoustics : dict of str to ndarray, (rows, width)
        problems : dict of int to (status, reason)
            Utterances of the batch that did not.
        """
        states, norms = np.ascontiguousarray(states, "<f4"), np.ascontiguousarray(norms, "<f4")
        for s, statistic in enumerate(self.statistics):
            for layer in range(self.n_layers):
                for i, row in enumerate(rows):
                    place = (layer * self.n_utterances + row) * self.width
                    self._put(f"pooled/{statistic}", 4 * place, states[s, layer, i])
        for layer in range(self.n_layers):
            for i, row in enumerate(rows):
                self._put("frame_norm", 4 * (layer * self.n_utterances + row), norms[layer, i : i + 1])
        for name in self.acoustics:
            values = np.ascontiguousarray(acoustics[name], "<f4")
            for i, row in enumerate(rows):
                self._put(f"acoustic/{name}", 4 * row * self._acoustic_widths[name], values[i])
        for i, row in enumerate(rows):
            parts = [acoustics[name][i] for name in self.acoustics]
            self._put("utterances/checksum", CHECKSUM_BYTES * row, checksum(states[:, :, i], norms[:, i], parts))
        for row in rows:
            self._put("utterances/reason", REASON_BYTES * row, bytes(REASON_BYTES))
        self._explain(problems)
        _sync(self._fd)  # the data must be on disk before the mark that says so
        for row in rows:
            self._mark(row, DONE)
        for row, (status, _) in problems.items():
            self._mark(row, status)

    def list_problems(self, problems: dict[int, tuple[str, str]]) -> None:
        """Write what is wrong with utterances that no batch holds, where the cache does not say it."""
        problems = {row: problem for row, problem in problems.items() if self._status[row] == PENDING}
        self._explain(problems)
        _sync(self._fd)
        for row, (status, _) in problems.items():
            self._mark(row, status)

    def _explain(self, problems: dict[int, tuple[str, str]]) -> None:
        for row, (status, reason) in problems.items():
            text = fixed(reason, REASON_BYTES)
            self._put("utterances/reason", REASON_BYTES * row, text.ljust(REASON_BYTES, b"\0"))
            self._put("utterances/checksum", CHECKSUM_BYTES * row, checksum_of(status.encode(), text))

    def reset(self, rows: np.ndarray) -> None:
        """Mark utterances as still to come, whatever was there."""
        for row in rows:
            self._put("utterances/reason", REASON_BYTES * row, bytes(REASON_BYTES))
            self._mark(row, PENDING)
        _sync(self._fd)

    def write_frames(self, index: int, image: bytes) -> None:
        """Write one part of the single frames, atomically.

        Parameters
        ----------
        index : int
            Number of the batch.
        image : bytes
            Of :func:`.frame_parts.frames_file`.
        """
        folder, name = frames_folder(self.path), part_name(index)
        try:
            folder.mkdir(exist_ok=True)
            write_file(folder / name, image)
        except OSError as error:
            raise UserError(
                f"{folder}: cannot write ({error.strerror or error}); free disk space, then run the same command "
                "again: what is finished is kept"
            ) from error
        self._put("frames/part_checksum", CHECKSUM_BYTES * index, checksum_of(image))

    def finish(self) -> None:
        """Write each layer's mean frame norm, from the norms of all utterances that are done."""
        with HiddenStateCache(self.path) as cache:
            done = np.nonzero(cache.done)[0]
            norms = cache.frame_norms[:, done]
        if len(done):
            self._put("layers/norm", 0, mean_layer_norms(norms, self.frames[done]))
        _sync(self._fd)

    def _mark(self, row: int, status: str) -> None:
        self._put("utterances/status", STATUS_BYTES * row, fixed(status, STATUS_BYTES).ljust(STATUS_BYTES, b"\0"))
        self._status[row] = status

    def _put(self, name: str, offset: int, data: np.ndarray | bytes) -> None:
        view = (memoryview(data) if isinstance(data, bytes) else data.data).cast("B")
        place = self._offsets[name] + offset
        try:
            while view:
                written = os.pwrite(self._fd, view, place)
                view, place = view[written:], place + written
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot write ({error.strerror}); free disk space, then run the same command again: "
                "what is finished is kept"
            ) from error
