"""The folds of published benchmarks, so that numbers compare with theirs: files that lie beside a corpus.

- EmoBox: ``fold_1/NAME_train_fold_1.jsonl``, ``NAME_test_fold_1.jsonl`` and, for some corpora,
  ``NAME_valid_fold_1.jsonl``; the same as ``.json``.
- EMO-SUPERB: ``labels_consensus_1.csv`` to ``labels_consensus_5.csv``, with ``Train``, ``Development`` and ``Test`` in
  the column ``Split_Set``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from emoprobe.errors import UserError

from .folders import stem_of
from .separated import csv_rows
from .table import Corpus
from .text import read_bytes, read_json, read_text
from .values import first, normalise_split


@dataclass(frozen=True)
class Part:
    """One part of one fold: the stems of its files."""

    fold: int
    split: str
    stems: tuple[str, ...]


def add_splits(corpus: Corpus, folder: Path) -> Corpus:
    """A corpus with the folds, or the one split, of a benchmark, and with its utterances alone.

    Parameters
    ----------
    corpus : Corpus
    folder : Path
        Holds the benchmark's files, itself or in folders.

    Returns
    -------
    Corpus
        Several folds name each utterance's fold, the one that tests it, and there is no split; a single one gives the
        splits. Utterances that the benchmark does not use are left out, and counted in the notes.

    Raises
    ------
    UserError
        If there are no such files, one cannot be read, an utterance is tested in two folds, or none is in the corpus.
    """
    parts = _parts(folder)
    stems = [stem_of(path) for path in corpus.utterances["path"]]
    names = stems if len(set(stems)) == len(stems) else list(corpus.utterances["id"])
    folds = sorted({part.fold for part in parts})
    notes: list[str] = []
    if len(folds) == 1:
        column, value_of = "split", _once(folder, ((stem, part.split) for part in parts for stem in part.stems))
        counts = Counter(value_of.values())
        notes.append(f"split: {', '.join(f'{name} {count:,}' for name, count in counts.items())}")
    else:
        column = "fold"
        tests = [part for part in parts if part.split.startswith("test")]
        value_of = _once(folder, ((stem, str(part.fold)) for part in tests for stem in part.stems))
        notes.append(f"{len(folds)} folds, each utterance in the one that tests it")
        _note_other_training(parts, value_of, notes)
    kept = [row for row, name in enumerate(names) if name in value_of]
    if not kept:
        raise UserError(
            f"{folder}: none of its utterances is one of {corpus.name} (here {first(value_of, 2)}; there "
            f"{first(names, 2)}); give the folder of this corpus"
        )
    if len(kept) < len(names):
        notes.append(f"{len(names) - len(kept):,} of {len(names):,} utterances are not used there, and are left out")
    absent = len(value_of) - len(kept)
    if absent:
        notes.append(f"{absent:,} of its {len(value_of):,} utterances are not in this corpus")
    utterances = corpus.utterances.iloc[kept].reset_index(drop=True)
    utterances["split"] = ""
    utterances[column] = [value_of[names[row]] for row in kept]
    return replace(corpus, utterances=utterances, notes=(*corpus.notes, *(f"{folder.name}: {note}" for note in notes)))


def _parts(folder: Path) -> list[Part]:
    """Every part of every fold, in the order of folds."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that holds a benchmark's folds")
    for pattern, read in _BENCHMARKS.items():
        held: dict[str, tuple[re.Match, Path]] = {}
        # A part that is there as lines and as one object is read once.
        for path in sorted(folder.rglob("*"), reverse=True):
            named = re.fullmatch(pattern, path.name)
            if named and not path.name.startswith("."):
                held.setdefault(named["part"], (named, path))
                if held[named["part"]][1].with_suffix("") != path.with_suffix(""):
                    raise UserError(
                        f"{folder}: {held[named['part']][1]} and {path} are the same part; give the one corpus's folder"
                    )
        if held:
            parts = [part for named, path in held.values() for part in read(path, named)]
            return sorted(parts, key=lambda part: (part.fold, part.split))
    raise UserError(
        f"{folder}: holds no folds of EmoBox (NAME_test_fold_1.jsonl) or EMO-SUPERB (labels_consensus_1.csv); give the "
        "folder that holds them"
    )


def _emobox(path: Path, named: re.Match) -> Iterator[Part]:
    if path.suffix == ".jsonl":
        entries = []
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if line.strip():
                try:
                    entries.append((f"line {number}", json.loads(line)))
                except (json.JSONDecodeError, RecursionError):
                    raise UserError(f"{path}, line {number}: is no JSON; download the file again") from None
    else:
        held = read_json(path)
        entries = [(f"entry {key!r}", entry) for key, entry in held.items()] if isinstance(held, dict) else [("", held)]
    for place, entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("wav"), str):
            raise UserError(f"{path}, {place}: names no 'wav'; is this a file of EmoBox?")
    yield Part(int(named["fold"]), _EMOBOX_SPLITS[named["split"]], tuple(stem_of(entry["wav"]) for _, entry in entries))


def _emosuperb(path: Path, named: re.Match) -> Iterator[Part]:
    header, rows, lines = csv_rows(read_bytes(path), path)
    if not {"FileName", "Split_Set"} <= set(header):
        raise UserError(
            f"{path}: no columns FileName and Split_Set (columns: {first(header, 12)}); is it EMO-SUPERB's?"
        )
    file, split = header.index("FileName"), header.index("Split_Set")
    stems: dict[str, list[str]] = {}
    for row, line in zip(rows, lines, strict=True):
        part = normalise_split(row[split])
        if not part:
            raise UserError(f"{path}, line {line}: the split {row[split]!r} is none of Train, Development, Test")
        stems.setdefault(part, []).append(stem_of(row[file].strip()))
    yield from (Part(int(named["fold"]), part, tuple(held)) for part, held in stems.items())


#: Our word for each split of EmoBox.
_EMOBOX_SPLITS = {"train": "train", "valid": "development", "test": "test"}

#: Names of the files, and what reads one.
_BENCHMARKS = {
    r"(?P<part>.*_(?P<split>train|valid|test)_fold_(?P<fold>\d+))\.jsonl?": _emobox,
    r"(?P<part>labels_consensus_(?P<fold>\d+))\.csv": _emosuperb,
}


def _once(folder: Path, pairs: Iterator[tuple[str, str]]) -> dict[str, str]:
    """Fold or split by stem; none has two."""
    value_of: dict[str, str] = {}
    for stem, value in pairs:
        if value_of.setdefault(stem, value) != value:
            raise UserError(f"{folder}: {stem} is in {value_of[stem]} and in {value}; give the folder of one benchmark")
    return value_of


def _note_other_training(parts: list[Part], fold_of: dict[str, str], notes: list[str]) -> None:
    """Say where a fold trains on less than all that it does not test, and that development parts are not kept."""
    for fold in sorted({part.fold for part in parts}):
        used = {
            stem for part in parts if part.fold == fold and not part.split.startswith("test") for stem in part.stems
        }
        others = {stem for stem, name in fold_of.items() if name != str(fold)}
        if used and used != others:
            notes.append(
                f"fold {fold} trains there on {len(used):,} utterances, and here on all {len(others):,} others"
            )
    if any(part.split == "development" for part in parts):
        notes.append(
            "its development parts are trained on as well; penalties are chosen by folds within the training part"
        )
