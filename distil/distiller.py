"""Distil a speech model into one of two blocks: the command ``probe-distill``.

DistilHuBERT (Chang, Yang and Lee, ICASSP 2022): the student is the teacher's front end and first two blocks; a linear
head for each of the teacher's layers 4, 8 and 12 of 12 (scaled to its depth) predicts that layer from the student's
output; the loss is the L1 distance plus the negative log-sigmoid of the cosine, summed over the layers.  The heads are
left out of the checkpoint.  Utterances of like length are cut to the shortest, so nothing is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from emoprobe.claims import alone, claim
from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.options import check_count

from .checkpoint import export
from .settings import DistillSettings, Keeping, Running
from .student import build_distiller
from .training import RUN_FILES, checked, last_checkpoint, load_weights, of_speech, steps_of, trainer_for

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from transformers import PreTrainedModel

    from emoprobe.extract.encoders.speech import Backbone

MADE_BY = "probe-distill"


class Crops(Dataset):
    """Batch i of the run: waveforms of one length; a function of the seed and i alone.

    Parameters
    ----------
    lengths : sequence of int
        Samples of each utterance.
    read : callable
        From an utterance's number to its waveform (float32, as it comes from the file).
    settings : DistillSettings
    prepare : callable
        From a waveform to what the teacher takes.
    shortest : int
        Utterances shorter than this many samples are left out.
    """

    def __init__(
        self,
        lengths: ArrayLike,
        read: Callable[[int], np.ndarray],
        settings: DistillSettings,
        *,
        prepare: Callable[[np.ndarray], np.ndarray],
        shortest: int,
    ) -> None:
        self.lengths, self.read, self.settings, self.prepare = np.asarray(lengths), read, settings, prepare
        order = np.argsort(self.lengths, kind="stable")
        self.order = order[self.lengths[order] >= shortest]
        if not len(self.order):
            raise UserError("the corpus has no utterance long enough for the teacher")

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        s = self.settings
        rng = np.random.default_rng([s.seed, 13, step])
        first = int(rng.integers(len(self.order)))
        length = min(int(self.lengths[self.order[first]]), int(s.longest * SAMPLE_RATE))
        count = max(1, round(s.batch_seconds * SAMPLE_RATE / length))
        waves, parts = [], []
        for index in self.order[first : first + count]:
            wave = self.read(int(index))[: self.lengths[index]]
            start = self.start(rng, len(wave) - length)
            parts.append((int(index), start))
            waves.append(self.prepare(wave[start : start + length].astype(np.float32)))
        return self.batch(rng, parts, np.stack(waves))

    def start(self, rng: np.random.Generator, spare: int) -> int:
        """First sample of a part of an utterance that has so many to spare."""
        return int(rng.integers(spare + 1))

    def batch(
        self,
        rng: np.random.Generator,  # noqa: ARG002 - for what others make of them, here and below
        parts: list[tuple[int, int]],  # noqa: ARG002
        waves: np.ndarray,
    ) -> dict[str, torch.Tensor]:
        """What the model is called with, of parts (utterance, first sample) and their waveforms (batch, samples)."""
        return {"waves": torch.from_numpy(waves)}


def open_speech(
    spec: str,
    *,
    keep_words: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
    """Speech to distil on: lengths in samples, and a function from number to waveform.

    Parameters
    ----------
    spec : str
        Anything that ``probe-extract --corpus`` takes (its test rows are left out), or a store of packed speech.
    keep_words, columns
        As :func:`.extract.corpora.read_corpus` takes them.
    say : callable
        Told of notes on the corpus, and of how many files are left out.
    """
    if (Path(spec) / "index.npz").is_file():
        from .store import open_store

        store = open_store(Path(spec))
        return np.diff(store.offsets), lambda i: store.wave(i).astype(np.float32) / 32768
    from emoprobe.extract.audio import AudioHeader, AudioProblem, Kept, read_audio
    from emoprobe.extract.clips import told_of_clips
    from emoprobe.extract.corpora import read_corpus
    from emoprobe.extract.corpora.places import places
    from emoprobe.extract.scan import read_headers

    corpus = read_corpus(spec, keep_words=keep_words, columns=columns)
    for note in corpus.notes:
        say(f"note: {note}")
    table = corpus.utterances
    table = table[~table["split"].str.startswith("test")]
    utterances = list(dict.fromkeys(zip(table["path"], places(table), strict=True)))
    paths, parts = [path for path, _ in utterances], [part for _, part in utterances]
    headers = told_of_clips(paths, parts, read_headers(paths, parts))
    speech = [
        (path, header) for (path, _), header in zip(utterances, headers, strict=True) if isinstance(header, AudioHeader)
    ]
    if len(speech) < len(utterances):
        say(f"{len(utterances) - len(speech)} of {len(table)} files cannot be read and are left out")
    if not speech:
        raise UserError(f"{spec}: no file of the corpus (its test split aside) can be read")
    kept = Kept()

    def read(index: int) -> np.ndarray:
        path, header = speech[index]
        try:
            return read_audio(path, header, kept)
        except AudioProblem as problem:
            raise UserError(f"{path}: {problem}; take it out of the corpus") from problem

    return np.array([header.samples for _, header in speech]), read


def distill(
    teacher: Backbone,
    lengths: ArrayLike,
    read: Callable[[int], np.ndarray],
    run: Path,
    settings: DistillSettings = DistillSettings(),
    *,
    save_steps: int = Keeping.save_steps,
    log_steps: int = Keeping.log_steps,
    bf16: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> PreTrainedModel:
    """Train a student, or go on training it, in a run folder that is its own.

    Parameters
    ----------
    teacher : emoprobe.extract.encoders.speech.Backbone
    lengths : sequence of int
        Samples of each utterance.
    read : callable
        From number to waveform.
    run : Path
        Holds checkpoints, ``log.jsonl`` and ``settings.json``. A run goes on with the same settings, teacher and
        speech alone.

    Returns
    -------
    transformers.PreTrainedModel
        The student without heads.

    Raises
    ------
    UserError
        If the folder is of another run or in use, or the settings do not fit the teacher.
    """
    run = Path(run)
    check_count("save-steps", save_steps, least=1)
    check_count("log-steps", log_steps, least=1)
    with alone(run, option="--run"):
        return _distill(
            teacher, lengths, read, run, settings, save_steps=save_steps, log_steps=log_steps, bf16=bf16, say=say
        )


def _distill(
    teacher: Backbone,
    lengths: ArrayLike,
    read: Callable[[int], np.ndarray],
    run: Path,
    settings: DistillSettings,
    *,
    save_steps: int,
    log_steps: int,
    bf16: bool,
    say: Callable[[str], None],
) -> PreTrainedModel:
    """:func:`distill`, once the folder is its own."""
    model = build_distiller(teacher, settings)
    claim(
        run,
        asdict(settings) | {"teacher": teacher.provenance(), "speech": of_speech(lengths, read), "bf16": bf16},
        record="settings.json",
        own=RUN_FILES,
        option="--run",
        before=lambda record: record if {"blocks", "teacher"} <= set(record) else None,
    )
    batches = Crops(lengths, read, settings, prepare=teacher.prepare, shortest=teacher.receptive_field)
    newest = last_checkpoint(run, say=say)
    if newest and steps_of(newest) >= settings.steps:
        load_weights(model, newest)
    else:
        trainer = trainer_for(
            model,
            batches,
            run,
            settings,
            stop=settings.steps,
            running=Running(save_steps=save_steps, log_steps=log_steps, bf16=bf16),
            say=say,
        )
        check = partial(checked, batches=batches, device=trainer.args.device, bf16=bf16, say=say)
        with (
            check(model.student, record=run / "precision.json"),
            check(teacher.model, record=run / "precision_teacher.json"),
        ):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    return model.student.cpu().eval()


def save_student(
    student: PreTrainedModel, folder: Path, *, normalise: bool, half: bool, card: str | None = None
) -> Path:
    """Write the student as a checkpoint that transformers loads, with its preprocessor and, where given, its card."""
    return export(student, folder, normalise=normalise, half=half, made_by=MADE_BY, card=card)
