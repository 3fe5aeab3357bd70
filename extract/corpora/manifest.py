"""Any corpus: a table or a list with a column ``path``, as CSV, Parquet or JSON.

Columns: those of :data:`.table.COLUMNS`, by our name or a common one (:mod:`.naming`), in any order; only ``path`` is
required. An empty cell is a missing value, and so is a word of :data:`.cells.MISSING`. ``path`` is relative to the
manifest's folder and may not lead out of it; an absolute path is taken as the user's explicit choice, and noted. So is
``transcript_source``, as `probe-transcribe` writes it.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .copies import first_rows
from .jsonlists import is_json, json_rows, paths_start
from .naming import Naming, name_columns
from .separated import csv_rows
from .table import Corpus
from .text import read_bytes
from .values import first

SOURCE = "transcript_source"  # "corpus", or the recogniser that heard it

_ENDINGS = (".csv", ".tsv", ".parquet", ".json", ".jsonl")

# Names that say what the file is, not what it holds: the folder's name says more.
_GENERIC = frozenset({"metadata", "manifest", "corpus", "index", "labels", "table", "data", "utterances"})


# {data_root}/a.wav (SpeechBrain's JSON), $data_root/a.wav (its CSV)
_PLACEHOLDER = re.compile(r"(\{\w+\}|\$\w+)/+")


def read(root: Path, *, keep_words: Collection[str] = (), columns: Mapping[str, str] | None = None) -> Corpus:
    """Entry point ``manifest``; see :func:`read_manifest`."""
    return read_manifest(root, keep_words=keep_words, columns=columns)


def read_manifest(path: Path, *, keep_words: Collection[str] = (), columns: Mapping[str, str] | None = None) -> Corpus:
    """Read a manifest; its form is told by the content, not by the file's name.

    Parameters
    ----------
    path : Path
        CSV (UTF-8, with or without byte-order mark; commas, semicolons or tabs, quoted as in RFC 4180), Parquet, or
        JSON (:mod:`.jsonlists`).
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.
    columns : mapping, optional
        Our name of a column to the one in the file, where that is none of :data:`.naming.COMMON_NAMES` or none alone.

    Returns
    -------
    Corpus
        Named after the file, or after its folder where the file's name is a generic one such as ``metadata.csv``.

    Raises
    ------
    UserError
        Naming file, line or row, and the remedy.
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(child.name for child in path.iterdir() if child.suffix.lower() in _ENDINGS)
        hint = f"; did you mean {path / inside[0]}?" if len(inside) == 1 else "; name the manifest inside it"
        raise UserError(f"{path}: is a folder, not a manifest{hint}")
    table, places = _table(path, columns)
    notes = []
    counts = Counter(source for source in _sources(table) if source)
    source = (
        first([f"{name} ({n:,})" for name, n in counts.most_common()]) if len(counts) > 1 else next(iter(counts), "")
    )
    if source:
        notes.append(f"transcripts by {source}")
    naming = _naming(table.columns, columns, path)
    notes += naming.notes()
    root = paths_start(table, path)
    if root != path.absolute().parent:
        notes.append(f"paths start from {root}, as in EmoBox")
    where = (lambda row: f"row {row + 1}") if places is None else (lambda row: places[row])
    table, called = naming.take(table, source=path, where=where)
    if "path" in table:
        table["path"] = _without_placeholder(table["path"], root, path, notes)
    absolute = path.absolute()
    name = absolute.parent.name if absolute.stem.casefold() in _GENERIC else absolute.stem
    corpus = Corpus.from_table(
        name or absolute.stem,
        root,
        table,
        source=path,
        notes=notes,
        where=where,
        text_source=source or "corpus",
        missing=MissingWords(keep_words),
        called=called,
        option="--columns",
    )
    if corpus.utterances["channel"].min() >= 1:
        said = "channels count from 0, and no row has channel 0: take 1 off where the first channel is meant by 1"
        return replace(corpus, notes=(*corpus.notes, said))
    return corpus


def transcript_sources(path: Path, *, columns: Mapping[str, str] | None = None) -> list[str]:
    """Where each transcript of a manifest comes from, in the order of its utterances.

    Parameters
    ----------
    path : Path
        A manifest that :func:`read_manifest` reads.
    columns : mapping, optional
        As there.

    Returns
    -------
    list of str
        ``corpus``, or a recogniser's name and revision; empty where there is no transcript. An empty list where the
        manifest does not say it.
    """
    path = Path(path)
    table, _ = _table(path, columns)
    sources = _sources(table)
    if not sources:
        return []
    taken, _ = _naming(table.columns, columns, path).take(table, source=path, where=str)
    taken["path"] = _without_placeholder(taken["path"], paths_start(table, path), path, [])
    return [sources[row] for row in first_rows(taken, [])]


def _table(path: Path, columns: Mapping[str, str] | None = None) -> tuple[pd.DataFrame, list[str] | None]:
    """The cells as they are, and the place of each row; None for rows that only have a number."""
    data = read_bytes(path)
    if not data.strip():
        raise UserError(f"{path}: is empty; a manifest needs a header line with a column 'path'")
    if data[:4] == b"PAR1":
        return _parquet(data, path, columns), None
    return json_rows(data, path) if is_json(data) else _csv(data, path)


def _sources(table: pd.DataFrame) -> list[str]:
    for place, name in enumerate(table.columns):
        if str(name).strip().casefold() == SOURCE:
            missing = MissingWords()
            return [missing.text(SOURCE, "" if cell is None else str(cell)) for cell in table.iloc[:, place]]
    return []


def _naming(header: Collection[object], columns: Mapping[str, str] | None, path: Path) -> Naming:
    naming = name_columns(list(header), chosen=columns, source=path)
    if "path" not in naming.places:
        raise UserError(
            f"{path}: no column 'path' and none of its common names, such as file or wav (columns: "
            f"{first(header, 12)}); say which holds the audio files with --columns path=NAME"
        )
    return replace(naming, unused=tuple(name for name in naming.unused if name.strip().casefold() != SOURCE))


def _without_placeholder(paths: pd.Series, root: Path, source: Path, notes: list[str]) -> list[Any]:
    """The paths without a word for their folder, as SpeechBrain writes it; it is the one that paths start from."""
    words: Counter[str] = Counter()

    def plain(path: Any) -> Any:
        word = _PLACEHOLDER.match(path.lstrip()) if isinstance(path, str) else None
        if word is None:
            return path
        words[word[1]] += 1
        return path.lstrip()[word.end() :]

    stripped = [plain(path) for path in paths]
    if len(words) > 1:
        raise UserError(f"{source}: {first(words)} stand for several folders; write the paths themselves")
    notes += [f"{word} at the beginning of {count:,} paths stands for {root}" for word, count in words.items()]
    return stripped


def _csv(data: bytes, path: Path) -> tuple[pd.DataFrame, list[str]]:
    header, rows, places = csv_rows(data, path)
    return pd.DataFrame(rows, columns=header, dtype=object), [f"line {place}" for place in places]


def _parquet(data: bytes, path: Path, columns: Mapping[str, str] | None) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data), use_threads=False)
        names = table.column_names
        wanted = {index for index, name in enumerate(names) if str(name).strip().casefold() == SOURCE}
        wanted |= set(_naming(names, columns, path).places.values())
        cells = {index: table.column(index).to_pylist() for index in sorted(wanted)}
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as problem:
        said = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise UserError(f"{path}: the Parquet file is damaged or of an unknown kind ({said}); write it again") from None
    # Columns that are not used are kept as names only, so that they can be noted without being converted.
    held = [cells.get(index, [None] * table.num_rows) for index in range(len(names))]
    frame = pd.DataFrame({index: pd.Series(column, dtype=object) for index, column in enumerate(held)})
    frame.columns = names
    return frame
