"""CREMA-D: 91 actors say twelve sentences with six emotions, and what listeners heard in them.

Cao et al., "CREMA-D: Crowd-sourced emotional multimodal actors dataset", IEEE Transactions on Affective Computing 5(4),
2014.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

from emoprobe.errors import UserError

from .cells import identifier
from .coded import read_coded
from .folders import children
from .separated import csv_rows
from .table import Corpus
from .text import read_bytes
from .values import first

_EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
_SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}

# 1001_DFA_ANG_XX: actor, sentence, emotion, intensity.
_NAME = r"(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(LO|MD|HI|XX|X)"
_VOTES = {code[0]: code for code in _EMOTIONS}


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read CREMA-D from the folder that holds ``AudioWAV`` and ``VideoDemographics.csv``.

    Parameters
    ----------
    root : Path
        Or its ``processedResults/summaryTable.csv``, for the emotions that most listeners heard in the voice.
    keep_words : collection of str
        See :class:`.cells.MissingWords`.

    Returns
    -------
    Corpus
        Categories as the file names write them, ``ANG`` to ``SAD``: the acted ones, or the heard ones, ``""`` where
        listeners did not agree. Speakers, words, and genders where the table of actors is there; no splits.

    Raises
    ------
    UserError
        Naming the file.
    """
    root = Path(root)
    votes = root if root.is_file() else None
    if votes is not None:
        root = votes.absolute().parent.parent
    tables = children(root)
    gender_of = _genders(tables["videodemographics.csv"]) if "videodemographics.csv" in tables else {}
    notes = [] if gender_of else [f"no VideoDemographics.csv in {root}: genders are not known"]
    corpus = read_coded(
        "crema-d",
        root,
        _NAME,
        partial(_decode, gender_of),
        example="1001_DFA_ANG_XX.wav",
        keep_words=keep_words,
        without=("audiomp3", "videoflash"),
        notes=notes,
    )
    return corpus if votes is None else _heard(corpus, votes)


def _decode(gender_of: dict[str, str], told: dict[str, str]) -> dict[str, str]:
    if told["emotion"] not in _EMOTIONS:
        raise KeyError(told["emotion"])
    return {
        "speaker": told["actor"],
        "gender": gender_of.get(told["actor"], ""),
        "emotion": told["emotion"],
        "transcript": _SENTENCES[told["sentence"]],
    }


def _genders(path: Path) -> dict[str, str]:
    actors, genders = _columns(path, "ActorID", "Sex")
    return dict(zip(actors, genders, strict=True))


def _columns(path: Path, *wanted: str) -> list[list[str]]:
    header, rows, _ = csv_rows(read_bytes(path), path)
    absent = [name for name in wanted if name not in header]
    if absent:
        raise UserError(f"{path}: no column {', '.join(absent)} (columns: {first(header, 12)}); download it again")
    return [[row[header.index(name)].strip() for row in rows] for name in wanted]


def _heard(corpus: Corpus, path: Path) -> Corpus:
    """The corpus with the emotion that most listeners heard in the voice alone; a draw is no emotion."""
    files, votes = _columns(path, "FileName", "VoiceVote")
    vote_of = dict(zip(map(identifier, files), votes, strict=True))
    given = [vote_of.get(name, "") for name in corpus.utterances["id"]]
    drawn, absent = sum(":" in vote for vote in given), sum(not vote for vote in given)
    unknown = sorted({vote for vote in given if vote and ":" not in vote and vote not in _VOTES})
    if unknown:
        raise UserError(
            f"{path}: the vote {first(map(repr, unknown))} is none of {', '.join(_VOTES)}; download it again"
        )
    notes = [f"emotions as most listeners heard them in the voice ({path.name}): no majority in {drawn:,}"]
    if absent:
        notes.append(f"{absent:,} utterances are not in {path.name}: no emotion")
    heard = corpus.utterances.assign(emotion=[_VOTES.get(vote, "") for vote in given])
    return replace(corpus, name="crema-d-heard", utterances=heard, notes=(*corpus.notes, *notes))
