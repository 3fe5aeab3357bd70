"""MELD: utterances of a television series with seven emotions, in dialogues, with official splits.

Poria et al., "MELD: A multimodal multi-party dataset for emotion recognition in conversations", ACL 2019.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .folders import AUDIO, FILMS, AudioTree, children, corpus_root
from .separated import csv_rows
from .table import Corpus
from .text import read_bytes
from .values import first

#: Split and what the folders of its files are called, in part.
_SPLITS = {"train": "train", "dev": "dev", "test": "test"}
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read MELD from the folder that holds ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv``.

    Parameters
    ----------
    root : Path
        Or the folder above it. The sound of an utterance is ``dia0_utt0.wav``, or any other audio, in a folder whose
        name says the split (``train_splits``), since the splits use the same names. Films alone are named as they are.
    keep_words : collection of str
        See :class:`.cells.MissingWords`.

    Returns
    -------
    Corpus
        The group is the dialogue, which no split divides.

    Raises
    ------
    UserError
        Naming file, line and remedy.
    """
    notes: list[str] = []
    root = corpus_root(Path(root), lambda folder: bool(_tables(folder)), notes)
    tables = _tables(root)
    if not tables:
        raise UserError(
            f"{root}: none of {', '.join(f'{name}_sent_emo.csv' for name in _SPLITS)}; download MELD's tables"
        )
    tree = AudioTree(root, endings=AUDIO | FILMS)
    missing = MissingWords(keep_words)
    rows: list[dict[str, str]] = []
    places: list[str] = []
    silent: list[str] = []
    for split, path in tables.items():
        header, cells, lines = csv_rows(read_bytes(path), path)
        absent = [name for name in _COLUMNS if name not in header]
        if absent:
            raise UserError(f"{path}: no column {', '.join(absent)} (columns: {first(header, 12)}); is this MELD's?")
        for row, line in zip(cells, lines, strict=True):
            told = dict(zip(header, row, strict=True))
            dialogue, stem = f"{split}_dia{told['Dialogue_ID']}", f"dia{told['Dialogue_ID']}_utt{told['Utterance_ID']}"
            if not re.fullmatch(r"dia\d+_utt\d+", stem):
                raise UserError(
                    f"{path}, line {line}: Dialogue_ID and Utterance_ID must be whole numbers; correct them"
                )
            file = _file(tree, split, stem)
            if file is None:
                file = f"{split}/{stem}.wav"
                silent.append(file)
            rows.append(
                {
                    "id": f"{split}_{stem}",
                    "path": file,
                    "speaker": told["Speaker"],
                    "split": split,
                    "emotion": missing.text("emotion", told["Emotion"]),
                    "transcript": told["Utterance"],
                    "group": dialogue,
                }
            )
            places.append(f"{path.name} line {line}")
    if silent:
        notes.append(f"{len(silent):,} of {len(rows):,} rows have no audio file below {root}: {first(silent, 2)}")
    unlisted = tree.without(row["path"] for row in rows)
    if unlisted:
        notes.append(f"{len(unlisted):,} files are in no table of labels, and are left out: {first(unlisted, 2)}")
    if not rows:
        raise UserError(f"{root}: the tables hold no utterances; download MELD's tables again")
    return Corpus.from_table(
        "meld", root, pd.DataFrame(rows), source=root, notes=notes, where=lambda row: places[row], missing=missing
    )


def _tables(folder: Path) -> dict[str, Path]:
    held = children(folder)
    return {split: held[f"{split}_sent_emo.csv"] for split in _SPLITS if f"{split}_sent_emo.csv" in held}


def _file(tree: AudioTree, split: str, stem: str) -> str | None:
    """The audio of an utterance, or its film where there is no audio."""
    held = [*tree.of_stem(stem), *tree.of_stem(f"{split}_{stem}")]
    of_split = [path for path in held if _split_of(path) == split]
    audio = [path for path in of_split if Path(path).suffix.casefold() in AUDIO] or of_split
    if len(audio) > 1:
        raise UserError(f"{tree.root}: {stem} of {split} could be {' or '.join(audio)}; remove what is not meant")
    return audio[0] if audio else None


def _split_of(path: str) -> str | None:
    """The split that the innermost folder, or the file's own name, tells."""
    for part in reversed(path.casefold().split("/")):
        told = [split for split, word in _SPLITS.items() if word in part]
        if len(told) == 1:
            return told[0]
    return None
