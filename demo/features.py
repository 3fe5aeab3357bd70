"""What an evaluation reads: every frame of every layer of a model, or of acoustic features in its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from emoprobe.extract.limits import SAMPLE_RATE

if TYPE_CHECKING:
    from emoprobe.extract.encoders.speech import Backbone

#: What is measured: a model, or features in its place.
Model: TypeAlias = "Backbone | Acoustics"


class Acoustics:
    """Log-mel or context MFCC in the place of a model: one layer, frames at the model's own rate."""

    def __init__(self, kind: str, hop: int, field: int) -> None:
        import torchaudio

        self.kind, self.hop, self.field, self.n_layers = kind, hop, field, 1
        mel = {"n_fft": 512, "win_length": 400, "hop_length": 160, "center": False}
        if kind == "log-mel":
            spectrum = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_mels=80, **mel)
            self.transform = lambda x: (spectrum(x) + 1e-10).log()
        else:
            self.transform = torchaudio.transforms.MFCC(SAMPLE_RATE, n_mfcc=13, melkwargs={"n_mels": 40, **mel})

    def frames(self, wave: np.ndarray) -> np.ndarray:
        """(1, frames, width): the 10 ms windows nearest each frame; for MFCC with slopes and 4 frames either side."""
        import torch
        import torchaudio

        count = (len(wave) - self.field) // self.hop + 1
        x = torch.from_numpy(wave)
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-7).sqrt()
        table = self.transform(x)
        if self.kind != "log-mel":
            slopes = torchaudio.functional.compute_deltas(table)
            table = torch.cat([table, slopes, torchaudio.functional.compute_deltas(slopes)])
        centre = (np.arange(count) * self.hop + self.field // 2 - 200) // 160
        if self.kind == "log-mel":
            window = np.arange(-1, 3)
            at = np.clip(centre[:, None] + window, 0, table.shape[1] - 1)
            return table[:, at].mean(-1).T[None].numpy()
        window = np.arange(-4, 5) * (self.hop // 160)
        at = np.clip(centre[:, None] + window, 0, table.shape[1] - 1)
        return table[:, at].permute(1, 0, 2).reshape(count, -1)[None].numpy()


def every_frame(model: Model, waves: list[np.ndarray], *, seconds: float = 60.0) -> Iterator[np.ndarray]:
    """Yield (layers, frames, width) for each waveform, in order."""
    if isinstance(model, Acoustics):
        yield from (model.frames(wave) for wave in waves)
        return
    order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
    done: dict[int, np.ndarray] = {}
    batch: list[int] = []
    wanted = 0
    batches = []
    for i in order:
        if batch and (len(batch) + 1) * len(waves[i]) > seconds * SAMPLE_RATE:
            batches.append(batch)
            batch = []
        batch.append(i)
    batches.append(batch)
    for batch in batches:
        states, frames = model.hidden_states([waves[i] for i in batch])
        for row, i in enumerate(batch):
            done[i] = states[:, row, : frames[row]].numpy().astype(np.float16)
    while wanted < len(waves):
        yield done.pop(wanted).astype(np.float32)
        wanted += 1


def pooled(model: Model, waves: list[np.ndarray]) -> np.ndarray:
    """Mean and standard deviation over time: (layers, utterances, 2 * width)."""
    rows = [np.concatenate([x.mean(1), x.std(1)], 1) for x in every_frame(model, waves)]
    return np.stack(rows, 1)
