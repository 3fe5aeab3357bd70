"""Hugging Face data sets as they lie on disk: shards of Parquet, or a folder that ``save_to_disk`` wrote (Arrow).

The audio stands in the table itself, in a column of ``{bytes, path}``. Only the other columns are read here; the audio
of a row has a path inside its shard (:mod:`emoprobe.extract.audio.shards`) and is decoded from there when it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from emoprobe.errors import UserError

from ..audio.shards import arrow_table, audio_columns, head_of, is_arrow, is_parquet, row_path
from .cells import MissingWords
from .naming import name_columns
from .table import Corpus
from .values import first, normalise_split

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class _Shard:
    """One file of a data set, and the split that its name or folder tells."""

    path: Path
    split: str


def is_dataset(place: Path) -> bool:
    """Whether a place is a data set whose table holds audio: a file of Parquet or Arrow, or a folder of them."""
    place = Path(place)
    if place.is_file():
        head = head_of(place)
        return (is_parquet(head) or is_arrow(head)) and bool(_audio_columns(place))
    if not place.is_dir():
        return False
    if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
        return True
    shard = next(iter(sorted(place.rglob("*.parquet"))), None)
    return shard is not None and bool(_audio_columns(shard))


def read(root: Path, *, keep_words: Collection[str] = (), columns: Mapping[str, str] | None = None) -> Corpus:
    """Entry point ``datasets``.

    Parameters
    ----------
    root : Path
        A file of Parquet or Arrow, a folder of Parquet files (subfolders included), or what ``save_to_disk`` wrote: a
        ``Dataset``, or a ``DatasetDict`` whose parts are the splits. Names such as ``train-00000-of-00002.parquet``
        tell the split where there is no column of it.
    keep_words : collection of str
        As :class:`.cells.MissingWords` takes it.
    columns : mapping, optional
        Our name of a column to the one in the table, see :mod:`.naming`.

    Returns
    -------
    Corpus
        Named after the file or folder. Without a column ``id`` the names of the audio files are the ids, where they
        differ. A column of class labels has their names.

    Raises
    ------
    UserError
        If there is no such data set, it has no audio or several columns of it, or is damaged.
    """
    root = Path(root).absolute()
    shards = _shards(root)
    if not shards:
        raise UserError(
            f"{root}: no data set: give a file of Parquet or Arrow, a folder of Parquet, or one that save_to_disk wrote"
        )
    base = root if root.is_dir() else root.parent
    rows = [_rows(shard, base) for shard in shards]
    # For errors: where each row stands.
    places = [
        f"{shard.path.name} row {number}"
        for shard, part in zip(shards, rows, strict=True)
        for number in range(len(part.files))
    ]
    table = pd.concat([part.table for part in rows], ignore_index=True)
    told = name_columns(list(table.columns), chosen=columns, source=root).places
    splits = [shard.split for shard, part in zip(shards, rows, strict=True) for _ in part.files]
    if "split" not in told and any(splits):
        table["split"] = splits
    if "id" not in told:
        table["id"] = _ids(rows)
    naming = name_columns(list(table.columns), chosen=columns, source=root)
    table, called = naming.take(table, source=root, where=places.__getitem__)
    return Corpus.from_table(
        root.stem if root.is_file() else root.name,
        base,
        table,
        source=root,
        notes=naming.notes(),
        where=places.__getitem__,
        missing=MissingWords(keep_words),
        called=called,
        option="--columns",
    )


def _shards(root: Path) -> list[_Shard]:
    if root.is_file():
        head = head_of(root)
        return [_Shard(root, "")] if is_parquet(head) or is_arrow(head) else []
    if (root / "dataset_dict.json").is_file():
        source = root / "dataset_dict.json"
        names = _json(source).get("splits", [])
        if not isinstance(names, list):
            raise UserError(f"{source}: does not tell the data set's splits; save it again")
        names = _plain_names(names, source)
        return [_Shard(path, normalise_split(name) or "") for name in names for path in _saved(root / name)]
    if (root / "state.json").is_file():
        return [_Shard(path, "") for path in _saved(root)]
    return [_Shard(path, _split_of(path.relative_to(root))) for path in sorted(root.rglob("*.parquet"))]


def _saved(folder: Path) -> list[Path]:
    """The Arrow files of a folder that ``save_to_disk`` wrote, in their order."""
    state = _json(folder / "state.json")
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise UserError(
            f"{folder}: was saved as a selection of rows; write it whole: "
            f"datasets.load_from_disk({str(folder)!r}).flatten_indices().save_to_disk(...)"
        )
    try:
        names = [str(file["filename"]) for file in state["_data_files"]]
    except (KeyError, TypeError):
        raise UserError(f"{folder / 'state.json'}: does not tell the data set's files; save it again") from None
    names = _plain_names(names, folder / "state.json")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder}: {first(missing, 3)} of the data set is not there; copy the whole folder")
    return [folder / name for name in names]


def _plain_names(names: Collection[object], source: Path) -> list[str]:
    """Names that are those of something in the folder of `source`."""
    for name in map(str, names):
        if name in ("", ".", "..") or not {"/", "\\", "\0"}.isdisjoint(name):
            raise UserError(f"{source}: {name!r} is not the name of something in its folder; save the data set again")
    return [str(name) for name in names]


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"{path}: cannot be read ({problem}); save the data set again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no JSON object; save the data set again")
    return content


def _split_of(path: Path) -> str:
    """The split that the name of a shard, or of one of its folders, tells: ``data/train-00000-of-00002.parquet``."""
    for name in (path.stem.split("-")[0], *reversed(path.parts[:-1])):
        split = normalise_split(name)
        if split:
            return split
    return ""


@dataclass(frozen=True)
class _Rows:
    """The rows of a shard: their cells, and two names for each, its audio's as a file ("" for none) and its own."""

    table: pd.DataFrame
    files: list[str]
    names: list[str]


def _rows(shard: _Shard, base: Path) -> _Rows:
    """The columns of a shard but for the audio, and a path for each row's audio."""
    audio = _audio_columns(shard.path)
    if len(audio) != 1:
        told = f"has {len(audio)} columns of audio ({first(audio)}); keep one" if audio else "has no column of audio"
        raise UserError(f"{shard.path}: {told} (a column of {{bytes, path}}, as Hugging Face data sets have)")
    (column,) = audio
    with _damage(shard.path):
        cells, files, absent = _cells(shard.path, column)
    table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in cells.items()})
    relative = shard.path.relative_to(base)
    inside = [row_path(relative, column, row) for row in range(len(files))]
    # A data set that was saved before its audio was embedded names files in its place.
    table["path"] = [file if gone and file else place for place, file, gone in zip(inside, files, absent, strict=True)]
    name = "_".join(relative.with_suffix("").parts)
    return _Rows(table, files, [f"{name}_{row}" for row in range(len(files))])


def _ids(shards: list[_Rows]) -> list[str]:
    """The names of the audio files, where no two are one; else those of the rows."""
    stems = [Path(file).stem for rows in shards for file in rows.files]
    if all(stems) and len(set(stems)) == len(stems):
        return stems
    return [name for rows in shards for name in rows.names]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what pyarrow says into what is wrong with a file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError) as problem:
        told = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise UserError(f"{path}: is damaged or of an unknown kind ({told}); fetch or write it again") from None


def _audio_columns(path: Path) -> list[str]:
    """Names of the columns of ``{bytes, path}``."""
    import pyarrow.parquet as pq

    with _damage(path):
        schema = pq.read_schema(path) if is_parquet(head_of(path)) else arrow_table(path).schema
    return audio_columns(schema)


def _cells(path: Path, column: str) -> tuple[dict[str, list], list[str], list[bool]]:
    """The cells of the other columns, the names that the audio had as files, and for each row whether it has no bytes.

    Of columns that hold no single values, such as vectors, the name alone is taken.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if is_parquet(head_of(path)):
        with pq.ParquetFile(path) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
            table = file.read(columns=_single(schema), use_threads=False)
            names = None
            if _has_path(schema.field(column).type):
                names = file.read(columns=[f"{column}.path"], use_threads=False).column(column)
            absent = [gone for group in _absent(file, column) for gone in group]
    else:
        table = arrow_table(path)
        schema, count, audio = table.schema, table.num_rows, table.column(column)
        names = audio if _has_path(audio.type) else None
        absent = pc.is_null(pc.struct_field(audio, "bytes")).to_pylist()
        if names is not None:
            names.validate(full=True)  # of a damaged file an offset may lead anywhere in memory
    table = table.select(_single(schema))
    table.validate(full=True)
    cells = {name: table.column(name).to_pylist() for name in _single(schema)}
    for name, classes in _class_labels(schema).items():
        if name in cells:
            cells[name] = [None if value is None or value < 0 else classes[value] for value in cells[name]]
    cells |= {name: [None] * count for name in schema.names if name not in cells and name != column}
    files = [None] * count if names is None else pc.struct_field(names, "path").to_pylist()
    return cells, [file or "" for file in files], absent


def _single(schema: pa.Schema) -> list[str]:
    """Names of the columns that hold one text or number a row."""
    import pyarrow as pa

    kinds = pa.types
    return [
        field.name
        for field in schema
        if not (kinds.is_nested(field.type) or kinds.is_binary(field.type) or kinds.is_large_binary(field.type))
    ]


def _has_path(kind: pa.StructType) -> bool:
    return any(inner.name == "path" for inner in kind)


def _absent(file: pq.ParquetFile, column: str) -> Iterator[list[bool]]:
    """For each group of rows, which have no bytes, by the counts beside the data: the bytes themselves are not read."""
    about = file.metadata
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        leaves = [group.column(k) for k in range(group.num_columns)]
        statistics = next(leaf.statistics for leaf in leaves if leaf.path_in_schema == f"{column}.bytes")
        nulls = statistics.null_count if statistics is not None and statistics.has_null_count else 0
        if nulls in (0, group.num_rows):
            yield [nulls > 0] * group.num_rows
        else:
            import pyarrow.compute as pc

            audio = file.read_row_group(number, columns=[f"{column}.bytes"], use_threads=False).column(column)
            yield pc.is_null(pc.struct_field(audio, "bytes")).to_pylist()


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes of each column that Hugging Face stores as numbers."""
    told = (schema.metadata or {}).get(b"huggingface")
    features = json.loads(told).get("info", {}).get("features", {}) if told else {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }
