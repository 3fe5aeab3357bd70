"""Tar shards as WebDataset has them: ``KEY.wav`` (or other audio) beside ``KEY.json``, ``KEY.txt``, ``KEY.cls``.

Only where the audio lies is read, and the small files of labels; the audio of an utterance has a path inside its shard
(:mod:`emoprobe.extract.audio.shards`) and is decoded from there when it is needed.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from ..audio.shards import Member, head_of, is_tar, tar_members
from .cells import MissingWords
from .naming import name_columns
from .table import Corpus
from .text import decode
from .values import first

#: Endings of audio, video included, so that what cannot be decoded is listed and not passed over.
AUDIO = (
    "wav", "flac", "mp3", "ogg", "oga", "opus", "aif", "aiff", "au", "caf", "w64", "m4a", "mp4", "aac", "webm",
)  # fmt: skip
#: Endings of labels: of a JSON object the fields are columns, of the others the text is one.
_TEXTS = {"txt": "transcript", "text": "transcript", "cls": "emotion"}
_LARGEST_LABEL = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


def is_tar_set(place: Path) -> bool:
    """Whether a place is a tar archive, or a folder of them."""
    place = Path(place)
    if place.is_file():
        return is_tar(head_of(place)) or place.name.lower().endswith(_ENDINGS)
    return place.is_dir() and any(_archives(place))


def read(root: Path, *, keep_words: Collection[str] = (), columns: Mapping[str, str] | None = None) -> Corpus:
    """Entry point ``tar``.

    Parameters
    ----------
    root : Path
        A tar archive, or a folder of them (subfolders included).
    keep_words : collection of str
        As :class:`.cells.MissingWords` takes it.
    columns : mapping, optional
        Our name of a column to the one in the labels, see :mod:`.naming`.

    Returns
    -------
    Corpus
        Named after the archive or folder. Without an ``id`` the key's name is the id.

    Raises
    ------
    UserError
        If there is no archive, one is compressed, damaged or cut off, or an utterance has two files of audio.
    """
    root = Path(root).absolute()
    archives = [root] if root.is_file() else sorted(_archives(root))
    if not archives:
        raise UserError(f"{root}: no tar archive (*.tar) in it; give the folder of the shards, or one of them")
    base = root if root.is_dir() else root.parent
    rows: list[dict] = []
    keys: list[str] = []
    passed: Counter[str] = Counter()
    silent = 0
    for archive in archives:
        relative = archive.relative_to(base) if archive.is_relative_to(base) else archive
        for key, files in _samples(archive).items():
            audio = [ending for ending in files if ending in AUDIO]
            if len(audio) > 1:
                raise UserError(f"{archive}: {key} has {len(audio)} files of audio ({first(audio)}); keep one")
            passed.update(ending for ending in files if ending not in (*AUDIO, *_TEXTS, "json"))
            if not audio:
                silent += 1
                continue
            cells = _labels(archive, files)
            keys.append(Path(key).name)
            rows.append({**cells, "path": f"{relative}/{files[audio[0]].name}"})
    if not rows:
        raise UserError(f"{root}: no audio in it (files that end in {first(AUDIO, 20)})")
    where = [str(row["path"]) for row in rows].__getitem__
    table = pd.DataFrame(rows, dtype=object)
    if "id" not in name_columns(list(table.columns), chosen=columns, source=root).places:
        table["id"] = keys
    naming = name_columns(list(table.columns), chosen=columns, source=root)
    table, called = naming.take(table, source=root, where=where)
    notes = naming.notes()
    if passed:
        notes.append("files not used: " + first([f".{ending} ({n:,})" for ending, n in passed.most_common()], 12))
    if silent:
        notes.append(f"{silent:,} keys have no audio and are left out")
    return Corpus.from_table(
        root.stem if root.is_file() else root.name,
        base,
        table,
        source=root,
        notes=notes,
        where=where,
        missing=MissingWords(keep_words),
        called=called,
        option="--columns",
    )


_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def _archives(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.name.lower().endswith(_ENDINGS) and path.is_file())


def _samples(archive: Path) -> dict[str, dict[str, Member]]:
    """The files of each key, by their endings; a key is a path up to the first dot of its name."""
    head = head_of(archive)
    program = next((program for magic, program in _COMPRESSED.items() if head.startswith(magic)), None)
    if program is not None:
        raise UserError(f"{archive}: is compressed, and nothing in it can be found alone; first: {program} {archive}")
    try:
        members = tar_members(archive)
    except (tarfile.TarError, OSError) as problem:
        raise UserError(f"{archive}: is damaged, cut off, or no tar archive ({problem}); fetch it again") from None
    samples: dict[str, dict[str, Member]] = {}
    for member in members:
        if member.name.partition("/")[0] in ("", ".."):
            raise UserError(f"{archive}: holds {member.name!r}, which leads out of the archive; leave it out")
        folder, _, base = member.name.rpartition("/")
        stem, _, ending = base.partition(".")
        if not stem:  # ._a.wav, as a Mac leaves beside each file
            continue
        files = samples.setdefault(f"{folder}/{stem}".lstrip("/"), {})
        if ending.lower() in files:
            raise UserError(f"{archive}: holds {member.name} more than once; write it anew")
        files[ending.lower()] = member
    return samples


def _labels(archive: Path, files: dict[str, Member]) -> dict:
    cells: dict = {}
    for ending, member in files.items():
        if ending != "json" and ending not in _TEXTS:
            continue
        place = archive / member.name
        if member.size > _LARGEST_LABEL:
            raise UserError(f"{place}: {member.size:,} bytes are no label; keep labels alone in it")
        with archive.open("rb") as file:
            file.seek(member.begin)
            text = decode(file.read(member.size), place)
        cells |= _fields(text, place) if ending == "json" else {_TEXTS[ending]: " ".join(text.split())}
    return cells


def _fields(text: str, place: Path) -> dict:
    try:
        fields = json.loads(text)
    except ValueError as problem:
        raise UserError(f"{place}: is no JSON ({problem}); write it again") from None
    if not isinstance(fields, dict):
        raise UserError(f"{place}: holds no JSON object such as {{'emotion': 'happy'}}; write one")
    return {name: value for name, value in fields.items() if not isinstance(value, dict | list)}
