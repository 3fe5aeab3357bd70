"""How a question is asked by name: of each cache once, its answer kept beside the results with its protocol."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from emoprobe.defaults import RESULTS
from emoprobe.errors import Note, UserError, plain
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.digest import cache_digest
from emoprobe.extract.finished import refuse_unfinished
from emoprobe.extract.versions import versions
from emoprobe.probe.results import Results, has_results, load_results
from emoprobe.probe.schema import table

from .answers import inquiry_of, keep_answer, kept_answer
from .inquiry import Inquiry
from .problems import bar_called
from .stored import fingerprint


def ask(
    name: str,
    caches: Sequence[HiddenStateCache | str | Path],
    settings: Any = None,
    *,
    results: str | Path = RESULTS,
    overwrite: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Ask a question by name, and keep its answer in the folder of the results.

    Parameters
    ----------
    name : str
        Of :data:`INQUIRIES`.
    caches : sequence of HiddenStateCache and paths
        Of which it is asked; a model stands once for each corpus.
    settings
        Of the inquiry's own type; its defaults by default.
    results : path
        Folder of the results; made where it is absent. ``NAME.csv`` and ``NAME.parquet`` hold the table, ``NAME.json``
        its protocol. What stands there of the same caches, settings, results and methods is not computed again.
    overwrite : bool
        Compute all again.
    progress : bool
        Show bars on standard error.
    say : callable
        Told, a line each, what stands already and what is to be noted.

    Returns
    -------
    DataFrame
        The inquiry's columns, of these caches alone.

    Raises
    ------
    UserError
        If there is no such inquiry, two caches are of one model and corpus, the question cannot be answered of any of
        them, or the folder cannot be written. Of several, what it cannot be answered of is left out and told.
    """
    inquiry, folder = inquiry_of(name), Path(results)
    settings = inquiry.settings() if settings is None else settings
    with ExitStack() as opened:
        asked = [
            cache if isinstance(cache, HiddenStateCache) else opened.enter_context(HiddenStateCache(cache))
            for cache in caches
        ]
        _refuse_unfit(asked)
        known = load_results(folder) if has_results(folder) else Results.empty()
        groups = [asked] if inquiry.together else [[cache] for cache in asked]
        answers, refused = [], []
        for group in groups:
            try:
                answers.append(_answer(inquiry, group, settings, known, folder, overwrite, progress, say))
            except UserError as error:
                if len(groups) == 1:
                    raise
                refused.append(error)
                say(f"left out: {_names(group)}: {plain(str(error))}")
        if not answers:
            raise refused[0]
    return pd.concat(answers, ignore_index=True)


def _answer(
    inquiry: Inquiry,
    caches: Sequence[HiddenStateCache],
    settings: Any,
    results: Results,
    folder: Path,
    overwrite: bool,
    progress: bool,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """The answer that stands in the folder; else a new one, which is then kept there."""
    entry = _entry(inquiry, caches, settings, results)
    kept = None if overwrite else kept_answer(folder, inquiry, entry)
    if kept is not None:
        say(f"{_names(caches)}: {inquiry.name} stands in {folder}")
        return kept
    bar = bar_called(f"{_names(caches)}, {inquiry.name}", progress)
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", Note)
        new = table(inquiry.ask(caches, settings, results=results, bar=bar), dict(inquiry.columns))
    notes = list(dict.fromkeys(str(one.message) for one in noted if issubclass(one.category, Note)))
    for other in (one for one in noted if not issubclass(one.category, Note)):
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    for note in notes:
        say(f"note: {plain(note)}")
    keep_answer(folder, inquiry, new, {**entry, "notes": notes})
    return new


def _names(caches: Sequence[HiddenStateCache]) -> str:
    return ", ".join(f"{cache.label} on {cache.corpus}" for cache in caches)


def _refuse_unfit(caches: Sequence[HiddenStateCache]) -> None:
    of: dict[tuple[str, str], Path] = {}
    for cache in caches:
        refuse_unfinished(cache)
        subject = (cache.label, cache.corpus)
        if subject in of:
            raise UserError(f"{of[subject]} and {cache.path} are both of {subject[0]} on {subject[1]}: ask of one")
        of[subject] = cache.path
    if not caches:
        raise UserError("there is no cache to ask of: name one that probe-extract wrote")


# On what an answer depends ------------------------------------------------------------------------------------------


def _entry(inquiry: Inquiry, caches: Sequence[HiddenStateCache], settings: Any, results: Results) -> dict:
    """Entry of the protocol: what is needed to cite an answer, and to know it again."""
    used = {name: _as_json(value) for name, value in asdict(settings).items()}
    methods = {name: import_module(f"emoprobe.probe.{name}").VERSION for name in inquiry.methods}
    told = {"settings": used, "methods": {**methods, inquiry.name: inquiry.version}}
    of_caches = [
        {
            "digest": cache_digest(cache, cache.utterances, inquiry.reads),
            "baselines": cache.baselines if inquiry.uses_baselines else {},
            "runs": _runs(results, cache) if inquiry.uses_results else [],
        }
        for cache in caches
    ]
    return {
        "inquiry": inquiry.name,
        "subjects": [[cache.label, cache.corpus] for cache in caches],
        "hash": fingerprint(**told, caches=of_caches),
        **told,
        "caches": [{"file": cache.path.name, "provenance": cache.provenance} for cache in caches],
        "versions": versions(),
    }


def _as_json(value: object) -> object:
    if not isinstance(value, Path):
        return value
    try:
        return {"file": value.name, "sha256": hashlib.sha256(value.read_bytes()).hexdigest()}
    except OSError as error:
        raise UserError(f"{value} cannot be read ({error.strerror or error}): give another file") from error


def _runs(results: Results, cache: HiddenStateCache) -> list[str]:
    mine = (run for run in results.protocol if (run["model"], run["corpus"]) == (cache.label, cache.corpus))
    return sorted(str(run.get("hash")) for run in mine)
