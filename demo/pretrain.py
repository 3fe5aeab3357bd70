"""Pretrain a small HuBERT by masked prediction of units: ``emoprobe demo-pretrain synthetic FOLDER ...``.

Hsu et al. 2021 (HuBERT), with what a small machine needs: pre-norm blocks, a high learning rate, the loss on frames
that are not masked counted as much as on masked ones, and units at two depths.  For synthetic speech the units are
what the synthesiser says it spoke: the phone of each frame (predicted from a middle block) and the word that it is
part of (predicted from the last); the input of the first block tells the log spectrum.  For recorded speech they are
discovered: k-means of MFCC, and from a given step on k-means of the model's own middle block (the second iteration of
HuBERT).  Batches hold utterances of like length cut to the shortest, so nothing is padded.  Batch number i is a
function of the seed and i alone, so a killed run that is started
again sees what an unbroken one would have seen.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from emoprobe.claims import claim
from emoprobe.distil.training import RUN_FILES, checked, last_checkpoint, load_weights, of_speech, trainer_for
from emoprobe.errors import UserError
from emoprobe.jsontext import to_json

#: What a checkpoint by this recipe is marked with.
MADE_BY = "emoprobe.demo.pretrain"


@dataclass(frozen=True)
class PretrainSettings:
    """Everything that the weights depend on, besides the audio."""

    width: int = 192
    blocks: int = 12
    heads: int = 4
    intermediate: int = 768
    conv_dim: tuple[int, ...] = (32, 64, 128, 128, 128, 192, 192)
    conv_kernel: tuple[int, ...] = (10, 8, 4, 4, 4, 2, 2)
    conv_stride: tuple[int, ...] = (5, 4, 2, 2, 2, 2, 2)
    position_kernel: int = 32
    position_groups: int = 16
    unit_block: int = 6
    """Block whose output predicts phones and discovered units."""
    word_units: int = 700
    """The most frequent words; frames of others have no word to predict."""
    discovered_units: int = 100
    word_weight: float = 1.0
    spectrum_from: int = 0
    """Step from which the input of the first block must also tell the frame's log spectrum, so that what the units do
    not need (pitch, voice) is still heard there."""
    spectrum_weight: float = 1.0
    recluster: int = 0
    """Step from which recorded speech has units of the model's own middle block; 0: never."""
    recorded_share: float = 0.2
    """Of the batches."""
    batch_seconds: float = 32.0
    longest: float = 6.0
    mask_share: float = 0.4
    mask_frames: int = 5
    mask_longest: int = 15
    """Spans of a batch are between these two long: a phone, or a word, must be told from what is around it."""
    noise: float = 0.3
    """Share of batches to which white noise is added, 10 to 40 dB below the speech."""
    steps: int = 6000
    warmup: int = 300
    decay: int = 1500
    """Last steps, over which the learning rate falls to zero."""
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    seed: int = 0
    frontend_only: bool = False
    """Fit the convolutions and their projection to log-mel, and leave every block as it was drawn (a control)."""

    @property
    def hop(self) -> int:
        return math.prod(self.conv_stride)

    @property
    def field(self) -> int:
        """Receptive field of the front end, in samples."""
        field, step = 1, 1
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            field, step = field + (kernel - 1) * step, step * stride
        return field

    def frames(self, samples: int) -> int:
        return (samples - self.field) // self.hop + 1


def hubert_config(settings: PretrainSettings):
    """The transformers configuration of the model."""
    from transformers import HubertConfig

    return HubertConfig(
        hidden_size=settings.width,
        num_hidden_layers=settings.blocks,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate,
        conv_dim=settings.conv_dim,
        conv_kernel=settings.conv_kernel,
        conv_stride=settings.conv_stride,
        num_feat_extract_layers=len(settings.conv_dim),
        num_conv_pos_embeddings=settings.position_kernel,
        num_conv_pos_embedding_groups=settings.position_groups,
        do_stable_layer_norm=True,
        feat_extract_norm="group",
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=True,
        # What fine-tuning masks by default; pretraining draws its own masks.
        mask_time_prob=0.05,
        mask_time_length=5,
        mask_feature_prob=0.0,
        vocab_size=32,
    )


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
        count = max(1, round(s.batch_seconds * 16_000 / min(max(length, s.field + s.hop), s.longest * 16_000)))
        chosen = order[first : first + count]
        # Frames on the grid of the whole utterance: discovered units are looked up, not computed again.
        samples = max(min(int(np.diff(store.offsets)[c]) for c in chosen), s.field)
        frames = min(s.frames(samples), s.frames(int(s.longest * 16_000)))
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
            times = ((start + np.arange(frames)) * s.hop + s.field / 2) / 16_000
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


# ------------------------------------------------------------------------------------------------------ the model


def log_spectrum(settings: PretrainSettings):
    """Module: waves (batch, samples) to (batch, frames, 144), of mean 0 and deviation 1 within the batch.

    80 mel bands, and the 64 lowest bins of a 64 ms window (up to 1 kHz, 15.6 Hz apart), which show the harmonics.
    """
    import torch
    import torchaudio
    from torch import nn

    size = 1024

    class LogSpectrum(nn.Module):
        width = 144

        def __init__(self):
            super().__init__()
            self.power = torchaudio.transforms.Spectrogram(
                n_fft=size, win_length=size, hop_length=settings.hop, center=False
            )
            self.mel = torchaudio.transforms.MelScale(n_mels=80, sample_rate=16_000, n_stft=size // 2 + 1)

        @torch.no_grad()
        def forward(self, waves):
            power = self.power(nn.functional.pad(waves, (0, max(0, size - settings.field))))
            both = torch.cat([self.mel(power), power[:, :64]], 1).add(1e-2).log().transpose(1, 2)
            return (both - both.mean((0, 1))) / (both.std((0, 1)) + 1e-2)

    return LogSpectrum()


def build_model(settings: PretrainSettings, classes: dict[str, int]):
    """HubertModel with one linear head a kind of unit; returns the loss when given labels."""
    import torch
    from torch import nn
    from transformers import HubertModel

    class MaskedPrediction(nn.Module):
        def __init__(self):
            super().__init__()
            self.hubert = HubertModel(hubert_config(settings))
            # On a CPU the fused attention's backward pass in bfloat16 takes as long as everything else together.
            self.hubert.set_attn_implementation("eager")
            self.norm = nn.LayerNorm(settings.width)
            self.heads = nn.ModuleDict({kind: nn.Linear(settings.width, n) for kind, n in classes.items()})
            self.spectrum = log_spectrum(settings)
            self.to_spectrum = nn.Linear(settings.width, self.spectrum.width)
            self.tally: dict[str, list[float]] = {}

        def count(self, name: str, loss, right, number: int) -> None:
            sums = self.tally.setdefault(name, [0.0, 0.0, 0.0])
            for place, value in enumerate((float(loss) * number, float(right), number)):
                sums[place] += value

        def error_of_spectrum(self, states, waves, mask=None):
            with torch.autocast(waves.device.type, enabled=False):
                error = (self.to_spectrum(states.float()) - self.spectrum(waves)[:, : states.shape[1]]) ** 2
            loss = error.mean() if mask is None else error[~mask].mean()
            self.count("spectrum", loss.detach(), 0.0, states.shape[0] * states.shape[1])
            return loss

        def forward(self, waves, mask, labels, spectrum=True):
            out = self.hubert(waves, mask_time_indices=mask, output_hidden_states=True)
            # Entry k is the output of block k in every release of transformers, for all but the last block.
            middle = self.norm(out.hidden_states[settings.unit_block])
            loss = waves.new_zeros(())
            if spectrum:
                loss = settings.spectrum_weight * self.error_of_spectrum(out.hidden_states[0], waves, mask)
            for kind, label in labels.items():
                logits = self.heads[kind](out.last_hidden_state if kind == "words" else middle).float()
                weight = settings.word_weight if kind == "words" else 1.0
                known = label >= 0
                for name, part in (("masked", mask & known), ("unmasked", ~mask & known)):
                    if not part.any():
                        continue
                    entropy = nn.functional.cross_entropy(logits[part], label[part])
                    loss = loss + 0.5 * weight * entropy
                    right = (logits[part].argmax(-1) == label[part]).sum()
                    self.count(f"{kind}_{name}", entropy.detach(), right, int(part.sum()))
            return {"loss": loss}

        def report(self) -> dict[str, float]:
            """Mean cross-entropy and accuracy of each kind since the last report."""
            out = {}
            for key, (entropy, right, count) in sorted(self.tally.items()):
                out[f"{key}_loss"] = round(entropy / count, 4)
                if key != "spectrum":
                    out[f"{key}_accuracy"] = round(right / count, 4)
            self.tally.clear()
            return out

    class FrontEnd(MaskedPrediction):
        def forward(self, waves, mask, labels, spectrum=True):
            features = self.hubert.feature_extractor(waves).transpose(1, 2)
            # HubertFeatureProjection gives a tensor, or a tuple that starts with it, by release.
            projected = self.hubert.feature_projection(features)
            return {"loss": self.error_of_spectrum(projected[0] if isinstance(projected, tuple) else projected, waves)}

    torch.manual_seed(settings.seed)
    return FrontEnd() if settings.frontend_only else MaskedPrediction()


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
    partial = target.with_suffix(".part")
    with partial.open("wb") as file:
        np.savez(file, offsets=offsets, labels=labels.astype(np.int16))
    partial.replace(target)
    return offsets, labels


# ---------------------------------------------------------------------------------------------------- the training


def measure(model, batches: Batches, *, first: int = 0, count: int = 40) -> dict[str, float]:
    """Losses and accuracies of a model on batches that it does not learn from, beside what the commonest unit scores.

    Returns
    -------
    dict
        As the training log has them, and for each kind ``KIND_unigram``: the share of its most frequent unit.
    """
    import numpy as np
    import torch

    # The mask is applied in training mode alone; every dropout of these models is zero, so nothing else changes.
    model.train()
    model.tally.clear()
    seen: dict[str, list] = {}
    with torch.inference_mode():
        for step in range(first, first + count):
            batch = batches[step]
            model(**batch)
            for kind, label in batch["labels"].items():
                seen.setdefault(kind, []).append(label[label >= 0].numpy())
    model.eval()
    found = model.report()
    for kind, labels in seen.items():
        counts = np.bincount(np.concatenate(labels))
        found[f"{kind}_unigram"] = round(float(counts.max() / counts.sum()), 4)
    return found


def pretrain(
    run: Path,
    settings: PretrainSettings,
    *,
    synthetic=None,
    recorded=None,
    save_steps: int = 200,
    log_steps: int = 50,
    bf16: bool = False,
    say: Callable[[str], None] = lambda line: None,
):
    """Train, or go on training, in a run folder.

    Parameters
    ----------
    run : Path
        Holds checkpoints, discovered units, ``log.jsonl`` and ``settings.json``. A run goes on with the same settings
        and speech alone.
    settings : PretrainSettings
    synthetic, recorded : emoprobe.distil.store.Store or None
        At least one.
    save_steps, log_steps : int
        How often a checkpoint and a line of the log are written.
    bf16 : bool
        Autocast to bfloat16, where its layers are near those of float32.
    say : callable
        Told each line of the log.

    Returns
    -------
    torch.nn.Module
        The trained model with its heads.

    Raises
    ------
    UserError
        If there is no speech, the folder is of another run, or bfloat16 computes something else here.
    """
    import numpy as np

    if synthetic is None and recorded is None:
        raise UserError("no speech to train on: give the word 'synthetic', a folder of audio, or both")
    run = Path(run)
    stores = {"synthetic": synthetic, "recorded": recorded}
    stated = asdict(settings) | {
        "speech": {
            kind: of_speech(np.diff(store.offsets), store.wave) for kind, store in stores.items() if store is not None
        },
        "bf16": bf16,
    }
    claim(
        run,
        stated,
        record="settings.json",
        own=[*RUN_FILES, "vocabulary.json", "units1.npz", "units2.npz", "units1.part", "units2.part"],
        also=["synthetic/**", "recorded/**"],
        option="--out",
        before=lambda record: record if {"width", "classes"} <= set(record) else None,
    )
    classes, names = {}, None
    if synthetic is not None:
        # Kept with the run, so that a later version of what chooses them cannot give the heads another meaning.
        kept = run / "vocabulary.json"
        names = json.loads(kept.read_text()) if kept.is_file() else choose_vocabulary(synthetic, settings)
        kept.write_text(to_json(names) + "\n")
        classes |= {kind: len(units) for kind, units in names.items()}
    units = []
    if recorded is not None:
        units.append((0, *discover_units(recorded, settings, run / "units1.npz")))
        classes["units1"] = settings.discovered_units
        if settings.recluster:
            classes["units2"] = settings.discovered_units
    stops = [settings.steps]
    if recorded is not None and 0 < settings.recluster < settings.steps:
        stops.insert(0, settings.recluster)
    model = None
    for stop in stops:
        found = last_checkpoint(run, say=say)
        at = int(found.name.rsplit("-", 1)[1]) if found else 0
        if stop < settings.steps and at > stop:
            if not (run / "units2.npz").is_file():
                raise UserError(f"{run}/units2.npz is missing: delete the checkpoints after step {stop}, or the run")
            units.append((stop, *discover_units(recorded, settings, run / "units2.npz")))
            continue
        model = build_model(settings, classes)
        if at < stop:
            batches = Batches(settings, synthetic, recorded, units, names)
            trainer = trainer_for(
                model,
                batches,
                run,
                settings,
                stop=stop,
                save_steps=save_steps,
                log_steps=log_steps,
                bf16=bf16,
                say=say,
            )
            how = {"device": trainer.args.device, "bf16": bf16, "say": say}
            with checked(model.hubert, batches, run / "precision.json", **how):
                trainer.train(resume_from_checkpoint=str(found) if found else None)
        else:
            load_weights(model, found)
        if stop < settings.steps:
            model.to("cpu").eval()
            units.append((stop, *discover_units(recorded, settings, run / "units2.npz", model)))
    return model
