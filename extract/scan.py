"""Read the header of every file of a corpus, so that all sizes are known before the first forward pass."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from emoprobe.progress import progress_bar

from .audio import AudioHeader, AudioProblem, Kept, cut, read_header, refuse_vanished
from .clips import MANY, told_of_clips
from .corpora import Corpus
from .corpora.places import Place, places
from .layout import PENDING
from .limits import SAMPLE_RATE

# A task of the pool for each file would take more memory than all headers; with many files a task, the threads would
# read far apart, and need more of a shard at a time.
_FILES_A_TASK = 16
_ROOM = 1 << 29  # bytes of shards to keep: headers are read in the order of the corpus


def scan(
    corpus: Corpus,
    *,
    whole: Corpus | None = None,
    shortest: int,
    longest: float,
    window: int | None = None,
    option: str = "--longest",
    progress: bool = True,
) -> tuple[pd.DataFrame, list]:
    """The corpus's table with what the headers say.

    Parameters
    ----------
    corpus : Corpus
    whole : Corpus, optional
        What `corpus` is a shard of.
    shortest : int
        Samples at 16 kHz that a model needs for one frame.
    longest : float
        Limit in seconds; a longer file is left out.
    window : int, optional
        Samples at 16 kHz that a model takes at most; a longer file is left out.
    option : str
        What raises the limit, or what else to do about it.
    progress : bool
        Show a bar.

    Returns
    -------
    table : DataFrame
        The corpus's columns and `seconds`, `samples` (at 16 kHz; 0 where there is a problem), `status`, `reason`.
    headers : list of AudioHeader or AudioProblem
        One an utterance: what its file, or its part of the file, holds, or why it cannot be used.

    Raises
    ------
    UserError
        If the files of a corpus with times seem to be cut already (:mod:`.clips`).
    """
    paths, parts = corpus.utterances["path"].tolist(), places(corpus.utterances)
    headers = read_headers(paths, parts, progress=progress)
    if whole is None or len(whole.utterances) == len(paths):
        results = told_of_clips(paths, parts, headers)
    else:
        results = told_of_clips(paths, parts, headers, rows=Counter(whole.utterances["path"]), few=MANY)
    table = corpus.utterances.copy()
    rows = [_judge(result, shortest, longest, window, option) for result in results]
    table["samples"] = np.array([r[0] for r in rows], dtype=np.int64)
    table["seconds"] = np.array([r[1] for r in rows], dtype=np.float64)
    table["status"] = [r[2] for r in rows]
    table["reason"] = [r[3] for r in rows]
    headers = [
        result if status == PENDING else AudioProblem(status, reason)
        for result, (_, _, status, reason) in zip(results, rows, strict=True)
    ]
    return table, headers


def read_headers(
    paths: Sequence[str], parts: Sequence[Place], *, progress: bool = False
) -> list[AudioHeader | AudioProblem]:
    """What each utterance's file, or its part of the file, holds, or why it cannot be used; each file is read once.

    Parameters
    ----------
    paths : sequence of str
    parts : sequence of tuple
        As :func:`.corpora.places.places` gives them.
    progress : bool
        Show a bar.
    """
    files = list(dict.fromkeys(paths))
    kept = Kept(_ROOM)
    tasks = [files[start : start + _FILES_A_TASK] for start in range(0, len(files), _FILES_A_TASK)]
    pool = ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1)))
    bar = progress_bar(total=len(files), desc="reading headers", unit="file", show=progress and len(files) >= 2000)
    headers: list[AudioHeader | AudioProblem] = []
    try:
        with bar:
            for read in pool.map(lambda task: [_try_header(path, kept) for path in task], tasks):
                headers += read
                bar.update(len(read))
    finally:
        pool.shutdown(cancel_futures=True)  # interrupted, it does not read the rest first
    # libsndfile keeps its last error in one place for all threads, so that what it says of a file is known only alone.
    headers = [
        _try_header(path, kept) if isinstance(header, AudioProblem) and header.status == "unreadable" else header
        for path, header in zip(files, headers, strict=True)
    ]
    if any(isinstance(header, AudioProblem) and header.status == "missing" for header in headers):
        # Missing from the start is a fact about the file; missing since the others were read is one about the disk.
        readable = [path for path, header in zip(files, headers, strict=True) if isinstance(header, AudioHeader)]
        for folder in dict.fromkeys(map(os.path.dirname, readable)):
            refuse_vanished(folder)
    by_file = dict(zip(files, headers, strict=True))
    return [_try_cut(by_file[path], part) for path, part in zip(paths, parts, strict=True)]


def _try_header(path: str, kept: Kept) -> AudioHeader | AudioProblem:
    try:
        return read_header(path, kept)
    except AudioProblem as problem:
        return problem


def _try_cut(header: AudioHeader | AudioProblem, part: Place) -> AudioHeader | AudioProblem:
    if isinstance(header, AudioProblem):
        return header
    try:
        return cut(header, part)
    except AudioProblem as problem:
        return problem


def _judge(
    result: AudioHeader | AudioProblem, shortest: int, longest: float, window: int | None, option: str
) -> tuple[int, float, str, str]:
    """Samples to extract, seconds, status and reason."""
    if isinstance(result, AudioProblem):
        return 0, 0.0, result.status, result.reason
    seconds = result.frames / result.sample_rate
    if result.samples < shortest:
        needed = 1000 * shortest / SAMPLE_RATE
        told = f"{_unlike(1000 * seconds, needed)} ms, and one frame of the model needs {needed:g} ms"
        return 0, seconds, "too short", told
    if seconds > longest:
        return 0, seconds, "too long", f"{_unlike(seconds, longest)} s, and the limit is {longest:g} s ({option})"
    if window is not None and result.samples > window:
        takes = window / SAMPLE_RATE
        return (
            0,
            seconds,
            "too long",
            f"{_unlike(seconds, takes)} s; the model's window is {takes:g} s: cut the file",
        )
    return result.samples, seconds, PENDING, ""


def _unlike(value: float, limit: float) -> str:
    """A value to as many decimals as tell it from a limit, one at least."""
    digits = next((n for n in range(1, 12) if f"{value:.{n}f}" != f"{limit:.{n}f}"), 12)
    return f"{value:.{digits}f}"
