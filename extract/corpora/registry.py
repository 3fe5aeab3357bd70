"""From what the user types after ``--corpus`` to a corpus."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypedDict

from emoprobe.errors import UserError
from emoprobe.misspelt import meant

from .benchmarks import add_splits
from .datasets import is_dataset
from .manifest import read_manifest
from .raters import add_ratings
from .table import Corpus
from .tar import is_tar_set

GROUP = "emoprobe.corpora"


def corpus_readers() -> dict[str, EntryPoint]:
    """The readers that are installed, by name; none is imported yet, so a broken one hurts nobody else."""
    readers: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        # The project's own readers cannot be displaced by another package's of the same name.
        if entry.name not in readers or entry.value.startswith("emoprobe."):
            readers[entry.name] = entry
    return readers


#: Readers of files and folders that are told by the audio in them.
HOLDERS = {"datasets": is_dataset, "tar": is_tar_set}

#: A file that tells what a folder is, and the reader of such folders.
FOLDERS = {"db.yaml": "audformat", "wav.scp": "kaldi"}


class Options(TypedDict, total=False):
    """What a reader is told beside where the corpus lies; what the user did not give is not there."""

    keep_words: Collection[str]
    columns: Mapping[str, str]


def read_corpus(
    spec: str,
    *,
    keep_words: Collection[str] = (),
    columns: Mapping[str, str] | None = None,
    ratings: str | Path | None = None,
    splits: str | Path | None = None,
) -> Corpus:
    """Read the corpus that `spec` names, and note in its `arguments` how it was named.

    Parameters
    ----------
    spec : str
        ``demo``; the path of a manifest; a folder that a file of :data:`FOLDERS` tells; or ``NAME:ROOT`` with the name
        of a reader (``msp-podcast``, ``iemocap``, ``manifest``, ``demo``, or one that another package registers) and
        the corpus's folder.
    keep_words : collection of str
        Columns in which a word that elsewhere stands for no value is meant, such as a speaker called "None"; see
        :mod:`.cells`.
    columns : mapping, optional
        Our name of a column to the one in the corpus's table, for readers of any table; see :mod:`.naming`.
    ratings : str or Path, optional
        A table of single ratings, see :func:`.raters.add_ratings`.
    splits : str or Path, optional
        A folder with the folds of a benchmark, see :func:`.benchmarks.add_splits`.

    Raises
    ------
    UserError
        When there is no such file or reader, or the reader refuses the corpus.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from emoprobe.testing import make_corpus
    >>> with TemporaryDirectory() as folder:
    ...     corpus = read_corpus(make_corpus(Path(folder), utterances=6, speakers=2))
    >>> len(corpus.utterances), corpus.utterances["speaker"].nunique(), corpus.targets
    (6, 2, ('arousal', 'valence', 'dominance', 'emotion'))
    """
    options: Options = {}
    if keep_words:
        options["keep_words"] = keep_words
    if columns:
        options["columns"] = columns
    reader, place, corpus = _find(str(spec), options)
    arguments = ["--corpus", reader + _absolute(place)]
    if keep_words:
        arguments += ["--keep-words", *keep_words]
    if columns:
        arguments += ["--columns", *(f"{ours}={theirs}" for ours, theirs in columns.items())]
    for option, given, add in (("--ratings", ratings, add_ratings), ("--splits", splits, add_splits)):
        if given is not None:
            corpus = add(corpus, Path(given))
            arguments += [option, _absolute(given)]
    return replace(corpus, arguments=tuple(arguments))


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links are the user's own


def _find(spec: str, options: Options) -> tuple[str, str | Path, Corpus]:
    """The reader as it is typed (``NAME:``; nothing for a manifest), where the corpus lies, and the corpus."""
    if not spec.strip():
        raise UserError(f"--corpus {spec!r}: is empty; give demo, a manifest, or NAME:ROOT")
    readers = corpus_readers()
    place = Path(spec)
    told = next((name for name, is_kind in HOLDERS.items() if is_kind(place)), "")
    told = told or _told_by_folder(place)
    if told in readers:
        return f"{told}:", spec, _read(readers[told], place, options)
    if Path(spec).is_file():
        return "", spec, read_manifest(Path(spec), **options)
    named = re.match(r"([A-Za-z][\w.-]+):(.*)", spec, re.DOTALL)
    if named and named[1] in readers:
        if not named[2]:
            raise UserError(f"--corpus {spec}: the folder is missing; write {named[1]}:ROOT")
        root = Path(named[2]).expanduser()
        return f"{named[1]}:", root, _read(readers[named[1]], root, options)
    if spec == "demo" and spec in readers:
        corpus = _read(readers[spec], None, options)
        return "demo:", corpus.root, corpus
    if spec in readers and not Path(spec).exists():
        raise UserError(f"--corpus {spec}: this reader needs the corpus's folder; write {spec}:ROOT")
    if named and not Path(spec).exists() and "/" not in named[1]:
        raise UserError(
            f"--corpus {spec}: there is no such file, and no reader {named[1]!r}: {meant(named[1], sorted(readers))}"
        )
    return "", spec, read_manifest(Path(spec), **options)


def _told_by_folder(place: Path) -> str:
    """The reader of a folder that holds a file of :data:`FOLDERS`, or of one such file or a table beside it."""
    folder = place if place.is_dir() else place.parent
    told = next((reader for name, reader in FOLDERS.items() if (folder / name).is_file()), "")
    if place.is_dir() or place.name in FOLDERS:
        return told
    # Beside db.yaml, db.<table>.csv is a table of the database.
    return told if place.is_file() and told == "audformat" and place.name.startswith("db.") else ""


def _read(entry: EntryPoint, root: Path | None, options: Options) -> Corpus:
    try:
        reader = entry.load()
    except (ImportError, AttributeError) as problem:
        raise UserError(
            f"the corpus reader {entry.name!r} ({entry.value}) cannot be loaded: {problem}; reinstall its package"
        ) from problem
    takes = inspect.signature(reader).parameters
    for name in options:
        if name not in takes:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"the corpus reader {entry.name!r} ({entry.value}) takes no {option}; leave it out")
    corpus = reader(*(() if root is None else (root,)), **options)
    if not isinstance(corpus, Corpus):
        raise UserError(
            f"the corpus reader {entry.name!r} ({entry.value}) returned {type(corpus).__name__}, not a Corpus"
        )
    return corpus
