"""nEMO: nine actors say Polish sentences with six emotions.

Christop, "nEMO: Dataset of emotional speech in Polish", LREC-COLING 2024.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .folders import AudioTree, audio_name, children, corpus_root, locate, stem_of
from .table import Corpus
from .text import read_text
from .values import first

_COLUMNS = {
    "file_id": "path",
    "emotion": "emotion",
    "raw_text": "transcript",
    "speaker_id": "speaker",
    "gender": "gender",
}


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read nEMO from the folder that holds ``data.tsv`` and ``samples``, or the one above it.

    Categories, speakers, genders and words; no ratings, no splits. See :mod:`emoprobe.extract.corpora`.
    """
    notes: list[str] = []
    root = corpus_root(Path(root), lambda folder: "data.tsv" in children(folder), notes)
    path = root / "data.tsv"
    # Fields are never quoted there, so that a text may hold any quotation mark.
    header, *rows = [line.split("\t") for line in read_text(path).splitlines() if line.strip()] or [[]]
    absent = [name for name in _COLUMNS if name not in header]
    if absent:
        raise UserError(f"{path}: no column {', '.join(absent)} (columns: {first(header, 12)}); is this nEMO?")
    short = next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None)
    if short is not None:
        raise UserError(f"{path}, row {short}: not as many cells as the header has; download it again")
    table = pd.DataFrame(rows, columns=header, dtype=object)[list(_COLUMNS)].rename(columns=_COLUMNS)
    names = [audio_name(name) for name in table["path"]]
    table["id"] = [stem_of(name) for name in names]
    table["path"] = locate(AudioTree(root), (f"samples/{name}" for name in names), notes)
    return Corpus.from_table(
        "nemo",
        root,
        table,
        source=path,
        notes=notes,
        where=lambda row: f"row {row + 2}",
        missing=MissingWords(keep_words),
    )
