"""Transcripts that lie beside the audio, one file an utterance."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .folders import names_in
from .text import decode_leniently, read_bytes
from .values import first


def read_transcripts(folders: Iterable[Path], ids: Iterable[str], notes: list[str]) -> list[str]:
    """The words of each utterance, from ``ID.txt`` in the first of the folders that has it.

    Parameters
    ----------
    folders : iterable of Path
    ids : iterable of str
    notes : list of str
        Told how many utterances have no transcript, and how many transcripts are not UTF-8.

    Returns
    -------
    list of str
        One line each, ``""`` where there is no file.

    Raises
    ------
    UserError
        If a folder or a file cannot be read.
    """
    held = [(folder, names_in(folder)) for folder in folders]
    texts, damaged = [], []
    for name in ids:
        file = f"{name}.txt"
        folder = next((folder for folder, names in held if file in names), None)
        text, replaced = ("", False) if folder is None else decode_leniently(read_bytes(folder / file))
        texts.append(text)
        if replaced:
            damaged.append(file)
    if damaged:
        notes.append(f"{len(damaged):,} transcripts are not UTF-8, some letters were replaced: {first(damaged, 2)}")
    absent = sum(not text for text in texts)
    if absent:
        notes.append(f"{absent:,} utterances have no transcript")
    return texts
