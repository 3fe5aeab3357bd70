"""What a long run has finished, kept beside its output: killed at any instant, it goes on where it stopped.

``OUT.journal`` holds a checksum and a JSON object a line: first what made the results, then the results of one batch a
line, each with a stamp of what it was computed from. A line is on disk before the next batch begins; a line that a kill
tore is dropped when the journal is opened again.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.fields import TABLE, check_fields
from emoprobe.jsontext import from_json, to_json
from emoprobe.ownership import refuse_stranger
from emoprobe.storage import write_file

from .corpora.values import printable
from .writer import lock_cache

_FORMAT = "emoprobe journal 1"

#: In a line of its own, the hash of `out` as it was written. It may be a key of a result too, whose value is a pair.
_WRITTEN = "out sha256"


class Journal:
    """The results there are; made by :func:`open_journal`.

    Attributes
    ----------
    path : Path
    settings : dict
        Of the run that started the journal: what later runs keep so that they compute the same.
    """

    def __init__(self, path: Path, settings: dict, results: dict[str, tuple[list, object]]) -> None:
        self.path = path
        self.settings = settings
        self._results = results

    def __len__(self) -> int:
        return len(self._results)

    def __contains__(self, item: tuple[str, list]) -> bool:
        key, stamp = item
        return key in self._results and self._results[key][0] == stamp

    def __getitem__(self, key: str) -> object:
        return self._results[key][1]

    def append(self, results: Mapping[str, tuple[list, object]]) -> None:
        """Have one batch's results on disk when this returns.

        Parameters
        ----------
        results : dict of str to (stamp, result)
            By key. A result is what JSON can hold.

        Raises
        ------
        UserError
            If the disk is full, or the file can no longer be written.
        """
        _append(self.path, results)
        self._results.update(results)


@contextmanager
def open_journal(
    out: Path,
    *,
    made_by: dict,
    settings: dict,
    overwrite: bool,
    is_own: Callable[[Path], bool] = lambda out: False,
    inputs: Iterable[str] = (),
) -> Iterator[Journal]:
    """The journal beside `out`, started or gone on with; no other process may write it meanwhile.

    Parameters
    ----------
    out : Path
        The file that the results will go to.
    made_by : dict
        What the results depend on, as JSON. A journal with another `made_by` is refused.
    settings : dict
        Kept by a new journal; one that is there keeps its own.
    overwrite : bool
        Start anew where results of ours are there, by their journal or by `is_own`.
    is_own : callable
        Whether a file that has no journal is one of our results, by its content.
    inputs : iterable of str
        Files that are read.

    Raises
    ------
    UserError
        If the journal is of something else, or `out` is there and no journal tells what made it, or `out` has been
        changed since it was written.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; give --out the name of a file, such as {out / 'out.csv'}")
    path = out.with_name(f"{out.name}.journal")
    if not (path.is_file() and is_journal(path)):
        refuse_stranger(path, is_journal, "journal of a run", option="--out")
        refuse_stranger(out, is_own, "result", option="--out", inputs=inputs)
    with lock_cache(out):
        if not overwrite and out.exists() and not path.exists():
            raise UserError(f"{out} is there already; give another place with --out, or --overwrite to replace it")
        if overwrite or not path.exists():
            header = {"format": _FORMAT, "made_by": made_by, "settings": settings}
            write_beside(path, _line(header))
            journal = Journal(path, settings, {})
        else:
            journal, written = _read(path, made_by, out)
            if written is not None and out.exists():
                if _sha256(out) != written:
                    raise UserError(
                        f"{out} has been changed since it was written, and would be written anew: give another place "
                        "with --out, move it away, or --overwrite to start anew"
                    )
                _append(path, {_WRITTEN: None})  # a kill may come between the next `out` and its hash
        yield journal
        if out.exists():
            _append(path, {_WRITTEN: _sha256(out)})


def is_journal(path: Path) -> bool:
    """Whether a file begins as a journal of ours does, of any version, and damaged or not."""
    with path.open("rb") as file:
        return re.match(rb'[0-9a-f]{8} {"format": "emoprobe journal ', file.read(100)) is not None


def is_written(path: Path) -> bool:
    """Whether the output of a journal stands beside it, with the very content that its last line tells."""
    out = path.with_name(path.name.removesuffix(".journal"))
    last = _parsed(path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2])
    return last is not None and last.get(_WRITTEN) is not None and out.is_file() and _sha256(out) == last[_WRITTEN]


def _read(path: Path, made_by: dict, out: Path) -> tuple[Journal, str | None]:
    """A journal that is there, and the hash that `out` must have; None where any will do."""
    remedy = f"give another place than {out} with --out, or --overwrite to start anew"
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    lines = [_parsed(line) for line in data[:whole].splitlines()]
    header = lines[0] if lines else None
    if header is None or header.get("format") != _FORMAT:
        raise UserError(f"{path} is damaged or no journal of this version; {remedy}")
    check_fields(header, path, {"made_by": TABLE, "settings": TABLE}, remedy=remedy)
    differ = [
        f"{what} (there {_short(header['made_by'].get(what))}, now {_short(now)})"
        for what, now in made_by.items()
        if header["made_by"].get(what) != now
    ]
    if differ:
        raise UserError(f"{path} is of something else: {'; '.join(differ)}; {remedy}")
    # A damaged line costs its batch alone, which is computed again.
    results: dict[str, tuple[list, object]] = {}
    written: str | None = None
    for line in lines[1:]:
        if line is not None and not isinstance(line.get(_WRITTEN, ()), (list, tuple)):
            written = line[_WRITTEN]
        else:
            results |= {key: tuple(pair) for key, pair in (line or {}).items() if _is_stamped(pair)}
    return Journal(path, header["settings"], results), written


def _is_stamped(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], list)


def _append(path: Path, content: Mapping) -> None:
    try:
        with path.open("ab") as file:
            file.write(_line(content))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); free disk space, then run the same command again to go on"
        ) from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _line(content: Mapping) -> bytes:
    data = to_json(content).encode()
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _parsed(line: bytes) -> dict | None:
    """What a line holds; None if it is damaged."""
    checksum, _, data = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(data):
        return None
    try:
        content = from_json(data)
    except ValueError:  # a checksum can be computed of anything
        return None
    return content if isinstance(content, dict) else None


def _short(value: object) -> str:
    text = printable(str(value))
    return text[:12] + "…" if len(text) == 64 else text


def write_beside(path: Path, data: bytes) -> None:
    """Replace `path` by `data` at once: a kill leaves the old file or the new one.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    try:
        write_file(path, data)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); free disk space, or give another --out"
        ) from error
