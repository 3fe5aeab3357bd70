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

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from emoprobe.claims import alone, claim
from emoprobe.distil.settings import Keeping, Running
from emoprobe.distil.store import Store
from emoprobe.distil.training import RUN_FILES, checked, last_checkpoint, load_weights, of_speech, steps_of, trainer_for
from emoprobe.errors import UserError
from emoprobe.extract.options import check_count
from emoprobe.jsontext import to_json
from emoprobe.storage import write_file

from .batches import Batches
from .hubert import MaskedPrediction, build_model
from .pretrain_settings import PretrainSettings
from .units import Units, choose_vocabulary, discover_units

#: What a checkpoint by this recipe is marked with.
MADE_BY = "emoprobe.demo.pretrain"


# ---------------------------------------------------------------------------------------------------- the training


def measure(model: MaskedPrediction, batches: Batches, *, first: int = 0, count: int = 40) -> dict[str, float]:
    """Losses and accuracies of a model on batches that it does not learn from, beside what the commonest unit scores.

    Returns
    -------
    dict
        As the training log has them, and for each kind ``KIND_unigram``: the share of its most frequent unit.
    """
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
    report = model.report()
    for kind, labels in seen.items():
        counts = np.bincount(np.concatenate(labels))
        report[f"{kind}_unigram"] = round(float(counts.max() / counts.sum()), 4)
    return report


def pretrain(
    run: Path,
    settings: PretrainSettings,
    *,
    synthetic: Store | None = None,
    recorded: Store | None = None,
    save_steps: int = Keeping.save_steps,
    log_steps: int = Keeping.log_steps,
    bf16: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> MaskedPrediction:
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
    MaskedPrediction
        The trained model with its heads.

    Raises
    ------
    UserError
        If there is no speech, the folder is of another run or in use, or bfloat16 computes something else here.
    """
    if synthetic is None and recorded is None:
        raise UserError("no speech to train on: give the word 'synthetic', a folder of audio, or both")
    run = Path(run)
    check_count("save-steps", save_steps, least=1)
    check_count("log-steps", log_steps, least=1)
    with alone(run, option="--out"):
        return _pretrain(
            run, settings, synthetic, recorded, save_steps=save_steps, log_steps=log_steps, bf16=bf16, say=say
        )


def _pretrain(
    run: Path,
    settings: PretrainSettings,
    synthetic: Store | None,
    recorded: Store | None,
    *,
    save_steps: int,
    log_steps: int,
    bf16: bool,
    say: Callable[[str], None],
) -> MaskedPrediction:
    """:func:`pretrain`, once the folder is its own."""
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
        own=[*RUN_FILES, "vocabulary.json", "units1.npz", "units2.npz"],
        also=["synthetic/**", "recorded/**"],
        option="--out",
        before=lambda record: record if {"width", "classes"} <= set(record) else None,
    )
    classes: dict[str, int] = {}
    names: dict[str, list[str]] | None = None
    if synthetic is not None:
        # Kept with the run, so that a later version of what chooses them cannot give the heads another meaning.
        kept = run / "vocabulary.json"
        names = json.loads(kept.read_text()) if kept.is_file() else choose_vocabulary(synthetic, settings)
        write_file(kept, to_json(names) + "\n")
        classes |= {kind: len(units) for kind, units in names.items()}
    units: list[tuple[int, Units]] = []

    def trained(stop: int) -> MaskedPrediction:
        """The model after so many steps, from where the run is."""
        model = build_model(settings, classes)
        newest = last_checkpoint(run, say=say)
        if newest and steps_of(newest) >= stop:
            load_weights(model, newest)
            return model
        batches = Batches(settings, synthetic, recorded, units, names)
        trainer = trainer_for(
            model,
            batches,
            run,
            settings,
            stop=stop,
            running=Running(save_steps=save_steps, log_steps=log_steps, bf16=bf16),
            say=say,
        )
        with checked(model.hubert, batches, run / "precision.json", device=trainer.args.device, bf16=bf16, say=say):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # the next stage sets its own autocast
        return model

    if recorded is not None:
        units.append((0, discover_units(recorded, settings, run / "units1.npz")))
        classes["units1"] = settings.discovered_units
        if settings.recluster:
            classes["units2"] = settings.discovered_units
        stop = settings.recluster
        if 0 < stop < settings.steps:
            newest, again = last_checkpoint(run, say=say), run / "units2.npz"
            past = newest is not None and steps_of(newest) > stop
            if past and not again.is_file():
                raise UserError(f"{again} is missing: delete the checkpoints after step {stop}, or the run")
            model = None if past else trained(stop).to("cpu").eval()
            units.append((stop, discover_units(recorded, settings, again, model)))
    return trained(settings.steps)
