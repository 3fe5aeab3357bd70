"""Has it learned something?  ``emoprobe demo-evaluate``: layer by layer against its controls.

Three seeds of each probe, nobody on both sides: the phone of each frame on held-out synthetic voices; arousal, valence
and dominance of the demo corpus's test voices; arousal and valence of EMO-DB and RAVDESS where their manifests are
given.  The controls are the same architecture with random weights, the same with a front end fitted to log-mel,
log-mel itself and MFCC in context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.options import check_counts

from .features import Acoustics, Model, every_frame, pooled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Start, end and name of a phone, in seconds.
Phone = tuple[float, float, str]

#: Of the scores.
COLUMNS = ("model", "task", "target", "measure", "pool", "layer", "depth", "seed", "score")
_PENALTIES = np.logspace(-1, 5, 13)


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is asked of each model.

    Parameters
    ----------
    seeds : int
        Of each probe.
    phones : tuple of int
        Synthetic utterances that the phone probe learns from and is tested on; (0, 0) leaves the task out.
    limit : int, optional
        At most so many utterances of each corpus and split, evenly over it.
    """

    seeds: int = 3
    phones: tuple[int, int] = (300, 150)
    limit: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "seeds", "limit", least=1)
        if any(count < 0 for count in self.phones):
            raise UserError(f"--phones {' '.join(map(str, self.phones))} must be 0 or more each")


def concordance(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Concordance correlation coefficient, population form (Lin 1989)."""
    both = np.cov(truth, predicted, bias=True)
    return float(2 * both[0, 1] / (both[0, 0] + both[1, 1] + (truth.mean() - predicted.mean()) ** 2))


def _ridge(train: np.ndarray, y: np.ndarray, people: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predict with the penalty that is best for speakers left out: five inner folds of the training speakers."""
    from sklearn.model_selection import GroupKFold

    mean, std = train.mean(0), train.std(0) + 1e-8
    train, test = ((x - mean) / std for x in (train.astype(np.float64), test.astype(np.float64)))

    def fit(x: np.ndarray, target: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Predictions for each penalty, (penalties, rows)."""
        centre, level = x.mean(0), target.mean()
        values, vectors = np.linalg.eigh((x - centre).T @ (x - centre))
        seen = vectors.T @ ((x - centre).T @ (target - level))
        weights = vectors @ (seen[:, None] / (np.maximum(values, 0)[:, None] + _PENALTIES))
        return ((other - centre) @ weights + level).T

    held_out = np.zeros((len(_PENALTIES), len(y)))
    for inner, held in GroupKFold(min(5, len(np.unique(people)))).split(train, groups=people):
        held_out[:, held] = fit(train[inner], y[inner], train[held])
    best = int(np.argmax([concordance(y, row) for row in held_out]))
    return fit(train, y, test)[best]


def regress(features: np.ndarray, table: pd.DataFrame, target: str, *, seed: int) -> list[float]:
    """CCC of each layer: the table's own split where it has one, else five folds of speakers.

    The seed draws four fifths of the training speakers, or the folds.
    """
    from sklearn.model_selection import GroupKFold

    known = table[target].notna().to_numpy()
    features, table = features[:, known], table[known]
    y, speaker = table[target].to_numpy(float), table["speaker"].to_numpy()
    rng = np.random.default_rng([seed, 5])
    if "split" in table and (table["split"] == "test").any():
        people = np.unique(speaker[table["split"] == "train"])
        drawn = rng.permutation(people)[: max(1, round(0.8 * len(people)))]
        folds = [(np.flatnonzero(np.isin(speaker, drawn)), np.flatnonzero(table["split"] == "test"))]
    else:
        names = np.unique(speaker)
        renamed = rng.permutation(len(names))[np.searchsorted(names, speaker)]
        folds = list(GroupKFold(5, shuffle=True, random_state=seed).split(y, groups=renamed))
    scores = []
    for layer in features:
        predicted = np.full(len(y), np.nan)
        for train, test in folds:
            predicted[test] = _ridge(layer[train], y[train], speaker[train], layer[test])
        scored = ~np.isnan(predicted)
        scores.append(concordance(y[scored], predicted[scored]))
    return scores


def phone_frames(pool: str, share: str, count: int, *, seed: int) -> tuple[list[np.ndarray], list[list[Phone]]]:
    """Utterances of a pool of voices, as waveforms and their phones with times."""
    from . import shards

    waves, phones = [], []
    for number in range(count):
        _, spoken, _ = shards.synthetic_utterance(seed, number, pool=pool, share=share)
        waves.append(spoken.samples.astype(np.float32) / 32768)
        phones.append([(s, e, shards.phone_name(name)) for s, e, name in spoken.phones])
    return waves, phones


def _label(phones: list[Phone], times: np.ndarray) -> np.ndarray:
    starts = np.array([p[0] for p in phones])
    at = np.searchsorted(starts, times, side="right") - 1
    return np.array([phones[i][2] if i >= 0 and t < phones[i][1] else "" for i, t in zip(at, times, strict=True)])


def _softmax_probe(x: np.ndarray, y: np.ndarray, test: np.ndarray, *, classes: int, seed: int) -> np.ndarray:
    """Multinomial logistic regression (weight decay 1e-4, Adam), standardised inputs; predicted classes."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    mean, std = x.mean(0), x.std(0) + 1e-5
    inputs, others, targets = (torch.from_numpy(part) for part in ((x - mean) / std, (test - mean) / std, y))
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    epochs, size = 12, 512
    optimiser = torch.optim.AdamW([weight, bias], lr=5e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(size):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(inputs[rows] @ weight + bias, targets[rows]).backward()
            optimiser.step()
        schedule.step()
    with torch.inference_mode():
        return (others @ weight + bias).argmax(1).numpy()


def identify_phones(
    model: Model, hop: int, field: int, *, train: int, test: int, seeds: int, per: int = 40
) -> list[dict]:
    """Accuracy of a linear probe of each layer on the phone of single frames, pauses left out.

    Voices of the probe's training are those that the model heard in pretraining; the test voices nobody has heard.
    """
    drawn = []
    for pool, share, count in (("train", "train", train), ("test", "test", test)):
        waves, phones = phone_frames(pool, share, count, seed=99)
        rng = np.random.default_rng([7, count])
        states, labels = [], []
        for states_of_one, said in zip(every_frame(model, waves), phones, strict=True):
            times = (np.arange(states_of_one.shape[1]) * hop + field / 2) / SAMPLE_RATE
            names = _label(said, times)
            kept = np.flatnonzero(names != "")
            kept = np.sort(rng.permutation(kept)[:per])
            states.append(states_of_one[:, kept])
            labels.append(names[kept])
        drawn.append((np.concatenate(states, 1), np.concatenate(labels)))
    (x, names), (test_x, test_names) = drawn
    classes, y = np.unique(names, return_inverse=True)
    rows = []
    for seed in range(seeds):
        sample = np.random.default_rng([seed, 3]).permutation(len(y))[: round(0.8 * len(y))]
        for layer in range(len(x)):
            guess = _softmax_probe(x[layer][sample], y[sample], test_x[layer], classes=len(classes), seed=seed)
            rows.append({"layer": layer, "seed": seed, "score": float(np.mean(classes[guess] == test_names))})
    return rows


def read_waves(table: pd.DataFrame, root: Path) -> list[np.ndarray]:
    """Decode the corpus's files: 16 kHz mono float32."""
    import soundfile

    waves = []
    for path in table["path"]:
        wave, rate = soundfile.read(root / path, dtype="float32", always_2d=True)
        if rate != SAMPLE_RATE:
            raise UserError(f"{root / path} is at {rate} Hz: the evaluation reads 16 kHz")
        waves.append(wave.mean(1))
    return waves


def evaluate(
    models: dict[str, Model],
    corpora: dict[str, Path],
    *,
    hop: int,
    field: int,
    settings: EvaluationSettings = EvaluationSettings(),
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """All tasks for all models.

    Parameters
    ----------
    models : dict of str to Backbone or Acoustics
    corpora : dict of str to Path
        Manifests; the name is the task's.
    hop, field : int
        Samples between frames, and that a frame sees.
    settings : EvaluationSettings
    say : callable
        Told what is done.

    Returns
    -------
    DataFrame
        With :data:`COLUMNS`.
    """
    import pandas as pd

    rows: list[dict] = []
    limit = settings.limit

    def add(scored: list[dict], **same: str) -> None:
        last = max(1, *(row["layer"] for row in scored))
        rows.extend({**same, **row, "depth": round(row["layer"] / last, 4)} for row in scored)

    for task, manifest in corpora.items():
        table = pd.read_csv(manifest)
        if limit is not None and len(table) > limit:
            table = table.iloc[np.unique(np.linspace(0, len(table) - 1, limit).astype(int))].reset_index(drop=True)
        waves = read_waves(table, Path(manifest).parent)
        for name, model in models.items():
            features = pooled(model, waves)
            width = features.shape[2] // 2
            for target in ("arousal", "valence", "dominance"):
                for pool, part in (("mean", features[:, :, :width]), ("mean+std", features)):
                    for seed in range(settings.seeds):
                        scores = regress(part, table, target, seed=seed)
                        add(
                            [{"layer": k, "seed": seed, "score": s} for k, s in enumerate(scores)],
                            model=name, task=task, target=target, measure="ccc", pool=pool,
                        )  # fmt: skip
            say(f"{task}: {name}")
    if all(settings.phones):
        learned, tested = settings.phones
        for name, model in models.items():
            accuracies = identify_phones(model, hop, field, train=learned, test=tested, seeds=settings.seeds)
            add(accuracies, model=name, task="phones", target="phone", measure="accuracy", pool="frame")
            say(f"phones: {name}")
    return pd.DataFrame(rows)[list(COLUMNS)].round({"score": 5})


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds, one row a task, target, pool and model, one column a layer."""
    keys = ["task", "target", "pool", "model"]
    return scores.groupby([*keys, "layer"], sort=False)["score"].mean().unstack("layer").round(3)


def draw(scores: pd.DataFrame, *, pool: str = "mean") -> Figure:
    """One panel a task and target, one line a model, controls without depth as level lines."""
    from matplotlib.figure import Figure

    shown = scores[scores["pool"].isin((pool, "frame")) & (scores["target"] != "dominance")]
    panels = list(dict.fromkeys(zip(shown["task"], shown["target"], strict=True)))
    models = list(dict.fromkeys(shown["model"]))
    # Okabe and Ito's colours are told apart by the colour-blind.
    colours = dict(zip(models, ("#0072B2", "#56B4E9", "#999999", "#E69F00", "#009E73", "#CC79A7"), strict=False))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * lines), dpi=160)
    axes = figure.subplots(lines, columns, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (task, target) in zip(axes.flat, panels, strict=False):
        part = shown[(shown["task"] == task) & (shown["target"] == target)]
        for model in models:
            curve = part[part["model"] == model].groupby("layer")["score"].agg(["mean", "min", "max"])
            if len(curve) == 1:
                ax.axhline(curve["mean"].iloc[0], color=colours[model], ls="--", lw=1.2, label=model)
            elif len(curve):
                x = curve.index / curve.index.max()
                ax.plot(x, curve["mean"], color=colours[model], marker="o", ms=3, lw=1.5, label=model)
                ax.fill_between(x, curve["min"], curve["max"], color=colours[model], alpha=0.2, lw=0)
        ax.set_title(f"{task}: {target}" if target != "phone" else "phone of a frame, unheard voices", fontsize=9)
        ax.set_xlabel("relative depth", fontsize=8)
        ax.set_ylabel("accuracy" if target == "phone" else "CCC", fontsize=8)
        ax.tick_params(labelsize=8)
        ax.grid(alpha=0.3)
    # A model that one task alone knows is in the legend too.
    shown_in = [ax.get_legend_handles_labels() for ax in axes.flat]
    by_label = {label: handle for handles, labels in shown_in for handle, label in zip(handles, labels, strict=True)}
    labels = [model for model in models if model in by_label]
    handles = [by_label[label] for label in labels]
    if columns * lines - len(panels) >= 1:
        axes.flat[-1].set_visible(True)
        axes.flat[-1].axis("off")
        axes.flat[-1].legend(handles, labels, loc="center", fontsize=9, frameon=False)
        figure.tight_layout()
    else:
        figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=8, frameon=False)
        figure.tight_layout(rect=(0, 0.16 if lines == 1 else 0.09, 1, 1))
    return figure


def load_models(
    teacher: str | Path,
    *,
    student: str | Path | None = None,
    front_end: str | Path | None = None,
    random_init: int = 0,
) -> tuple[dict[str, Model], int, int]:
    """The model, its controls and its student as :func:`evaluate` wants them, with hop and receptive field."""
    from emoprobe.extract.encoders.speech import load_backbone

    backbone = load_backbone(str(teacher))
    models: dict[str, Model] = {"hubert-nano": backbone}
    if student is not None:
        models["distilhubert-nano"] = load_backbone(str(student))
    models["random weights"] = load_backbone(str(teacher), random_init=random_init)
    if front_end is not None:
        models["front end alone fitted"] = load_backbone(str(front_end))
    hop, field = int(np.prod(backbone.config.conv_stride)), backbone.receptive_field
    for kind in ("log-mel", "context MFCC"):
        models[kind] = Acoustics(kind, hop, field)
    return models, hop, field
