"""Names of columns that may say where in its file an utterance begins or ends, though none of them is a common one."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WHOLE = r"(?:segment|seg|clip|turn|utterance|utt|audio|speech|word|time|sample|frame)?"
_UNIT = r"(?:time|position|pos|stamp|ts|seconds|secs?|s|ms|samples?|frames?|index|idx|bytes?)?"
_BEGINS = re.compile(rf"{_WHOLE}(?:starts?|starting|begins?|beginning|onset){_UNIT}|(?:t|x|time)min")
_ENDS = re.compile(rf"{_WHOLE}(?:ends?|ending|stops?){_UNIT}|(?:t|x|time)max")
#: Where an utterance ends if another column is of its onset, else where it begins.
_OFFSET = re.compile(rf"{_WHOLE}offset{_UNIT}")
#: Words that say a place only beside one of :data:`_COUNTED`.
_FIRST, _LAST = {"first", "from"}, {"last", "to"}
_COUNTED = {"sample", "samples", "frame", "frames", "byte", "bytes", "time", "sec", "second", "seconds", "ms"}
#: Whole names that say a place only where both are there.
_PAIRS = (("from", "to"), ("t0", "t1"), ("t1", "t2"))
#: Beside these a start is that of a recording, a study or a life.
_DATES = {"date", "day", "month", "year", "age"}


def bounds_among(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names that may say where an utterance begins, and those that may say where it ends.

    A name is split at signs, blanks and capital letters; only whole words count, so that ``gender``, ``weekend`` and
    ``send`` say nothing.

    Parameters
    ----------
    names : sequence of str
        Of columns that are not used otherwise.
    """
    begins, ends, offsets = [], [], []
    whole = {name.strip().casefold() for name in names}
    pairs = [pair for pair in _PAIRS if whole.issuperset(pair)]
    for name in names:
        words = [word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
        if not _DATES.isdisjoint(words):
            continue
        candidates = {*words, "".join(words)}
        counted = not _COUNTED.isdisjoint(words)
        own = name.strip().casefold()
        if any(map(_BEGINS.fullmatch, candidates)) or (counted and not _FIRST.isdisjoint(words)):
            begins.append(name)
        elif any(map(_ENDS.fullmatch, candidates)) or (counted and not _LAST.isdisjoint(words)):
            ends.append(name)
        elif any(map(_OFFSET.fullmatch, candidates)):
            offsets.append(name)
        elif any(own == first for first, _ in pairs):
            begins.append(name)
        elif any(own == last for _, last in pairs):
            ends.append(name)
    if any("onset" in name.casefold() for name in begins):
        return begins, ends + offsets
    return begins + offsets, ends
