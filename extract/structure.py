"""What a cache must hold: its arrays, their shapes and types, and where they lie, known before any is read."""

from __future__ import annotations

import h5py
import numpy as np

from emoprobe.fields import LARGEST_COUNT, MOST_LAYERS

from .corpora import DIMENSIONS, LARGEST_RATING
from .corpora.cells import OPTIONAL, OPTIONAL_NUMBERS

#: Numbers that are in place: they are read and written by their offset in the file.
_PLACED = ("status", "reason", "checksum")
_WHOLE = ("samples", "frames", "frame_start")


def check_structure(file: h5py.File, size: int, *, texts: tuple[str, ...]) -> None:
    """Check the arrays of a cache without reading them.

    Parameters
    ----------
    file : h5py.File
    size : int
        Bytes of the file.
    texts : tuple of str
        Columns of text that the utterances have.

    Raises
    ------
    ValueError
        Naming the array, and what it must be. An array that claims more than the file holds is refused, too: each has
        a length that those have which lie in the file byte by byte.
    """
    statistics = _names(file, "pooled")
    if not statistics:
        raise ValueError("it holds no pooled states")
    layers, n, width = _placed(file, f"pooled/{statistics[0]}", (None, None, None), "f", size)
    if layers > MOST_LAYERS + 1:
        raise ValueError(f"pooled/{statistics[0]} has {layers:,} layers, and no model has more than {MOST_LAYERS:,}")
    for name in statistics[1:]:
        _placed(file, f"pooled/{name}", (layers, n, width), "f", size)
    for name in _names(file, "acoustic"):
        _placed(file, f"acoustic/{name}", (n, None), "f", size)
    _placed(file, "frame_norm", (layers, n), "f", size)
    _placed(file, "layers/norm", (layers,), "f", size)
    _array(file, "layers/index", (layers,), "iu")
    _array(file, "layers/name", (layers,), "O")
    for name in _PLACED:
        _placed(file, f"utterances/{name}", (n,), "S", size)
    for name in texts:
        _array(file, f"utterances/{name}", (n,), "O")
    for name in (*DIMENSIONS, "seconds"):
        _array(file, f"utterances/{name}", (n,), "f")
    for name in _WHOLE:
        _array(file, f"utterances/{name}", (n,), "iu")
    for name in (name for name in OPTIONAL if name in file["utterances"]):
        _array(file, f"utterances/{name}", (n,), "f" if name in OPTIONAL_NUMBERS else "O")
    for name in _names(file, "utterances"):  # those of a later version are read as well, to be compared with their hash
        _array(file, f"utterances/{name}", (n,), "OSfiub")
    if "frames" in file:
        (parts,) = _array(file, "frames/part_frames", (None,), "iu")
        _placed(file, "frames/part_checksum", (parts,), "S", size)


def check_values(file: h5py.File) -> None:
    """Check the numbers that say what is where, and the ratings, which no hash need have sealed.

    Raises
    ------
    ValueError
    """
    columns = file["utterances"]
    for name, low, high in (
        *((name, 0, LARGEST_COUNT) for name in _WHOLE),
        ("seconds", 0, 1e12),
        *((name, -LARGEST_RATING, LARGEST_RATING) for name in DIMENSIONS),
    ):
        values = columns[name][:]
        wrong = (values < low) | (values > high)
        if name == "seconds":
            wrong |= np.isnan(values)
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"utterances/{name} of row {row + 1} is {values[row]:g}, and must be {low:g} to {high:g}")
    if not np.array_equal(file["layers/index"][:], np.arange(len(file["layers/index"]))):
        raise ValueError("layers/index does not count from 0")
    if "frames" in file and (file["frames/part_frames"][:] < 0).any():
        raise ValueError("frames/part_frames holds a negative number")


def _names(file: h5py.File, name: str) -> list[str]:
    group = file.get(name)
    if not isinstance(group, h5py.Group) or not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"it lacks the group {name}")
    return sorted(group)


def _array(file: h5py.File, name: str, shape: tuple[int | None, ...], kinds: str) -> tuple[int, ...]:
    """Shape of an array of the file itself; None in the wanted one is any size from 1."""
    group, _, last = name.rpartition("/")
    if group:
        _names(file, group)
    within = file[group] if group else file
    # A link may lead to any other file.
    is_inside = isinstance(within.get(last, getlink=True), h5py.HardLink)
    array = within.get(last) if is_inside else None
    if not isinstance(array, h5py.Dataset):
        raise ValueError(f"it lacks the array {name}")
    there = array.shape or ()
    sizes = zip(there, shape, strict=False)
    if len(there) != len(shape) or any(size < 1 if wanted is None else size != wanted for size, wanted in sizes):
        wanted = " x ".join("any" if size is None else f"{size:,}" for size in shape)
        raise ValueError(f"{name} is {' x '.join(map(str, there)) or 'one value'}, and must be {wanted}")
    if array.dtype.kind not in kinds or array.external or array.is_virtual:
        raise ValueError(f"{name} holds {array.dtype}, or lies in another file")
    return array.shape


def _placed(file: h5py.File, name: str, shape: tuple[int | None, ...], kinds: str, size: int) -> tuple[int, ...]:
    """The same of an array that lies in one piece."""
    shape = _array(file, name, shape, kinds)
    array = file[name]
    place, nbytes = array.id.get_offset(), int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize
    if place is None:
        raise ValueError(f"{name} does not lie in one piece")
    if place + nbytes > size:
        raise ValueError("it ends before its numbers do")
    return shape
