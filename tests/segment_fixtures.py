"""Conversations in one file with their turns, and the same turns each in a file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoprobe.testing.corpora import tone, write_csv

RATE = 16_000


@dataclass(frozen=True)
class Conversation:
    """Two manifests of the same turns.

    Attributes
    ----------
    whole : Path
        Its rows are parts of one file.
    turns : Path
        Its rows are files that hold what soundfile reads of those parts.
    seconds : float
        Of the one file.
    """

    whole: Path
    turns: Path
    seconds: float


def make_conversation(
    folder: Path, *, turns: int, seconds: float, kind: str = "WAV", subtype: str = "PCM_16", seed: int = 0
) -> Conversation:
    """Speech-like sound at 16 kHz, cut at random times into turns that leave no gap, in a random order."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * RATE)
    shortest = round(0.1 * RATE)
    free = np.sort(rng.integers(0, frames - shortest * turns, turns - 1))
    bounds = np.array([0, *(free + shortest * np.arange(1, turns)), frames])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"conversation.{kind.lower()}"
    with soundfile.SoundFile(path, "w", RATE, 1, subtype, format=kind) as file:
        for turn in range(turns):
            file.write(tone((bounds[turn + 1] - bounds[turn]) / RATE, seed=[seed, turn]))
    heard, _ = soundfile.read(path, dtype="float32")
    heard = np.pad(heard, (0, max(0, frames - len(heard))))
    order = rng.permutation(turns)
    parts, files = [], []
    for turn in order:
        begin, end = int(bounds[turn]), int(bounds[turn + 1])
        name, labels = f"t{turn:04d}", [f"s{turn % 2}", 1 + turn % 5, f"turn {turn}"]
        parts.append([name, path.name, repr(begin / RATE), repr(end / RATE), *labels])
        soundfile.write(folder / f"{name}.wav", heard[begin:end], RATE, subtype="FLOAT")
        files.append([name, f"{name}.wav", *labels])
    labels = ["speaker", "arousal", "transcript"]
    return Conversation(
        write_csv(folder / "parts.csv", ["id", "path", "start", "end", *labels], parts),
        write_csv(folder / "files.csv", ["id", "path", *labels], files),
        seconds,
    )


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which every read of libsndfile adds the number of samples that it decoded."""
    read, counts = soundfile.SoundFile.read, []

    def counting(self, *arguments, **options):
        block = read(self, *arguments, **options)
        counts.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    return counts
