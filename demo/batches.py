"""Batches of the pretraining, each a function of the seed and its number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from emoprobe.distil.store import Store
from emoprobe.extract.limits import SAMPLE_RATE

from .pretrain_settings import PretrainSettings
from .units import Units, choose_vocabulary, vocabulary


class Batch(TypedDict):
    """What the model is called with.

    ``waves`` (batch, samples); ``mask`` (batch, frames), of the frames to predict; ``spectrum``, whether the log
    spectrum is to be told too; ``labels``, for each kind (batch, frames), -1 where there is none.
    """

    waves: torch.Tensor
    mask: torch.Tensor
    spectrum: bool
    labels: dict[str, torch.Tensor]


class _Source(NamedTuple):
    """Packed speech, and its utterances from the shortest to the longest."""

    store: Store
    order: np.ndarray


class Batches(Dataset):
    """Batch i of the run; a function of the seed and i alone.

    Parameters
    ----------
    settings : PretrainSettings
    synthetic, recorded : Store or None
        Packed speech, at least one.
    units : list of (first step, Units)
        Discovered units of the recorded store, valid from the given step until the next entry's.
    names : dict of str to list of str, optional
        Units of the synthetic speech; chosen from it when left out.
    """

    def __init__(
        self,
        settings: PretrainSettings,
        synthetic: Store | None,
        recorded: Store | None,
        units: Sequence[tuple[int, Units]] = (),
        names: dict[str, list[str]] | None = None,
    ) -> None:
        self.settings, self.units = settings, list(units)
        self.sources = {
            is_recorded: _Source(store, np.argsort(np.diff(store.offsets), kind="stable"))
            for is_recorded, store in ((False, synthetic), (True, recorded))
            if store is not None
        }
        self.vocabulary: dict[str, np.ndarray] = {}
        if synthetic is not None:
            self.vocabulary = vocabulary(synthetic, names or choose_vocabulary(synthetic, settings))
        self.share = 1.0 if synthetic is None else 0.0 if recorded is None else settings.recorded_share

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        s = self.settings
        rng = np.random.default_rng([s.seed, 7, step])
        recorded = bool(rng.random() < self.share)
        store, order = self.sources[recorded]
        first = int(rng.integers(len(order)))
        length = int(np.diff(store.offsets)[order[first]])
        most = min(max(length, s.field + s.hop), s.longest * SAMPLE_RATE)
        count = max(1, round(s.batch_seconds * SAMPLE_RATE / most))
        chosen = order[first : first + count]
        # Frames on the grid of the whole utterance: discovered units are looked up, not computed again.
        samples = max(min(int(np.diff(store.offsets)[c]) for c in chosen), s.field)
        frames = min(s.frames(samples), s.frames(int(s.longest * SAMPLE_RATE)))
        samples = (frames - 1) * s.hop + s.field
        cut: list[np.ndarray] = []
        parts: list[tuple[int, int]] = []
        labels: dict[str, list[np.ndarray]] = {}
        for index in chosen:
            wave = store.wave(int(index))
            wave = np.pad(wave, (0, max(0, samples - len(wave))))
            start = int(rng.integers(s.frames(len(wave)) - frames + 1))
            parts.append((int(index), start))
            cut.append(wave[start * s.hop : start * s.hop + samples].astype(np.float32))
            for kind, label in self.labels(recorded, int(index), start, frames, step).items():
                labels.setdefault(kind, []).append(label)
        waves = np.stack(cut)
        waves = (waves - waves.mean(1, keepdims=True)) / np.sqrt(waves.var(1, keepdims=True) + 1e-7)
        if rng.random() < s.noise:
            waves = waves + 10 ** (-rng.uniform(10, 40) / 20) * rng.standard_normal(waves.shape).astype(np.float32)
        span = int(rng.integers(s.mask_frames, max(s.mask_frames, s.mask_longest) + 1))
        batch: Batch = {
            "waves": torch.from_numpy(waves.astype(np.float32)),
            "mask": torch.from_numpy(spans(rng, waves.shape[0], frames, s.mask_share, span)),
            "spectrum": step >= s.spectrum_from,
            "labels": {kind: torch.from_numpy(np.stack(rows).astype(np.int64)) for kind, rows in labels.items()},
        }
        return cast(Batch, batch | self.extras(recorded, parts, frames))

    def extras(self, recorded: bool, parts: list[tuple[int, int]], frames: int) -> dict[str, Any]:  # noqa: ARG002
        """What else the model is told of parts of utterances (number, first frame), all of so many frames."""
        return {}

    def labels(self, recorded: bool, index: int, start: int, frames: int, step: int) -> dict[str, np.ndarray]:
        """Unit of each frame of a part of an utterance, by the kind of unit, each (frames,)."""
        s = self.settings
        if not recorded:
            times = ((start + np.arange(frames)) * s.hop + s.field / 2) / SAMPLE_RATE
            store = self.sources[False].store
            return {
                kind: np.append(table, -1)[store.label(kind, index, times)] for kind, table in self.vocabulary.items()
            }
        begun = [(number, units) for number, (first, units) in enumerate(self.units, start=1) if step >= first]
        if not begun:
            return {}
        number, (offsets, unit_of_frame) = begun[-1]
        row = unit_of_frame[offsets[index] : offsets[index + 1]][start : start + frames]
        return {f"units{number}": np.pad(row.astype(np.int64), (0, frames - len(row)), constant_values=-1)}


def spans(rng: np.random.Generator, rows: int, frames: int, share: float, length: int) -> np.ndarray:
    """Boolean mask (rows, frames) of spans that cover about `share` of each row (overlaps count once)."""
    mask = np.zeros((rows, frames), bool)
    count = max(1, round(share * frames / length))
    starts = rng.integers(0, max(1, frames - length + 1), (rows, count))
    for shift in range(min(length, frames)):
        mask[np.arange(rows)[:, None], starts + shift] = True
    return mask
