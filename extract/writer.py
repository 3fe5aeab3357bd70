"""The one writer of a cache: fills in numbers at places laid out before, and marks what is done after its data."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    offsets_of,
    open_hdf5,
    part_name,
)

#: Threads that make checksums; two keep up with what is written.
_HASHING = 2


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
    """Writes batches into a cache that is laid out, each in two steps. Hold :func:`lock_cache` while it is open.

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
            self._offsets = offsets_of(file)
            self.frames = file["utterances/frames"][:]
        self._written: deque[dict[int, str]] = deque()  # batches without a mark
        self._lost: UserError | None = None
        self._hashing = ThreadPoolExecutor(_HASHING, thread_name_prefix="hash")
        self._fd = os.open(path, os.O_RDWR)

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._hashing.shutdown()
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
        """Write the utterances of one batch; :meth:`commit` marks them.

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
        if rows:
            states, norms = np.ascontiguousarray(states, "<f4"), np.ascontiguousarray(norms, "<f4")
            parts = [[acoustics[name][i] for name in self.acoustics] for i in range(len(rows))]
            # Hashing lets other threads run; it is a third of the work.
            checksums = self._hashing.map(lambda i: checksum(states[:, :, i], norms[:, i], parts[i]), range(len(rows)))
            there = np.asarray(rows)
            of_layers = there + self.n_utterances * np.arange(self.n_layers)[:, None]
            for statistic, values in zip(self.statistics, states, strict=True):
                self._scatter(f"pooled/{statistic}", of_layers, values)
            self._scatter("frame_norm", of_layers, norms)
            for name in self.acoustics:
                self._scatter(f"acoustic/{name}", there, np.ascontiguousarray(acoustics[name], "<f4"))
            self._scatter("utterances/checksum", there, b"".join(checksums))
            self._scatter("utterances/reason", there, bytes(REASON_BYTES * len(rows)))
        self._explain(problems)
        self._written.append({**dict.fromkeys(rows, DONE), **{row: status for row, (status, _) in problems.items()}})

    def commit(self) -> list[int]:
        """Have all that was written on disk, then mark it, and have no mark there before its data.

        It may run in a thread of its own while more is written: that is for the next one.

        Returns
        -------
        list of int
            The utterances that are marked now.

        Raises
        ------
        UserError
            If the disk has lost something; from then on nothing is marked, for a system tells that once and may have
            lost what came after it, too.
        """
        if self._lost is not None:
            raise self._lost
        marks: dict[int, str] = {}
        for _ in range(len(self._written)):
            marks |= self._written.popleft()
        if marks:
            try:
                _sync(self._fd)
            except OSError as error:
                self._lost = self._unwritable(error)
                raise self._lost from error
            for row, status in marks.items():
                self._mark(row, status)
        return list(marks)

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
            self._put("layers/norm", 0, mean_layer_norms(norms, self.frames[done]).tobytes())
        _sync(self._fd)

    def _mark(self, row: int, status: str) -> None:
        self._put("utterances/status", STATUS_BYTES * row, fixed(status, STATUS_BYTES).ljust(STATUS_BYTES, b"\0"))
        self._status[row] = status

    def _scatter(self, name: str, places: np.ndarray, values: np.ndarray | bytes) -> None:
        """Write items of one size, one after the other in `values`, each to its place, counted in items.

        A cache of many layers takes thousands of small writes a batch, so there is little between them.
        """
        view = (memoryview(values) if isinstance(values, bytes) else values.data).cast("B")
        size = len(view) // places.size
        offsets = self._offsets[name] + size * places.ravel()
        try:
            for place, start in zip(offsets.tolist(), range(0, len(view), size), strict=True):
                written = os.pwrite(self._fd, view[start : start + size], place)
                if written < size:
                    self._put(name, place + written - self._offsets[name], view[start + written : start + size])
        except OSError as error:
            raise self._unwritable(error) from error

    def _put(self, name: str, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        place = self._offsets[name] + offset
        try:
            while view:
                written = os.pwrite(self._fd, view, place)
                view, place = view[written:], place + written
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"{self.path}: cannot write ({error.strerror}); free disk space, then run the same command again: what is "
            "finished is kept"
        )
