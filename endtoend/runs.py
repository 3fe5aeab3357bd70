"""One run of a training: a seed and a fold, its predictions, and its files."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from emoprobe.errors import UserError
from emoprobe.extract.devices import choose_device
from emoprobe.extract.journal import write_beside
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.versions import versions
from emoprobe.jsontext import null_for_nan, to_json
from emoprobe.ownership import remove
from emoprobe.probe.metrics import ccc
from emoprobe.probe.splits import Fold
from emoprobe.probe.training import standardise_targets
from emoprobe.storage import write_file

from .data import Collator, Utterances
from .material import Material
from .saved import EmotionModel, build, read_config, save_model
from .trainer import train_one

# Utterances that are decoded at once where predictions are made.
_CHUNK = 256


def write_json(path: Path, value) -> None:
    write_file(path, to_json(value, indent=1, ensure_ascii=False) + "\n")


# One seed and fold ---------------------------------------------------------------------------------------------------


def run_fold(
    folder, out, material, settings, training, fold: Fold, seed, name, stated, leads, *, progress, say
) -> None:
    """Train, predict the rows to score, keep the model if it is the best so far; `result.json` says that it is done."""
    import torch

    torch.manual_seed(seed)
    model, text = build(settings, weights=training.weights, seed=seed, label=name)
    rows, development = fold.stopping
    rows = rows[~np.isnan(material.labels[rows]).all(1)]
    if model.audio is not None and training.longest * SAMPLE_RATE < model.audio.backbone.receptive_field:
        raise UserError(f"--longest {training.longest:g} is shorter than one frame of {name}: give a second or more")
    _, mean, spread = standardise_targets(material.labels, rows)
    model.learn_labels(mean, spread)
    prepare = None if model.audio is None else model.audio.backbone.prepare
    collate = Collator(None if text is None else text.tokenise)
    texts = material.table["transcript"].tolist()

    def items(rows, longest=0):
        return Utterances(
            rows,
            speech=material.speech,
            prepare=prepare,
            texts=texts,
            labels=material.labels,
            longest=longest,
            seed=seed,
        )

    trained = train_one(
        model,
        train=items(rows, longest=int(training.longest * SAMPLE_RATE)),
        development=items(development),
        collate=collate,
        training=training,
        seed=seed,
        folder=folder,
        say=say,
        progress=progress,
    )
    if not leads:
        return
    config = {
        "label": name,
        "dimensions": list(settings.dimensions),
        "scale": {
            dimension: [float(np.nanmin(material.labels[rows, k])), float(np.nanmax(material.labels[rows, k]))]
            for k, dimension in enumerate(settings.dimensions)
        },
        "seed": seed,
        "fold": fold.name,
        "development_ccc": trained.score,
        **({"dimensions_left_out": material.left_out} if material.left_out else {}),
        "run": stated,
    }
    ready = EmotionModel(model.to(choose_device(training.device)), text, config)
    if settings.modality == "audio+text":
        helps = _ask_whether_text_helps(ready, material, development, progress=progress)
        config["text_helps"] = null_for_nan(helps)
        config["development_ccc"] = float(
            np.nanmean([np.fmax(both["with"], both["without"]) for both in helps.values()])
        )
    scored = np.concatenate(list(fold.tests.values()))
    _write_array(folder / "predictions.npy", predict_rows(ready, material, scored, progress=progress))
    best = out / "model"
    if not best.is_dir() or float(read_config(best, of_a_run=True)["development_ccc"]) < config["development_ccc"]:
        save_model(best, model, text, config)
    kept = {name: config[name] for name in ("development_ccc", "text_helps") if name in config}
    write_json(folder / "result.json", {**asdict(trained), **kept, "versions": versions()})
    remove(folder / "checkpoints", ["checkpoint-*/**"])


def _write_array(path: Path, values: np.ndarray) -> None:
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
    texts = material.table["transcript"].to_numpy()[rows]
    speech = material.speech
    lengths = [len(text) for text in texts] if speech is None else [speech.headers[row].samples for row in rows]
    order = np.argsort(lengths, kind="stable")
    found = np.empty((len(rows), len(ready.dimensions)))
    parts = [order[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    for part in tqdm(parts, desc="predicting", unit="chunk", disable=not progress):
        waveforms = None if speech is None else [speech[int(row)] for row in rows[part]]
        found[part] = ready.predict(waveforms, None if unread else list(texts[part]))
    return found
