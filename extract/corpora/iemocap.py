"""IEMOCAP: five sessions of two actors, valence, activation (here arousal) and dominance on 1 to 5.

Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database", Language Resources and Evaluation 42(4),
2008. The makers license the corpus.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError

from .cells import MissingWords
from .copies import first_rows
from .folders import AudioTree, corpus_root, locate
from .raters import rater_columns, summarise
from .table import DIMENSIONS, Corpus
from .text import decode_leniently, read_bytes, read_text
from .values import first, parse_rating

# [6.2901 - 8.2357] <tab> Ses01F_impro01_F000 <tab> neu <tab> [2.5000, 2.5000, 2.5000]
_UTTERANCE = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(\S+)\s+(\S+)\s+\[([^\]]*)\]\s*")
_NAME = re.compile(r"Ses(\d+)[FM]_\w+_([FM])\w*")
_SPOKEN = re.compile(r"(\S+)\s+\[[^\]]*\]:\s*(.*)")
# A-E3: <tab> val 3; act 2; dom  2; <tab> ()
_RATER = re.compile(r"A-(E\d+):\s*val\s*([^;]*?)\s*;\s*act\s*([^;]*?)\s*;\s*(?:dom\s*([^;]*?)\s*;?)?\s*(?:\(.*)?")
_SESSION = r"(?i)Session\d+"
_NO_AGREEMENT = "xxx"
# Means of ratings from 1 to 5; the released files hold a few of raters who went one beyond.
_SCALE = (0.5, 5.5)
_GENDER = {"F": "female", "M": "male"}


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read IEMOCAP from the folder that holds ``Session1`` to ``Session5``.

    Parameters
    ----------
    root : Path
        Or the folder above it. Some sessions may be absent; files whose names begin with a dot are skipped. Audio that
        is elsewhere below the root is found by its stem.
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.

    Returns
    -------
    Corpus
        Utterances in the order of sessions, dialogues and time. Emotion codes are kept, ``oth`` too; ``xxx``,
        on which the raters did not agree, is no emotion and becomes ``""``. The speaker is the session and the
        letter in the utterance's own name, ``Ses01M``. The two actors of a session talk to each other: group and fold
        are the session, so that one session is left out at a time. No splits. A missing rating is NaN.

    Raises
    ------
    UserError
        Naming the file, the line and what is wrong with it.
    """
    notes: list[str] = []
    root = corpus_root(Path(root), lambda folder: bool(_visible(folder, _SESSION)), notes)
    sessions = _visible(root, _SESSION)
    if not sessions:
        raise UserError(f"{root}: no folder Session1, Session2, ...; give the one that holds them")
    rows: list[dict[str, object]] = []
    places: list[str] = []
    heard = Raters()
    spoken: dict[str, str] = {}
    damaged: list[str] = []
    missing = MissingWords(keep_words)
    for session in sessions:
        folder = session / "dialog" / "EmoEvaluation"
        evaluations = _visible(folder, r"Ses\w+\.txt") if folder.is_dir() else []
        if not evaluations:
            raise UserError(f"{folder}: no evaluation files Ses*.txt; unpack {session.name} again")
        for path in evaluations:
            _read_dialogue(path, session, rows, places, missing, heard)
        folder = session / "dialog" / "transcriptions"
        for path in _visible(folder, r"Ses\w+\.txt") if folder.is_dir() else []:
            _read_transcript(path, spoken, damaged)
    if not rows:
        raise UserError(f"{root}: the evaluation files hold no utterances; unpack the corpus again")
    rows, places = _without_copies(rows, places, notes)
    table = pd.DataFrame(rows)
    # The whole dialogues beside the utterances are none of them.
    table["path"] = locate(AudioTree(root, without=("dialog",)), table["path"], notes)
    if heard.unread:
        notes.append(f"{len(heard.unread):,} lines of raters were not understood: {first(heard.unread, 2)}")
    if heard.ids:
        table = table.assign(
            **rater_columns(summarise(heard.ids, heard.names, heard.ratings, notes), table["id"], notes)
        )
    table["transcript"] = [spoken.get(name, "") for name in table["id"]]
    absent = sum(not text for text in table["transcript"])
    if absent:
        notes.append(f"{absent:,} utterances have no transcript")
    if damaged:
        notes.append(f"{len(damaged):,} transcripts are not UTF-8, some letters were replaced: {first(damaged, 2)}")
    return Corpus.from_table(
        "iemocap",
        root,
        table,
        source=root,
        notes=notes,
        where=lambda row: places[row],
        missing=missing,
        scales=dict.fromkeys(DIMENSIONS, _SCALE),
    )


class Raters:
    """The ratings of single raters, as they are read: ``A-E1`` and so on.

    An actor's rating of their own part (``A-F1``, ``A-M1``) is none of them: the corpus's own means leave it out.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.names: list[str] = []
        self.ratings: list[list[float]] = []
        self.unread: list[str] = []

    def read(self, name: str, line: str, place: str) -> None:
        """Add the rating of an utterance that a line tells."""
        told = _RATER.fullmatch(line.strip())
        if told is None:
            self.unread.append(place)
            return
        try:
            valence, arousal, dominance = (parse_rating(cell) for cell in told.groups()[1:])
        except ValueError:
            self.unread.append(place)
            return
        self.ids.append(name)
        self.names.append(told[1])
        self.ratings.append([arousal, valence, dominance])


def _without_copies(
    rows: list[dict[str, object]], places: list[str], notes: list[str]
) -> tuple[list[dict[str, object]], list[str]]:
    """Without the lines that say what an earlier one says; two that differ are refused later."""
    kept = first_rows(pd.DataFrame(rows), notes)
    return [rows[row] for row in kept], [places[row] for row in kept]


def _visible(folder: Path, pattern: str) -> list[Path]:
    # `._Ses01F_impro01.txt` are resource forks that some archives carry: binary, and matched by no pattern here.
    return sorted(child for child in folder.iterdir() if re.fullmatch(pattern, child.name))


def _read_dialogue(
    path: Path,
    session: Path,
    rows: list[dict[str, object]],
    places: list[str],
    missing: MissingWords,
    heard: Raters,
) -> None:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.startswith("A-E") and rows:
            heard.read(str(rows[-1]["id"]), line, f"{path.name} line {number}")
        if not line.startswith("["):
            continue  # categories of single raters, the heading (which begins with %), and blank lines
        place = f"{path.name} line {number}"
        utterance = _UTTERANCE.fullmatch(line)
        name = _NAME.fullmatch(utterance[1]) if utterance else None
        if utterance is None or name is None:
            raise UserError(f"{path}, line {number}: {line.strip()[:80]!r} is no line of an utterance; correct it")
        ratings = [cell.strip() for cell in utterance[3].split(",")]
        if len(ratings) not in (2, 3):
            raise UserError(f"{path}, line {number}: {len(ratings)} ratings, expected valence, activation, dominance")
        try:
            named = zip(("valence", "arousal", "dominance"), [*ratings, ""], strict=False)
            valence, arousal, dominance = (parse_rating(missing.text(*cell)) for cell in named)
        except ValueError as problem:
            raise UserError(f"{path}, line {number}: {problem}; correct it or leave the place empty") from None
        dialogue = utterance[1].rpartition("_")[0]
        rows.append(
            {
                "id": utterance[1],
                "path": f"{session.name}/sentences/wav/{dialogue}/{utterance[1]}.wav",
                "speaker": f"Ses{name[1]}{name[2]}",
                "gender": _GENDER[name[2]],
                "group": session.name,
                "fold": session.name,
                "emotion": "" if utterance[2] == _NO_AGREEMENT else utterance[2],
                "arousal": arousal,
                "valence": valence,
                "dominance": dominance,
            }
        )
        places.append(place)


def _read_transcript(path: Path, spoken: dict[str, str], damaged: list[str]) -> None:
    data = read_bytes(path)
    for line in data.splitlines():
        text, replaced = decode_leniently(line)
        utterance = _SPOKEN.fullmatch(text)
        if utterance is None:
            continue  # asides between the utterances, `M: [LAUGHTER]`
        spoken[utterance[1]] = utterance[2]
        if replaced:
            damaged.append(f"{path.name} {utterance[1]}")
