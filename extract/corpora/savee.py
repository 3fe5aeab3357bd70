"""SAVEE (Jackson and Haq 2014): four men speak 120 sentences of English each, in seven emotions."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from .coded import read_coded
from .table import Corpus

_EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}

# DC_sa07: the speaker, the emotion, the sentence among those of this emotion.
_NAME = r"(?P<speaker>DC|JE|JK|KL)_(?P<emotion>[a-z]{1,2})\d\d"


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read SAVEE as it is unpacked, ``AudioData/DC/sa07.wav``, or from one folder of files as ``DC_sa07.wav``.

    Categories, speakers and genders; no words, no ratings, no splits. See :mod:`emoprobe.extract.corpora`.
    """
    return read_coded("savee", Path(root), _NAME, _decode, example="DC/sa07.wav", named=_named, keep_words=keep_words)


def _named(path: str) -> str:
    """The speaker is told by the folder, or by the name itself."""
    place = PurePosixPath(path)
    return place.stem if "_" in place.stem else f"{place.parent.name}_{place.stem}"


def _decode(told: dict[str, str]) -> dict[str, str]:
    return {"speaker": told["speaker"], "gender": "male", "emotion": _EMOTIONS[told["emotion"]]}
