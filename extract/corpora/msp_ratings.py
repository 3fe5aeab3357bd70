"""The single ratings of MSP-Podcast and MSP-IMPROV, in every form that their releases have.

- ``labels_detailed.csv`` with one row a rating, its cells in columns of their own (``FileName, Workers, EmoClass_Major,
  EmoAct, EmoVal, EmoDom``) or in one (``FileName, EmoDetail``);
- ``labels_detailed.json``, an object of files, each an object of workers, or a list of them under ``Workers``;
- ``labels.txt`` and MSP-IMPROV's ``Evalution.txt``: a line for the file, then one a rating.
"""

from __future__ import annotations

import csv as text_csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError

from .cells import DIMENSIONS
from .folders import stem_of
from .text import decode, read_bytes, read_json, read_text
from .values import first, parse_rating

if TYPE_CHECKING:
    import pyarrow as pa

#: Names of the files with single ratings, in small letters, the easiest to read first.
FILES = ("labels_detailed.csv", "labels_detailed.json", "labels.txt")

_RATED = {"arousal": "emoact", "valence": "emoval", "dominance": "emodom"}
_WORKERS = ("workers", "worker", "workerid", "name")
# WORKER00000325; Neutral; Concerned,Happy; A:4.000000; V:4.000000; D:4.000000;
_DETAIL = (
    r"(?s)^\s*(?P<rater>[^;]+?)\s*;.*;\s*A:\s*(?P<arousal>[^;]*?)\s*;\s*V:\s*(?P<valence>[^;]*?)\s*;"
    r"\s*D:\s*(?P<dominance>[^;]*?)\s*(?:;|$)"
)


def read_ratings(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Utterance, rater and ratings, one row a rating.

    Parameters
    ----------
    path : Path
        One of :data:`FILES`.

    Returns
    -------
    ids : list of str, (ratings,)
        Stems of the files.
    raters : list of str, (ratings,)
    ratings : ndarray, (ratings, 3)
        Arousal, valence and dominance, NaN for none.

    Raises
    ------
    UserError
        Naming file and place.
    """
    ending = path.suffix.casefold()
    return _FORMS[ending](path)


def blocks(path: Path) -> Iterator[tuple[int, str, list[tuple[int, str]]]]:
    """The parts of a text file of evaluations: number and text of the file's line, and those of its raters' lines."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*read_text(path).splitlines(), ""], start=1):
        if line.strip():
            block.append((number, line.strip()))
        elif block:
            yield (*block[0], block[1:])
            block = []


def rater_of(line: str, path: Path, number: int) -> tuple[str, list[float]]:
    """Rater and ratings of one line of a text file of evaluations."""
    told = re.match(_DETAIL, line)
    if told is None:
        raise UserError(f"{path}, line {number}: {line[:80]!r} is no rating of one worker; unpack the file again")
    try:
        return told["rater"], [parse_rating(told[name]) for name in DIMENSIONS]
    except ValueError as problem:
        raise UserError(f"{path}, line {number}: {problem}; correct it or write NaN") from None


def _of_csv(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    import pyarrow as pa
    import pyarrow.compute as pc

    held = _csv_columns(path)
    if "filename" in held and "emodetail" in held:
        parts = pc.extract_regex(held["emodetail"], _DETAIL)
        if parts.null_count:
            row = pc.index(parts.is_null(), pa.scalar(True)).as_py()
            said = held["emodetail"][row].as_py()[:80]
            raise UserError(f"{path}, row {row + 1}: {said!r} is no rating of one worker; unpack it again")
        raters, *cells = [pc.struct_field(parts, name) for name in ("rater", *DIMENSIONS)]
    else:
        worker = next((name for name in _WORKERS if name in held), None)
        absent = [name for name in ("filename", *_RATED.values()) if name not in held]
        if worker is None or absent:
            absent += [] if worker else ["workers"]
            raise UserError(f"{path}: no column {', '.join(absent)}; are these single ratings? Unpack the file again")
        raters, *cells = [held[name] for name in (worker, *_RATED.values())]
    columns = [_numbers(column, name, path) for column, name in zip(cells, DIMENSIONS, strict=True)]
    names, codes = _each_once(held["filename"])
    stems = np.array([stem_of(name.strip()) for name in names], dtype=object)[codes].tolist()
    names, codes = _each_once(raters)
    return stems, np.array(names, dtype=object)[codes].tolist(), np.column_stack(columns)


def _csv_columns(path: Path) -> dict[str, pa.ChunkedArray]:
    """The columns that a file of single ratings can have, as texts, by their names in small letters."""
    import pyarrow as pa
    from pyarrow import csv

    data = read_bytes(path)
    try:
        header = next(text_csv.reader([decode(data.partition(b"\n")[0], path)], strict=True), [])
    except text_csv.Error as problem:
        raise UserError(f"{path}, line 1: cannot be read as CSV ({problem}); unpack it again") from None
    known = {"filename", "emodetail", *_WORKERS, *_RATED.values()}
    wanted = [name for name in header if name.strip().casefold() in known]
    if not wanted or len({name.strip().casefold() for name in wanted}) < len(wanted):
        raise UserError(
            f"{path}: FileName and the columns of ratings must be there, once each (columns: {first(header, 12)}); "
            "unpack it again"
        )
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, OSError) as problem:
        raise UserError(f"{path}: cannot be read as CSV ({str(problem).splitlines()[0]}); unpack it again") from None
    return {name.strip().casefold(): table.column(name) for name in wanted}


def _each_once(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Each text of a column once, and which of them each row has."""
    encoded = column.dictionary_encode().combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    """The numbers of a column of texts."""
    texts, codes = _each_once(column)
    values = np.empty(len(texts))
    for code, text in enumerate(texts):
        try:
            values[code] = parse_rating(text)
        except ValueError as problem:
            row = int((codes == code).argmax())
            raise UserError(f"{path}, row {row + 1}, {name}: {problem}; correct it or leave the cell empty") from None
    return values[codes]


def _of_json(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    held = read_json(path)
    if not isinstance(held, dict):
        raise UserError(f"{path}: is no object of one object a file name; unpack it again")
    ids, raters, ratings = [], [], []
    for file, workers in held.items():
        for worker, cells in _workers(workers, file, path):
            named = {str(name).strip().casefold(): value for name, value in cells.items()}
            try:
                ratings.append([parse_rating(named.get(theirs)) for theirs in _RATED.values()])
            except ValueError as problem:
                raise UserError(f"{path}, entry {file!r}, {worker}: {problem}; correct it") from None
            ids.append(stem_of(file.strip()))
            raters.append(worker)
    return ids, raters, np.array(ratings, dtype=np.float64).reshape(-1, len(DIMENSIONS))


def _workers(held: object, file: str, path: Path) -> Iterator[tuple[str, dict]]:
    """Name and cells of each worker, from an object by name or from a list of objects that say ``Name``."""
    if isinstance(held, dict) and isinstance(held.get("Workers"), list):
        held = held["Workers"]
    pairs = (
        [(entry.get("Name", ""), entry) for entry in held if isinstance(entry, dict)] if isinstance(held, list) else []
    )
    pairs = list(held.items()) if isinstance(held, dict) else pairs
    if not pairs or not all(isinstance(cells, dict) for _, cells in pairs):
        raise UserError(f"{path}, entry {file!r}: is no object of one object a worker; unpack it again")
    yield from ((str(name), cells) for name, cells in pairs)


def _of_text(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    ids, raters, ratings = [], [], []
    for _, line, lines in blocks(path):
        name = stem_of(line.partition(";")[0].strip())
        for number, said in lines:
            rater, values = rater_of(said, path, number)
            ids.append(name)
            raters.append(rater)
            ratings.append(values)
    return ids, raters, np.array(ratings, dtype=np.float64).reshape(-1, len(DIMENSIONS))


_FORMS = {".csv": _of_csv, ".json": _of_json, ".txt": _of_text}
