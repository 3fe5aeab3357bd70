"""Work through many utterances in batches of like lengths, keeping what is finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from emoprobe.fields import is_text
from emoprobe.progress import progress_bar

from .audio import AudioProblem, holder_of
from .batching import plan_batches
from .corpora.places import Place
from .devices import is_out_of_memory
from .journal import Journal

_OUT_OF_MEMORY = "memory"


@dataclass(frozen=True)
class Problem:
    """Why an utterance has no result.

    Attributes
    ----------
    status : str
        One word or two, such as those of :data:`emoprobe.extract.audio.STATUSES`.
    reason : str
        For a person.
    """

    status: str
    reason: str


@dataclass(frozen=True)
class Utterances:
    """What is worked through, in the order of the results.

    Attributes
    ----------
    keys : sequence of str
        Names in the journal, unique.
    stamps : sequence of list
        What each result is computed from; a result in the journal with another stamp is computed again.
    sizes : ndarray of int, (utterances,)
        Samples of each, in the batches' budget; 0 leaves an utterance out.
    groups : ndarray of int, (utterances,), optional
        As :func:`.batching.plan_batches` takes it.
    """

    keys: Sequence[str]
    stamps: Sequence[list]
    sizes: np.ndarray
    groups: np.ndarray | None = None


def stamp(path: str, part: Place = ()) -> list:
    """What tells that audio is still what a result was computed from: path, size and time of change of its file, part.

    Parameters
    ----------
    path : str
    part : tuple
        As :func:`.corpora.places.places` gives it.
    """
    try:
        status = os.stat(holder_of(path))  # noqa: PTH116 - path is text
    except OSError:  # gone since its header was read: reading it will say so
        return [path, *part]
    return [path, status.st_size, status.st_mtime_ns, *part]


def run_batches(
    utterances: Utterances,
    *,
    journal: Journal,
    load: Callable[[int], object],
    compute: Callable[[list[int], list], list],
    budget: int,
    workers: int = 4,
    is_result: Callable[[object], bool] = lambda result: True,
    doing: str = "computing",
    progress: bool = True,
) -> list:
    """The result of every utterance: from the journal, or computed now and written there.

    Parameters
    ----------
    utterances : Utterances
    journal : Journal
    load : callable
        ``load(row)`` is what `compute` needs of an utterance; run ahead in threads. It may raise
        :class:`~emoprobe.extract.audio.AudioProblem`.
    compute : callable
        ``compute(rows, loaded)`` gives a result, or a :class:`Problem`, for each row. Halved where memory runs out.
    budget : int
        Most samples of a batch, padding included.
    workers : int
        Threads that load.
    is_result : callable
        Whether a value in the journal can be a result; what cannot is computed again.
    doing : str
        The word before the bar.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    list
        A result or :class:`Problem` an utterance; None where `sizes` is 0.
    """
    keys, stamps, sizes, groups = utterances.keys, utterances.stamps, utterances.sizes, utterances.groups
    results = _results_in(journal, utterances, is_result)
    pending = sizes > 0
    pending[list(results)] = False
    batches = plan_batches(sizes, budget=budget, groups=groups)
    if any(pending[rows].any() and not pending[rows].all() for rows in batches):
        # Utterances have come since: they make batches of their own. Otherwise the batches, and with them the last
        # bits of every number, are those of a run that was never stopped.
        batches = plan_batches(np.where(pending, sizes, 0), budget=budget, groups=groups)
    todo = [[int(row) for row in rows] for rows in batches if pending[rows].any()]

    computed, waiting = 0, int(pending.sum())
    bar = progress_bar(
        total=int(sizes.sum()),
        initial=int(sizes[~pending].sum()),
        show=progress and bool(todo),
        bar_format=doing + " {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]",
    )
    with bar, ThreadPoolExecutor(workers, thread_name_prefix="load") as pool:
        for rows, loaded in _load_ahead(pool, load, todo):
            good = [row for row in rows if not isinstance(loaded[row], AudioProblem)]
            new = {row: Problem(p.status, p.reason) for row, p in loaded.items() if isinstance(p, AudioProblem)}
            new.update(zip(good, _compute(compute, good, [loaded[row] for row in good]), strict=True))
            # Another machine, or a quieter one, may have the memory: that is tried again.
            kept = {row: result for row, result in new.items() if not _ran_out(result)}
            journal.append({keys[row]: (stamps[row], _to_json(result)) for row, result in kept.items()})
            results.update(new)
            computed += len(new)
            bar.set_postfix_str(f"{computed} of {waiting}", refresh=False)
            bar.update(int(sizes[rows].sum()))
    return [results.get(row) if sizes[row] else None for row in range(len(keys))]


def _results_in(journal: Journal, utterances: Utterances, is_result: Callable[[object], bool]) -> dict[int, object]:
    """What the journal holds of the utterances as they are now, by row: results and problems."""
    results: dict[int, object] = {}
    for row, (key, made_from) in enumerate(zip(utterances.keys, utterances.stamps, strict=True)):
        entry = journal[key] if (key, made_from) in journal else None
        if not isinstance(entry, dict):
            continue
        if "result" in entry:
            if is_result(entry["result"]):
                results[row] = entry["result"]
        elif is_text(entry.get("status")) and is_text(entry.get("reason")):
            results[row] = Problem(entry["status"], entry["reason"])
    return results


def _load_ahead(
    pool: ThreadPoolExecutor, load: Callable[[int], object], todo: list[list[int]]
) -> Iterator[tuple[list[int], dict[int, object]]]:
    """Two batches ahead of the one that is computed."""

    def try_load(row: int) -> object:
        try:
            return load(row)
        except AudioProblem as problem:
            return problem

    ahead: list[tuple[list[int], list[Future]]] = []
    try:
        for rows in [*todo, None, None]:
            if rows is not None:
                ahead.append((rows, [pool.submit(try_load, row) for row in rows]))
            if ahead and (rows is None or len(ahead) > 2):
                first, futures = ahead.pop(0)
                yield first, {row: future.result() for row, future in zip(first, futures, strict=True)}
    finally:
        for _, futures in ahead:
            for future in futures:
                future.cancel()


def _compute(compute: Callable[[list[int], list], list], rows: list[int], loaded: list) -> list:
    """Halve the batch for as long as it does not fit in memory."""
    if not rows:
        return []
    try:
        return compute(rows, loaded)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler, where the failed pass's tensors are no longer held by its traceback.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(rows) == 1:
        return [Problem(_OUT_OF_MEMORY, "this utterance alone needs more memory than there is")]
    half = len(rows) // 2
    return _compute(compute, rows[:half], loaded[:half]) + _compute(compute, rows[half:], loaded[half:])


def _ran_out(result: object) -> bool:
    return isinstance(result, Problem) and result.status == _OUT_OF_MEMORY


def _to_json(result: object) -> dict:
    if isinstance(result, Problem):
        return {"status": result.status, "reason": result.reason}
    return {"result": result}
