"""Any corpus: a CSV or Parquet table with a column ``path``.

Columns: ``id, path, speaker, gender, split, emotion, arousal, valence, dominance, transcript``, by name in any order;
only ``path`` is required. An empty cell is a missing value, and so is a word of :data:`.cells.MISSING`. ``path`` is
relative to the manifest's folder and may not lead out of it; an absolute path is taken as the user's explicit choice,
and noted. So is ``transcript_source``, as `probe-transcribe` writes it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .table import COLUMNS, Corpus
from .text import decode, read_bytes
from .values import first

SOURCE = "transcript_source"  # "corpus", or the recogniser that heard it

# Names that say what the file is, not what it holds: the folder's name says more.
_GENERIC = frozenset({"metadata", "manifest", "corpus", "index", "labels", "table", "data", "utterances"})


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Entry point ``manifest``; see :func:`read_manifest`."""
    return read_manifest(root, keep_words=keep_words)


def read_manifest(path: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read a manifest; CSV or Parquet is told by the content, not by the file's name.

    Parameters
    ----------
    path : Path
        CSV (UTF-8, with or without byte-order mark, quoted as in RFC 4180) or Parquet.
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.

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
        found = sorted(child.name for child in path.iterdir() if child.suffix.lower() in (".csv", ".parquet"))
        hint = f"; did you mean {path / found[0]}?" if len(found) == 1 else "; name the manifest inside it"
        raise UserError(f"{path}: is a folder, not a manifest{hint}")
    table, places = _table(path)
    notes = []
    counts = Counter(source for source in _sources(table) if source)
    source = (
        first([f"{name} ({n:,})" for name, n in counts.most_common()]) if len(counts) > 1 else next(iter(counts), "")
    )
    if source:
        notes.append(f"transcripts by {source}")
    table, unused = _known_columns(table, path)
    if unused:
        notes.append(f"columns not used: {first(unused, 12)}")
    absolute = path.absolute()
    name = absolute.parent.name if absolute.stem.casefold() in _GENERIC else absolute.stem
    return Corpus.from_table(
        name or absolute.stem,
        absolute.parent,
        table,
        source=path,
        notes=notes,
        where=None if places is None else (lambda row: f"line {places[row]}"),
        text_source=source or "corpus",
        missing=MissingWords(keep_words),
    )


def transcript_sources(path: Path) -> list[str]:
    """Where each transcript of a manifest comes from, in the order of its rows.

    Parameters
    ----------
    path : Path
        A manifest that :func:`read_manifest` reads.

    Returns
    -------
    list of str
        ``corpus``, or a recogniser's name and revision; empty where there is no transcript. An empty list where the
        manifest does not say it.
    """
    table, _ = _table(Path(path))
    return _sources(table)


def _table(path: Path) -> tuple[pd.DataFrame, list[int] | None]:
    """The cells as they are, and the line of each row of a CSV."""
    data = read_bytes(path)
    if not data.strip():
        raise UserError(f"{path}: is empty; a manifest needs a header line with a column 'path'")
    return (_parquet(data, path), None) if data[:4] == b"PAR1" else _csv(data, path)


def _sources(table: pd.DataFrame) -> list[str]:
    for place, name in enumerate(table.columns):
        if str(name).strip().casefold() == SOURCE:
            missing = MissingWords()
            return [missing.text(SOURCE, "" if cell is None else str(cell)) for cell in table.iloc[:, place]]
    return []


def _known_columns(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    names = [str(name).strip().casefold() for name in table.columns]
    twice = [name for name, count in Counter(names).items() if count > 1 and name in COLUMNS]
    if twice:
        raise UserError(f"{path}: the column {first(map(repr, twice))} occurs more than once; keep one of them")
    known = (*COLUMNS, SOURCE)
    unused = [str(column) for column, name in zip(table.columns, names, strict=True) if name not in known]
    if "path" not in names:
        raise UserError(
            f"{path}: no column 'path' (columns: {first(table.columns, 12)}); name the column of audio files 'path'"
        )
    table.columns = names
    return table[[name for name in COLUMNS if name in names]], unused


def csv_rows(data: bytes, path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows and the line where each row begins; every row has as many cells as the header."""
    decode(data, path)  # refuses what is no text
    # The standard reader rather than pandas': it tells the line of a row with too few cells instead of filling it up.
    # Read as it is decoded, since a text in memory takes four bytes a letter here.
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""), strict=True)
    shared: dict[str, str] = {}
    rows: list[list[str]] = []
    places: list[int] = []
    header: list[str] | None = None
    begins = 1
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue  # a blank line, as editors and spreadsheets leave at the end
            if header is None:
                header = cells
            elif len(cells) != len(header):
                raise UserError(
                    f"{path}, line {line}: {len(cells)} cells where the header has {len(header)}; "
                    "quote a cell that holds a comma"
                )
            else:
                # Of a word that many rows have, one is kept.
                rows.append([shared.setdefault(cell, cell) for cell in cells])
                places.append(line)
    except csv.Error as problem:
        raise UserError(
            f"{path}, line {begins}: cannot be read as CSV ({problem}); close every quote, double a quote inside a cell"
        ) from None
    header = header or []
    if len(header) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs")):
            if separator in header[0]:
                raise UserError(f"{path}: the cells are separated by {name}; separate them by commas")
    return header, rows, places


def _csv(data: bytes, path: Path) -> tuple[pd.DataFrame, list[int]]:
    header, rows, places = csv_rows(data, path)
    return pd.DataFrame(rows, columns=header, dtype=object), places


def _parquet(data: bytes, path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data), use_threads=False)
        names = table.column_names
        known = (*COLUMNS, SOURCE)
        wanted = [index for index, name in enumerate(names) if str(name).strip().casefold() in known]
        cells = {index: table.column(index).to_pylist() for index in wanted}
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as problem:
        said = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise UserError(f"{path}: the Parquet file is damaged or of an unknown kind ({said}); write it again") from None
    # Columns that are not used are kept as names only, so that they can be noted without being converted.
    columns = [cells.get(index, [None] * table.num_rows) for index in range(len(names))]
    frame = pd.DataFrame({index: pd.Series(column, dtype=object) for index, column in enumerate(columns)})
    frame.columns = names
    return frame
