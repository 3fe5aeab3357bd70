"""A run folder belongs to one run: training that goes on must be the training that was started.

The record of a run (a JSON file in its folder) holds everything that its numbers depend on. It is written before
anything else; a folder that holds something else is not taken, and a run with other settings is refused with each
setting that differs. Where one command is at work, a second is refused (:func:`alone`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import UserError
from .jsontext import dict_from_json, to_json
from .locks import LockHeld, hold_lock
from .ownership import files_below, refuse_file, refuse_foreign_lock, refuse_strangers, remove, strangers
from .storage import write_file

_FORMAT = "emoprobe run 1"
_LONGEST = 60  # characters of a value in a message

#: What :func:`alone` writes, and a kill can leave.
_LOCK = (".lock", ".lock.owner")


@contextmanager
def alone(folder: Path, *, option: str) -> Iterator[None]:
    """Keep a second command out of a folder for as long as this one writes there.

    Parameters
    ----------
    folder : Path
        Made where it is absent.
    option : str
        The option that names it.

    Raises
    ------
    UserError
        If another process is at work there, or what stands there is no folder or no lock of ours.
    """
    refuse_file(folder, option=option)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_foreign_lock(folder / ".lock", option=option)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(folder / ".lock"))
        except LockHeld as holder:
            raise UserError(f"{folder} is in use by {holder}: wait for it, or give another {option}") from None
        yield


def claim(
    folder: Path,
    settings: Mapping,
    *,
    record: str,
    own: Sequence[str],
    option: str,
    free: Sequence[str] = ("versions",),
    also: Sequence[str] = (),
    before: Callable[[dict], dict | None] = lambda old: None,
    overwrite: bool | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Make a folder that of this run, and of no other.

    Parameters
    ----------
    folder : Path
        Made where it is absent.
    settings : mapping
        Everything that the run's numbers depend on, as JSON can hold it.
    record : str
        Name of the record.
    own : sequence of str
        What the run writes there (:func:`.ownership.strangers`).
    option : str
        The option that names the folder.
    free : sequence of str
        Settings that are recorded, and may differ when a run goes on.
    also : sequence of str
        What else may stand there from the start; it is not touched.
    before : callable
        Settings of a record without a format, as release 0.1 wrote it; None where it is no such record.
    overwrite : bool, optional
        Remove another run's files and start anew; None where the command has no such option.
    say : callable
        Told what is about to be removed.

    Returns
    -------
    dict
        The settings that the run was started with.

    Raises
    ------
    UserError
        If the folder is of another run or holds something else. Nothing has been touched then.
    """
    refuse_file(folder, option=option)
    path = folder / record
    settings = dict_from_json(to_json(settings))
    patterns = [record, *_LOCK, *own, *also]
    there = _read(path, before)
    ours = len(files_below(folder)) - len(strangers(folder, own))
    anew = f"or --overwrite to start anew, which removes its {ours} files"
    if there is None:
        if os.path.lexists(path):
            raise UserError(
                f"{path} is no record of a run of this program, or a damaged one: give another folder with {option}, "
                "or move it away"
            )
        # Without a record nothing proves whose the other files are, whatever their names.
        refuse_strangers(folder, [*_LOCK, record, *also], "the folder of a run", option=option)
    else:
        old, cleared = there
        changed = [] if overwrite else list(_differences(old, settings, free))
        if changed:
            raise UserError(
                f"{folder} holds another run: {'; '.join(changed)}. Give another folder with {option}, "
                + (anew if overwrite is False else "or remove that one to start anew")
            )
        if cleared and not overwrite:
            return old
        refuse_strangers(folder, patterns, "the folder of a run", option=option)
        if ours:
            say(f"{folder}: removing the {ours} files of the run that was there")
        # Killed from here on, the next command finds a record that is its own to finish, and nothing else to believe.
        _write(path, settings, cleared=False)
        remove(folder, own)
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, settings, cleared=True)
    return settings


def is_claimed(folder: Path) -> bool:
    """Whether a folder holds the record of a run, by whichever name its command gives it."""
    return any(path.is_file() and _read(path, lambda old: None) is not None for path in folder.glob("*.json"))


def _read(path: Path, before: Callable[[dict], dict | None]) -> tuple[dict, bool] | None:
    """Settings of a record, and whether what stood there before it is gone; None where there is no record of ours."""
    try:
        content = dict_from_json(path.read_bytes())
        if content.get("format") == _FORMAT:
            if not isinstance(content["settings"], dict):
                return None
            return content["settings"], bool(content["cleared"])
        old = before(content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if old is None else (old, True)


def _write(path: Path, settings: dict, *, cleared: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": _FORMAT, "cleared": cleared, "settings": settings}
    write_file(path, to_json(content, indent=1, ensure_ascii=False) + "\n")


def _differences(there: Mapping, now: Mapping, free: Sequence[str], prefix: str = "") -> Iterator[str]:
    """Each setting that differs, with its dotted name and both values."""
    for name in dict.fromkeys([*now, *there]):
        if not prefix and name in free:
            continue
        one, other = there.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, free, f"{prefix}{name}.")
        elif one != other or (name in there) != (name in now):
            yield f"{prefix}{name} (there {_told(there, name)}, now {_told(now, name)})"


def _told(settings: Mapping, name: str) -> str:
    if name not in settings:
        return "nothing"
    text = to_json(settings[name], ensure_ascii=False).strip('"')
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
