"""Which part of a file an utterance is: its columns, what they may hold, how a part is called, and what parts share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from .cells import PLACES

#: Seconds; eleven days, beyond which a time is in milliseconds or in samples.
LATEST = 1e6

_SECONDS = "write seconds from the beginning of the file"
_CORRECT = "correct it, or leave both cells empty for the whole file"
_CHANNELS = "channels count from 0; leave the cell empty for the mean of all"

#: One utterance's columns of :data:`.cells.PLACES`, None where it has the file's own; empty where it is a whole file.
Place = tuple[()] | tuple[float | None, float | None, int | None]


def check_places(
    columns: Mapping[str, np.ndarray], called: Mapping[str, str], *, source: Path, where: Callable[[int], str]
) -> None:
    """Refuse what can select no audio.

    Parameters
    ----------
    columns : mapping
        `start`, `end` and `channel`, (utterances,) float, NaN where there is none.
    called : mapping
        How each is called in `source`.
    source : Path
        The file that errors should name.
    where : callable
        Tells a row's place in `source`.

    Raises
    ------
    UserError
        Naming the first row that begins before its file or ends before it begins, or whose channel is no number from 0.
    """
    start, end, channel = (columns[name] for name in PLACES)
    begins = np.nan_to_num(start)
    given = ~np.isnan(channel)
    for wrong, column, told, remedy in (
        (start < 0, "start", "the time {start:g} s lies before the file", _SECONDS),
        (start > LATEST, "start", "the time {start:g} s is no place in a file", _SECONDS),
        (end > LATEST, "end", "the time {end:g} s is no place in a file", _SECONDS),
        (end <= begins, "end", "the utterance begins at {begins:g} s and ends at {end:g} s", _CORRECT),
        (given & ((channel < 0) | (channel % 1 != 0)), "channel", "{channel:g} is no channel", _CHANNELS),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            what = told.format(start=start[row], begins=begins[row], end=end[row], channel=channel[row])
            raise UserError(f"{source}, {where(row)}, column '{called[column]}': {what}; {remedy}")


def places(table: pd.DataFrame) -> list[Place]:
    """Which part of its file each utterance of a table is."""
    columns = [table[name].to_numpy(dtype=float) for name in PLACES]
    if all(np.isnan(column).all() for column in columns):
        return [()] * len(table)
    return [_place(*cells) for cells in zip(*columns, strict=True)]


def _place(start: float, end: float, channel: float) -> Place:
    if math.isnan(start) and math.isnan(end) and math.isnan(channel):
        return ()
    return (
        None if math.isnan(start) else float(start),
        None if math.isnan(end) else float(end),
        None if math.isnan(channel) else int(channel),
    )


def part_suffix(place: Place) -> str:
    """A part's name behind that of its file: ``_12.5-14.75`` or ``_12.5-14.75_ch1``; nothing for a whole file."""
    if not place:
        return ""
    start, end, channel = place
    until = "end" if end is None else f"{end:.9g}"
    times = "" if start is None and end is None else f"_{start or 0.0:.9g}-{until}"
    return times + ("" if channel is None else f"_ch{channel}")


def overlaps(table: pd.DataFrame) -> int:
    """How many utterances share audio with another one, as far as any is a part of a file.

    Parameters
    ----------
    table : pandas.DataFrame
        With `path` and the columns of :data:`.cells.PLACES`.
    """
    if table[list(PLACES)].isna().all(axis=None):
        return 0
    start = np.nan_to_num(table["start"].to_numpy(dtype=float))
    end = np.nan_to_num(table["end"].to_numpy(dtype=float), nan=math.inf)
    channel = table["channel"].to_numpy(dtype=float)
    shared = np.zeros(len(table), dtype=bool)
    for rows in table.groupby("path", sort=False).indices.values():
        if len(rows) == 1:
            continue
        one_of_all = np.isnan(channel[rows])  # the mean shares its audio with each channel
        for one in {*channel[rows][~one_of_all]} or {math.nan}:
            among = rows[one_of_all | (channel[rows] == one)]
            among = among[np.lexsort((end[among], start[among]))]
            latest = np.maximum.accumulate(end[among])
            shared[among[1:]] |= start[among[1:]] < latest[:-1]
            shared[among[:-1]] |= end[among[:-1]] > start[among[1:]]
    return int(shared.sum())
