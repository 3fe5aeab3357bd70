"""How the columns of a table are called: the common names of each of ours, and what the user says about them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.misspelt import meant, nearest

from .bounds import bounds_among
from .cells import EMOTION, RATERS
from .table import COLUMNS
from .values import first, parse_seconds

#: What each column is called elsewhere. Upper and lower case are one, and so are names that differ in blanks and signs:
#: ``Speaker_ID``, ``speaker id`` and ``speakerId``.
COMMON_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("key", "utt", "utt_id", "utterance_id", "sample_id", "segment_id"),
    "path": (
        "file", "filename", "file_path", "wav", "wav_path", "wav_file", "wav_name", "audio", "audio_path", "audio_file",
        "audio_filepath", "audio_filename",
    ),
    "speaker": ("speaker_id", "spk", "spk_id", "spkr", "spkr_id", "actor", "actor_id", "talker", "subject_id"),
    "gender": ("sex", "speaker_gender"),
    "split": ("split_set", "partition", "set", "subset"),
    "emotion": ("emo", "emo_class", "label", "emotion_label"),
    "transcript": ("transcription", "text", "sentence"),
    "group": (
        "session", "session_id", "dialogue", "dialogue_id", "dialog", "dialog_id", "conversation", "conversation_id",
        "film", "movie",
    ),
    "fold": ("folds", "fold_id", "cv_fold"),
    "arousal": ("emo_act", "activation"),
    "valence": ("emo_val",),
    "dominance": ("emo_dom",),
    "start": ("start_time", "onset", "begin", "begin_time"),
    "end": ("end_time", "stop", "stop_time"),
    "channel": ("channel_id", "audio_channel", "ch", "chan", "channel_no", "channel_number", "channel_index"),
}  # fmt: skip

#: Names of single letters, taken only where the first two are there together, as in ``V,A,D``.
LETTERS = {"v": "valence", "a": "arousal", "d": "dominance"}

#: Names that mean other things too (dialogue acts, a validation split), taken only where two dimensions have one.
SHORT = {"act": "arousal", "aro": "arousal", "val": "valence", "dom": "dominance"}

#: How long an utterance is: with a start it gives the end, and alone it cuts nothing.
_DURATION = "duration"
_LENGTHS = ("duration", "dur", "length")
_OFFSET = "offset"  # the end where there is an onset, the start where there is a duration
_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "milliseconds": 1e-3,
}
_TIMES = ("start", "end", _DURATION)
#: Places that are counted in what we do not know the rate of.
_UNKNOWN_UNIT = re.compile(
    r"(start|begin|onset|end|stop|offset|duration|length)(time|pos|position)?(samples?|frames?|idx|index|bytes?)"
)
#: Columns that a slip of the pen may hide.
_MEANT = ("arousal", "valence", "dominance", "emotion", "speaker", "transcript", "split")
_NEITHER = "; if it selects none, say so with --columns start= end="


@dataclass(frozen=True)
class Naming:
    """Which column of a table is which of ours.

    Attributes
    ----------
    places : dict
        Our name to the number of the column, in the order of :data:`.table.COLUMNS`; ``duration`` too.
    units : dict
        Seconds in one of the unit of ``start``, ``end`` or ``duration``, where that is another.
    written : dict
        Our name to what it is taken from, where that differs by more than upper and lower case.
    unused : tuple of str
        The other columns, as they are written.
    chosen : frozenset of str
        Those of ours that the user said.
    """

    places: dict[str, int]
    units: dict[str, float]
    written: dict[str, str]
    unused: tuple[str, ...]
    chosen: frozenset[str] = frozenset()

    def notes(self) -> list[str]:
        """What was taken for what, and what was not."""
        taken = [f"{ours} from {theirs}" for ours, theirs in self.written.items()]
        return [
            *([f"columns taken: {', '.join(taken)}"] if taken else []),
            *([f"columns not used: {first(self.unused, 12)}"] if self.unused else []),
            *(
                f"the column {theirs} is not used, and there is no {ours}: if it is meant, give --columns "
                f"{ours}={theirs}"
                for theirs, ours in self._nearly()
            ),
        ]

    def _nearly(self) -> list[tuple[str, str]]:
        """Columns that are not used, and what of ours that is not there each is nearly called."""
        lacking = [name for name in _MEANT if name not in self.places]
        near = [(theirs, nearest(theirs.strip(), lacking, cutoff=0.8)) for theirs in self.unused]
        return [(theirs, ours) for theirs, ours in near if ours is not None]

    def take(
        self, table: pd.DataFrame, *, source: Path, where: Callable[[int], str]
    ) -> tuple[pd.DataFrame, dict[str, str]]:
        """The table with our columns alone, under our names, times in seconds; and how each is called in the source.

        Parameters
        ----------
        table : pandas.DataFrame
            With the columns that the naming was made for, in their order.
        source : Path
            The file that errors should name.
        where : callable
            Tells a row's place in `source`.

        Raises
        ------
        UserError
            If a time that must be computed with is none, or a column that was taken for categories holds ratings.
        """
        taken = {ours: table.iloc[:, place] for ours, place in self.places.items()}
        called = {ours: str(table.columns[place]) for ours, place in self.places.items()}
        if EMOTION in self.written and EMOTION not in self.chosen:
            _refuse_ratings(taken[EMOTION], source, called[EMOTION], where)
        for ours, unit in self.units.items():
            seconds = _seconds(taken[ours], source, called[ours], where)
            taken[ours] = pd.Series([value * unit for value in seconds], dtype=object)
        if _DURATION in taken:
            lengths = _seconds(taken.pop(_DURATION), source, called[_DURATION], where)
            starts = _seconds(taken["start"], source, called["start"], where)
            # Without a start of its own a row begins with its file.
            ends = [(0.0 if math.isnan(a) else a) + length for a, length in zip(starts, lengths, strict=True)]
            taken["end"] = pd.Series(ends, dtype=object)
            called["end"] = called.pop(_DURATION)
        # Objects as they are: pandas would make of them what it takes them for.
        ordered = {ours: pd.Series(list(taken[ours]), dtype=object) for ours in COLUMNS if ours in taken}
        return pd.DataFrame(ordered), called


def name_columns(header: Sequence[object], *, chosen: Mapping[str, str] | None = None, source: Path) -> Naming:
    """Tell the columns of a table by their names.

    Our own name is taken before a common one.

    Parameters
    ----------
    header : sequence
        The names as they are written.
    chosen : mapping, optional
        What the user said: our name to the one in the table, or to ``""`` where none is meant.
    source : Path
        The file that errors should name.

    Raises
    ------
    UserError
        If a chosen column is not there, two columns claim to be the same, or one that selects audio is not understood.
    """
    written = [str(name) for name in header]
    columns = _columns(written, dict(chosen or {}), source)
    places = {ours: column.place for ours, column in columns.items()}
    units = {ours: column.unit for ours, column in columns.items() if column.unit != 1.0}
    others = {name: written[place] for name, place in places.items() if _own(written[place]) != name}
    if _DURATION in places:
        others["end"] = f"{written[places[_DURATION]]} added to {written[places['start']]}"
    used = set(places.values())
    unused = tuple(name for place, name in enumerate(written) if place not in used)
    if not {"start", "end"} <= set(chosen or {}):
        _refuse_other_bounds(unused, {ours: written[place] for ours, place in places.items()}, source)
    return Naming(
        places, units, {ours: others[ours] for ours in COLUMNS if ours in others}, unused, frozenset(chosen or ())
    )


def recognised(header: Iterable[str]) -> int:
    """How many of the names are ours or common ones."""
    return sum(bool(_role(name)[0]) or _own(name) in SHORT for name in header)


def parse_columns(words: Iterable[str]) -> dict[str, str]:
    """What ``--columns path=file,arousal=EmoAct`` says: our name to the one in the table.

    Raises
    ------
    UserError
        If a word is no such pair, or the name before ``=`` is none of ours.
    """
    chosen: dict[str, str] = {}
    for word in words:
        # A comma in a column's name is one that no further pair follows.
        for pair in re.split(r",(?=\s*\w+=)", word):
            ours, sign, theirs = (part.strip() for part in pair.partition("="))
            if not sign:
                raise UserError(f"--columns {pair!r}: write OURS=THEIRS, such as path=file,arousal=EmoAct")
            if ours not in COLUMNS:
                raise UserError(f"--columns {pair!r}: there is no column {ours!r}; {meant(ours, COLUMNS)}")
            if chosen.get(ours, theirs) != theirs:
                raise UserError(f"--columns: {ours} is to be {chosen[ours]!r} and {theirs!r}; give one of them")
            chosen[ours] = theirs
    return chosen


def _own(name: str) -> str:
    return name.strip().casefold()


def _plain(name: str) -> str:
    """The name's letters and digits."""
    return re.sub(r"[\W_]+", "", name.casefold())


_OURS = {_plain(name): ours for ours, names in COMMON_NAMES.items() for name in (ours, *names)}
#: What is kept of single ratings has no other name.
_OURS |= {_plain(name): name for name in RATERS}
_OURS |= {_plain(name): _DURATION for name in _LENGTHS} | {_OFFSET: _OFFSET}


def _role(name: str) -> tuple[str, float]:
    """Which of ours (or ``duration``, ``offset``) a name means, ``""`` if none, and seconds in one of its unit."""
    plain = _plain(name)
    if plain in _OURS:
        return _OURS[plain], 1.0
    for unit, seconds in _UNITS.items():
        ours = _OURS.get(plain.removesuffix(unit)) if plain.endswith(unit) else None
        if ours in (*_TIMES, _OFFSET):
            return ours, seconds
    return "", 1.0


class _Column(NamedTuple):
    """The number of a column, and seconds in one of its unit."""

    place: int
    unit: float


def _columns(written: list[str], chosen: dict[str, str], source: Path) -> dict[str, _Column]:
    """Which column is each of ours (or ``duration``): what the user chose, and else what the names tell."""
    picked = {ours: _place_of(theirs, ours, written, source) for ours, theirs in chosen.items() if theirs}
    claims = _claims(written, set(picked.values()))
    if not {"start", "end"} <= set(chosen):
        _refuse_unknown_units(written, set(picked.values()), source)
    _settle_offset(claims, chosen, written, source)
    claims = {ours: claimed for ours, claimed in claims.items() if ours not in chosen}
    there = {*claims, *picked}
    if "start" not in there or "end" in there | set(chosen):
        claims.pop(_DURATION, None)  # how long the file is, or the part of it that is told already
    told = {ours: _only(ours, claimed, written, source) for ours, claimed in claims.items()}
    units = {ours: _role(written[place])[1] if ours in _TIMES else 1.0 for ours, place in picked.items()}
    return told | {ours: _Column(place, units[ours]) for ours, place in picked.items()}


def _claims(written: list[str], taken: set[int]) -> dict[str, list[_Column]]:
    """The columns whose names say that they are each of ours, without those that the user chose for something."""
    claims: dict[str, list[_Column]] = {}
    free = {place: name for place, name in enumerate(written) if place not in taken}
    for place, name in free.items():
        ours, unit = _role(name)
        if ours:
            claims.setdefault(ours, []).append(_Column(place, unit))
    letters = [(LETTERS[_own(name)], place) for place, name in free.items() if _own(name) in LETTERS]
    if not {"valence", "arousal"} <= {ours for ours, _ in letters}:
        letters = []
    short = [(SHORT[_own(name)], place) for place, name in free.items() if _own(name) in SHORT]
    if len({ours for ours, _ in short}) < 2:
        short = []
    for ours, place in letters + short:
        claims.setdefault(ours, []).append(_Column(place, 1.0))
    return claims


def _only(ours: str, claimed: list[_Column], written: list[str], source: Path) -> _Column:
    """The one of several columns that has our own name, or the only one."""
    own = [column for column in claimed if _own(written[column.place]) == ours]
    if len(own) > 1:
        raise UserError(f"{source}: the column {ours!r} occurs more than once; keep one of them")
    if not own and len(claimed) > 1:
        names = [written[column.place] for column in claimed]
        remedy = f"say which with --columns '{ours}={names[0]}'" if ours in COLUMNS else "keep one of them"
        raise UserError(f"{source}: the columns {' and '.join(map(repr, names))} may each be {ours!r}; {remedy}")
    return (own or claimed)[0]


def _refuse_unknown_units(written: list[str], taken: set[int], source: Path) -> None:
    for place, name in enumerate(written):
        if place not in taken and not _role(name)[0] and _UNKNOWN_UNIT.fullmatch(_plain(name)):
            raise UserError(
                f"{source}, column {name!r}: selects audio by samples, frames or bytes, whose rate is not told; "
                f"give seconds in a column 'start' or 'end'{_NEITHER}"
            )


def _refuse_other_bounds(unused: Sequence[str], used: Mapping[str, str], source: Path) -> None:
    """Refuse a table whose part of a file may be told by columns that are not understood."""
    if "start" in used and {"end", _DURATION} & set(used):
        return  # the part is known
    begins, ends = bounds_among([name for name in unused if _role(name)[0] not in used])
    if begins or ends:
        start, end = used.get("start", ""), used.get("end", "")
        as_bounds = f"'start={next(iter(begins), start)}' 'end={next(iter(ends), end)}'"
        raise UserError(
            f"{source}, column {(begins + ends)[0]!r}: may say where in its file an utterance begins or ends; "
            f"if so, and in seconds: --columns {as_bounds}; if not: --columns 'start={start}' 'end={end}'"
        )


def _settle_offset(claims: dict[str, list[_Column]], chosen: dict[str, str], written: list[str], source: Path) -> None:
    """Onset and offset are start and end; offset and duration are start and length; what else it may be is asked."""
    for offset in claims.pop(_OFFSET, []):
        starts = [_plain(written[column.place]) for column in claims.get("start", [])]
        if any(name.startswith("onset") for name in starts) and "end" not in chosen:
            claims.setdefault("end", []).append(offset)
        elif _DURATION in claims and not starts and "start" not in chosen:
            claims.setdefault("start", []).append(offset)
        elif not {"start", "end"} & set(chosen):
            name = written[offset.place]
            raise UserError(
                f"{source}, column {name!r}: may be where an utterance begins or where it ends; "
                f"say which with --columns start={name}{_NEITHER}"
            )


def _place_of(theirs: str, ours: str, written: list[str], source: Path) -> int:
    """The column that the user names; upper and lower case matter only where they must."""
    exact = [place for place, name in enumerate(written) if name.strip() == theirs]
    places = exact or [place for place, name in enumerate(written) if _own(name) == _own(theirs)]
    if not places:
        raise UserError(f"{source}: no column {theirs!r} for --columns {ours}={theirs} (columns: {first(written, 12)})")
    if len(places) > 1:
        raise UserError(f"{source}: the column {theirs!r} occurs more than once; keep one of them")
    return places[0]


def _refuse_ratings(cells: Iterable[Any], source: Path, name: str, where: Callable[[int], str]) -> None:
    """Refuse numbers with a fraction in a column that only its name tells to hold categories."""
    for row, cell in enumerate(cells):
        try:
            rating = float(cell)
        except (TypeError, ValueError):
            continue  # a word, or nothing
        if math.isfinite(rating) and not rating.is_integer():
            raise UserError(
                f"{source}, {where(row)}, column {name!r}: {cell} is a rating, not a category; say of what with "
                f"--columns emotion= arousal={name} (or valence, dominance), or --columns emotion={name} for categories"
            )


def _seconds(cells: Iterable[object], source: Path, name: str, where: Callable[[int], str]) -> list[float]:
    seconds = []
    for row, cell in enumerate(cells):
        try:
            seconds.append(parse_seconds(cell))
        except ValueError as problem:
            raise UserError(f"{source}, {where(row)}, column {name!r}: {problem}") from None
    return seconds
