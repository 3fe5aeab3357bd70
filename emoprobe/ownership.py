"""What a command may replace or remove: what it can prove to have written itself, and never an input of the same call.

A file proves by its content that it is ours (each format knows how: it is what `is_own` asks). A folder proves it by a
record in it: the settings of a run (:mod:`.claims`), or the list of files that :func:`mark` leaves. What stands there
without such a proof is a *stranger*: it is refused by name, with ``--overwrite`` too, and never touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from .errors import UserError
from .jsontext import dict_from_json, to_json
from .storage import finished_name, write_file

#: In a folder that is written whole: who wrote it, and which files.
MARK = ".emoprobe.json"

_FORMAT = "emoprobe folder 1"


def refuse_inputs(
    outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike | None], *, option: str = "--out"
) -> None:
    """Refuse places to write to that are something the same command reads.

    Parameters
    ----------
    outputs : iterable of path-like
    inputs : iterable of path-like or None
        Files and folders that are read, corpora as ``--corpus`` takes them. What is no path (a hub name) or None is
        passed over.
    option : str
        The option that names the outputs.

    Raises
    ------
    UserError
        If an output is an input, by whatever name.
    """
    there = [path for path in map(Path, outputs) if path.exists()]
    if not there:
        return
    for one in inputs:
        # What a corpus is read from may stand behind its reader: msp-podcast:ROOT.
        for place in () if one is None else (os.fspath(one), os.fspath(one).partition(":")[2]):
            if place and Path(place).exists():
                for output in there:
                    if output.samefile(place):
                        raise UserError(
                            f"{option} {output} is what this command reads ({place}): give another place with {option}"
                        )


def refuse_stranger(
    path: str | os.PathLike,
    is_own: Callable[[Path], bool],
    what: str,
    *,
    option: str,
    inputs: Iterable[str | os.PathLike] = (),
) -> None:
    """Refuse to write over a file that is not proven to be ours. An absent or empty one holds nothing to lose.

    Parameters
    ----------
    path : path-like
    is_own : callable
        Whether the file is `what`, by its content; called where there is a file that is not empty.
    what : str
        What we write there, for the message.
    option : str
        The option that names the place.
    inputs : iterable of path-like
        What the command reads: if that is what the file is, it is said.

    Raises
    ------
    UserError
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, and {option} is to name a file (the {what}): give another name")
    if not os.path.lexists(path) or (path.is_file() and path.stat().st_size == 0):
        return
    if not path.is_file() or not is_own(path):
        refuse_inputs([path], inputs, option=option)
        raise UserError(
            f"{path} is no {what} by this program, or a damaged one, and is left as it is: give another place with "
            f"{option}, or move it away"
        )


def begins_with_columns(columns: Sequence[str]) -> Callable[[Path], bool]:
    """What :func:`refuse_stranger` can ask of a CSV: whether its first columns are these."""
    header = ",".join(columns).encode()
    return lambda path: path.read_bytes().startswith(header)


def refuse_file(folder: Path, *, option: str) -> None:
    """Refuse a file where a folder is to be.

    Raises
    ------
    UserError
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder} is a file, and {option} is to name a folder: give another name, or move it away")


def refuse_foreign_lock(path: Path, *, option: str = "--out") -> None:
    """Refuse to use as a lock what is none: ours are empty files, and to lock one empties it.

    Raises
    ------
    UserError
    """
    refuse_stranger(path, lambda file: False, "lock", option=option)


def mark(folder: Path, made_by: str, *, files: Sequence[str] | None = None, also: Sequence[str] = ()) -> None:
    """Leave a list of a folder's files that are ours.

    Parameters
    ----------
    folder : Path
    made_by : str
        Name of the command.
    files : sequence of str, optional
        All that it holds now, by default.
    also : sequence of str
        Files that will be written later.
    """
    there = files if files is not None else [path.relative_to(folder).as_posix() for path in files_below(folder)]
    files = sorted({file for file in (*there, *also) if finished_name(file) != MARK})
    record = {"format": _FORMAT, "made_by": made_by, "files": files}
    # At once: a mark that a kill cut short would prove nothing, and the folder would be refused from then on.
    write_file(folder / MARK, to_json(record, indent=1) + "\n")


def marked(folder: Path, made_by: str) -> tuple[str, ...]:
    """The files of a folder that :func:`mark` lists, itself included.

    Parameters
    ----------
    folder : Path
    made_by : str
        The command that asks: a list that another command left proves nothing to it.

    Returns
    -------
    tuple of str
        Nothing where there is no such list.
    """
    try:
        record = dict_from_json((folder / MARK).read_bytes())
        if record["format"] != _FORMAT or record["made_by"] != made_by:
            return ()
        return (MARK, *map(str, record["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def files_below(folder: Path) -> list[Path]:
    """All that is no folder, in order; links to folders are not followed, and count as files."""
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):
        inside = [Path(parent) / name for name in folders]
        files += [Path(parent) / name for name in names] + [path for path in inside if path.is_symlink()]
    return sorted(files)


def strangers(folder: Path, own: Iterable[str]) -> list[Path]:
    """Files below a folder that are not among `own`.

    Parameters
    ----------
    folder : Path
        A file in its place is a stranger itself.
    own : iterable of str
        Paths in the folder, with ``*`` and ``?`` within one name; ``**`` at the end is all that lies below. What a
        kill left of writing such a file (:func:`.storage.replacing`) is ours as well.
    """
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        return [folder]
    patterns = [pattern.split("/") for pattern in own]
    return [path for path in files_below(folder) if not _is_own(path.relative_to(folder), patterns)]


def _is_own(path: Path, own: Sequence[Sequence[str]]) -> bool:
    name = finished_name(path.name)
    # A mark that was cut short holds nothing to lose, and a kill may leave it in a folder that has no mark yet.
    if path.name != name and path.with_name(name) == Path(MARK):
        return True
    return any(_matches(parts, pattern) for parts in (path.parts, path.with_name(name).parts) for pattern in own)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if pattern[-1] == "**":
        parts, pattern = parts[: len(pattern) - 1] if len(parts) >= len(pattern) else (), pattern[:-1]
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))


def refuse_strangers(folder: Path, own: Iterable[str], what: str, *, option: str) -> None:
    """Refuse to replace a folder that holds what we did not write.

    Parameters
    ----------
    folder, own
        See :func:`strangers`.
    what : str
        What the folder is to be, for the message.
    option : str
        The option that names the place.

    Raises
    ------
    UserError
    """
    others = strangers(folder, own)
    if others:
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        raise UserError(
            f"{folder} is to be {what}, and {others[0]}{more} was not written by this program: give another place with "
            f"{option}, or move that away"
        )


def remove(folder: Path, own: Iterable[str]) -> int:
    """Remove our own files below a folder, and the folders that this leaves empty; strangers stay, empty folders too.

    Parameters
    ----------
    folder, own
        See :func:`strangers`.

    Returns
    -------
    int
        Files removed.
    """
    if folder.is_symlink() or not folder.is_dir():
        return 0
    kept = set(strangers(folder, own))
    removed = [path for path in files_below(folder) if path not in kept]
    for path in reversed(removed):  # the mark comes last, so that it proves what a kill leaves
        path.unlink()
        for parent in path.parents:
            if not parent.is_relative_to(folder) or not _is_empty(parent):
                break
            parent.rmdir()
    return len(removed)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None
