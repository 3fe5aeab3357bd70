"""MSP-Podcast, every release so far: arousal, valence and dominance on 1 to 7, speakers, official splits.

Lotfian and Busso, "Building naturalistic emotionally balanced speech corpus by retrieving emotional speech from
existing podcast recordings", IEEE Transactions on Affective Computing 10(4), 2019. The makers license the corpus.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .separated import csv_rows
from .table import DIMENSIONS, Corpus
from .text import decode_leniently, read_bytes, read_text
from .values import first

# Both spellings occur. CSV before JSON: where a release has both they hold the same fields.
_LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv", "labels_consensus.json", "labels_concensus.json")
_AUDIO_FOLDERS = ("audios", "audio")
_WRITTEN = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
_FIELDS = {
    "filename": "path",
    "emoclass": "emotion",
    "emoact": "arousal",
    "emoval": "valence",
    "emodom": "dominance",
    "spkrid": "speaker",
    "gender": "gender",
    "split_set": "split",
}

_NO_AGREEMENT = "X"
_SCALE = (1.0, 7.0)


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read MSP-Podcast from its root folder.

    Parameters
    ----------
    root : Path
        Holds ``Audios`` (or ``Audio``), ``Labels`` (or ``labels``), and, depending on the release, ``Transcripts``,
        ``Speaker_ids.txt`` and ``Partitions.txt``; upper and lower case do not matter.
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.

    Returns
    -------
    Corpus
        One row for each file that has labels or is in a partition. ``EmoClass`` codes are kept, but for
        ``X``, no agreement, which is no emotion and becomes ``""``. Speakers ``Unknown``
        become ``""``. Rows whose labels are withheld have NaN.

    Raises
    ------
    UserError
        Naming the file and what is wrong with it.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - links are the user's own
    entries = _children(root)
    audio = next((entries[name] for name in _AUDIO_FOLDERS if name in entries), None)
    if audio is None:
        raise UserError(f"{root}: no folder 'Audios' or 'Audio'; give the folder that MSP-Podcast was unpacked to")
    labels = _children(entries["labels"]) if "labels" in entries else entries
    source = next((labels[name] for name in _LABEL_FILES if name in labels), None)
    if source is None:
        raise UserError(f"{entries.get('labels', root)}: none of {', '.join(_LABEL_FILES)}; unpack the labels there")
    notes: list[str] = []
    missing = MissingWords(keep_words)
    table, places = _consensus(source, missing)
    # What the label file lacks (a column, or the cell) comes from the text files beside it.
    extra = {**labels, **entries}
    if "partitions.txt" in extra:
        table, places = _add_partitions(table, places, extra["partitions.txt"], notes)
    if "speaker_ids.txt" in extra:
        _add_speakers(table, extra["speaker_ids.txt"], notes)
    table["speaker"] = [_speaker(name) for name in table["speaker"]]
    if "emotion" in table:
        table.loc[table["emotion"].str.strip() == _NO_AGREEMENT, "emotion"] = ""

    unlisted = _audio_files(audio) - set(table["path"])
    if unlisted:
        notes.append(f"{len(unlisted):,} audio files have no label and no partition, and are left out")
    if "transcripts" in entries:
        table["transcript"] = _transcripts(entries["transcripts"], table["path"], notes)
    names = table["path"]
    for row, name in enumerate(names):
        if not name or re.search(r"[/\\]", name):
            raise UserError(f"{source}, {places[row]}: {name!r} is not the name of a file in {audio}; correct it")
    table["path"] = [f"{audio.name}/{name}" for name in names]
    table["id"] = [Path(name).stem for name in names]
    return Corpus.from_table(
        "msp-podcast",
        root,
        table,
        source=source,
        notes=notes,
        where=lambda row: places[row],
        missing=missing,
        called=dict(zip(_FIELDS.values(), _WRITTEN, strict=True)),
        scales=dict.fromkeys(DIMENSIONS, _SCALE),
    )


def _children(folder: Path) -> dict[str, Path]:
    """What a folder holds, by name in lower case."""
    try:
        return {child.name.casefold(): child for child in sorted(folder.iterdir())}
    except OSError as problem:
        raise UserError(f"{folder}: cannot be read ({problem.strerror}); give the corpus's root folder") from None


def _audio_files(folder: Path) -> set[str]:
    with os.scandir(folder) as found:
        return {item.name for item in found if item.name.endswith(".wav") and not item.name.startswith(".")}


def _consensus(source: Path, missing: MissingWords) -> tuple[pd.DataFrame, list[str]]:
    """The label file as a table in our names, absent columns empty, and the place of each row in it."""
    if source.suffix.casefold() == ".json":
        rows, places = _json_rows(source)
    else:
        header, cells, lines = csv_rows(read_bytes(source), source)
        rows = [dict(zip(header, row, strict=True)) for row in cells]
        places = [f"line {line}" for line in lines]
    if not rows:
        raise UserError(f"{source}: holds no labels; unpack it again")
    columns: dict[str, list[object]] = {ours: [] for ours in _FIELDS.values()}
    for row in rows:
        named = {str(name).strip().casefold(): value for name, value in row.items()}
        for theirs, ours in _FIELDS.items():
            value = named.get(theirs)
            if isinstance(value, float) and math.isnan(value):
                value = None
            # Unknown is this corpus's own word for a speaker whom nobody named.
            if isinstance(value, str) and not (ours == "speaker" and _speaker(value) == ""):
                value = missing.text(ours, value)
            columns[ours].append("" if value is None else value)
    absent = [
        theirs
        for theirs in ("FileName", "EmoAct", "EmoVal", "EmoDom")
        if not any(value != "" for value in columns[_FIELDS[theirs.casefold()]])
    ]
    if absent:
        raise UserError(f"{source}: no column {first(absent)}; is this the consensus label file of MSP-Podcast?")
    columns["path"] = [str(name) for name in columns["path"]]
    return pd.DataFrame(columns, dtype=object), places


def _json_rows(source: Path) -> tuple[list[dict], list[str]]:
    try:
        held = json.loads(read_text(source))
    except json.JSONDecodeError as problem:
        raise UserError(f"{source}, line {problem.lineno}: is no JSON ({problem.msg}); unpack it again") from None
    except RecursionError:
        raise UserError(f"{source}: is nested too deeply for a label file; unpack it again") from None
    if not isinstance(held, dict) or not all(isinstance(entry, dict) for entry in held.values()):
        raise UserError(f"{source}: is no object of one object a file name; unpack it again")
    return [{"FileName": name, **entry} for name, entry in held.items()], [f"entry {name!r}" for name in held]


def _pairs(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number and both halves of each ``left; right`` line, blanks stripped."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        left, separator, right = line.partition(";")
        if not separator:
            raise UserError(f"{path}, line {number}: {line.strip()[:60]!r} has no semicolon; unpack the file again")
        yield number, left.strip(), right.strip()


def _add_partitions(
    table: pd.DataFrame, places: list[str], path: Path, notes: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Splits where the label file has none; files that only the partition names are added, their labels missing."""
    partition: dict[str, tuple[str, int]] = {}
    for number, split, name in _pairs(path):
        if name in partition and partition[name][0] != split:
            raise UserError(
                f"{path}, line {number}: {name} is in {split} and in {partition[name][0]}; keep one of them"
            )
        partition[name] = (split, number)
    known = set(table["path"])
    table["split"] = [
        split or partition.get(name, ("", 0))[0] for split, name in zip(table["split"], table["path"], strict=True)
    ]
    unlabelled = [name for name in partition if name not in known]
    if not unlabelled:
        return table, places
    counts = Counter(partition[name][0] for name in unlabelled)
    listed = ", ".join(f"{split} {count:,}" for split, count in sorted(counts.items()))
    notes.append(f"{len(unlabelled):,} files are in {path.name} without labels ({listed}): extracted, labels missing")
    added = pd.DataFrame({"path": unlabelled, "split": [partition[name][0] for name in unlabelled]}, dtype=object)
    table = pd.concat([table, added], ignore_index=True).astype(object)
    table = table.where(table.notna(), "")
    return table, [*places, *(f"{path.name} line {partition[name][1]}" for name in unlabelled)]


def _add_speakers(table: pd.DataFrame, path: Path, notes: list[str]) -> None:
    """Speakers and genders where the label file has none."""
    speaker_of: dict[str, str] = {}
    gender_of: dict[str, str] = {}
    for _, left, right in _pairs(path):
        if left.casefold().endswith(".wav"):
            speaker_of[left] = right
        else:
            gender_of[_speaker(left)] = right
    table["speaker"] = [
        speaker if speaker != "" else speaker_of.get(name, "")
        for speaker, name in zip(table["speaker"], table["path"], strict=True)
    ]
    table["gender"] = [
        gender or gender_of.get(_speaker(speaker), "")
        for gender, speaker in zip(table["gender"], table["speaker"], strict=True)
    ]


def _speaker(name: object) -> str:
    """``30`` for 30, 30.0, ``30`` and ``Speaker_30``; nothing for ``Unknown``."""
    text = str(int(name)) if isinstance(name, float) and name.is_integer() else str(name).strip()
    text = re.sub(r"(?i)^speaker_", "", text)
    return "" if text.casefold() in ("unknown", "") else text


def _transcripts(folder: Path, names: pd.Series, notes: list[str]) -> list[str]:
    with os.scandir(folder) as found:
        present = {item.name for item in found}
    texts, damaged = [], []
    for name in names:
        file = f"{Path(name).stem}.txt"
        if file not in present:
            texts.append("")
            continue
        text, replaced = decode_leniently(read_bytes(folder / file))
        texts.append(text)
        if replaced:
            damaged.append(file)
    if damaged:
        notes.append(f"{len(damaged):,} transcripts are not UTF-8, some letters were replaced: {first(damaged, 2)}")
    absent = sum(not text for text in texts)
    if absent:
        notes.append(f"{absent:,} utterances have no transcript")
    return texts
