"""Files that were cut already, with the times of the recording that they were cut from: they must not be cut again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from emoprobe.errors import UserError

from .audio import AudioHeader, AudioProblem, BehindEnd
from .corpora.places import Place

#: Of parts of which each has a file of its own, those that may lie behind its end, as a few wrong times do.
FEW = 0.2
#: The same in a shard of a corpus, which may hold more of them than the rest by chance.
MANY = 0.5

_REMEDY = "--columns start= end= takes each file whole"


def told_of_clips(
    paths: Sequence[str],
    parts: Sequence[Place],
    headers: Sequence[AudioHeader | AudioProblem],
    *,
    rows: Mapping[str, int] | None = None,
    few: float = FEW,
) -> list[AudioHeader | AudioProblem]:
    """The headers of a corpus or its shard, those of parts behind the end of their files with what else may be wrong.

    Parameters
    ----------
    paths : sequence of str
    parts : sequence of tuple
        As :func:`.corpora.places.places` gives them.
    headers : sequence of AudioHeader or AudioProblem
        As :func:`.scan.read_headers` gives them.
    rows : mapping of str to int, optional
        How many rows of the whole corpus each file has; as many as are here, if left out.
    few : float
        Share of the parts that may lie behind the ends of their files.

    Raises
    ------
    UserError
        If no file occurs in two rows, and two parts or more, and more than `few` of them, lie behind the ends of
        their files.
    """
    behind = {row: header for row, header in enumerate(headers) if isinstance(header, BehindEnd)}
    if not behind:
        return list(headers)
    rows = Counter(paths) if rows is None else rows
    timed = sum(bool(part) and part[:2] != (None, None) for part in parts)
    if max(rows.values()) == 1 and len(behind) > max(1, few * timed):
        row, problem = next(iter(behind.items()))
        raise UserError(
            f"{len(behind):,} of {timed:,} parts lie behind the ends of their files, and no file has two: the files "
            f"seem to be cut already: {_REMEDY}; the first, {paths[row]}: {problem.reason}"
        )
    told = list(headers)
    for row, problem in behind.items():
        if rows[paths[row]] == 1:
            told[row] = BehindEnd(f"{problem.reason}; if the file is cut already, {_REMEDY}")
    return told
