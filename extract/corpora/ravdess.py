"""RAVDESS: 24 actors say two sentences with eight emotions; file names of seven numbers say all.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song", PLoS ONE 13(5), 2018.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from .coded import read_coded
from .table import Corpus

_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
_SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}

# 03-01-06-01-02-01-12: sound alone, speech, fearful, normal intensity, second sentence, first time, actor 12.
_NAME = r"03-01-(?P<emotion>\d\d)-\d\d-(?P<sentence>\d\d)-\d\d-(?P<actor>\d\d)"


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read the speech of RAVDESS from the folder that holds ``Actor_01`` to ``Actor_24``.

    Categories, speakers, genders and words; no ratings, no splits. Songs and films (names that begin otherwise than
    ``03-01``) are left out and counted. See :mod:`emoprobe.extract.corpora`.
    """
    return read_coded("ravdess", Path(root), _NAME, _decode, example="03-01-06-01-02-01-12.wav", keep_words=keep_words)


def _decode(told: dict[str, str]) -> dict[str, str]:
    return {
        "speaker": told["actor"],
        "gender": "female" if int(told["actor"]) % 2 == 0 else "male",
        "emotion": _EMOTIONS[told["emotion"]],
        "transcript": _SENTENCES[told["sentence"]],
    }
