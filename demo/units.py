"""Units to predict: phones and words of synthetic speech, clusters of recorded speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torchaudio

from emoprobe.distil.store import Store
from emoprobe.storage import replacing

from .pretrain_settings import PretrainSettings

if TYPE_CHECKING:
    from .hubert import MaskedPrediction


def choose_vocabulary(store: Store, settings: PretrainSettings) -> dict[str, list[str]]:
    """Units of synthetic speech: every phone but the rarest, and the most frequent words, in order of frequency."""
    chosen = {}
    for kind, (_, _, names, _) in store.events.items():
        counts = np.bincount(names, minlength=len(store.names[kind]))
        ranked = np.argsort(-counts, kind="stable")
        kept = ranked[: settings.word_units] if kind == "words" else ranked[counts[ranked] >= 2e-4 * counts.sum()]
        chosen[kind] = [store.names[kind][i] for i in kept]
    return chosen


def vocabulary(store: Store, names: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """For ``phones`` and ``words``: the unit of each name of the store, -1 for names that are no unit."""
    tables = {}
    for kind in store.events:
        unit = {name: number for number, name in enumerate(names[kind])}
        tables[kind] = np.array([unit.get(name, -1) for name in store.names[kind]], np.int64)
    return tables


# ------------------------------------------------------------------------------------------- units of recorded speech


class Units(NamedTuple):
    """Discovered units of every frame of a store.

    Attributes
    ----------
    offsets : ndarray of int, shape (utterances + 1,)
    labels : ndarray of int, shape (frames,)
        Those of utterance u are ``labels[offsets[u]:offsets[u + 1]]``.
    """

    offsets: np.ndarray
    labels: np.ndarray


def discover_units(
    store: Store,
    settings: PretrainSettings,
    target: Path,
    model: MaskedPrediction | None = None,
    *,
    sample: int = 200_000,
) -> Units:
    """k-means units of every frame of a store: of MFCC, or of a model's middle block when one is given.

    They are written to `target`, and read back if they are there.
    """
    if target.is_file():
        with np.load(target, allow_pickle=False) as table:
            return Units(table["offsets"], table["labels"])
    from sklearn.cluster import MiniBatchKMeans

    features = _context_mfcc(settings) if model is None else model.frame_states

    def features_of(wave: np.ndarray) -> np.ndarray:
        if settings.frames(len(wave)) < 1:
            return np.zeros((0, 1), np.float32)
        x = torch.from_numpy(wave.astype(np.float32))
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-7).sqrt()
        with torch.inference_mode():
            return features(x).numpy()

    rows = [features_of(store.wave(u)) for u in range(len(store))]
    offsets = np.cumsum([0] + [len(row) for row in rows])
    frames = np.concatenate([row for row in rows if len(row)])
    rng = np.random.default_rng([settings.seed, 11])
    means = MiniBatchKMeans(
        settings.discovered_units, batch_size=4096, n_init=2, max_iter=40, random_state=settings.seed
    ).fit(frames[rng.permutation(len(frames))[:sample]])
    labels = np.concatenate([means.predict(frames[i : i + 65_536]) for i in range(0, len(frames), 65_536)])
    with replacing(target) as temporary, temporary.open("wb") as file:
        np.savez(file, offsets=offsets, labels=labels.astype(np.int16))
    return Units(offsets, labels)


def _context_mfcc(settings: PretrainSettings) -> Callable[[torch.Tensor], torch.Tensor]:
    """From a wave (samples,) to features (frames, 52): two frames of MFCC with slopes for each frame of the model."""
    hop = settings.hop // 2
    mfcc = torchaudio.transforms.MFCC(
        n_mfcc=13, melkwargs={"n_fft": 400, "win_length": 400, "hop_length": hop, "n_mels": 40, "center": False}
    )

    def features(x: torch.Tensor) -> torch.Tensor:
        frames = settings.frames(len(x))
        base = mfcc(torch.nn.functional.pad(x, (0, max(0, 400 + hop * (2 * frames - 1) - len(x)))))
        both = torch.cat([base, torchaudio.functional.compute_deltas(base)])
        both = both - both.mean(1, keepdim=True)
        return torch.cat([both[:, 0 : 2 * frames : 2], both[:, 1 : 2 * frames : 2]]).T

    return features
