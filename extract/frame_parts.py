"""Single frames, where a cache keeps them: a folder beside it with one HDF5 file a batch."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from .cache_file import CacheFile
from .layout import checksum_of, frames_folder, open_hdf5, part_name


class FrameParts:
    """The parts of a cache's single frames; each is compared with its checksum before it is first read.

    Parameters
    ----------
    file : CacheFile
        One that keeps single frames, where anything is asked of them.
    """

    def __init__(self, file: CacheFile) -> None:
        self._file = file
        self._intact: set[int] = set()

    def __len__(self) -> int:
        return len(self._file.hdf5["frames/part_frames"])

    def path(self, index: int) -> Path:
        """Where a part is."""
        return frames_folder(self._file.path) / part_name(index)

    @cached_property
    def part_of(self) -> np.ndarray:
        """Index of the part that holds each utterance, (utterances,)."""
        ends = np.cumsum(self._file.hdf5["frames/part_frames"][:])
        return np.searchsorted(ends, self._file.hdf5["utterances/frame_start"][:], side="right")

    def is_intact(self, index: int) -> bool:
        """Whether a part is what was written.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        return checksum_of(self.path(index).read_bytes()) == self._file.hdf5["frames/part_checksum"][index]

    def read(self, row: int, layers: int | list[int] | slice) -> np.ndarray:
        """Frames of one utterance, (layers, frames, width) float16.

        Raises
        ------
        OSError, KeyError, ValueError
            If its part is missing, unreadable or damaged.
        """
        import hdf5plugin  # noqa: F401  registers the filter that the frames are compressed with

        index = int(self.part_of[row])
        if index not in self._intact:
            if not self.is_intact(index):
                raise ValueError(f"{self.path(index)} has changed since it was written")
            self._intact.add(index)
        columns = self._file.hdf5["utterances"]
        start = int(columns["frame_start"][row]) - int(self._file.hdf5["frames/part_frames"][:index].sum())
        # Not through the virtual dataset, which names the folder as it was called at first and hides a loss.
        with open_hdf5(self.path(index)) as part:
            return part["states"][layers, start : start + int(columns["frames"][row])]


def frames_file(states: np.ndarray) -> bytes:
    """The file of one part.

    Parameters
    ----------
    states : ndarray, (layers, frames, width), float16
    """
    import hdf5plugin

    # HDF5 crashes when a disk fills up under it; so it writes to memory, and plain writes go to the disk.
    with h5py.File.in_memory(libver="earliest") as file:
        file.create_dataset(
            "states",
            data=states,
            chunks=(1, min(512, states.shape[1]), states.shape[2]),
            **hdf5plugin.Blosc2(cname="zstd", clevel=3, filters=hdf5plugin.Blosc2.BITSHUFFLE),
        )
        file.flush()
        return file.id.get_file_image()
