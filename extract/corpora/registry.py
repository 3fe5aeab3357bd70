"""From what the user types after ``--corpus`` to a corpus."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from emoprobe.errors import UserError

from .benchmarks import add_splits
from .datasets import is_dataset
from .manifest import read_manifest
from .raters import add_ratings
from .table import Corpus
from .tar import is_tar_set

GROUP = "emoprobe.corpora"

#: Readers that are told by what is in a file or folder, without their name.
TOLD = {"datasets": is_dataset, "tar": is_tar_set}


def corpus_readers() -> dict[str, EntryPoint]:
    """The readers that are installed, by name; none is imported yet, so a broken one hurts nobody else."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        # The project's own readers cannot be displaced by another package's of the same name.
        if entry.name not in found or entry.value.startswith("emoprobe."):
            found[entry.name] = entry
    return found


def read_corpus(
    spec: str,
    *,
    keep_words: Collection[str] = (),
    ratings: str | Path | None = None,
    splits: str | Path | None = None,
) -> Corpus:
    """Read the corpus that `spec` names, and note in its `arguments` how it was named.

    Parameters
    ----------
    spec : str
        ``demo``; the path of a manifest; or ``NAME:ROOT`` with the name of a reader (``msp-podcast``, ``iemocap``,
        ``manifest``, ``demo``, or one that another package registers) and the corpus's folder.
    keep_words : collection of str
        Columns in which a word that elsewhere stands for no value is meant, such as a speaker called "None"; see
        :mod:`.cells`.
    ratings : str or Path, optional
        A table of single ratings, see :func:`.raters.add_ratings`.
    splits : str or Path, optional
        A folder with the folds of a benchmark, see :func:`.benchmarks.add_splits`.

    Raises
    ------
    UserError
        When there is no such file or reader, or the reader refuses the corpus.
    """
    reader, place, corpus = _find(str(spec), keep_words)
    arguments = ["--corpus", reader + _absolute(place), *(("--keep-words", *keep_words) if keep_words else ())]
    for option, given, add in (("--ratings", ratings, add_ratings), ("--splits", splits, add_splits)):
        if given is not None:
            corpus = add(corpus, Path(given))
            arguments += [option, _absolute(given)]
    return replace(corpus, arguments=tuple(arguments))


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links are the user's own


def _find(spec: str, keep_words: Collection[str]) -> tuple[str, str | Path, Corpus]:
    """The reader as it is typed (``NAME:``; nothing for a manifest), where the corpus lies, and the corpus."""
    if not spec.strip():
        raise UserError(f"--corpus {spec!r}: is empty; give demo, a manifest, or NAME:ROOT")
    readers = corpus_readers()
    known = ", ".join(sorted(readers))
    told = next((name for name, is_kind in TOLD.items() if name in readers and is_kind(Path(spec))), None)
    if told is not None:
        return f"{told}:", spec, _read(readers[told], Path(spec), keep_words)
    if Path(spec).is_file():
        return "", spec, read_manifest(Path(spec), keep_words=keep_words)
    named = re.match(r"([A-Za-z][\w.-]+):(.*)", spec, re.DOTALL)
    if named and named[1] in readers:
        if not named[2]:
            raise UserError(f"--corpus {spec}: the folder is missing; write {named[1]}:ROOT")
        root = Path(named[2]).expanduser()
        return f"{named[1]}:", root, _read(readers[named[1]], root, keep_words)
    if spec == "demo" and spec in readers:
        corpus = _read(readers[spec], None, keep_words)
        return "demo:", corpus.root, corpus
    if spec in readers and not Path(spec).exists():
        raise UserError(f"--corpus {spec}: this reader needs the corpus's folder; write {spec}:ROOT")
    if named and not Path(spec).exists() and "/" not in named[1]:
        raise UserError(f"--corpus {spec}: there is no reader {named[1]!r} (readers: {known}) and no such file")
    return "", spec, read_manifest(Path(spec), keep_words=keep_words)


def _read(entry: EntryPoint, root: Path | None, keep_words: Collection[str]) -> Corpus:
    try:
        reader = entry.load()
    except (ImportError, AttributeError) as problem:
        raise UserError(
            f"the corpus reader {entry.name!r} ({entry.value}) cannot be loaded: {problem}; reinstall its package"
        ) from problem
    given = () if root is None else (root,)
    if not keep_words:
        corpus = reader(*given)
    elif "keep_words" in inspect.signature(reader).parameters:
        corpus = reader(*given, keep_words=keep_words)
    else:
        raise UserError(f"the corpus reader {entry.name!r} ({entry.value}) takes no --keep-words; leave it out")
    if not isinstance(corpus, Corpus):
        raise UserError(
            f"the corpus reader {entry.name!r} ({entry.value}) returned {type(corpus).__name__}, not a Corpus"
        )
    return corpus
