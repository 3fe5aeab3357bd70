"""Units to predict: phones and words of synthetic speech, clusters of recorded speech."""

from pathlib import Path

from emoprobe.storage import replacing

from .pretrain_settings import PretrainSettings


def choose_vocabulary(store, settings: PretrainSettings) -> dict[str, list[str]]:
    """Units of synthetic speech: every phone but the rarest, and the most frequent words, in order of frequency."""
    import numpy as np

    chosen = {}
    for kind, (_, _, names, _) in store.events.items():
        counts = np.bincount(names, minlength=len(store.names[kind]))
        ranked = np.argsort(-counts, kind="stable")
        kept = ranked[: settings.word_units] if kind == "words" else ranked[counts[ranked] >= 2e-4 * counts.sum()]
        chosen[kind] = [store.names[kind][i] for i in kept]
    return chosen


def vocabulary(store, names: dict[str, list[str]]) -> dict:
    """For ``phones`` and ``words``: the unit of each name of the store, -1 for names that are no unit."""
    import numpy as np

    tables = {}
    for kind in store.events:
        unit = {name: number for number, name in enumerate(names[kind])}
        tables[kind] = np.array([unit.get(name, -1) for name in store.names[kind]], np.int64)
    return tables


# ------------------------------------------------------------------------------------------- units of recorded speech


def discover_units(store, settings: PretrainSettings, target: Path, model=None, *, sample: int = 200_000):
    """k-means units of every frame of a store: of MFCC, or of a model's middle block when one is given.

    Returns
    -------
    offsets, labels : numpy.ndarray
        Labels of utterance u are ``labels[offsets[u]:offsets[u + 1]]``.  Written to `target` and read back if there.
    """
    import numpy as np
    import torch
    from sklearn.cluster import MiniBatchKMeans

    if target.is_file():
        with np.load(target, allow_pickle=False) as table:
            return table["offsets"], table["labels"]
    if model is None:
        import torchaudio

        hop = settings.hop // 2
        mfcc = torchaudio.transforms.MFCC(
            n_mfcc=13, melkwargs={"n_fft": 400, "win_length": 400, "hop_length": hop, "n_mels": 40, "center": False}
        )

    def features(wave):
        frames = settings.frames(len(wave))
        if frames < 1:
            return np.zeros((0, 1), np.float32)
        x = torch.from_numpy(wave.astype(np.float32))
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-7).sqrt()
        with torch.inference_mode():
            if model is not None:
                states = model.hubert(x[None], output_hidden_states=True).hidden_states[settings.unit_block]
                return model.norm(states)[0].numpy()
            # Two frames of MFCC with their slopes stand for each frame of the model.
            base = mfcc(nn_pad(x, hop, frames))
            both = torch.cat([base, torchaudio.functional.compute_deltas(base)])
            both = both - both.mean(1, keepdim=True)
            return torch.cat([both[:, 0 : 2 * frames : 2], both[:, 1 : 2 * frames : 2]]).T.numpy()

    def nn_pad(x, hop, frames):
        return torch.nn.functional.pad(x, (0, max(0, 400 + hop * (2 * frames - 1) - len(x))))

    rows = [features(store.wave(u)) for u in range(len(store))]
    offsets = np.cumsum([0] + [len(row) for row in rows])
    table = np.concatenate([row for row in rows if len(row)])
    rng = np.random.default_rng([settings.seed, 11])
    means = MiniBatchKMeans(
        settings.discovered_units, batch_size=4096, n_init=2, max_iter=40, random_state=settings.seed
    ).fit(table[rng.permutation(len(table))[:sample]])
    labels = np.concatenate([means.predict(table[i : i + 65_536]) for i in range(0, len(table), 65_536)])
    with replacing(target) as temporary, temporary.open("wb") as file:
        np.savez(file, offsets=offsets, labels=labels.astype(np.int16))
    return offsets, labels
