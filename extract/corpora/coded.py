"""Corpora of acted speech whose file names say everything: who speaks which sentence with which emotion."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .folders import AudioTree, stem_of
from .table import Corpus
from .values import first

#: Tables that may lie beside the audio, with more than the names tell.
_TABLES = ("metadata.csv", "manifest.csv", "labels.csv")


def read_coded(
    name: str,
    root: Path,
    pattern: str,
    decode: Callable[[dict[str, str]], dict[str, str]],
    *,
    example: str,
    named: Callable[[str], str] = stem_of,
    keep_words: Collection[str] = (),
    without: Collection[str] = (),
    notes: Collection[str] = (),
) -> Corpus:
    """Read every audio file below a folder whose name has the corpus's form.

    Parameters
    ----------
    name : str
        Of the corpus.
    root : Path
    pattern : str
        Regular expression with named groups, of a whole name.
    decode : callable
        From the groups to the columns that they tell.
    example : str
        A file name of this form, for errors.
    named : callable
        From a file's path relative to the root to the name that is read, and that is its id: where a folder tells a
        part of it, not its stem alone.
    keep_words : collection of str
        See :class:`.cells.MissingWords`.
    without : collection of str
        Folders that are not looked into, in small letters.
    notes : collection of str
        What is to be said as well.

    Returns
    -------
    Corpus
        In the order of the names. Files of other names are left out, with their count in the notes.

    Raises
    ------
    UserError
        If there is no such file, two have one name, or a name holds a code that the corpus does not have.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the one that the corpus was unpacked to, as {name}:ROOT")
    names = {path: named(path) for path in AudioTree(root, without=without).without(())}
    paths = sorted(names, key=lambda path: (names[path], path))
    told = {path: re.fullmatch(pattern, names[path]) for path in paths}
    rows: list[dict[str, str]] = []
    for path, parts in told.items():
        if parts is None:
            continue
        if rows and rows[-1]["id"] == names[path]:
            raise UserError(
                f"{root}: {names[path]} could be {rows[-1]['path']} or {path}; remove the one that is not meant, or "
                "give a folder that holds one of them"
            )
        try:
            columns = decode(parts.groupdict())
        except KeyError as problem:
            raise UserError(
                f"{root / path}: the name holds the code {problem.args[0]!r}, which {name} does not have; "
                "rename the file or take it away"
            ) from None
        rows.append({"id": names[path], "path": path} | columns)
    if not rows:
        instead = f" ({len(paths):,} others, such as {first(paths, 2)})" if paths else ""
        raise UserError(f"{root}: no audio file is called as in {example}{instead}; give the folder of {name}")
    others = [path for path, parts in told.items() if parts is None]
    said = list(notes)
    if others:
        said.append(f"{len(others):,} audio files are not called as in {example}, and are left out: {first(others, 2)}")
    for table in [root / beside for beside in _TABLES if (root / beside).is_file()]:
        said.append(f"{table.name} in the folder is not read, only names are: what it says is had by --corpus {table}")
    return Corpus.from_table(
        name,
        root,
        pd.DataFrame(rows),
        source=root,
        notes=said,
        where=lambda row: rows[row]["path"],
        missing=MissingWords(keep_words),
    )
