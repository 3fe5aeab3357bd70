"""Small corpora of synthetic sound for tests: a manifest and its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile


def tone(seconds: float, *, seed: int, rate: int = 16000) -> np.ndarray:
    """A harmonic tone with vibrato and noise, (samples,) float32, unlike any other seed's."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    pitch = rng.uniform(80, 300) * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(2, 6) * t))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(rng.uniform(0.2, 1) * np.sin(k * phase) / k for k in range(1, 6))
    return (0.1 * sound + 0.01 * rng.normal(size=len(t))).astype(np.float32)


def make_corpus(folder: Path, *, utterances: int = 12, speakers: int = 4, seed: int = 0, longest: float = 1.2) -> Path:
    """Write the files and the manifest; return the manifest's path."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(utterances):
        name = f"u{i:03d}.wav"
        soundfile.write(folder / name, tone(rng.uniform(0.2, longest), seed=seed * 10_000 + i), 16000)
        rows.append(
            {
                "path": name,
                "speaker": f"s{i % speakers}",
                "emotion": ("calm", "angry")[i % 2],
                "arousal": rng.normal(),
                "valence": rng.normal() if i % 5 else np.nan,
                "dominance": rng.normal(),
                "transcript": f"words of {i}",
            }
        )
    manifest = folder / "manifest.csv"
    pd.DataFrame(rows).to_csv(manifest, index=False)
    return manifest
