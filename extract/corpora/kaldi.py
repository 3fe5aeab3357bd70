"""Kaldi data folders: ``wav.scp``, ``utt2spk``, and where they are there ``segments``, ``text``, ``utt2emo`` and kin.

A line is an utterance's name, a blank, and a value: ``utt1 audio/one.wav``, ``utt1 speaker3``, ``utt1 well then``. With
``segments`` (``utt1 recording1 1.5 3.25``) the names in ``wav.scp`` are those of recordings.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .naming import name_columns
from .table import Corpus
from .text import read_text
from .values import first

_WAVS, _SEGMENTS, _CHANNELS = "wav.scp", "segments", "reco2file_and_channel"
#: Files of one value an utterance whose names are no ``utt2…``.
_FILES = {"text": "transcript", "labels": "emotion"}
#: Files that Kaldi computes, of no use here.
_COMPUTED = frozenset({"spk2utt", "utt2dur", "utt2num_frames", "utt2lang", "reco2dur", "reco2num_frames", "spk2gender"})
_CHANNEL_NAMES = {"A": 0, "1": 0, "B": 1, "2": 1}


def read(root: Path, *, keep_words: Collection[str] = (), columns: Mapping[str, str] | None = None) -> Corpus:
    """Read a Kaldi data folder.

    Parameters
    ----------
    root : Path
        The folder, or its ``wav.scp``. Relative paths start from it.
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.
    columns : mapping, optional
        Our name of a column to the name of the file that holds it, such as ``{"emotion": "utt2class"}``.

    Returns
    -------
    Corpus
        Utterances in the order of ``segments``, or else of ``wav.scp``. Speakers that are each an utterance's own name,
        as Kaldi wants them where nobody knows them, are unknown.

    Raises
    ------
    UserError
        Naming file, line and remedy. A ``wav.scp`` that holds commands is refused, and none of them is run.
    """
    given = Path(root)
    root = Path(os.path.abspath(given if given.is_dir() else given.parent))  # noqa: PTH100 - links are the user's own
    if not (root / _WAVS).is_file():
        raise UserError(f"{root}: no file {_WAVS}; give the data folder that holds it, as kaldi:ROOT")
    paths = {name: _audio(path, root / _WAVS, line) for name, path, line in _lines(root / _WAVS)}
    notes: list[str] = []
    segmented = (root / _SEGMENTS).is_file()
    table, places = _segments(root, paths) if segmented else _whole(paths)
    _add_channels(table, root, notes)
    files = sorted(path.name for path in root.iterdir() if path.is_file() and path.name not in (_WAVS, _SEGMENTS))
    taken = _add_values(table, root, files, dict(columns or {}), notes)
    if "speaker" in table and (table["speaker"] == table["id"]).all():
        table["speaker"] = ""
        notes.append("every utterance is its own speaker, which is how Kaldi writes that none is known: unknown here")
    if "speaker" in table and "gender" not in table and (root / "spk2gender").is_file():
        genders = {name: gender for name, gender, _ in _lines(root / "spk2gender")}
        table["gender"] = [genders.get(name, "") for name in table["speaker"]]
        taken["gender"] = "spk2gender"
    missing = MissingWords(keep_words)
    if taken:
        notes.insert(0, f"columns taken: {', '.join(f'{ours} from {theirs}' for ours, theirs in taken.items())}")
    return Corpus.from_table(
        root.name,
        root,
        table,
        source=root,
        notes=notes,
        where=lambda row: places[row],
        missing=missing,
        called=taken,
        option="--columns",
    )


def _lines(path: Path) -> list[tuple[str, str, int]]:
    """Name, value and number of each line that is not blank; a name stands once."""
    seen: dict[str, int] = {}
    lines = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        name, value = [*re.split(r"\s+", line.strip(), maxsplit=1), ""][:2]
        if not name:
            continue
        if name in seen:
            raise UserError(f"{path}: {name!r} stands in line {seen[name]} and line {number}; keep one of them")
        seen[name] = number
        lines.append((name, value, number))
    return lines


def _audio(path: str, source: Path, line: int) -> str:
    if path.endswith("|") or path.startswith("|"):
        raise UserError(
            f"{source}, line {line}: is a command ({path[:60]!r}), and commands are not run; write its output to a "
            "file once, and name that"
        )
    if path == "-" or re.search(r"\.ark(:\d+)?$", path):
        raise UserError(f"{source}, line {line}: {path!r} is no audio file; name one (wav-copy writes them)")
    return path


def _whole(paths: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    table = pd.DataFrame({"id": list(paths), "path": list(paths.values())}, dtype=object)
    return table.assign(recording=table["id"]), [f"utterance {name!r}" for name in paths]


def _segments(root: Path, paths: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    source = root / _SEGMENTS
    rows, places = [], []
    for name, value, line in _lines(source):
        parts = value.split()
        if len(parts) != 3:
            raise UserError(
                f"{source}, line {line}: {len(parts) + 1} parts where utterance, recording, start and end are wanted"
            )
        recording, start, end = parts
        if recording not in paths:
            raise UserError(f"{source}, line {line}: the recording {recording!r} is not in {root / _WAVS}; add it")
        # -1 is Kaldi's word for the end of the recording.
        rows.append((name, paths[recording], recording, start, "" if re.fullmatch(r"-1(\.0*)?", end) else end))
        places.append(f"{_SEGMENTS} line {line}")
    return pd.DataFrame(rows, columns=["id", "path", "recording", "start", "end"], dtype=object), places


def _add_channels(table: pd.DataFrame, root: Path, notes: list[str]) -> None:
    """Channels, where recordings share a file; elsewhere a recording is its whole file, as Kaldi reads it."""
    recordings = table.pop("recording")
    source = root / _CHANNELS
    if not source.is_file():
        return
    files = Counter(dict(zip(recordings, table["path"], strict=True)).values())
    if max(files.values(), default=0) < 2:
        notes.append(f"{_CHANNELS} is not used: no two recordings share a file")
        return
    channels = {}
    for name, value, line in _lines(source):
        word = value.split()[-1] if value else ""
        if word not in _CHANNEL_NAMES:
            raise UserError(f"{source}, line {line}: the channel {word!r} is none of {', '.join(_CHANNEL_NAMES)}")
        channels[name] = _CHANNEL_NAMES[word]
    absent = [name for name in dict.fromkeys(recordings) if name not in channels]
    if absent:
        raise UserError(f"{source}: no channel of {first(absent)}; recordings share files, so each needs one")
    table["channel"] = [channels[name] for name in recordings]


def _add_values(
    table: pd.DataFrame, root: Path, files: list[str], chosen: dict[str, str], notes: list[str]
) -> dict[str, str]:
    """Add a column for each file of one value an utterance that we know; return which file each is from."""
    valued = {name: name.removeprefix("utt2") for name in files if name.startswith("utt2") and name not in _COMPUTED}
    valued |= {name: ours for name, ours in _FILES.items() if name in files}
    valued |= {name: name for name in chosen.values() if name in files}
    names = list(valued)
    naming = name_columns(
        [valued[name] if name not in chosen.values() else name for name in names], chosen=chosen, source=root
    )
    taken = {ours: names[place] for ours, place in naming.places.items()}
    for ours, name in taken.items():
        if ours in table:
            raise UserError(f"{root / name}: what is {ours!r} stands in {_WAVS} or {_SEGMENTS} already; take it away")
        values = {utterance: value for utterance, value, _ in _lines(root / name)}
        table[ours] = [values.get(utterance, "") for utterance in table["id"]]
        absent = sum(utterance not in values for utterance in table["id"])
        beyond = len(values) - (len(table) - absent)
        if absent:
            notes.append(f"{name}: {absent:,} utterances are not in it")
        if beyond:
            notes.append(f"{name}: {beyond:,} of its utterances are in no audio, and are left out")
    unused = [name for name in files if name not in taken.values() and name not in _COMPUTED and name != _CHANNELS]
    if unused:
        notes.append(f"files not used: {first(unused, 12)}")
    return taken
