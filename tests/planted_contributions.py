"""Caches in which it is known what layer, acoustics and words explain of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from emoprobe.extract.sidecars import Sidecar, sidecar_path, write_sidecar
from emoprobe.testing import write_cache, write_checksums

#: Share of the variance of a label that each source makes; the rest is noise.
LABELS = {
    "arousal": {"voice": 0.8},
    "valence": {"words": 0.5, "own": 0.3},
    "dominance": {"words": 0.4, "voice": 0.4},
}

SOURCES = ("voice", "words", "own")


def contributing_cache(
    path: Path,
    layers: Sequence[Mapping[str, float]],
    *,
    n: int = 1200,
    speakers: int = 24,
    labels: Mapping[str, Mapping[str, float]] = LABELS,
    noise: float = 0.05,
    of_speakers: float = 0.0,
    seed: int = 0,
    **columns,
) -> None:
    """Write a cache whose layers carry sources: the voice (also in `logmel`), the words (also in `text`), their own.

    Parameters
    ----------
    path : Path
    layers : sequence of mapping
        How strong each source is in each layer, beside `noise`.
    n, speakers, seed : int
    labels : mapping
        See :data:`LABELS`.
    noise : float
        Standard deviation of what nobody knows, in layers, acoustics and words.
    of_speakers : float
        Variance of what the labels of a speaker have in common.
    **columns
        Of :func:`write_cache`.
    """
    # What is mixed how is the same for every seed, so that the truth is.
    rng, mixing = np.random.default_rng([seed, 7]), np.random.default_rng(7)
    sources = {name: rng.standard_normal((n, 4)) for name in SOURCES}
    direction = {name: mixing.standard_normal(4) for name in SOURCES}
    known = {name: x @ (direction[name] / np.linalg.norm(direction[name])) for name, x in sources.items()}
    who = np.arange(n) % speakers
    values = {}
    for label, shares in labels.items():
        rest = 1 - sum(shares.values())
        values[label] = (
            4
            + np.sqrt(rest) * rng.standard_normal(n)
            + sum(np.sqrt(share) * known[name] for name, share in shares.items())
        )
        own = rng.standard_normal(speakers)
        values[label] = values[label] + np.sqrt(of_speakers) * ((own - own.mean()) / own.std())[who]
    nowhere = dict.fromkeys(labels, 0)  # the labels are these, whatever it would plant
    more = {**values, **columns}
    write_cache(path, n=n, speakers=speakers, layers=len(layers), width=12, seed=seed, planted=nowhere, **more)

    def mixed(parts: Mapping[str, float], width: int) -> np.ndarray:
        heard = noise * rng.standard_normal((n, width))
        for name, strength in parts.items():
            heard += strength * sources[name] @ mixing.standard_normal((4, width))
        return heard

    with h5py.File(path, "r+") as file:
        file["pooled/mean"][:] = np.stack([mixed(layer, 12) for layer in layers])
        file["acoustic/logmel"][:] = mixed({"voice": 1}, 6)
        corpus = {"name": "handmade", "sha256": "1" * 64}
    write_checksums(path)
    about = {"baseline": "text", "corpus": corpus, "settings": {}, "versions": {}}
    ids = np.array([f"u{i:04d}" for i in range(n)], dtype=object)
    text = mixed({"words": 1}, 8).astype(np.float32)
    columns_of = tuple(f"text_{k}" for k in range(text.shape[1]))
    write_sidecar(sidecar_path(path, "text"), Sidecar(about, ids, np.full(n, "", object), columns_of, text))
