"""What a teacher says of speech, computed once: its states at the student's frame rate, in a memory-mapped file.

Utterances are packed into windows as long as the teacher takes, with a little silence between them, so that a teacher
whose every window costs the same (Whisper: 30 s) is run as seldom as can be.  Each starts on a whole frame of the
student, so a student's frame is told the mean of the teacher's frames whose centres are within half a hop of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.claims import alone, claim
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.storage import replacing

from .training import of_speech

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike

    from emoprobe.extract.encoders.speech import Backbone

#: Silence between two utterances of a window, in seconds, and the longest window of a teacher without a limit.
_GAP, _LONGEST = 0.5, 30.0

#: Files of a folder of targets; the part is what a kill leaves, and is gone on with.
_STATES, _PART, _MOMENTS = "states.f16", "states.f16.part", "moments.npz"


@dataclass(frozen=True)
class Grid:
    """Where frames are: frame j has its centre on sample ``hop * j + centre``.

    Parameters
    ----------
    hop : int
        Samples from frame to frame.
    centre : float
        Of frame 0.
    field : int
        Samples that a frame needs.
    """

    hop: int
    centre: float
    field: int

    def frames(self, samples: int) -> int:
        """Frames of a waveform of so many samples."""
        return max(0, (int(samples) - self.field) // self.hop + 1)


def grid_of(backbone: Backbone) -> Grid:
    """Frames of a model, measured: the fewest samples of one frame, and of one more.

    A model that reads the waveform has frame j's centre in the middle of its receptive field; one that reads features
    of the waveform has it on the first sample of the hop (:mod:`emoprobe.extract.encoders.families.whisper`).
    """
    first = backbone.receptive_field
    low, high = first, first + SAMPLE_RATE
    most, start = backbone.frames(high), backbone.frames(first)
    # Over a second, so that a rounding of the first frames does not count.
    hop = round((high - low) / max(1, most - start) / 80) * 80
    return Grid(hop, first / 2 if backbone.reads_waveform else 0.0, first)


def averaging(teacher: Grid, student: Grid, teacher_frames: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last (excluded) teacher's frame of each frame of the student, each (frames,) int; at least one each."""
    centres = student.hop * np.arange(frames) + student.centre
    half = student.hop / 2
    first = np.ceil((centres - half - teacher.centre) / teacher.hop - 1e-9).astype(int)
    last = np.ceil((centres + half - teacher.centre) / teacher.hop - 1e-9).astype(int)
    nearest = np.rint((centres - teacher.centre) / teacher.hop).astype(int)
    first, last = np.where(last > first, first, nearest), np.where(last > first, last, nearest + 1)
    first = np.clip(first, 0, teacher_frames - 1)
    return first, np.clip(last, first + 1, teacher_frames)


@dataclass(frozen=True)
class Targets:
    """Teacher's states of every utterance, at the student's frames.

    Attributes
    ----------
    states : ndarray of float16, shape (frames, layers, width)
        All utterances end to end (memory-mapped).
    offsets : ndarray of int64, shape (utterances + 1,)
    mean, deviation : ndarray of float32, each (layers, width)
        Over all frames.
    """

    states: np.ndarray
    offsets: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    def part(self, index: int, start: int, frames: int) -> np.ndarray:
        """Standardised states (frames, layers, width) of a part of an utterance, float32."""
        first = self.offsets[index] + start
        return (self.states[first : first + frames].astype(np.float32) - self.mean) / self.deviation


def _windows(lengths: np.ndarray, student: Grid, longest: int) -> Iterator[list[tuple[int, int]]]:
    """Utterances in order, packed: (index, first sample within the window) of each."""
    window: list[tuple[int, int]] = []
    at = 0
    for index, length in enumerate(lengths):
        if window and at + length > longest:
            yield window
            window, at = [], 0
        window.append((index, at))
        at += -(-(int(length) + int(_GAP * SAMPLE_RATE)) // student.hop) * student.hop
    if window:
        yield window


def _ask(
    part: Path,
    teacher: Backbone,
    layers: Sequence[int],
    heard: np.ndarray,
    read: Callable[[int], np.ndarray],
    student: Grid,
    longest: int,
    say: Callable[[str], None],
) -> None:
    """Append what a teacher says of each window to a file, from the first window on that is not whole there."""
    import torch

    own = grid_of(teacher)
    offsets = np.cumsum([0] + [student.frames(n) for n in heard])
    row = len(layers) * teacher.width * 2
    there = part.stat().st_size // row if part.is_file() else 0
    with part.open("r+b" if there else "wb") as file:
        for number, window in enumerate(_windows(heard, student, longest)):
            (first, _), (last, at) = window[0], window[-1]
            if offsets[last + 1] <= there:
                continue
            file.truncate(int(offsets[first]) * row)
            file.seek(int(offsets[first]) * row)
            wave = np.zeros(max(at + int(heard[last]), own.field), np.float32)
            for index, start in window:
                wave[start : start + heard[index]] = read(index)[: heard[index]]
            seen: dict[int, np.ndarray] = {}

            def visit(k: int, of_layer: torch.Tensor, seen: dict[int, np.ndarray] = seen) -> None:
                if k in layers:
                    seen[k] = of_layer[0].float().cpu().numpy()

            with torch.inference_mode():
                (known,) = teacher.walk([teacher.prepare(wave)], visit)
            stacked = np.stack([seen[layer] for layer in layers], 1)[:known]  # (frames, layers, width)
            totals = np.concatenate([np.zeros_like(stacked[:1], np.float64), np.cumsum(stacked, 0, dtype=np.float64)])
            for index, start in window:
                shifted = Grid(student.hop, student.centre + start, student.field)
                begin, end = averaging(own, shifted, known, student.frames(heard[index]))
                means = (totals[end] - totals[begin]) / (end - begin)[:, None, None]
                file.write(means.astype("<f2").tobytes())
            file.flush()
            if number % 50 == 49:
                say(f"teacher: {offsets[last + 1] / max(1, offsets[-1]):.0%} of the speech")


def make_targets(
    folder: Path,
    teacher: Backbone,
    layers: Sequence[int],
    lengths: ArrayLike,
    read: Callable[[int], np.ndarray],
    student: Grid,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Targets:
    """A teacher's states of some speech, computed once; a folder that holds them is read.

    Parameters
    ----------
    folder : Path
        Of the targets; it is of one teacher, map of layers and speech.
    teacher : emoprobe.extract.encoders.speech.Backbone
    layers : sequence of int
        Of the teacher.
    lengths : sequence of int
        Samples of each utterance.
    read : callable
        From number to waveform, float32 in -1 to 1.
    student : Grid
    say : callable
        Told how far it is, and of utterances that are cut to the teacher's window.

    Raises
    ------
    UserError
        If the folder is of another teacher or speech, or in use.
    """
    folder = Path(folder)
    lengths = np.asarray(lengths)
    longest = teacher.longest or int(_LONGEST * SAMPLE_RATE)
    heard = np.minimum(lengths, longest)
    offsets = np.cumsum([0] + [student.frames(n) for n in heard])
    shape = (int(offsets[-1]), len(layers), teacher.width)
    with alone(folder, option="--run"):
        claim(
            folder,
            {
                "teacher": teacher.provenance(),
                "layers": list(layers),
                "frames": [student.hop, student.centre, student.field],
                "speech": of_speech(lengths, read),
            },
            record="targets.json",
            own=[_STATES, _PART, _MOMENTS],
            option="--run",
        )
        states, moments = folder / _STATES, folder / _MOMENTS
        if not moments.is_file():
            if (heard < lengths).any():
                say(f"{int((heard < lengths).sum())} utterances are cut to the teacher's {longest / SAMPLE_RATE:g} s")
            part = folder / _PART
            if not states.is_file():
                size = offsets[-1] * len(layers) * teacher.width * 2 / 1e6
                say(f"what {teacher.label} says of the speech takes {size:.1f} MB in {folder}, and is computed once")
                _ask(part, teacher, layers, heard, read, student, longest, say)
                part.replace(states)
            rows = np.memmap(states, "<f2", "r", shape=shape)
            blocks = [rows[i : i + 10_000].astype(np.float64) for i in range(0, len(rows), 10_000)]
            mean = sum(block.sum(0) for block in blocks) / len(rows)
            deviation = np.sqrt(sum(((block - mean) ** 2).sum(0) for block in blocks) / len(rows) + 1e-10)
            with replacing(moments) as temporary, temporary.open("wb") as file:
                np.savez(file, mean=mean.astype(np.float32), deviation=deviation.astype(np.float32))
    with np.load(moments, allow_pickle=False) as table:
        return Targets(
            np.memmap(states, "<f2", "r", shape=shape), np.asarray(offsets), table["mean"], table["deviation"]
        )
