"""EmoBank (Buechel and Hahn, EACL 2017): sentences with ratings of valence, arousal and dominance, and no audio.

Its root holds ``emobank.csv`` with the columns ``id,split,V,A,D,text``; ratings 1 to 5. It is for text encoders:
``probe-train --audio none``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .separated import csv_rows
from .table import COLUMNS, DIMENSIONS, Corpus
from .text import read_bytes

_COLUMNS = {"id": "id", "split": "split", "text": "transcript", "V": "valence", "A": "arousal", "D": "dominance"}

_SCALE = (1.0, 5.0)


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read EmoBank.

    Parameters
    ----------
    root : Path
        The folder that holds ``emobank.csv``.
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.

    Returns
    -------
    Corpus
        Without audio (``path`` is empty) and without speakers.

    Raises
    ------
    UserError
        Naming file, line and remedy.
    """
    root = Path(root)
    path = root / "emobank.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder that holds it, as emobank:ROOT")
    header, rows, places = csv_rows(read_bytes(path), path)
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)} (columns: {', '.join(header)}); is this EmoBank?")
    table = pd.DataFrame(rows, columns=header, dtype=object).rename(columns=_COLUMNS)
    # The checks that every reader owes want a path; none of these leads anywhere.
    checked = Corpus.from_table(
        "emobank",
        root,
        table.assign(path=[f"{number}.none" for number in range(len(table))]),
        source=path,
        where=lambda row: f"line {places[row]}",
        # It is made of texts, all of them there, and one of its sentences is "None".
        missing=MissingWords([*keep_words, "transcript"]),
        called={ours: theirs for theirs, ours in _COLUMNS.items()},
        scales=dict.fromkeys(DIMENSIONS, _SCALE),
    )
    utterances = checked.utterances.assign(path="")[list(COLUMNS)]
    unrated = int(utterances[list(DIMENSIONS)].isna().all(axis=1).sum())
    notes = [f"{unrated} sentences have no rating"] if unrated else []
    return Corpus("emobank", checked.root, utterances, (*checked.notes, *notes, "text alone: there is no audio"))
