"""Train a model on a corpus: seeds and folds, each resumable, scored into the same table as the probes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.claims import alone, claim
from emoprobe.errors import UserError
from emoprobe.extract.cluster import EngineSettings
from emoprobe.extract.corpora import Corpus
from emoprobe.extract.devices import choose_device
from emoprobe.extract.encoders.text import TextEncoder
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.versions import versions
from emoprobe.jsontext import from_json, to_json
from emoprobe.probe.bootstrap import INTERVALS
from emoprobe.probe.results import (
    KEY,
    PREDICTIONS,
    SCORES,
    Results,
    table,
    update_results,
)
from emoprobe.probe.scoring import Scored, score
from emoprobe.probe.splits import Split
from emoprobe.probe.strangers import refuse_other_results

from .adapters import Adapters, adaptable
from .card import write_card
from .jobs import train_each
from .learning import FILE as LEARNING
from .learning import write_learning_curves
from .material import Material, prepare, refuse_too_few_speakers, refuse_unreliable
from .mixture import refuse_mixture
from .model import AudioTextModel
from .runs import Run
from .saved import build, own_files, read_config
from .settings import ModelSettings, TrainingSettings, refuse_absent_trackers, refuse_float16, refuse_in_vain
from .settings import stated as stated_settings
from .teacher import FILE as TAUGHT
from .teacher import Teacher

PROBE = "end-to-end"

#: Of training and prediction end to end. Raise it with any change that moves the numbers beyond rounding: a run that
#: was started before is then not gone on with.
VERSION = 3

#: What a run writes beside its record and its model.
_RUN_FILES = (
    *(f"runs/seed*-fold-*/{name}" for name in ("log.jsonl", "precision.json", "result.json", "predictions.npy")),
    "runs/seed*-fold-*/checkpoints/checkpoint-*/**",
    "tensorboard/seed*-fold-*/*",
)


def train(  # noqa: PLR0913 (options of the user's, each given by its name)
    corpus: Corpus,
    model: ModelSettings | None = None,
    training: TrainingSettings | None = None,
    *,
    out: str | Path,
    results: str | Path | None = None,
    label: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
    trackers: tuple[str, ...] = (),
    engine: EngineSettings = EngineSettings(),
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Results, pd.DataFrame]:
    """Train a model for every seed and fold, score it, and keep the one with the best development score.

    Parameters
    ----------
    corpus : Corpus
    model : ModelSettings, optional
    training : TrainingSettings, optional
    out : str or Path
        Folder of the run: `model/` (the best one), `run.json` (everything needed to run it again), `runs/` (a folder
        a seed and fold, with the log of its training), `learning.csv` (what they logged, as a table).
        A run that was stopped goes on where it was.
    results : str or Path, optional
        Folder of results, shared with the probes; nothing is written there by default.
    label : str, optional
        Name in the column `model`; by default that of the speech encoder, so that it stands beside its probes.
    overwrite : bool
        Start anew where `out` holds another run.
    progress : bool
        Show bars.
    trackers : tuple of str
        Where to report each epoch while it trains: "tensorboard", "wandb".
    engine : EngineSettings
        Where seeds and folds are trained: here, one after the other, or each as a task of a Ray cluster.
    say : callable
        Told what is going on, a line at a time.

    Returns
    -------
    results : Results
        Rows of this model: one a dimension, seed and split.
    left_out : DataFrame
        Utterances that could not be used, with the reason.

    Raises
    ------
    UserError
        If the corpus has no label or too few speakers, `out` holds another run, or training fails.
    """
    refuse_absent_trackers(trackers)
    out, model, training = Path(out), model or ModelSettings(), training or TrainingSettings()
    refuse_in_vain(model, training)
    refuse_too_few_speakers(corpus, model, training)
    teacher = None if training.teacher is None else Teacher.of(training.teacher, corpus, model)
    for note in () if teacher is None else teacher.notes:
        say(f"note: {note}")
    first, text = build(model, weights=training.weights, seed=training.seed, label=label)
    _refuse_unfit(training, first, engine)
    if engine.on_ray and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--engine ray trains each seed and fold in one process: leave it out, or accelerate")
    leads = int(os.environ.get("RANK", "0")) == 0  # of several processes one writes
    with alone(out, option="--out") if leads else nullcontext():
        if results is not None:
            refuse_other_results(results)
        for note in () if training.lora is None else adaptable(first, training.lora):
            say(f"note: {note}")
        material = prepare(corpus, model, training, first, progress=progress, say=say)
        if material.left_out:
            for dimension, reason in material.left_out.items():
                say(f"note: {dimension} is left out: {reason}")
            weights = [w for d, w in zip(model.dimensions, training.weights, strict=False) if d in material.dimensions]
            training = replace(training, weights=tuple(weights))
            model = replace(model, dimensions=material.dimensions)
            first, text = build(model, weights=training.weights, seed=training.seed, label=label)
        if teacher is not None:
            teacher.refuse(material)
        if training.reliability:
            refuse_unreliable(material)
        stated = _statement(corpus, model, training, first, text, label, material, teacher)
        if leads:
            stated = _claim(out, stated, overwrite, say)
            if results is not None and not overwrite:
                refuse_mixture(results, _plain(stated), corpus.name, probe=PROBE)
        run = Run(
            out=out,
            name=stated["label"],
            model=model,
            training=training,
            material=material,
            stated=stated,
            leads=leads,
            progress=progress,
            trackers=trackers,
            taught=_taught(teacher, material, out, "auto" if engine.on_ray else training.device, progress=progress),
            say=say,
        )
        _announce(run, first)
        del first, text  # a teacher of a gigabyte would lie beside the one in training
        predictions, ended = train_each(run, engine)
        if not leads:
            return Results.empty(), material.unusable
        write_learning_curves(out)
        scored = _score(run, corpus, predictions, ended)
        if results is not None:
            update_results(results, scored)
        write_card(out / "model", read_config(out / "model", of_a_run=True), scored, ended)
        return scored, material.unusable


def _refuse_unfit(training: TrainingSettings, model: AudioTextModel, engine: EngineSettings) -> None:
    """Refuse what this machine, if it trains, or this model cannot do."""
    if not engine.on_ray:
        refuse_float16(training, choose_device(training.device).type)
    if model.audio is not None and training.longest * SAMPLE_RATE < model.audio.backbone.receptive_field:
        label = model.audio.backbone.label
        raise UserError(f"--cut {training.longest:g} is shorter than one frame of {label}: give a second or more")


def _taught(
    teacher: Teacher | None, material: Material, out: Path, device: str, *, progress: bool
) -> np.ndarray | None:
    """What the teacher predicts, on a device of this machine, where there is a teacher."""
    return None if teacher is None else teacher.targets(material, out=out, device=device, progress=progress)


def _announce(run: Run, model: AudioTextModel) -> None:
    if run.training.lora is not None:
        Adapters(model, run.training.lora)
    counts = f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,} of "
    counts += f"{sum(p.numel() for p in model.parameters()):,}"
    run.say(f"{run.name}, {run.model.modality}: {counts} parameters are trained; {run.material.split.kind}")
    for note in _notes(run.material.split, {}, both=run.model.has_both):
        run.say(f"note: {note}")


# What is run ---------------------------------------------------------------------------------------------------------


def _statement(
    corpus: Corpus,
    model: ModelSettings,
    training: TrainingSettings,
    first: AudioTextModel,
    text: TextEncoder | None,
    label: str | None,
    material: Material,
    teacher: Teacher | None,
) -> dict:
    """Everything on which the numbers depend, as JSON."""
    audio = None if first.audio is None else first.audio.backbone
    # No number depends on these; and a teacher is what it weighs, wherever it lies.
    free = ("device", "workers", "memory", "save_steps", "checkpointing", "teacher")
    return {
        "label": label or next(encoder.label for encoder in (audio, text) if encoder is not None),
        "method": VERSION,
        "model": stated_settings(model),
        "training": stated_settings(training, without=free),
        "corpus": {"name": corpus.name, "sha256": corpus.sha256, "notes": list(corpus.notes)},
        # A file that is mended or lost between two runs deals other utterances to the folds.
        "usable_sha256": hashlib.sha256("\n".join(material.table["status"]).encode()).hexdigest(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "audio": None if audio is None else audio.provenance(),
        "text": None if text is None else text.provenance(),
        "versions": versions(),
        **({"dimensions_left_out": material.left_out} if material.left_out else {}),
        **({} if teacher is None else {"teacher": {**teacher.stated, "share": training.teacher_share}}),
        # Version 0.1 averaged the losses of the batches of a step: its numbers are not taken for these.
        **({"loss": "one CCC over all batches of a step"} if training.accumulate > 1 else {}),
    }


def _identity(stated: dict) -> str:
    kept = {key: value for key, value in stated.items() if key != "versions"}
    return hashlib.sha256(to_json(kept, sort_keys=True, default=list).encode()).hexdigest()


def _claim(out: Path, stated: dict, overwrite: bool, say: Callable[[str], None]) -> dict:
    """Make `out` the folder of this run, and of no other; return what it was started with."""
    there = [out, *(out / "runs").glob("seed*-fold-*")]
    model = [
        str((folder / place / name).relative_to(out))
        for folder in there
        for place in ("model", ".model.new", ".model.old")
        for name in own_files(folder / place)
    ]
    return claim(
        out,
        stated,
        record="run.json",
        own=[*_RUN_FILES, *model],
        also=["cost.csv", LEARNING, TAUGHT],
        option="--out",
        before=_of_0_1,
        overwrite=overwrite,
        say=say,
    )


def _of_0_1(record: dict) -> dict | None:
    """Settings of a run that release 0.1 started; it knew one method."""
    return {"method": 1, **record} if {"label", "model", "training", "corpus", "usable_sha256"} <= set(record) else None


def _plain(value: object) -> Any:
    """The value as it comes back from a file of JSON."""
    return from_json(to_json(value))


# Results -------------------------------------------------------------------------------------------------------------


def _score(run: Run, corpus: Corpus, predictions: np.ndarray, ended: list[dict]) -> Results:
    """Scores, predictions and protocol, as the probes' are."""
    model, training, material, stated = run.model, run.training, run.material, run.stated
    seeds = list(range(training.seed, training.seed + training.seeds))
    rows, frames, entries = [], [], []
    source = "" if model.text is None else corpus.text_source
    for column, dimension in enumerate(model.dimensions):
        identity = dict(zip(KEY, (run.name, corpus.name, dimension, PROBE, model.modality), strict=True))
        labelled = ~np.isnan(material.labels[:, column])
        scored = Scored(
            split=material.split,
            truth=material.labels[:, column],
            labelled=labelled,
            predictions=predictions[:, :, column],
            identity=[
                {**identity, "layer": None, "depth": None, "seed": seed, "text_source": source} for seed in seeds
            ],
            penalties=[None] * len(seeds),
            nulls=[None] * len(seeds),
            codes=[None] * len(seeds),
            categories=None,
            ids=material.table["id"].tolist(),
            speakers=material.table["speaker"].tolist(),
        )
        outcome = score(scored, resamples=training.resamples, seed=training.seed)
        rows += outcome.scores
        frames.append(outcome.predictions)
        first = material.split.folds[0]
        train, stopping = first.stopping
        parts = {"train": train, "stopping": stopping, **(first.tests if material.split.kind == "official" else {})}
        entries.append(
            {
                **identity,
                "hash": _identity(stated),
                "run": _plain(stated),
                "runs": ended,
                "split": {
                    "kind": material.split.kind,
                    "folds": len(material.split.folds),
                    "counts": {part: int(labelled[members].sum()) for part, members in parts.items()},
                    "leakage": material.split.leakage,
                    "notes": _notes(material.split, material.left_out, both=model.has_both),
                },
                "utterances": len(material.table),
                "labelled": int(labelled.sum()),
                "left_out": [f"{row.id} is {row.status}: {row.reason}" for row in material.unusable.itertuples()],
                "text": _text_of(material.table, source),
                "interval": INTERVALS[material.split.units.unit],
                "notes": outcome.reasons,
                "versions": stated["versions"],
            }
        )
    empty = Results.empty()
    return replace(
        empty, scores=table(rows, SCORES), protocol=entries, predictions=table(pd.concat(frames), PREDICTIONS)
    )


def _notes(split: Split, left_out: dict[str, str], *, both: bool) -> list[str]:
    """What is to be said of the split, what is left out, and a model of `both` sides; no penalty is chosen here."""
    notes = [note for note in split.notes if "penalty" not in note]
    notes += [f"{dimension} is left out: {reason}" for dimension, reason in left_out.items()]
    if split.folds[0].development is None:
        notes.append("training stops on speakers of its training part, which it does not train on")
    if both:
        notes.append("the same rows decide for each dimension whether the words are read")
    return notes


def _text_of(tabled: pd.DataFrame, source: str) -> str:
    if not source:
        return "none"
    absent = int((tabled["transcript"].str.strip() == "").sum())
    return f"transcripts by {source}; none for {absent} of {len(tabled)} utterances"
