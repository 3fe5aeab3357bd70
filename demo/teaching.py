"""Teach a pretrained small HuBERT by a recogniser's encoder: ``emoprobe demo-teach``.

The student goes on from its own weights.  Blocks 3, 6, 9 and 12 tell, each by a linear head, what blocks 1 to 4 of
Whisper tiny say of the same moment (standardised, brought to the student's frame rate): the loss of DistilHuBERT.
Recorded speech is heard whole; synthetic speech is masked in part, as in pretraining, and its phones and words are
told beside, so that what the demo corpus shows stays readable.  Since Whisper was trained on transcribed speech, the
model is **not self-supervised alone**.

The teacher's states are computed once (:mod:`emoprobe.distil.targets`).  Training may be given a budget of seconds: the
learning rate then falls by the clock, over all starts of the run, and it ends by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from emoprobe.claims import alone, claim
from emoprobe.distil.matching import Matching
from emoprobe.distil.settings import Running
from emoprobe.distil.targets import Grid, Targets, make_targets
from emoprobe.distil.training import RUN_FILES, checked, is_over, last_checkpoint, load_weights, of_speech, trainer_for
from emoprobe.errors import UserError
from emoprobe.jsontext import to_json
from emoprobe.storage import write_file

from .batches import Batch, Batches
from .hubert import MaskedPrediction
from .teaching_settings import TeachingSettings
from .units import choose_vocabulary

if TYPE_CHECKING:
    from emoprobe.distil.store import Store
    from emoprobe.extract.encoders.speech import Backbone

#: What a checkpoint by this recipe is marked with.
MADE_BY = "emoprobe.demo.teaching"


class TaughtBatch(Batch):
    """What the model is called with: ``targets`` are (batch, frames, teacher's layers, width), standardised."""

    targets: torch.Tensor


class TaughtBatches(Batches):
    """Batch i of the run, with what the teacher says of it; recorded speech is not masked.

    Parameters
    ----------
    settings : TeachingSettings
    synthetic, recorded : Store or None
        Packed speech, at least one.
    targets : mapping of str to Targets
        Of each store, ``synthetic`` and ``recorded``.
    names : dict of str to list of str, optional
        Units of the synthetic speech.
    """

    def __init__(
        self,
        settings: TeachingSettings,
        synthetic: Store | None,
        recorded: Store | None,
        targets: Mapping[str, Targets],
        names: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(settings, synthetic, recorded, names=names)
        self.targets = {"recorded": targets.get("recorded"), "synthetic": targets.get("synthetic")}

    def extras(self, recorded: bool, parts: list[tuple[int, int]], frames: int) -> dict[str, Any]:
        """What the teacher says of some parts of utterances (number, first frame), all of so many frames."""
        told = self.targets["recorded" if recorded else "synthetic"]
        assert told is not None
        rows = []
        for index, start in parts:
            row = told.part(index, start, frames)
            rows.append(np.pad(row, ((0, frames - len(row)), (0, 0), (0, 0))))
        return {"targets": torch.from_numpy(np.stack(rows))}

    def __getitem__(self, step: int) -> TaughtBatch:
        batch: Any = super().__getitem__(step)
        if not batch["labels"]:
            batch["mask"] = torch.zeros_like(batch["mask"])
        return batch


class Taught(MaskedPrediction):
    """The packaged model's architecture, with heads for units, log spectrum and a teacher's layers.

    Parameters
    ----------
    settings : TeachingSettings
    classes : dict of str to int
        Number of units of each kind.
    teacher_width : int
        Size of a state of the teacher.
    """

    settings: TeachingSettings

    def __init__(self, settings: TeachingSettings, classes: dict[str, int], teacher_width: int) -> None:
        super().__init__(settings, classes)
        self.matching = Matching(settings.pairs, settings.width, teacher_width, cosine_weight=settings.cosine_weight)
        self.seen: dict[int, torch.Tensor] = {}
        blocks: Any = self.hubert.encoder.layers
        for layer in self.matching.student_layers:
            # Where a probe takes it: before any final norm.
            blocks[layer - 1].register_forward_hook(
                lambda _, __, out, layer=layer: self.seen.__setitem__(layer, out[0] if isinstance(out, tuple) else out)
            )

    def forward(  # type: ignore[override]  # takes the targets too
        self,
        waves: torch.Tensor,
        mask: torch.Tensor,
        labels: dict[str, torch.Tensor],
        targets: torch.Tensor,
        spectrum: bool = True,
    ) -> dict[str, torch.Tensor]:
        """The loss of a batch, as :class:`TaughtBatch` names it."""
        self.seen.clear()
        loss = super().forward(waves, mask, labels, spectrum)["loss"]
        matched, measured = self.matching(self.seen, targets.unbind(2))
        self.seen.clear()
        for name, (value, frames) in measured.items():
            self.count(name, torch.tensor(value), 0.0, frames)
        return {"loss": loss + matched}

    def report(self) -> dict[str, float]:
        """As the pretraining reports; of a teacher's layer the distance and cosine."""
        matched = {name: self.tally.pop(name) for name in list(self.tally) if name.startswith("layer")}
        return super().report() | {name: round(s[0] / s[2], 4) for name, s in sorted(matched.items())}


def grid(settings: TeachingSettings) -> Grid:
    """Where the student's frames are."""
    return Grid(settings.hop, settings.field / 2, settings.field)


def reading(store: Store) -> Callable[[int], np.ndarray]:
    """From the number of an utterance of a store to its waveform, float32 in -1 to 1."""
    return lambda index: store.wave(index).astype(np.float32) / 32768


def teach(
    run: Path,
    settings: TeachingSettings,
    *,
    start: Backbone,
    teacher: Backbone,
    synthetic: Store | None = None,
    recorded: Store | None = None,
    running: Running = Running(),
    say: Callable[[str], None] = lambda line: None,
) -> Taught:
    """Teach, or go on teaching, in a run folder.

    Parameters
    ----------
    run : Path
        Holds checkpoints, targets, ``log.jsonl`` and ``settings.json``. A run goes on with the same settings, models
        and speech alone.
    settings : TeachingSettings
        Its sizes are those of `start`.
    start : emoprobe.extract.encoders.speech.Backbone
        The student's weights to go on from.
    teacher : emoprobe.extract.encoders.speech.Backbone
    synthetic, recorded : emoprobe.distil.store.Store or None
        At least one.
    running : Running
        How it is run; of this the weights depend on the precision, and on a budget of seconds.
    say : callable
        Told each line of the log.

    Returns
    -------
    Taught
        The model with its heads.

    Raises
    ------
    UserError
        If there is no speech, the folder is of another run or in use, or the student is of other sizes.
    """
    stores = {kind: s for kind, s in (("synthetic", synthetic), ("recorded", recorded)) if s is not None}
    if not stores:
        raise UserError("no speech to train on: give 'synthetic', a folder of packed speech, or both")
    run = Path(run)
    with alone(run, option="--out"):
        claim(
            run,
            asdict(settings)
            | {
                "start": start.provenance(),
                "teacher": teacher.provenance(),
                "speech": {kind: of_speech(np.diff(s.offsets), s.wave) for kind, s in stores.items()},
                "budget": running.budget,
                "bf16": running.bf16,
            },
            record="settings.json",
            own=[*RUN_FILES, "vocabulary.json"],
            also=["synthetic/**", "recorded/**", "targets-*/**"],
            free=("versions", "budget"),
            option="--out",
        )
        classes: dict[str, int] = {}
        names: dict[str, list[str]] | None = None
        if synthetic is not None:
            kept = run / "vocabulary.json"
            names = json.loads(kept.read_text()) if kept.is_file() else choose_vocabulary(synthetic, settings)
            write_file(kept, to_json(names) + "\n")
            classes |= {kind: len(units) for kind, units in names.items()}
        torch.manual_seed(settings.seed)
        model = Taught(settings, classes, teacher.width)
        try:
            model.hubert.load_state_dict(start.model.state_dict())
        except RuntimeError as error:
            raise UserError(f"{start.label} is of other sizes than the settings say: {error}") from None
        if torch.cuda.is_available() and not running.use_cpu:
            teacher.to("cuda")
        targets = {
            kind: make_targets(
                run / f"targets-{kind}",
                teacher,
                model.matching.teacher_layers,
                np.diff(s.offsets),
                reading(s),
                grid(settings),
                say=say,
            )
            for kind, s in stores.items()
        }
        newest = last_checkpoint(run, say=say)
        if newest and is_over(run, newest, stop=settings.steps, budget=running.budget):
            load_weights(model, newest)
            return model
        batches = TaughtBatches(settings, synthetic, recorded, targets, names)
        trainer = trainer_for(
            model,
            batches,
            run,
            settings,
            stop=settings.steps,
            running=running,
            say=say,
        )
        say(f"{sum(s.hours for s in stores.values()):.1f} hours of speech, batches of {settings.batch_seconds} s")
        with checked(
            model.hubert, batches, run / "precision.json", device=trainer.args.device, bf16=running.bf16, say=say
        ):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        return model
