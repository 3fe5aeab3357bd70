"""Decode and compute at the same time: the inner part of an extraction, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import torch

from emoprobe.errors import UserError

from .acoustics import ACOUSTIC_WIDTHS, batch_statistics
from .audio import AudioHeader, AudioProblem, Kept, read_audio
from .devices import WIDER_TYPES, is_out_of_memory, numerics
from .encoders.speech import Backbone
from .frame_parts import frames_file
from .lanes import lanes
from .limits import SAMPLE_RATE
from .pooling import Pooling

if TYPE_CHECKING:
    from .settings import ExtractionSettings
    from .writer import CacheWriter

_Value = TypeVar("_Value")

#: Values by row.
Rows: TypeAlias = Sequence[_Value] | np.ndarray | Mapping[int, _Value]


def stop_at_problem(problems: Iterable[tuple[str, str, str]]) -> None:
    """Raise a :class:`UserError` for the first (path, status, reason) that has a reason."""
    for path, status, reason in problems:
        if reason:
            raise UserError(f"{path} is {status}: {reason}; mend it, or leave --strict out to go on without it")


@dataclass(frozen=True)
class _Decoded:
    """One utterance, ready for the model."""

    waveform: np.ndarray
    heard: np.ndarray  # as it is in the file, at its own loudness


#: Number and utterances of a batch, and what each is decoded to.
_Batch: TypeAlias = tuple[int, np.ndarray, dict[int, _Decoded | AudioProblem]]


@dataclass(frozen=True)
class _Result:
    """What the device made of some rows of a batch; still on the device."""

    rows: list[int]
    states: torch.Tensor  # (statistics, layers, rows, width)
    norms: torch.Tensor  # (layers, rows)
    acoustics: dict[str, torch.Tensor]  # (rows, width)
    frames: list[torch.Tensor]  # (layers, frames, width) a row, if every frame is kept


@dataclass(frozen=True)
class Extracted:
    """What came of one batch, in the memory of this machine.

    Attributes
    ----------
    index : int
        Number of the batch.
    batch : ndarray of int
        Its utterances.
    rows : list of int
        Those of them that came out well.
    states : ndarray, (statistics, layers, rows, width), float32
    norms : ndarray, (layers, rows), float32
    acoustics : dict of str to ndarray, (rows, width)
    problems : dict of int to (status, reason)
        Of the others.
    frames : bytes
        The file of all their frames, where they are kept.
    """

    index: int
    batch: np.ndarray
    rows: list[int]
    states: np.ndarray
    norms: np.ndarray
    acoustics: dict[str, np.ndarray]
    problems: dict[int, tuple[str, str]]
    frames: bytes = b""

    def write(self, writer: CacheWriter) -> None:
        """Write it, to be marked when it is on disk."""
        if self.frames:
            writer.write_frames(self.index, self.frames)
        writer.write(self.rows, self.states, self.norms, self.acoustics, self.problems)


@dataclass(frozen=True)
class Files:
    """The audio of the utterances, each by its row.

    Attributes
    ----------
    paths : sequence or mapping of str
    headers : sequence or mapping of AudioHeader or AudioProblem
        What a file holds, or why it cannot be used.
    frames : sequence or mapping of int
        Frames of the model that an utterance was laid out for.
    """

    paths: Rows[str]
    headers: Rows[AudioHeader | AudioProblem]
    frames: Rows[int]

    def of(self, rows: Iterable[int]) -> Files:
        """Those of some rows alone."""
        rows = [int(row) for row in rows]
        return Files(
            {row: self.paths[row] for row in rows},
            {row: self.headers[row] for row in rows},
            {row: self.frames[row] for row in rows},
        )


class Pipeline:
    """Threads decode ahead, and feed the device: a GPU the calling one, a CPU several of a batch each.

    A batch keeps few cores busy: its operations are short, and whoever waits at the end of one waits for threads that
    decode. Batches side by side do not wait for each other.

    Parameters
    ----------
    backbone : Backbone
        On its device.
    device : torch.device
    settings : ExtractionSettings
    files : Files
    in_float32 : sequence of str
        Modules that run in float32 whatever the precision.
    """

    def __init__(
        self,
        backbone: Backbone,
        device: torch.device,
        settings: ExtractionSettings,
        files: Files,
        *,
        in_float32: Sequence[str] = (),
    ) -> None:
        self.backbone, self.device, self.settings, self._in_float32 = backbone, device, settings, in_float32
        self.paths, self.headers, self.frames = files.paths, files.headers, files.frames
        self._kept = Kept()

    def run(self, todo: Iterable[tuple[int, np.ndarray]]) -> Iterator[Callable[[], Extracted]]:
        """Compute the batches in their order.

        Parameters
        ----------
        todo : iterable of (int, ndarray of int)
            Number and utterances of each.

        Yields
        ------
        callable
            Fetches what came of a batch from the device; the next one is computed meanwhile where another thread does.
        """
        decoders = ThreadPoolExecutor(self.settings.workers, thread_name_prefix="decode")
        try:
            with lanes(self.backbone, self.device, in_float32=self._in_float32) as several:
                yield from several.in_order(self._decode_ahead(decoders, todo), self._computed)
        finally:
            decoders.shutdown(cancel_futures=True)

    def _computed(self, backbone: Backbone, batch: _Batch) -> Callable[[], Extracted]:
        """What fetches the states of a batch from the device, which computes them, or has been told to."""
        index, rows, decoded = batch
        problems = {row: (p.status, p.reason) for row, p in decoded.items() if isinstance(p, AudioProblem)}
        if self.settings.strict:
            stop_at_problem((self.paths[row], *problem) for row, problem in problems.items())
        good = {row: d for row, d in decoded.items() if isinstance(d, _Decoded)}
        with numerics(self.device, self.settings.precision):
            results = self._compute(backbone, list(good), good, problems)
        return partial(self._fetch, index, rows, results, problems)

    def _decode_ahead(self, decoders: ThreadPoolExecutor, todo: Iterable[tuple[int, np.ndarray]]) -> Iterator[_Batch]:
        """Decode two batches ahead of those that the device works on."""
        waiting: list[tuple[int, np.ndarray, list[Future]]] = []
        for index, rows in todo:
            waiting.append((index, rows, [decoders.submit(self._decode, int(row)) for row in rows]))
            if len(waiting) > 2:
                yield self._collect(*waiting.pop(0))
        while waiting:
            yield self._collect(*waiting.pop(0))

    @staticmethod
    def _collect(index: int, rows: np.ndarray, futures: list[Future]) -> _Batch:
        return index, rows, {int(row): f.result() for row, f in zip(rows, futures, strict=True)}

    def _decode(self, row: int) -> _Decoded | AudioProblem:
        header = self.headers[row]
        if isinstance(header, AudioProblem):  # the file was there when the cache was laid out
            return header
        try:
            waveform = read_audio(self.paths[row], header, self._kept)
        except AudioProblem as problem:
            return problem
        return _Decoded(self.backbone.prepare(waveform), waveform)

    def _compute(
        self, backbone: Backbone, rows: list[int], decoded: dict[int, _Decoded], problems: dict
    ) -> list[_Result]:
        """Forward and pool; halve the batch for as long as it does not fit in memory."""
        if not rows:
            return []
        try:
            return [self._forward(backbone, rows, decoded)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, where the failed pass's tensors are no longer held by its traceback.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(rows) == 1:
            seconds = len(decoded[rows[0]].waveform) / SAMPLE_RATE
            problems[rows[0]] = ("memory", f"{seconds:.1f} s alone need more memory than the {self.device.type} has")
            if self.settings.strict:
                stop_at_problem([(self.paths[rows[0]], *problems[rows[0]])])
            return []
        half = len(rows) // 2
        return [
            *self._compute(backbone, rows[:half], decoded, problems),
            *self._compute(backbone, rows[half:], decoded, problems),
        ]

    def _forward(self, backbone: Backbone, rows: list[int], decoded: dict[int, _Decoded]) -> _Result:
        pooled: list[tuple[torch.Tensor, torch.Tensor]] = []
        kept: list[torch.Tensor] = []
        waveforms = [decoded[row].waveform for row in rows]
        frames = [backbone.frames(len(w)) for w in waveforms]

        pooling = Pooling(frames, self.settings.statistics)

        def see(_layer: int, states: torch.Tensor) -> None:
            pooled.append(pooling.pool(states))
            if self.settings.frames:
                kept.append(states.half().cpu())

        backbone.walk(waveforms, see)
        singles = [torch.stack([k[i, :n] for k in kept]) for i, n in enumerate(frames)] if kept else []
        return _Result(
            rows,
            torch.stack([p for p, _ in pooled], dim=1),
            torch.stack([norm for _, norm in pooled]),
            batch_statistics([decoded[row].heard for row in rows], self.device),
            singles,
        )

    def _fetch(
        self,
        index: int,
        batch: np.ndarray,
        results: list[_Result],
        problems: dict[int, tuple[str, str]],
    ) -> Extracted:
        """Fetch what the device computed."""
        frames = self._frames_file(batch, results) if self.settings.frames else b""
        rows = [row for result in results for row in result.rows]
        shape = (len(self.settings.statistics), self.backbone.n_layers, 0, self.backbone.width)
        states = np.concatenate([np.empty(shape, np.float32), *(r.states.cpu().numpy() for r in results)], axis=2)
        norms = np.concatenate([np.empty(shape[1:3], np.float32), *(r.norms.cpu().numpy() for r in results)], axis=1)
        finite = np.isfinite(states).all(axis=(0, 1, 3))
        if not finite.all():
            overflow = "overflow", self._overflow()
            problems |= {int(row): overflow for row in np.asarray(rows, dtype=int)[~finite]}
        if self.settings.strict:
            stop_at_problem((self.paths[row], *problem) for row, problem in problems.items())
        acoustics = {
            name: np.concatenate(
                [np.empty((0, width), np.float32), *(r.acoustics[name].cpu().numpy() for r in results)]
            )
            for name, width in ACOUSTIC_WIDTHS.items()
        }
        return Extracted(
            index,
            batch,
            [row for row, good in zip(rows, finite, strict=True) if good],
            states[:, :, finite],
            norms[:, finite],
            {name: values[finite] for name, values in acoustics.items()},
            problems,
            frames=frames,
        )

    def _overflow(self) -> str:
        """Why states are not finite, and what helps; weights that are not finite were refused when they were loaded."""
        precision = self.settings.precision
        told = f"the model gave non-finite states in {precision}"
        if precision in WIDER_TYPES:
            return f"{told}; use --precision {WIDER_TYPES[precision]} (and --overwrite)"
        return f"{told}, its widest type, from finite weights; leave this audio out, or take another model"

    def _frames_file(self, batch: np.ndarray, results: list[_Result]) -> bytes:
        """One part of the single frames, in the order of the batch; NaN for an utterance that did not come out."""
        singles = {row: single for result in results for row, single in zip(result.rows, result.frames, strict=True)}
        parts = []
        for row in batch:
            count = int(self.frames[int(row)])
            missing = torch.full((self.backbone.n_layers, count, self.backbone.width), torch.nan, dtype=torch.half)
            parts.append(singles.get(int(row), missing))
        return frames_file(torch.cat(parts, dim=1).numpy())
