"""Decode, compute and write at the same time: the inner part of an extraction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from emoprobe.errors import UserError

from .acoustics import ACOUSTIC_WIDTHS, acoustic_statistics
from .audio import AudioHeader, AudioProblem, Kept, read_audio
from .devices import WIDER_TYPES, is_out_of_memory, numerics
from .encoders.speech import Backbone
from .limits import SAMPLE_RATE
from .pooling import pool
from .writer import CacheWriter

if TYPE_CHECKING:
    from .settings import ExtractionSettings


def stop_at_problem(problems: Iterable[tuple[str, str, str]]) -> None:
    """Raise a :class:`UserError` for the first (path, status, reason) that has a reason."""
    for path, status, reason in problems:
        if reason:
            raise UserError(f"{path} is {status}: {reason}; mend it, or leave --strict out to go on without it")


class Progress:
    """A bar in hours of audio, with the speed as times real time."""

    def __init__(self, seconds: np.ndarray, todo: list[tuple[int, np.ndarray]], *, show: bool) -> None:
        # Whole numbers, so that the parts add up to the whole in whatever order.
        self._milliseconds = np.rint(np.asarray(seconds) * 1000).astype(np.int64)
        total = int(self._milliseconds.sum())
        self._bar = tqdm(
            total=total,
            initial=total - sum(int(self._milliseconds[rows].sum()) for _, rows in todo),
            disable=not show,
            unit="h",
            unit_scale=1 / 3_600_000,
            mininterval=0.5,
            bar_format="extracting {percentage:3.0f}%|{bar}| {n:.2f} of {total:.2f} h [{elapsed}<{remaining}{postfix}]",
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, rows: np.ndarray) -> None:
        """Count a batch that is on disk."""
        self._bar.update(int(self._milliseconds[rows].sum()))
        elapsed = self._bar.format_dict["elapsed"]
        if elapsed:
            speed = (self._bar.n - self._bar.initial) / 1000 / elapsed
            self._bar.set_postfix_str(f"{speed:.0f} x real time", refresh=False)


@dataclass(frozen=True)
class _Decoded:
    """One utterance, ready for the model."""

    waveform: np.ndarray
    acoustics: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Result:
    """What the device made of some rows of a batch; still on the device."""

    rows: list[int]
    states: torch.Tensor  # (statistics, layers, rows, width)
    norms: torch.Tensor  # (layers, rows)
    frames: list[torch.Tensor]  # (layers, frames, width) a row, if every frame is kept


class Pipeline:
    """Threads decode ahead, the calling thread feeds the device, one thread writes.

    Parameters
    ----------
    backbone : Backbone
        On its device.
    device : torch.device
    settings : ExtractionSettings
    writer : CacheWriter
    paths : ndarray of str, (utterances,)
    headers : list of AudioHeader or AudioProblem
        One an utterance: what its file holds, or why it cannot be used.
    """

    def __init__(
        self,
        backbone: Backbone,
        device: torch.device,
        settings: ExtractionSettings,
        writer: CacheWriter,
        paths: np.ndarray,
        headers: list[AudioHeader | AudioProblem],
    ) -> None:
        self.backbone, self.device, self.settings = backbone, device, settings
        self.writer, self.paths, self.headers = writer, paths, headers
        self._kept = Kept()

    def run(self, todo: list[tuple[int, np.ndarray]], bar: Progress) -> None:
        """Extract the batches in their order."""
        decoders = ThreadPoolExecutor(self.settings.workers, thread_name_prefix="decode")
        disk = ThreadPoolExecutor(1, thread_name_prefix="write")
        writing: list[tuple[Future, np.ndarray]] = []
        try:
            for index, rows, decoded in self._decode_ahead(decoders, todo):
                problems = {row: (p.status, p.reason) for row, p in decoded.items() if isinstance(p, AudioProblem)}
                if self.settings.strict:
                    stop_at_problem((self.paths[row], *problem) for row, problem in problems.items())
                good = {row: d for row, d in decoded.items() if isinstance(d, _Decoded)}
                with numerics(self.device, self.settings.precision):
                    results = self._compute(list(good), good, problems)
                writing.append((disk.submit(self._store, index, rows, results, good, problems), rows))
                # One batch may wait for the disk while the next is computed; more would only take memory.
                while len(writing) > 1:
                    self._wait(writing, bar)
            while writing:
                self._wait(writing, bar)
        finally:
            decoders.shutdown(cancel_futures=True)
            disk.shutdown(cancel_futures=True)

    @staticmethod
    def _wait(writing: list[tuple[Future, np.ndarray]], bar: Progress) -> None:
        future, rows = writing.pop(0)
        future.result()
        bar.advance(rows)

    def _decode_ahead(
        self, decoders: ThreadPoolExecutor, todo: list[tuple[int, np.ndarray]]
    ) -> Iterator[tuple[int, np.ndarray, dict[int, _Decoded | AudioProblem]]]:
        """Decode two batches ahead of the one that the device works on."""
        waiting: list[tuple[int, np.ndarray, list[Future]]] = []
        for index, rows in todo:
            waiting.append((index, rows, [decoders.submit(self._decode, row) for row in rows]))
            if len(waiting) > 2:
                yield self._collect(*waiting.pop(0))
        while waiting:
            yield self._collect(*waiting.pop(0))

    @staticmethod
    def _collect(
        index: int, rows: np.ndarray, futures: list[Future]
    ) -> tuple[int, np.ndarray, dict[int, _Decoded | AudioProblem]]:
        return index, rows, {int(row): f.result() for row, f in zip(rows, futures, strict=True)}

    def _decode(self, row: int) -> _Decoded | AudioProblem:
        header = self.headers[row]
        if isinstance(header, AudioProblem):  # the file was there when the cache was laid out
            return header
        try:
            waveform = read_audio(self.paths[row], header, self._kept)
        except AudioProblem as problem:
            return problem
        return _Decoded(self.backbone.prepare(waveform), acoustic_statistics(waveform))

    def _compute(self, rows: list[int], decoded: dict[int, _Decoded], problems: dict) -> list[_Result]:
        """Forward and pool; halve the batch for as long as it does not fit in memory."""
        if not rows:
            return []
        try:
            return [self._forward(rows, decoded)]
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
        return self._compute(rows[:half], decoded, problems) + self._compute(rows[half:], decoded, problems)

    def _forward(self, rows: list[int], decoded: dict[int, _Decoded]) -> _Result:
        pooled: list[tuple[torch.Tensor, torch.Tensor]] = []
        kept: list[torch.Tensor] = []
        waveforms = [decoded[row].waveform for row in rows]
        frames = [self.backbone.frames(len(w)) for w in waveforms]

        def see(_layer: int, states: torch.Tensor) -> None:
            pooled.append(pool(states, frames, self.settings.statistics))
            if self.settings.frames:
                kept.append(states.half().cpu())

        self.backbone.walk(waveforms, see)
        singles = [torch.stack([k[i, :n] for k in kept]) for i, n in enumerate(frames)] if kept else []
        return _Result(
            rows, torch.stack([p for p, _ in pooled], dim=1), torch.stack([norm for _, norm in pooled]), singles
        )

    def _store(
        self,
        index: int,
        batch: np.ndarray,
        results: list[_Result],
        decoded: dict[int, _Decoded],
        problems: dict[int, tuple[str, str]],
    ) -> None:
        """Fetch what the device computed and write it; runs in the writing thread."""
        if self.settings.frames:
            self._store_frames(index, batch, results)
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
        rows = [row for row, good in zip(rows, finite, strict=True) if good]
        acoustics = {
            name: np.stack([decoded[row].acoustics[name] for row in rows]) if rows else np.empty((0, width), np.float32)
            for name, width in ACOUSTIC_WIDTHS.items()
        }
        self.writer.write(rows, states[:, :, finite], norms[:, finite], acoustics, problems)

    def _overflow(self) -> str:
        """Why states are not finite, and what helps; weights that are not finite were refused when they were loaded."""
        precision = self.settings.precision
        told = f"the model gave non-finite states in {precision}"
        if precision in WIDER_TYPES:
            return f"{told}; use --dtype {WIDER_TYPES[precision]} (and --overwrite)"
        return f"{told}, its widest type, from finite weights; leave this audio out, or take another model"

    def _store_frames(self, index: int, batch: np.ndarray, results: list[_Result]) -> None:
        """One part of the single frames, in the order of the batch; NaN for an utterance that did not come out."""
        singles = {row: single for result in results for row, single in zip(result.rows, result.frames, strict=True)}
        parts = []
        for row in batch:
            count = int(self.writer.frames[row])
            missing = torch.full((self.backbone.n_layers, count, self.backbone.width), torch.nan, dtype=torch.half)
            parts.append(singles.get(int(row), missing))
        self.writer.write_frames(index, torch.cat(parts, dim=1).numpy())
