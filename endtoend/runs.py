"""One run of a training: a seed and a fold, its predictions, and its files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emoprobe.extract.devices import choose_device
from emoprobe.extract.encoders.speech import normalised
from emoprobe.extract.journal import write_beside
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.versions import versions
from emoprobe.jsontext import null_for_nan, to_json
from emoprobe.ownership import remove
from emoprobe.probe.metrics import ccc
from emoprobe.probe.splits import Fold
from emoprobe.probe.training import standardise_targets
from emoprobe.progress import progress_bar
from emoprobe.storage import write_file

from .adapters import Adapters
from .conformal import calibrated, held
from .data import Collator, Utterances
from .emotion_model import EmotionModel
from .masking import Masking
from .material import Material
from .objective import Objective
from .raters import reliabilities
from .saved import build, read_config, save_model
from .settings import ModelSettings, TrainingSettings
from .trainer import train_one
from .unlike import MOST, Familiar

# Utterances that are decoded at once where predictions are made.
_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all trainings of a run share.

    Attributes
    ----------
    out : Path
        Folder of the run.
    name : str
        In the column `model` of the results.
    model : ModelSettings
    training : TrainingSettings
    material : Material
    stated : dict
        Everything on which the numbers depend, as JSON.
    leads : bool
        Whether this process writes; of several it is one.
    progress : bool
        Show bars.
    trackers : tuple of str
        Where to report each epoch, too (:data:`.settings.TRACKERS`).
    taught : ndarray or None, (utterances, dimensions)
        What a teacher predicts for those that are trained on; NaN elsewhere.
    say : callable
        Told what is going on, a line at a time.
    """

    out: Path
    name: str
    model: ModelSettings
    training: TrainingSettings
    material: Material
    stated: dict
    leads: bool
    progress: bool
    trackers: tuple[str, ...]
    taught: np.ndarray | None
    say: Callable[[str], None]


# One seed and fold ---------------------------------------------------------------------------------------------------


def run_fold(run: Run, fold: Fold, *, seed: int, folder: Path, keep: Path | None = None) -> None:
    """Train, predict the rows to score, and keep the model if it is the best so far; `result.json` is written last.

    Parameters
    ----------
    run : Run
    fold : Fold
    seed : int
    folder : Path
        Of this training, with its checkpoints, log and results.
    keep : Path, optional
        Folder of the best model so far; by default that of the run.

    Raises
    ------
    UserError
        As :func:`.trainer.train_one` tells it.
    """
    import torch

    settings, training, material = run.model, run.training, run.material
    torch.manual_seed(seed)
    model, text = build(settings, weights=training.weights, seed=seed, label=run.name)
    rows, development = fold.stopping
    rows = rows[~np.isnan(material.labels[rows]).all(1)]
    _, mean, spread = standardise_targets(material.labels, rows)
    model.learn_labels(mean, spread)
    model.objective = Objective(
        mse_share=training.mse_share, teacher_share=training.teacher_share, weighed=training.reliability
    )
    adapters = None if training.lora is None else Adapters(model, training.lora, seed=seed)
    if model.audio is not None and (training.mask_time or training.mask_features):
        Masking(time=training.mask_time, features=training.mask_features).attach(model.audio.backbone)
    # No method of the model, which would go with it to each process that decodes.
    prepare = normalised if model.audio is not None and model.audio.backbone.normalise else None
    collate = Collator(None if text is None else text.tokenise)
    texts = material.table["transcript"].tolist()

    def items(rows: np.ndarray, labels: np.ndarray, **how: Any) -> Utterances:
        return Utterances(rows, speech=material.speech, prepare=prepare, texts=texts, labels=labels, seed=seed, **how)

    targets = [material.labels] if run.taught is None else [material.labels, run.taught]
    if training.reliability:
        names = settings.dimensions
        targets.append(reliabilities(material.table, material.labels, names, rows, say=run.say))
    longest = int(training.longest * SAMPLE_RATE)

    heard: dict[str, Any] = {"longest": longest, "speeds": training.speeds}
    if model.audio is not None:
        backbone = model.audio.backbone
        heard |= {"shortest": backbone.receptive_field, "window": backbone.longest or 0}
    trained = train_one(
        model,
        train=items(rows, np.concatenate(targets, axis=1), **heard),
        development=items(development, material.labels),
        collate=collate,
        training=training,
        seed=seed,
        folder=folder,
        say=run.say,
        progress=run.progress,
        trackers=run.trackers,
    )
    if not run.leads:
        return
    if adapters is not None:
        adapters.merge()
    config: dict[str, Any] = {
        "label": run.name,
        "dimensions": list(settings.dimensions),
        "scale": {
            dimension: [float(np.nanmin(material.labels[rows, k])), float(np.nanmax(material.labels[rows, k]))]
            for k, dimension in enumerate(settings.dimensions)
        },
        "seed": seed,
        "fold": fold.name,
        "development_ccc": trained.score,
        **({"dimensions_left_out": material.left_out} if material.left_out else {}),
        "run": run.stated,
    }
    ready = EmotionModel(model.to(choose_device(training.device)), text, config)
    if settings.has_both:
        helps = _ask_whether_text_helps(ready, material, development, progress=run.progress)
        config["text_helps"] = null_for_nan(helps)
        config["development_ccc"] = float(
            np.nanmean([np.fmax(both["with"], both["without"]) for both in helps.values()])
        )
    scored = np.concatenate(list(fold.tests.values()))
    predicted = predict_rows(ready, material, scored, progress=run.progress)
    write_array(folder / "predictions.npy", predicted)
    best = run.out / "model" if keep is None else keep
    if not best.is_dir() or float(read_config(best, of_a_run=True)["development_ccc"]) < config["development_ccc"]:
        config["intervals"] = _intervals(ready, material, fold, predicted, progress=run.progress)
        save_model(best, model, text, config, _familiar(ready, material, fold, seed=seed, progress=run.progress))
    kept: dict[str, Any] = {name: config[name] for name in ("development_ccc", "text_helps") if name in config}
    result = {**asdict(trained), **kept, "versions": versions()}
    write_file(folder / "result.json", to_json(result, indent=1, ensure_ascii=False) + "\n")
    remove(folder / "checkpoints", ["checkpoint-*/**"])


def _intervals(
    ready: EmotionModel, material: Material, fold: Fold, scored: np.ndarray, *, progress: bool
) -> dict[str, Any]:
    """What the development part says of the model's errors, and how many labels of each scored part that holds."""
    _, rows = fold.stopping
    names, speakers = ready.dimensions, material.split.units.resampled
    predicted = predict_rows(ready, material, rows, progress=progress)
    kept = calibrated(material.labels[rows], predicted, speakers[rows], names)
    edges = np.cumsum([len(part) for part in fold.tests.values()])[:-1]
    parts = zip(fold.tests.items(), np.split(scored, edges), strict=True)
    return {
        **kept,
        "held": {part: held(material.labels[rows], of_part, kept, names) for (part, rows), of_part in parts},
    }


def _familiar(ready: EmotionModel, material: Material, fold: Fold, *, seed: int, progress: bool) -> Familiar | None:
    """What the model learned from, as it hears it."""
    if material.speech is None:
        return None
    rng = np.random.default_rng(seed)
    parts = [rows if len(rows) <= MOST else np.sort(rng.choice(rows, MOST, replace=False)) for rows in fold.stopping]
    heard = [predict_and_hear_rows(ready, material, rows, unread=True, progress=progress)[1] for rows in parts]
    trained, development = (part for part in heard if part is not None)
    return Familiar.of(trained, development)


def write_array(path: Path, values: np.ndarray) -> None:
    """Write a file of numpy's, whole or not at all."""
    with io.BytesIO() as buffer:
        np.save(buffer, values, allow_pickle=False)
        write_beside(path, buffer.getvalue())


def _ask_whether_text_helps(ready: EmotionModel, material: Material, rows: np.ndarray, *, progress: bool) -> dict:
    """Leave the words out of the dimensions that do better without them on the development part; return both CCCs."""
    truth = material.labels[rows].T
    with_text, without = (
        ccc(truth, predict_rows(ready, material, rows, unread=unread, progress=progress).T) for unread in (False, True)
    )
    ready.model.read_for(~(without > with_text))
    return {
        dimension: {"with": float(with_text[k]), "without": float(without[k])}
        for k, dimension in enumerate(ready.dimensions)
    }


def predict_rows(
    ready: EmotionModel, material: Material, rows: np.ndarray, *, unread: bool = False, progress: bool
) -> np.ndarray:
    """Predictions of whole utterances, (rows, dimensions); `unread` as if they had no words."""
    return predict_and_hear_rows(ready, material, rows, unread=unread, progress=progress)[0]


def predict_and_hear_rows(
    ready: EmotionModel, material: Material, rows: np.ndarray, *, unread: bool = False, progress: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """:func:`predict_rows`, and what the head reads of the speech, (rows, width)."""
    texts = material.table["transcript"].to_numpy()[rows]
    speech = material.speech
    lengths = [len(text) for text in texts] if speech is None else [speech.headers[row].samples for row in rows]
    order = np.argsort(lengths, kind="stable")
    predictions = np.empty((len(rows), len(ready.dimensions)))
    pooled = None if ready.model.audio is None else np.empty((len(rows), ready.model.audio.width), np.float32)
    parts = [order[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    for part in progress_bar(parts, desc="predicting", unit="chunk", show=progress):
        waveforms = None if speech is None else [speech[int(row)] for row in rows[part]]
        predictions[part], heard = ready.predict_and_hear(waveforms, None if unread else list(texts[part]))
        if pooled is not None:
            pooled[part] = heard
    return predictions, pooled
