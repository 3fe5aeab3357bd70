"""EMOVO: six actors say fourteen Italian sentences with seven emotions; file names say all.

Costantini et al., "EMOVO corpus: an Italian emotional speech database", LREC 2014.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from .coded import read_coded
from .table import Corpus

_EMOTIONS = {
    "dis": "disgust",
    "gio": "joy",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
_GENDERS = {"f": "female", "m": "male"}

# dis-f1-b1: disgust, first woman, sentence b1.
_NAME = r"(?P<emotion>[a-z]{3})-(?P<gender>[fm])(?P<number>\d)-\w+"


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read EMOVO from the folder that holds ``f1`` to ``m3``.

    Categories, speakers and genders; no ratings, no words, no splits. See :mod:`emoprobe.extract.corpora`.
    """
    return read_coded("emovo", Path(root), _NAME, _decode, example="dis-f1-b1.wav", keep_words=keep_words)


def _decode(told: dict[str, str]) -> dict[str, str]:
    return {
        "speaker": told["gender"] + told["number"],
        "gender": _GENDERS[told["gender"]],
        "emotion": _EMOTIONS[told["emotion"]],
    }
