"""Audio inside other files: tar archives, and tables of Parquet or Arrow, as data sets are handed on.

Such audio has a path that goes on below its file as if that were a folder: ``SHARD.tar/MEMBER``,
``SHARD.parquet/COLUMN/ROW`` (rows count from 0). It can be no other file's path, since nothing lies below a file.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

import numpy as np

from .kept import Kept
from .problems import AudioProblem

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import WriteableBuffer

_MAGIC = 512  # bytes that tell what a shard is
_NBYTES_OF_NAME = 200  # in memory, of one member in an index
_NBYTES_OF_OPEN = 1 << 24  # counted for an open file, so that few are open at a time


class Shard(Protocol):
    """A file that holds the audio of many utterances.

    Attributes
    ----------
    nbytes : int
        Memory to count for it while it is open.
    """

    nbytes: int

    def open(self, name: str, kept: Kept) -> BinaryIO:
        """The bytes of one utterance's audio, by what follows the shard in its path.

        Raises
        ------
        AudioProblem
            If the shard has no such audio.
        """


def holder_of(path: str | os.PathLike) -> str:
    """The file on disk in which `path` lies: its shard, or `path` itself."""
    path = os.fspath(path)
    above = path
    while not os.path.lexists(above):
        below, above = above, os.path.dirname(above)  # noqa: PTH120
        if above in ("", below):
            return path
    return above if os.path.isfile(above) else path  # noqa: PTH113


def place_inside(path: str | os.PathLike) -> str | None:
    """Which row or member of its shard the audio is, for a person; None of a file of its own."""
    path = os.fspath(path)
    holder = holder_of(path)
    if holder == path:
        return None
    inside = path[len(holder) + 1 :]
    if is_tar(head_of(holder)):
        return f"member {inside} of {holder}"
    column, _, row = inside.rpartition("/")
    return f"row {row} (from 0) of the column {column} of {holder}"


def row_path(shard: str | os.PathLike, column: str, row: int) -> str:
    """The path of the audio in one row of a table."""
    return f"{os.fspath(shard)}/{column}/{row}"


def open_bytes(path: str, kept: Kept) -> BinaryIO:
    """The bytes that `path` names, in a file of their own or in a shard.

    Raises
    ------
    OSError
        If there is no such file.
    AudioProblem
        If its shard has no such audio.
    """
    try:
        return open(path, "rb")  # noqa: PTH123 - path is text; the caller closes it
    except NotADirectoryError:
        return open_inside(path, kept)


def open_inside(path: str, kept: Kept) -> BinaryIO:
    """The same of a path that leads into a shard."""
    holder = holder_of(path)
    if holder == path:
        raise NotADirectoryError(None, "no such file", path)
    shard = kept.get(("shard", holder), lambda: _open_shard(holder), lambda shard: shard.nbytes)
    return shard.open(path[len(holder) + 1 :], kept)


def is_parquet(head: bytes) -> bool:
    """Whether a file that begins with `head` is of Parquet."""
    return head[:4] == b"PAR1"


def is_arrow(head: bytes) -> bool:
    """Whether it is a stream or a file of Arrow's."""
    return head[:4] == b"\xff\xff\xff\xff" or head[:6] == b"ARROW1"


def is_tar(head: bytes) -> bool:
    """Whether it is an uncompressed tar archive."""
    return head[257:262] == b"ustar"


def head_of(path: str | os.PathLike) -> bytes:
    """The first bytes of a file, by which it is told what it is."""
    with open(path, "rb") as file:  # noqa: PTH123 - path is text
        return file.read(_MAGIC)


def _open_shard(path: str) -> Shard:
    head = head_of(path)
    opener = next((opener for is_kind, opener in _SHARDS.items() if is_kind(head)), None)
    if opener is None:
        raise AudioProblem("missing", f"no such file: {path} is itself a file, and no tar, Parquet or Arrow")
    try:
        return opener(path)
    except (tarfile.TarError, ValueError, EOFError) as problem:  # pyarrow's errors are ValueErrors
        raise AudioProblem("unreadable", f"{path} is damaged: {problem}") from None


class _Tar:
    """Members by name; only where they lie is kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._members = {member.name: member for member in tar_members(path)}
        self.nbytes = _NBYTES_OF_NAME * len(self._members)

    def open(self, name: str, kept: Kept) -> BinaryIO:  # noqa: ARG002 - as Shard has it
        if name not in self._members:
            raise AudioProblem("missing", f"{self._path} has no member {name!r}")
        member = self._members[name]
        return io.BufferedReader(_Stretch(self._path, member.begin, member.size))


class Member(NamedTuple):
    """A file in an archive: its name, its first byte there, and how many it has."""

    name: str
    begin: int
    size: int


def tar_members(path: str | os.PathLike) -> list[Member]:
    """The files in an uncompressed tar archive; what they hold is not read.

    Raises
    ------
    tarfile.TarError
        If the archive is damaged or cut off.
    """
    with tarfile.open(path, "r:") as archive:
        return [
            Member(os.path.normpath(member.name), member.offset_data, member.size)
            for member in archive
            if member.isreg() and not member.issparse()
        ]


class _Stretch(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, path: str, begin: int, size: int) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115 - closed with the stretch
        self._begin, self._size, self._at = begin, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        into = memoryview(buffer).cast("B")
        self._file.seek(self._begin + self._at)
        count = self._file.readinto(into[: max(0, self._size - self._at)])
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Arrow:
    """A table whose file the system maps into memory, so that it tells where in the file a row lies."""

    nbytes = _NBYTES_OF_OPEN

    def __init__(self, path: str) -> None:
        self._path = path
        self._mapped = _mapped(path)
        self._table = _arrow_table(self._mapped)

    def open(self, name: str, kept: Kept) -> BinaryIO:  # noqa: ARG002 - as Shard has it
        column, row = _column_and_row(name, self._path, self._table.num_rows, self._table.schema)
        content = _content(_bytes(self._table.column(column).slice(row, 1)), 0, f"row {row} of {self._path}")
        begin = content.address - self._mapped.address
        if not 0 <= begin <= self._mapped.size - content.size:  # it was compressed, and lies in memory of its own
            return _reader(content)
        # Read from the file: pages of a map would count as memory of this process for as long as it runs.
        return io.BufferedReader(_Stretch(self._path, begin, content.size))


def arrow_table(path: str | os.PathLike) -> pa.Table:
    """The table of an Arrow stream or file, in pages of the system's; nothing is read yet.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    return _arrow_table(_mapped(path))


def _mapped(path: str | os.PathLike) -> pa.Buffer:
    import pyarrow as pa

    return pa.memory_map(os.fspath(path)).read_buffer()


def _arrow_table(mapped: pa.Buffer) -> pa.Table:
    import pyarrow as pa

    is_file = mapped[:6].to_pybytes() == b"ARROW1"
    return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(mapped).read_all()


class _Parquet:
    """A table in groups of rows, of which one is decoded as a whole."""

    nbytes = _NBYTES_OF_OPEN

    def __init__(self, path: str) -> None:
        import pyarrow.parquet as pq

        self._path = path
        self._file = pq.ParquetFile(path)
        about = self._file.metadata
        self._ends = np.cumsum([about.row_group(k).num_rows for k in range(about.num_row_groups)])
        self._lock = Lock()  # its reader is no matter for several threads

    def open(self, name: str, kept: Kept) -> BinaryIO:
        rows = int(self._ends[-1]) if len(self._ends) else 0
        column, row = _column_and_row(name, self._path, rows, self._file.schema_arrow)
        group = int(np.searchsorted(self._ends, row, side="right"))
        values = kept.get(
            ("rows", self._path, column, group), lambda: self._read(column, group), lambda values: 2 * values.nbytes
        )
        first = int(self._ends[group - 1]) if group else 0
        return _reader(_content(values, row - first, f"row {row} of {self._path}"))

    def _read(self, column: str, group: int) -> pa.ChunkedArray:
        with self._lock:
            table = self._file.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False)
        return _bytes(table.column(column))


def audio_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of ``{bytes, path}`` in a schema of Arrow's."""
    import pyarrow as pa

    def holds_bytes(kind: pa.StructType) -> bool:
        return any(
            inner.name == "bytes" and (pa.types.is_binary(inner.type) or pa.types.is_large_binary(inner.type))
            for inner in kind
        )

    return [field.name for field in schema if pa.types.is_struct(field.type) and holds_bytes(field.type)]


def _column_and_row(name: str, path: str, rows: int, schema: pa.Schema) -> tuple[str, int]:
    column, _, row = name.rpartition("/")
    if column not in audio_columns(schema) or not (row.isascii() and row.isdecimal()) or int(row) >= rows:
        raise AudioProblem("missing", f"{path} has {rows:,} rows and no audio at {name!r}")
    return column, int(row)


def _bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.struct_field(column, "bytes")


def _content(values: pa.ChunkedArray, row: int, where: str) -> pa.Buffer:
    """The bytes of a cell as a stretch of pyarrow's buffer, without the copy that taking the cell itself would make."""
    import pyarrow as pa

    cell = next(chunk for chunk in values.slice(row, 1).chunks if len(chunk))
    if cell.null_count:
        raise AudioProblem("missing", f"{where} holds no audio")
    _, offsets, content = cell.buffers()
    kind = np.int64 if pa.types.is_large_binary(cell.type) else np.int32
    begin, end = np.frombuffer(offsets, dtype=kind)[cell.offset : cell.offset + 2].tolist()
    if not 0 <= begin <= end <= (content.size if content is not None else 0):
        raise AudioProblem("unreadable", f"{where} lies outside the file, which is damaged")
    return content.slice(begin, end - begin)


def _reader(content: pa.Buffer) -> BinaryIO:
    import pyarrow as pa

    return io.BufferedReader(pa.BufferReader(content))


_SHARDS: dict[Callable[[bytes], bool], Callable[[str], Shard]] = {is_parquet: _Parquet, is_arrow: _Arrow, is_tar: _Tar}
