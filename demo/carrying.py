"""Recorded speech as Opus, small enough to carry to a machine without a network: 16 kHz mono, about 7 MB an hour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emoprobe.distil.store import Store, write_store
from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.storage import replacing

#: Longest file, in seconds, and libsndfile's level of compression (0 to 1; this gives about 16 kbit/s).
_PART, _LEVEL = 1200, 0.96
_INDEX = "lengths.npz"


def _parts(lengths: np.ndarray) -> Iterator[slice]:
    """Utterances of each file."""
    first, samples = 0, 0
    for index, length in enumerate(lengths):
        if samples and samples + length > _PART * SAMPLE_RATE:
            yield slice(first, index)
            first, samples = index, 0
        samples += int(length)
    if len(lengths):
        yield slice(first, len(lengths))


def carry(store: Store, folder: Path) -> int:
    """Write a store's utterances as Opus files; return their size in bytes.

    Parameters
    ----------
    store : Store
    folder : Path
        Holds ``lengths.npz`` then, and ``part-000.opus`` and on, utterances end to end.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    lengths = np.diff(store.offsets)
    size = 0
    for number, part in enumerate(_parts(lengths)):
        samples = store.samples[store.offsets[part.start] : store.offsets[part.stop]]
        path = folder / f"part-{number:03d}.opus"
        with replacing(path) as temporary, temporary.open("wb") as file:
            soundfile.write(file, samples, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=_LEVEL)
        size += path.stat().st_size
    with replacing(folder / _INDEX) as temporary, temporary.open("wb") as file:
        np.savez(file, lengths=lengths)
    return size


def unpack(folder: Path, target: Path) -> Path:
    """Decode what :func:`carry` wrote into a packed store; one that is there is kept.

    Raises
    ------
    UserError
        If a file is missing, or shorter than the index says.
    """
    import soundfile

    if (target / "index.npz").is_file():
        return target
    if not (folder / _INDEX).is_file():
        raise UserError(f"{folder} holds no speech that --carry wrote (no {_INDEX}): carry it again")
    with np.load(folder / _INDEX, allow_pickle=False) as table:
        lengths = table["lengths"]

    def waves() -> Iterator[np.ndarray]:
        for number, part in enumerate(_parts(lengths)):
            path = folder / f"part-{number:03d}.opus"
            ends = np.cumsum(lengths[part])
            if not path.is_file():
                raise UserError(f"{path} is missing: carry the whole folder again")
            samples, _ = soundfile.read(path, dtype="int16")
            if len(samples) < ends[-1]:
                raise UserError(f"{path} is shorter than {_INDEX} says: carry the whole folder again")
            yield from np.split(samples[: ends[-1]], ends[:-1])

    return write_store(target, waves())
