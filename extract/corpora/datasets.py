"""Hugging Face data sets as they lie on disk: shards of Parquet, or a folder that ``save_to_disk`` wrote (Arrow).

The audio stands in the table itself, in a column of ``{bytes, path}``. Only the other columns are read here; the audio
of a row has a path inside its shard (:mod:`emoprobe.extract.audio.shards`) and is decoded from there when it is needed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from ..audio.shards import arrow_table, head_of, is_arrow, is_parquet, row_path
from .cells import MissingWords
from .table import COLUMNS, Corpus
from .values import first, normalise_split


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


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Entry point ``datasets``.

    Parameters
    ----------
    root : Path
        A file of Parquet or Arrow, a folder of Parquet files (subfolders included), or what ``save_to_disk`` wrote: a
        ``Dataset``, or a ``DatasetDict`` whose parts are the splits. Names such as ``train-00000-of-00002.parquet``
        tell the split where there is no column of it.
    keep_words : collection of str
        As :class:`.cells.MissingWords` takes it.

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
    tables = [_table(shard, base) for shard in shards]
    table = pd.concat(tables, ignore_index=True)
    # Where each row stands, for errors: the row within its shard.
    places = [(shard.path.name, row) for shard, part in zip(shards, tables, strict=True) for row in range(len(part))]
    table, notes = known_columns(_with_ids(table), source=root)
    return Corpus.from_table(
        root.stem if root.is_file() else root.name,
        base,
        table,
        source=root,
        notes=notes,
        where=lambda row: f"{places[row][0]} row {places[row][1]}",
        missing=MissingWords(keep_words),
    )


def known_columns(table: pd.DataFrame, *, source: Path) -> tuple[pd.DataFrame, list[str]]:
    """The columns that a corpus can have, by their names without regard to case, and a note of the others."""
    names = {column: str(column).strip().casefold() for column in table.columns}
    taken = {column: name for column, name in names.items() if name in COLUMNS}
    twice = [name for name, count in Counter(taken.values()).items() if count > 1]
    if twice:
        raise UserError(f"{source}: the column {first(map(repr, twice))} occurs more than once; keep one of them")
    unused = [str(column) for column in table.columns if column not in taken]
    return table[list(taken)].rename(columns=taken), [f"columns not used: {first(unused, 12)}"] if unused else []


def _shards(root: Path) -> list[_Shard]:
    if root.is_file():
        head = head_of(root)
        return [_Shard(root, "")] if is_parquet(head) or is_arrow(head) else []
    if (root / "dataset_dict.json").is_file():
        names = _json(root / "dataset_dict.json").get("splits", [])
        return [_Shard(path, normalise_split(str(name)) or "") for name in names for path in _saved(root / str(name))]
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
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder}: {first(missing, 3)} of the data set is not there; copy the whole folder")
    return [folder / name for name in names]


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


def _table(shard: _Shard, base: Path) -> pd.DataFrame:
    """The columns of a shard but for the audio, and a path for each row's audio."""
    audio = _audio_columns(shard.path)
    if len(audio) != 1:
        told = f"has {len(audio)} columns of audio ({first(audio)}); keep one" if audio else "has no column of audio"
        raise UserError(f"{shard.path}: {told} (a column of {{bytes, path}}, as Hugging Face data sets have)")
    (column,) = audio
    with _damage(shard.path):
        table, names, absent = _columns(shard.path, column)
        labels = _class_labels(table.schema)
        cells = {name: table.column(name).to_pylist() for name in table.column_names}
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in cells.items()})
    for name, classes in labels.items():
        if name in frame:
            frame[name] = [None if value is None or value < 0 else classes[value] for value in frame[name]]
    if "split" not in {str(name).casefold() for name in frame} and shard.split:
        frame["split"] = shard.split
    relative = shard.path.relative_to(base) if shard.path.is_relative_to(base) else shard.path
    inside = [row_path(relative, column, row) for row in range(table.num_rows)]
    # A data set that was saved before its audio was embedded names files in its place.
    frame["path"] = [name if gone and name else place for place, name, gone in zip(inside, names, absent, strict=True)]
    frame[_FILE] = names
    return frame


_FILE = "\0file"  # the name that the audio had as a file: no column of a data set


def _with_ids(table: pd.DataFrame) -> pd.DataFrame:
    """Rows without an id have their audio file's name, where no two have one; else the shard's and the row."""
    names = [Path(name).stem if name else "" for name in table.pop(_FILE)]
    if "id" in {str(name).casefold() for name in table}:
        return table
    if not all(names) or len(set(names)) < len(names):
        names = ["_".join((Path(path).parent.parent.stem, Path(path).name)) for path in table["path"]]
    return table.assign(id=names)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what pyarrow says into what is wrong with a file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, IndexError, TypeError) as problem:
        told = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise UserError(f"{path}: is damaged or of an unknown kind ({told}); fetch or write it again") from None


def _audio_columns(path: Path) -> list[str]:
    """Names of the columns of ``{bytes, path}``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _damage(path):
        schema = pq.read_schema(path) if is_parquet(head_of(path)) else arrow_table(path).schema
    return [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and any(
            inner.name == "bytes" and (pa.types.is_binary(inner.type) or pa.types.is_large_binary(inner.type))
            for inner in field.type
        )
    ]


def _columns(path: Path, column: str):
    """The table without its audio, the names that the audio had as files, and for each row whether it has no bytes."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not is_parquet(head_of(path)):
        table = arrow_table(path)
        audio = table.column(column)
        names = pc.struct_field(audio, "path").to_pylist() if _has_path(audio.type) else [None] * table.num_rows
        absent = pc.is_null(pc.struct_field(audio, "bytes")).to_pylist()
        return table.drop_columns([column]), names, absent
    with pq.ParquetFile(path) as file:
        others = [name for name in file.schema_arrow.names if name != column]
        table = file.read(columns=others, use_threads=False)
        names = [None] * file.metadata.num_rows
        if _has_path(file.schema_arrow.field(column).type):
            texts = file.read(columns=[f"{column}.path"], use_threads=False).column(column)
            names = pc.struct_field(texts, "path").to_pylist()
        absent = [gone for group in _absent(file, column) for gone in group]
    return table, names, absent


def _has_path(kind) -> bool:
    return any(inner.name == "path" for inner in kind)


def _absent(file, column: str) -> Iterator[list[bool]]:
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


def _class_labels(schema) -> dict[str, list[str]]:
    """Names of the classes of each column that Hugging Face stores as numbers."""
    told = (schema.metadata or {}).get(b"huggingface")
    features = json.loads(told).get("info", {}).get("features", {}) if told else {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }
