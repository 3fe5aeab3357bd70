"""EMO-DB: ten actors say ten German sentences with seven emotions; file names say all.

Burkhardt et al., "A database of German emotional speech", Interspeech 2005.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from .coded import read_coded
from .table import Corpus

_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
_MEN = ("03", "10", "11", "12", "15")
_WOMEN = ("08", "09", "13", "14", "16")
_GENDERS = dict.fromkeys(_MEN, "male") | dict.fromkeys(_WOMEN, "female")
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

# 03a01Fa: speaker 03, sentence a01, Freude (happiness), first version.
_NAME = r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])[a-z]?"


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read EMO-DB from the folder that holds ``wav``, or from ``wav`` itself.

    Categories, speakers, genders and words; no ratings, no splits. See :mod:`emoprobe.extract.corpora`.
    """
    return read_coded("emodb", Path(root), _NAME, _decode, example="03a01Fa.wav", keep_words=keep_words)


def _decode(told: dict[str, str]) -> dict[str, str]:
    return {
        "speaker": told["speaker"],
        "gender": _GENDERS[told["speaker"]],
        "emotion": _EMOTIONS[told["emotion"]],
        "transcript": _SENTENCES[told["sentence"]],
    }
