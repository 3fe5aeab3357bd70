"""Batches of the pretraining, each a function of the seed and its number."""

from emoprobe.extract.limits import SAMPLE_RATE

from .units import choose_vocabulary, vocabulary

# ---------------------------------------------------------------------------------------------------- the batches


class Batches:
    """Batch i of the run, as a map-style dataset; a function of the seed and i alone.

    Parameters
    ----------
    settings : PretrainSettings
    synthetic, recorded : Store or None
        Packed speech.
    units : list of (first step, offsets, labels)
        Discovered units of the recorded store: labels (frames,) of utterance u are ``offsets[u]:offsets[u + 1]``,
        valid from the given step until the next entry's.
    names : dict of str to list of str, optional
        Units of the synthetic speech; chosen from it when left out.
    """

    def __init__(self, settings, synthetic, recorded, units=(), names=None):
        import numpy as np

        self.settings, self.stores, self.units = settings, (synthetic, recorded), list(units)
        self.order = [None if s is None else np.argsort(np.diff(s.offsets), kind="stable") for s in self.stores]
        self.vocabulary = {}
        if synthetic is not None:
            self.vocabulary = vocabulary(synthetic, names or choose_vocabulary(synthetic, settings))
        self.share = 1.0 if synthetic is None else 0.0 if recorded is None else settings.recorded_share

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step):
        import numpy as np
        import torch

        s = self.settings
        rng = np.random.default_rng([s.seed, 7, step])
        recorded = bool(rng.random() < self.share)
        store, order = self.stores[recorded], self.order[recorded]
        first = int(rng.integers(len(order)))
        length = int(np.diff(store.offsets)[order[first]])
        most = min(max(length, s.field + s.hop), s.longest * SAMPLE_RATE)
        count = max(1, round(s.batch_seconds * SAMPLE_RATE / most))
        chosen = order[first : first + count]
        # Frames on the grid of the whole utterance: discovered units are looked up, not computed again.
        samples = max(min(int(np.diff(store.offsets)[c]) for c in chosen), s.field)
        frames = min(s.frames(samples), s.frames(int(s.longest * SAMPLE_RATE)))
        samples = (frames - 1) * s.hop + s.field
        waves, labels = [], {}
        for index in chosen:
            wave = store.wave(int(index))
            wave = np.pad(wave, (0, max(0, samples - len(wave))))
            start = int(rng.integers(s.frames(len(wave)) - frames + 1))
            waves.append(wave[start * s.hop : start * s.hop + samples].astype(np.float32))
            for kind, label in self.labels(recorded, int(index), start, frames, step).items():
                labels.setdefault(kind, []).append(label)
        waves = np.stack(waves)
        waves = (waves - waves.mean(1, keepdims=True)) / np.sqrt(waves.var(1, keepdims=True) + 1e-7)
        if rng.random() < s.noise:
            waves = waves + 10 ** (-rng.uniform(10, 40) / 20) * rng.standard_normal(waves.shape).astype(np.float32)
        span = int(rng.integers(s.mask_frames, max(s.mask_frames, s.mask_longest) + 1))
        return {
            "waves": torch.from_numpy(waves.astype(np.float32)),
            "mask": torch.from_numpy(spans(rng, waves.shape[0], frames, s.mask_share, span)),
            "spectrum": step >= s.spectrum_from,
            "labels": {kind: torch.from_numpy(np.stack(rows).astype(np.int64)) for kind, rows in labels.items()},
        }

    def labels(self, recorded: bool, index: int, start: int, frames: int, step: int) -> dict:
        import numpy as np

        s = self.settings
        if not recorded:
            times = ((start + np.arange(frames)) * s.hop + s.field / 2) / SAMPLE_RATE
            store = self.stores[0]
            return {
                kind: np.append(table, -1)[store.label(kind, index, times)] for kind, table in self.vocabulary.items()
            }
        current = None
        for number, (first, offsets, labels) in enumerate(self.units):
            if step >= first:
                current = number, offsets, labels
        if current is None:
            return {}
        number, offsets, labels = current
        row = labels[offsets[index] : offsets[index + 1]][start : start + frames]
        return {f"units{number + 1}": np.pad(row.astype(np.int64), (0, frames - len(row)), constant_values=-1)}


def spans(rng, rows: int, frames: int, share: float, length: int):
    """Boolean mask (rows, frames) of spans that cover about `share` of each row (overlaps count once)."""
    import numpy as np

    mask = np.zeros((rows, frames), bool)
    count = max(1, round(share * frames / length))
    starts = rng.integers(0, max(1, frames - length + 1), (rows, count))
    for shift in range(min(length, frames)):
        mask[np.arange(rows)[:, None], starts + shift] = True
    return mask
