"""A corpus as training sees it: what can be used, what can be learned, and who is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.audio import gathered
from emoprobe.extract.corpora import Corpus
from emoprobe.extract.corpora.places import places
from emoprobe.extract.limits import LONGEST_SECONDS
from emoprobe.extract.scan import scan
from emoprobe.probe.splits import Split
from emoprobe.probe.targets import Labels

from .data import Speech
from .model import AudioTextModel
from .raters import refuse_unrated, reliabilities
from .settings import ModelSettings, TrainingSettings
from .step import varies


@dataclass(frozen=True)
class Material:
    """A corpus as training sees it.

    Attributes
    ----------
    table : DataFrame
        The corpus's utterances with `status` ("done" where it can be used) and `reason`.
    speech : Speech or None
        None for a model of text alone.
    dimensions : tuple of str
        Those that can be learned.
    left_out : dict of str to str
        Why each of the others cannot.
    labels : ndarray, (utterances, dimensions)
        NaN where there is none, or the utterance cannot be used.
    split : Split
    """

    table: pd.DataFrame
    speech: Speech | None
    dimensions: tuple[str, ...]
    left_out: dict[str, str]
    labels: np.ndarray
    split: Split

    @property
    def unusable(self) -> pd.DataFrame:
        """Utterances that cannot be used, with the reason."""
        return self.table[self.table["status"] != "done"]


def refuse_too_few_speakers(corpus: Corpus, model: ModelSettings, training: TrainingSettings) -> None:
    """Refuse a corpus of which no folds can be made, before any audio is decoded: a file that fails makes no speaker.

    And one without the single ratings that the training asks for.

    Raises
    ------
    UserError
        As :func:`.probe.planning.plan` tells it.
    """
    labels = Labels.of(corpus.utterances)
    for name in model.dimensions if training.reliability else ():
        if labels.labelled(name).any():
            refuse_unrated(corpus.utterances, name)
    if any(labels.labelled(name).any() for name in model.dimensions):  # if not, that is what will be told
        labels.plan(model.dimensions, training, among=model.dimensions)


def refuse_unreliable(material: Material) -> None:
    """Refuse ratings that tell no reliability in the training part of a fold, before any is trained on.

    Raises
    ------
    UserError
        As :func:`.raters.reliabilities` tells it, with the fold.
    """
    folds = material.split.folds
    for fold in folds:
        try:
            reliabilities(material.table, material.labels, material.dimensions, fold.stopping[0])
        except UserError as error:
            raise UserError(f"{error} (fold {fold.name})" if len(folds) > 1 else str(error)) from error


def prepare(
    corpus: Corpus,
    model: ModelSettings,
    training: TrainingSettings,
    first: AudioTextModel,
    *,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Material:
    """Check every file, leave out what cannot be learned, and plan the fits on the rest.

    Parameters
    ----------
    corpus : Corpus
    model : ModelSettings
    training : TrainingSettings
    first : AudioTextModel
        Whose encoder says how short an utterance may be.
    progress : bool
        Show bars.
    say : callable
        Told of utterances without words.

    Returns
    -------
    Material

    Raises
    ------
    UserError
        If nothing can be used, learned, or stopped by, or no fold can be made.
    """
    tabled = corpus.utterances.copy()
    tabled["status"], tabled["reason"] = "done", ""
    speech = None
    if first.audio is not None:
        _, headers = scan(
            corpus,
            shortest=first.audio.backbone.receptive_field,
            longest=LONGEST_SECONDS,
            window=first.audio.backbone.longest,
            option="cut it into parts",
            progress=progress,
        )
        speech = Speech(list(tabled["path"]), headers, room=training.memory * 2**30)
        for row, problem in enumerate(speech.check(progress=progress)):
            if problem is not None:
                tabled.loc[row, ["status", "reason"]] = problem.status, problem.reason
        _tell_of_slow_files(tabled, speech, say)
    labels = Labels.of(tabled)
    usable = labels.usable
    if not usable.any():
        raise UserError(f"'{corpus.name}' has no utterance that can be used: {_left_out(tabled)}")
    if model.text is not None:
        absent = int((tabled["transcript"].str.strip() == "")[usable].sum())
        if absent == usable.sum():
            raise UserError(
                f"'{corpus.name}' has no transcripts: fill them in with probe-transcribe, or give --text none"
            )
        if absent:
            say(f"note: {absent} of {usable.sum()} utterances have no transcript: a learned state stands for it")
    dimensions = model.dimensions
    left_out: dict[str, str] = {}
    while dimensions:
        ratings = labels.ratings(dimensions)
        reasons = _not_learnable(ratings, [np.flatnonzero(usable)], dimensions, "that can be used")
        if not reasons:
            split = labels.plan(dimensions, training, among=dimensions)
            trained = [fold.stopping[0] for fold in split.folds]
            reasons = _not_learnable(ratings, trained, dimensions, "that are trained on")
        if not reasons:
            _need_labels_to_stop_by(ratings, split, dimensions)
            return Material(tabled, speech, dimensions, left_out, ratings, split)
        left_out |= reasons
        dimensions = tuple(name for name in dimensions if name not in reasons)
    told = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    also = "" if usable.all() else f"; of {len(tabled):,} utterances {_left_out(tabled)}"
    raise UserError(f"'{corpus.name}' has nothing to learn ({told}{also}): fill in labels, or choose others with --dim")


def _tell_of_slow_files(table: pd.DataFrame, speech: Speech, say: Callable[[str], None]) -> None:
    """An epoch takes utterances in any order, and some files cannot be entered in the middle."""
    slow = np.flatnonzero(gathered(table["path"].tolist(), places(table))).tolist()
    again = [row for row in slow if not speech.keeps(row)]
    if again:
        say(
            f"note: {len(again):,} utterances do not fit in memory and lie in files that are read from their beginning "
            "(MP3, Ogg, Parquet), at each epoch anew: convert them first, as by ffmpeg -i OLD.mp3 NEW.flac"
        )


def _not_learnable(
    labels: np.ndarray, parts: list[np.ndarray], dimensions: Sequence[str], where: str
) -> dict[str, str]:
    """Dimensions that lack two different labels in one of the parts (rows), each with the reason."""
    reasons: dict[str, str] = {}
    for part in parts:
        for name, values in zip(dimensions, labels[part].T, strict=True):
            if not varies(values):
                known = values[~np.isnan(values)]
                told = f"it is {known[0]:g} in all" if len(known) else "there is no label in"
                reasons.setdefault(name, f"{told} {len(known) or len(part)} utterances {where}")
    return reasons


def _need_labels_to_stop_by(labels: np.ndarray, split: Split, dimensions: Sequence[str]) -> None:
    for fold in split.folds:
        rows = fold.stopping[1]
        if not any(varies(values) for values in labels[rows].T):
            raise UserError(
                f"the {len(rows)} utterances on which training stops (fold {fold.name}) hold no two different labels "
                f"of {', '.join(dimensions)}: label more of them, or leave the corpus's split out for --folds"
            )


def _left_out(table: pd.DataFrame) -> str:
    """How many utterances cannot be used, by what is wrong, and what is with the first of them."""
    problems = table[table["status"] != "done"]
    counts = ", ".join(f"{count:,} are {status}" for status, count in problems["status"].value_counts().items())
    return f"{counts} ({problems['id'].iloc[0]}: {problems['reason'].iloc[0]})"
