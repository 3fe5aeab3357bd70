"""How a cache lies on disk: everything is placed before the first hidden state is known.

The file's structure is written once, into a temporary file that is then renamed. From there on only numbers change, in
place, at offsets that HDF5 has told: no killed run can tear the structure, and a resumed one ends with the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import math
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.jsontext import to_json
from emoprobe.storage import replacing

from .audio import STATUSES
from .corpora import DIMENSIONS
from .corpora.cells import OPTIONAL, OPTIONAL_NUMBERS, TEXT_COLUMNS
from .corpora.table import held_columns
from .sealing import HDF5, MAGIC, USER_BLOCK, seal

_FORMATS = "emoprobe hidden states "
FORMAT = f"{_FORMATS}1"

#: Names in the folder of single frames.
PART_NAMES = "[0-9][0-9][0-9][0-9][0-9][0-9].h5"

#: Status of an utterance whose states are in the cache, and of one that is still to come; any other is a problem.
DONE, PENDING = "done", "pending"

#: What can be wrong with an utterance: with its file, or with what the device made of it.
PROBLEMS = (*STATUSES, "memory", "overflow")

STATUS_BYTES, REASON_BYTES, CHECKSUM_BYTES = 16, 240, 16

#: Columns of text that every cache has.
TEXTS = tuple(name for name in TEXT_COLUMNS if name not in OPTIONAL)


@dataclass(frozen=True)
class Plan:
    """What a cache will hold, known before any hidden state is.

    Attributes
    ----------
    utterances : DataFrame
        The corpus's columns, and `samples` (at 16 kHz; 0 where the file has a problem), `frames`, `frame_start`,
        `status` and `reason`.
    statistics : tuple of str
        Pooled statistics.
    layer_names : tuple of str
        One a layer.
    width : int
        Size of a hidden state.
    acoustics : dict of str to int
        Acoustic baselines and their widths.
    provenance : dict
        What made the cache; JSON.
    root : str
        Where the audio lay, for whoever wants to hear it; no part of what made the cache, and of no result.
    arguments : tuple of str
        What ``probe-extract`` is given to make the cache, without its place; empty where that cannot be typed.
    """

    utterances: pd.DataFrame
    statistics: tuple[str, ...]
    layer_names: tuple[str, ...]
    width: int
    acoustics: dict[str, int]
    provenance: dict
    root: str
    arguments: tuple[str, ...] = ()

    @property
    def n_layers(self) -> int:
        """Layers, the input of the first block among them."""
        return len(self.layer_names)

    def nbytes(self) -> int:
        """Size of the numbers in the cache, without those of single frames."""
        per_utterance = self.n_layers * (len(self.statistics) * self.width + 1) + sum(self.acoustics.values())
        text = sum(len(s.encode()) for c in TEXT_COLUMNS for s in self.utterances[c])
        return len(self.utterances) * (4 * per_utterance + STATUS_BYTES + REASON_BYTES + 100) + text


def lay_out(
    path: Path,
    plan: Plan,
    *,
    frame_sources: Sequence[tuple[str, int]] = (),
    fill: Callable[[Path], None] | None = None,
) -> None:
    """Write the whole structure of a cache and reserve its disk space, atomically.

    Parameters
    ----------
    path : Path
        The cache; replaced if there is one.
    plan : Plan
        What it will hold.
    frame_sources : sequence of (str, int)
        With every frame kept: the file name beside the cache, and the number of frames, of each part.
    fill : callable, optional
        Given the file before it takes the place of `path`, to write what is known already.

    Raises
    ------
    UserError
        If the disk has no room, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            with temporary.open("wb") as raw:
                # Asked of the system first, since HDF5 does not fail gracefully on a disk that fills up under it.
                _reserve_disk(raw.fileno(), plan.nbytes())
            settings = {"libver": "earliest", "track_order": False, "locking": False, "userblock_size": USER_BLOCK}
            with h5py.File(temporary, "w", **settings) as file:
                _write_structure(file, plan, path, frame_sources)
            with temporary.open("r+b") as raw:
                # Holes would let the disk fill up in the middle of a run.
                _reserve_disk(raw.fileno(), os.fstat(raw.fileno()).st_size)
            seal_layout(temporary)
            if fill is not None:
                fill(temporary)
    except OSError as error:
        raise UserError(
            f"{path}: the cache of {told_size(plan.nbytes())} cannot be laid out ({error.strerror or error}); "
            "free disk space or give another place with --out; nothing that was there has changed"
        ) from error


def placed(file: h5py.File) -> list[str]:
    """Names of the arrays that an extraction fills in; each lies in the file in one piece."""
    pooled = [f"{group}/{name}" for group in ("pooled", "acoustic") for name in sorted(file[group])]
    marks = [f"utterances/{name}" for name in ("status", "reason", "checksum")]
    parts = ["frames/part_checksum"] if "frames" in file else []
    return [*pooled, "frame_norm", "layers/norm", *marks, *parts]


def offsets_of(file: h5py.File) -> dict[str, int]:
    """Where in the file each array lies that :func:`placed` names."""
    return {name: file[name].id.get_offset() for name in placed(file)}


def seal_layout(path: Path) -> None:
    """Seal all of a cache but what :func:`placed` names (:mod:`.sealing`)."""
    with open_hdf5(path) as file:
        arrays = [file[name] for name in placed(file)]
        places = [(array.id.get_offset(), array.size * array.dtype.itemsize) for array in arrays]
    seal(path, places)


def told_size(count: int) -> str:
    """A number of bytes for a person: rounded up, so that what is said to be needed is enough."""
    unit, name = next(((unit, name) for unit, name in ((10**9, "GB"), (10**6, "MB")) if count >= unit), (10**3, "kB"))
    return f"{math.ceil(10 * count / unit) / 10:,.1f} {name}"


def open_hdf5(path: Path) -> h5py.File:
    """Open a file of a cache for reading, on file systems that have no locks as well.

    Nobody writes to a structure that is laid out, so that no reader needs a lock. It is asked for all the same where it
    can be had, since HDF5 opens a file twice in one process only if both say the same about locks, and a user may have
    opened it by h5py alone.

    Raises
    ------
    OSError
        As h5py raises it.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if not is_about_locks(error):
            raise
        return h5py.File(path, "r", locking=False)


def is_about_locks(error: OSError) -> bool:
    """Whether HDF5 could not open a file for want of a lock, which says nothing about what the file holds."""
    return any(words in str(error) for words in ("unable to lock file", "file locking flag"))


def _reserve_disk(fd: int, size: int) -> None:
    """Take the room on disk now, where the system can (macOS cannot: there a full disk shows when it is met)."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:  # a file system that cannot do this may hold the cache all the same
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _write_structure(file: h5py.File, plan: Plan, path: Path, frame_sources: Sequence[tuple[str, int]]) -> None:
    table = plan.utterances
    n = len(table)
    for name in plan.statistics:
        _reserve(file, f"pooled/{name}", (plan.n_layers, n, plan.width), "<f4")
    for name, width in plan.acoustics.items():
        _reserve(file, f"acoustic/{name}", (n, width), "<f4")
    _reserve(file, "frame_norm", (plan.n_layers, n), "<f4")
    held = held_columns(table)
    for column in (name for name in TEXT_COLUMNS if name in held):
        file.create_dataset(f"utterances/{column}", data=table[column].tolist(), dtype=h5py.string_dtype())
    for column in (name for name in (*DIMENSIONS, *OPTIONAL_NUMBERS) if name in held):
        file[f"utterances/{column}"] = table[column].to_numpy("<f8")
    file["utterances/seconds"] = table["seconds"].to_numpy("<f8")
    for column in ("samples", "frames", "frame_start"):
        file[f"utterances/{column}"] = table[column].to_numpy("<i8")
    for column, size in (("status", STATUS_BYTES), ("reason", REASON_BYTES)):
        kind = h5py.string_dtype("utf-8", size)
        _reserve(file, f"utterances/{column}", (n,), kind)[:] = np.array([fixed(s, size) for s in table[column]], kind)
    kind = h5py.string_dtype("ascii", CHECKSUM_BYTES)
    sums = [
        b"" if status == PENDING else checksum_of(status.encode(), fixed(reason, REASON_BYTES))
        for status, reason in zip(table["status"], table["reason"], strict=True)
    ]
    _reserve(file, "utterances/checksum", (n,), kind)[:] = np.array(sums, kind)
    file["layers/index"] = np.arange(plan.n_layers)
    file.create_dataset("layers/name", data=list(plan.layer_names), dtype=h5py.string_dtype())
    _reserve(file, "layers/norm", (plan.n_layers,), "<f4")[:] = np.nan
    if frame_sources:
        _link_frames(file, plan, path, frame_sources)
    file.attrs["format"] = FORMAT
    file.attrs["provenance"] = to_json(plan.provenance, ensure_ascii=False)
    file.attrs["corpus_root"] = plan.root
    if plan.arguments:
        file.attrs["arguments"] = to_json(plan.arguments)
    file.attrs["layout_sha256"] = layout_sha256(file)


def _reserve(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype | str) -> h5py.Dataset:
    """A contiguous dataset with its place in the file fixed now, and nothing written to it yet."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), dcpl=settings, lcpl=links)
    return h5py.Dataset(made)


def _link_frames(file: h5py.File, plan: Plan, path: Path, sources: Sequence[tuple[str, int]]) -> None:
    """One virtual dataset (layer, frame, width) over the parts in the folder beside the cache."""
    total = sum(count for _, count in sources)
    whole = (plan.n_layers, total, plan.width)
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_obj_track_times(False)  # the comfortable call would write the time, and no two runs would be equal
    settings.set_fill_value(np.array(np.nan, "<f2"))
    start = 0
    for name, count in sources:
        here = h5py.h5s.create_simple(whole)
        here.select_hyperslab((0, start, 0), (plan.n_layers, count, plan.width))
        there = h5py.h5s.create_simple((plan.n_layers, count, plan.width))
        # Relative to the cache, so that both can be moved together.
        settings.set_virtual(here, f"{frames_folder(path).name}/{name}".encode(), b"states", there)
        start += count
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind = h5py.h5t.py_create(np.dtype("<f2"))
    h5py.h5d.create(file.id, b"frames/states", kind, h5py.h5s.create_simple(whole), dcpl=settings, lcpl=links)
    file["frames/part_frames"] = np.array([count for _, count in sources], dtype="<i8")
    checksums = h5py.string_dtype("ascii", CHECKSUM_BYTES)
    _reserve(file, "frames/part_checksum", (len(sources),), checksums)[:] = np.zeros(len(sources), checksums)


def frames_folder(path: Path) -> Path:
    """Folder beside a cache that holds the parts of its single frames."""
    return path.with_name(f"{path.name}.frames")


def layout_sha256(file: h5py.File) -> str:
    """Hash of all that is written once: provenance, sizes, and the columns that never change."""
    digest = hashlib.sha256(str(file.attrs["provenance"]).encode())
    digest.update(str(file.attrs.get("arguments", "")).encode())
    for name in sorted((*(f"pooled/{s}" for s in file["pooled"]), *(f"acoustic/{a}" for a in file["acoustic"]))):
        digest.update(f"{name} {file[name].shape} {file[name].dtype}".encode())
    for column in sorted(file["utterances"]):
        if column in ("status", "reason", "checksum"):
            continue
        values = file["utterances"][column][:]
        if values.dtype == object:
            for value in values:
                digest.update(len(value).to_bytes(8, "little") + value)
        else:
            digest.update(values.tobytes())
    for name in file["layers/name"][:]:
        digest.update(name)
    digest.update(file["layers/index"][:].tobytes())
    if "frames" in file:
        digest.update(file["frames/part_frames"][:].tobytes())
    return digest.hexdigest()


def fixed(text: str, size: int) -> bytes:
    """UTF-8 of at most `size` bytes, never cut inside a character."""
    return text.encode()[:size].decode(errors="ignore").encode()


def checksum(states: np.ndarray, norms: np.ndarray, acoustics: Sequence[np.ndarray]) -> bytes:
    """Checksum of all that the cache holds of one utterance.

    Parameters
    ----------
    states : ndarray, (statistics, layers, width)
    norms : ndarray, (layers,)
    acoustics : sequence of ndarray
        In the order of their names.
    """
    return checksum_of(*(np.ascontiguousarray(part, dtype="<f4") for part in (states, norms, *acoustics)))


def checksum_of(*parts: bytes | np.ndarray) -> bytes:
    """Checksum of some bytes, as it is stored."""
    digest = hashlib.blake2b(digest_size=CHECKSUM_BYTES // 2)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.data)
    return digest.hexdigest().encode()


def is_cache(path: Path) -> bool:
    """Whether a file is a cache of ours, of any version, by what is in it; damaged ones as far as they tell."""
    with path.open("rb") as file:
        head = file.read(USER_BLOCK + len(HDF5))
    if head.startswith(MAGIC):
        return True
    if head.startswith(HDF5):
        try:
            with open_hdf5(path) as file:
                if str(file.attrs.get("format", "")).startswith(_FORMATS):
                    return True
        except (OSError, ValueError, RuntimeError, KeyError):
            pass  # damaged, and looked at byte by byte like one whose damage HDF5 does not see
    elif not head.endswith(HDF5):
        return False
    # The attribute lies behind the arrays and before the long texts, near neither end.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_FORMATS.encode()) >= 0


def is_part(path: Path) -> bool:
    """Whether a file is a part of single frames: it is of HDF5, and holds the array of states and nothing else."""
    try:
        with open_hdf5(path) as file:
            return list(file) == ["states"] and file["states"].ndim == 3 and file["states"].dtype == np.float16
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError):
        return False


def part_name(index: int) -> str:
    """File name of that part of the single frames; there is one a batch."""
    return f"{index:06d}.h5"


def mean_layer_norms(norms: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Each layer's mean frame norm over a corpus.

    Parameters
    ----------
    norms : ndarray, (layers, utterances)
        Mean frame norm of each utterance.
    frames : ndarray, (utterances,)
        Its frames.

    Returns
    -------
    ndarray, (layers,), float32
    """
    return (norms.astype(np.float64) @ (frames / frames.sum())).astype("<f4")
