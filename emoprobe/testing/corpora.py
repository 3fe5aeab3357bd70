"""Small corpora of synthetic sound: a manifest and its files, and the parts that corpora of other forms are made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from emoprobe.extract.limits import SAMPLE_RATE


def tone(seconds: float = 0.3, *, seed: int | Sequence[int] = 0, rate: int = SAMPLE_RATE) -> np.ndarray:
    """A harmonic tone with vibrato and noise, unlike that of any other seed; never silent.

    Parameters
    ----------
    seconds : float
    seed : int or sequence of int
    rate : int
        In Hz.

    Returns
    -------
    ndarray, (samples,) float32
        Well within [-1, 1].

    Examples
    --------
    >>> sound = tone(0.5, seed=1)
    >>> sound.shape, sound.dtype
    ((8000,), dtype('float32'))
    """
    rng = np.random.default_rng(seed)
    samples = int(seconds * rate + 1e-6)  # seconds that were computed from samples give the same samples back
    t = np.arange(samples) / rate
    pitch = rng.uniform(80, 300) * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(2, 6) * t))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(rng.uniform(0.2, 1) * np.sin(k * phase) / k for k in range(1, 6))
    return (0.1 * sound + 0.01 * rng.normal(size=samples)).astype(np.float32)


def write_wav(path: Path, seconds: float = 0.3, *, seed: int | Sequence[int] = 0) -> Path:
    """Write a :func:`tone` as a 16-bit WAV file of 16 kHz, its folder made; return `path`.

    Parameters
    ----------
    path : Path
        Its name may end in anything.
    seconds : float
    seed : int or sequence of int
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, seed=seed), SAMPLE_RATE, subtype="PCM_16", format="WAV")
    return path


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> Path:
    """Write a CSV file in UTF-8 with plain line ends, its folder made; return `path`.

    Parameters
    ----------
    path : Path
    header : iterable of str
    rows : iterable of iterable
        Cells, written as ``str`` gives them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


def make_corpus(folder: Path, *, utterances: int = 12, speakers: int = 4, seed: int = 0, longest: float = 1.2) -> Path:
    """Write a corpus of sound, labels and words, which have nothing to do with each other.

    Parameters
    ----------
    folder : Path
        For the manifest and a WAV file an utterance.
    utterances, speakers : int
        Speakers take turns.
    seed : int
        Of sounds, lengths and labels.
    longest : float
        Seconds; the shortest utterances have 0.2.

    Returns
    -------
    Path
        The manifest, as ``--corpus`` and :func:`emoprobe.extract.corpora.read_corpus` take it. Its columns are `path`,
        `speaker`, `emotion` ("calm" and "angry" in turn), `arousal`, `valence` (missing for each fifth), `dominance`
        and `transcript`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from emoprobe.extract.corpora import read_corpus
    >>> with TemporaryDirectory() as folder:
    ...     corpus = read_corpus(str(make_corpus(Path(folder), utterances=6, speakers=2)))
    >>> len(corpus), sorted(set(corpus.utterances["speaker"]))
    (6, ['s0', 's1'])
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(utterances):
        path = write_wav(folder / f"u{i:03d}.wav", rng.uniform(0.2, longest), seed=seed * 10_000 + i)
        rows.append(
            {
                "path": path.name,
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
