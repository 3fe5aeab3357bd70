"""MSP-Podcast, every release so far: arousal, valence and dominance on 1 to 7, speakers, official splits.

Lotfian and Busso, "Building naturalistic emotionally balanced speech corpus by retrieving emotional speech from
existing podcast recordings", IEEE Transactions on Affective Computing 10(4), 2019. The makers license the corpus.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from . import msp_ratings
from .cells import MissingWords
from .copies import first_rows
from .folders import AudioTree, audio_name, children, corpus_root, locate, nested, stem_of
from .raters import rater_columns, summarise
from .separated import csv_rows
from .table import DIMENSIONS, Corpus
from .text import read_bytes, read_json, read_text
from .transcripts import read_transcripts
from .values import first

_LABEL_FOLDERS, _AUDIO_FOLDERS, _TRANSCRIPT_FOLDERS = ("labels", "label"), ("audios", "audio"), ("transcripts",)

# Both spellings occur, and one file a fold where a benchmark carries its own labels.
_LABEL_FILE = re.compile(r"labels_con[sc]ensus(_\d+)?\.(csv|json)")
_PARTITIONS, _SPEAKERS = ("partitions.txt", "partition.txt"), ("speaker_ids.txt",)
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

# Of files that nobody has labelled, or that were left out of every part.
_OF_NO_SPLIT = ("none", "unlabeled", "unlabelled")


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read MSP-Podcast from its root folder.

    Parameters
    ----------
    root : Path
        Holds ``Audios``, ``Labels``, and, depending on the release, ``Transcripts``, ``Speaker_ids.txt`` and
        ``Partitions.txt``, in any of the spellings that occur (docs/readers.md); or the folder above it; or the
        very label file, where there are several. Audio that is elsewhere below the root is found by its stem.
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.

    Returns
    -------
    Corpus
        One row for each file that has labels or is in a partition. ``EmoClass`` codes are kept, but for
        ``X``, no agreement, which is no emotion and becomes ``""``. Speakers ``Unknown``
        become ``""``. Rows whose labels are withheld have NaN. Rows of no split (``None``, ``Unlabeled``) and rows
        that say a second time what another says are left out, with their counts in the notes.

    Raises
    ------
    UserError
        Naming the file and what is wrong with it.
    """
    notes: list[str] = []
    root, source = _begin(Path(root), notes)
    entries, beside = children(root), children(source.parent)
    tree = AudioTree(root)
    audio = next(iter(nested(root, _AUDIO_FOLDERS)), None)
    if audio is None and not len(tree):
        raise UserError(
            f"{root}: no folder 'Audios' or 'Audio', nor any audio file; give the folder that it was unpacked to"
        )
    missing = MissingWords(keep_words)
    columns, places = _consensus(source, missing)
    # What the label file lacks (a column, or the cell) comes from the text files beside it.
    extra = {**beside, **entries}
    partitions = next((extra[name] for name in _PARTITIONS if name in extra), None)
    if partitions is not None:
        columns, places = _add_partitions(columns, places, partitions, notes)
    listed = columns["path"]
    columns, places = _drop_without_split(columns, places, notes)
    of_no_split = sorted({*listed} - {*columns["path"]})
    columns, places = _drop_copies(columns, places, notes)
    for speakers in (extra[name] for name in _SPEAKERS if name in extra):
        _add_speakers(columns, speakers)
    columns["speaker"] = [_speaker(name) for name in columns["speaker"]]
    columns["emotion"] = ["" if str(code).strip() == _NO_AGREEMENT else code for code in columns["emotion"]]
    names = columns["path"]
    folder = "Audios" if audio is None else audio.name
    for row, name in enumerate(names):
        if not name or re.search(r"[/\\]", name):
            raise UserError(
                f"{source}, {_place(places[row])}: {name!r} is not the name of a file in {root / folder}; correct it"
            )
    columns["id"] = [stem_of(name) for name in names]
    columns["path"] = locate(
        tree,
        (f"{folder}/{name}" for name in names),
        notes,
        left_out=(f"{folder}/{name}" for name in of_no_split if name and not re.search(r"[/\\]", name)),
    )
    del tree
    single = next((beside[name] for name in msp_ratings.FILES if name in beside), None)
    if single is not None:
        said: list[str] = []
        summary = summarise(*msp_ratings.read_ratings(single), said)
        columns |= {name: held.tolist() for name, held in rater_columns(summary, columns["id"], said).items()}
        notes += [f"{single.name}: {note}" for note in said]
    transcripts = nested(root, _TRANSCRIPT_FOLDERS)
    if transcripts:
        columns["transcript"] = read_transcripts(transcripts, columns["id"], notes)
    return Corpus.from_table(
        "msp-podcast",
        root,
        pd.DataFrame(columns, dtype=object),
        source=source,
        notes=notes,
        where=lambda row: _place(places[row]),
        missing=missing,
        called=dict(zip(_FIELDS.values(), _WRITTEN, strict=True)),
        scales=dict.fromkeys(DIMENSIONS, _SCALE),
    )


def _begin(given: Path, notes: list[str]) -> tuple[Path, Path]:
    """The root folder and the label file."""
    if given.is_file():
        source = Path(os.path.abspath(given))  # noqa: PTH100 - links are the user's own
        root = source.parent
        while root.name.casefold() in _LABEL_FOLDERS:
            root = root.parent
        return root, source
    root = corpus_root(given, lambda folder: bool(_label_files(folder)), notes)
    labels = _label_files(root)
    whole = [path for path in labels if not _fold_of(path)] or labels
    if not whole:
        places = ", ".join(map(str, nested(root, _LABEL_FOLDERS))) or root
        raise UserError(
            f"{places}: none of labels_consensus.csv, labels_concensus.csv, labels_consensus.json, "
            "labels_concensus.json; unpack the labels there"
        )
    if len({path.parent for path in whole}) > 1 or (len(whole) > 1 and _fold_of(whole[0])):
        raise UserError(
            f"{root}: holds several label files; give the one that is meant, as in msp-podcast:{whole[0]}: "
            f"{first([path.relative_to(root) for path in whole], 12)}"
        )
    return root, whole[0]


def _label_files(root: Path) -> list[Path]:
    """The label files of a root folder; CSV before JSON: where a release has both they hold the same fields."""
    held = [
        path
        for folder in (*nested(root, _LABEL_FOLDERS), root)
        for name, path in children(folder).items()
        if _LABEL_FILE.fullmatch(name)
    ]
    return sorted(held, key=lambda path: (path.suffix.casefold() != ".csv", len(path.name), path.name, path))


def _fold_of(path: Path) -> str | None:
    named = _LABEL_FILE.fullmatch(path.name.casefold())
    return None if named is None else named[1]


def _consensus(source: Path, missing: MissingWords) -> tuple[dict[str, list], Sequence[int | str]]:
    """The label file as columns in our names, absent ones empty, and the place of each row in it."""
    is_json = source.suffix.casefold() == ".json"
    header, rows, places = _json_rows(source) if is_json else csv_rows(read_bytes(source), source)
    if not rows:
        raise UserError(f"{source}: holds no labels; unpack it again")
    place_of = {str(name).strip().casefold(): index for index, name in enumerate(header)}
    columns: dict[str, list] = {}
    for theirs, ours in _FIELDS.items():
        place = place_of.get(theirs)
        columns[ours] = [""] * len(rows) if place is None else [_cell(row[place], ours, missing) for row in rows]
    absent = [
        theirs
        for theirs in ("FileName", "EmoAct", "EmoVal", "EmoDom")
        if not any(value != "" for value in columns[_FIELDS[theirs.casefold()]])
    ]
    if absent:
        raise UserError(f"{source}: no column {first(absent)}; is this the consensus label file of MSP-Podcast?")
    columns["path"] = [audio_name(str(name)) for name in columns["path"]]
    return columns, places


def _place(place: int | str) -> str:
    return place if isinstance(place, str) else f"line {place}"


def _cell(value: object, column: str, missing: MissingWords) -> object:
    """What a cell says, ``""`` for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # Unknown is this corpus's own word for a speaker whom nobody named, and None for a file of no split.
    if not isinstance(value, str) or (column == "speaker" and _speaker(value) == ""):
        return value
    return value.strip() if column == "split" and _is_of_no_split(value) else missing.text(column, value)


def _is_of_no_split(word: object) -> bool:
    return str(word).strip().casefold() in _OF_NO_SPLIT


def _json_rows(source: Path) -> tuple[list[str], list[list], list[str]]:
    """Header, rows and places of a JSON object of one object a file name."""
    held = read_json(source)
    if not isinstance(held, dict) or not all(isinstance(entry, dict) for entry in held.values()):
        raise UserError(f"{source}: is no object of one object a file name; unpack it again")
    header = ["FileName", *dict.fromkeys(name for entry in held.values() for name in entry)]
    rows = [[name, *(entry.get(field) for field in header[1:])] for name, entry in held.items()]
    return header, rows, [f"entry {name!r}" for name in held]


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
    columns: dict[str, list], places: Sequence[int | str], path: Path, notes: list[str]
) -> tuple[dict[str, list], Sequence[int | str]]:
    """Splits where the label file has none; files that only the partition names are added, their labels missing."""
    partition: dict[str, tuple[str, int]] = {}
    for number, split, given in _pairs(path):
        name = audio_name(given)
        if name in partition and partition[name][0] != split:
            raise UserError(
                f"{path}, line {number}: {name} is in {split} and in {partition[name][0]}; keep one of them"
            )
        partition[name] = (split, number)
    known = set(columns["path"])
    columns["split"] = [
        split or partition.get(name, ("", 0))[0] for split, name in zip(columns["split"], columns["path"], strict=True)
    ]
    unlabelled = [name for name in partition if name not in known]
    counts = Counter(partition[name][0] for name in unlabelled if not _is_of_no_split(partition[name][0]))
    if counts:
        listed = ", ".join(f"{split} {count:,}" for split, count in sorted(counts.items()))
        notes.append(
            f"{counts.total():,} files are in {path.name} without labels ({listed}): extracted, labels missing"
        )
    added = {"path": unlabelled, "split": [partition[name][0] for name in unlabelled]}
    columns = {name: [*held, *added.get(name, [""] * len(unlabelled))] for name, held in columns.items()}
    return columns, [*places, *(f"{path.name} line {partition[name][1]}" for name in unlabelled)]


def _drop_without_split(
    columns: dict[str, list], places: Sequence[int | str], notes: list[str]
) -> tuple[dict[str, list], Sequence[int | str]]:
    words = Counter(split for split in columns["split"] if _is_of_no_split(split))
    if not words:
        return columns, places
    listed = ", ".join(f"{word} {count:,}" for word, count in sorted(words.items()))
    notes.append(f"{words.total():,} rows belong to no split by the corpus's own word ({listed}), and are left out")
    return _keep(columns, places, [row for row, split in enumerate(columns["split"]) if split not in words])


def _drop_copies(
    columns: dict[str, list], places: Sequence[int | str], notes: list[str]
) -> tuple[dict[str, list], Sequence[int | str]]:
    """Without the rows that say what an earlier row of the same file says; two that differ are refused later."""
    kept = first_rows(pd.DataFrame(columns, dtype=object), notes)
    return _keep(columns, places, kept.tolist())


def _keep(
    columns: dict[str, list], places: Sequence[int | str], rows: Sequence[int]
) -> tuple[dict[str, list], Sequence[int | str]]:
    return {name: [held[row] for row in rows] for name, held in columns.items()}, [places[row] for row in rows]


def _add_speakers(columns: dict[str, list], path: Path) -> None:
    """Speakers and genders where the label file has none."""
    speaker_of: dict[str, str] = {}
    gender_of: dict[str, str] = {}
    for _, left, right in _pairs(path):
        if re.match(r"(?i)speaker_|unknown", left):
            gender_of[_speaker(left)] = right
        else:
            speaker_of[audio_name(left)] = right
    columns["speaker"] = [
        speaker if speaker != "" else speaker_of.get(name, "")
        for speaker, name in zip(columns["speaker"], columns["path"], strict=True)
    ]
    columns["gender"] = [
        gender or gender_of.get(_speaker(speaker), "")
        for gender, speaker in zip(columns["gender"], columns["speaker"], strict=True)
    ]


def _speaker(name: object) -> str:
    """``30`` for 30, 30.0, ``30`` and ``Speaker_30``; nothing for ``Unknown``."""
    text = str(int(name)) if isinstance(name, float) and name.is_integer() else str(name).strip()
    text = re.sub(r"(?i)^speaker_", "", text)
    return "" if text.casefold() in ("unknown", "") else text
