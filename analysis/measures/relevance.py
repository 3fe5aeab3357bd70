"""Second opinions on which layers matter: six ways to ask, one table, and how far they agree.

No single number says how relevant a layer is. Each function here asks another question, and its docstring says what
the answer can and cannot tell; where the answers agree, a claim stands on more than one leg.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader as _lazy

from emoprobe.errors import UserError
from emoprobe.extract.digest import cache_digest
from emoprobe.parallel import shared_out

from .stored import MADE_FROM, READ, derive_table, fingerprint, load_table, update_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")

from .opinions import OPINIONS
from .problems import bar_called, lacks_package, problems
from .relevance_settings import RelevanceSettings

COLUMNS = (
    "model",
    "corpus",
    "dimension",
    "opinion",
    "layer",
    "depth",
    "relevance",
    "low",
    "high",
    "score",
    "n",
    "split",
    "features",
    "trained",
    MADE_FROM,
)
_KEY = ("model", "corpus", "dimension", "opinion", "features")
FILE = "relevance.csv"

#: Utterances of a training part from which on opinions take long enough to be asked by several processes at once.
MANY = 300

_PAIR = ("model", "corpus", "features", "dimension", "opinion", "other")
AGREEMENT_COLUMNS = (*_PAIR, "layers", "spearman", "kendall", "best", "other_best")
AGREEMENT_FILE = "agreement.csv"


def relevance_opinions(
    cache: HiddenStateCache | str | Path,
    settings: RelevanceSettings = RelevanceSettings(),
    *,
    opinions: Sequence[str] = tuple(OPINIONS),
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
    workers: int | None = None,
) -> pd.DataFrame:
    """Ask several opinions of one cache.

    Parameters
    ----------
    cache : HiddenStateCache, str or Path
    settings : RelevanceSettings
    opinions : sequence of str
        Names of the functions above; all by default.
    out : path, optional
        Folder that keeps the table, ``relevance.csv``. Each opinion is written when it is done; one that is there, of
        the same cache and settings, is not asked again.
    overwrite : bool
        Ask all again.
    progress : bool
        Show bars on standard error.
    workers : int, optional
        Opinions that are asked at once, each by a process of its own where that pays; as many as there are processors
        by default.

    Returns
    -------
    DataFrame
        As :func:`best_layer`, with `made_from` as the last column.

    Raises
    ------
    UserError
        If the cache is incomplete or has no such labels, or himalaya is wanted and not installed.
    """
    from emoprobe.extract.cache import HiddenStateCache

    for name in opinions:
        if name not in OPINIONS:
            raise UserError(f"unknown opinion '{name}': there is {', '.join(OPINIONS)}")
        if package := OPINIONS[name].lacking:  # to complain before the others take their time
            raise lacks_package(name, package)
    if not isinstance(cache, HiddenStateCache):
        with HiddenStateCache(cache) as opened:
            return relevance_opinions(
                opened,
                settings,
                opinions=opinions,
                out=out,
                overwrite=overwrite,
                progress=progress,
                workers=workers,
            )
    (answer,) = several_opinions(
        [(cache, settings)], opinions=opinions, out=out, overwrite=overwrite, progress=progress, workers=workers
    )
    if isinstance(answer, UserError):
        raise answer
    return answer


def several_opinions(
    asked: Sequence[tuple[HiddenStateCache, RelevanceSettings]],
    *,
    opinions: Sequence[str] = tuple(OPINIONS),
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
    workers: int | None = None,
) -> list[pd.DataFrame | UserError]:
    """:func:`relevance_opinions` of several caches, whose opinions share the processes.

    Parameters
    ----------
    asked : sequence of (HiddenStateCache, RelevanceSettings)
    opinions, out, overwrite, progress, workers
        As there; every opinion can be asked here.

    Returns
    -------
    list of DataFrame or UserError
        Of each cache the table, or why there is none.
    """
    path = None if out is None else Path(out) / FILE
    there = pd.DataFrame(columns=list(COLUMNS)) if path is None or overwrite else load_table(path, COLUMNS)
    plans = [_planned(cache, settings, opinions, there) for cache, settings in asked]
    questions = [
        _Question(number, cache, replace(settings, dimensions=lacking), name)
        for number, (plan, (cache, settings)) in enumerate(zip(plans, asked, strict=True))
        if isinstance(plan, _Plan)
        for name, lacking in plan.missing.items()
    ]
    answers: list[pd.DataFrame | UserError] = []
    for question, new in _answers(questions, workers=workers, progress=progress):
        plan = plans[question.number]
        if isinstance(new, UserError):
            plans[question.number] = new
        elif isinstance(plan, _Plan):
            new[MADE_FROM] = plan.made_from[question.opinion]
            if path is not None:
                update_table(path, new, key=_KEY)
            parts = [part for part in (plan.tables[question.opinion], new) if len(part)]
            plan.tables[question.opinion] = pd.concat(parts, ignore_index=True)
    for plan in plans:
        tables = [] if isinstance(plan, UserError) else [table for table in plan.tables.values() if len(table)]
        answers.append(plan if isinstance(plan, UserError) else pd.concat(tables, ignore_index=True))
    return answers


@dataclass(frozen=True)
class _Plan:
    """What is known of a cache: by opinion, the table as far as it is kept, what it is made from, and what it lacks."""

    tables: dict[str, pd.DataFrame]
    made_from: dict[str, str]
    missing: dict[str, tuple[str, ...]]


def _planned(
    cache: HiddenStateCache, settings: RelevanceSettings, opinions: Sequence[str], there: pd.DataFrame
) -> _Plan | UserError:
    try:
        wanted = [dimension for problem in problems(cache, settings) for dimension in problem.dimensions]
    except UserError as error:
        return error
    used = {name: value for name, value in asdict(settings).items() if name != "dimensions"}
    digest = cache_digest(cache, cache.utterances, READ)
    made_from = {name: fingerprint(**used, cache=digest, methods=_methods(name)) for name in opinions}
    tables, missing = {}, {}
    for name in opinions:
        same = (there["opinion"] == name) & (there[MADE_FROM] == made_from[name])
        tables[name] = there[same & there["dimension"].isin(wanted)]
        lacking = tuple(dimension for dimension in wanted if dimension not in set(tables[name]["dimension"]))
        if lacking:
            missing[name] = lacking
    return _Plan(tables, made_from, missing)


@dataclass(frozen=True)
class _Question:
    """An opinion on a cache, the how manieth it is, on the dimensions of its settings."""

    number: int
    cache: HiddenStateCache
    settings: RelevanceSettings
    opinion: str

    @property
    def trained(self) -> int:
        """Utterances of the largest training part."""
        planned = problems(self.cache, self.settings, kernels=True)
        return max(len(fold.train) for problem in planned for fold in problem.folds)


def _answers(
    questions: Sequence[_Question], *, workers: int | None, progress: bool
) -> Iterator[tuple[_Question, pd.DataFrame | UserError]]:
    """What each opinion says, or why it says nothing; several are asked at once where that pays."""
    if workers == 1 or not questions or max(question.trained for question in questions) < MANY:
        yield from ((question, _ask(progress, question)) for question in questions)
        return
    longest_first = sorted(questions, key=lambda question: not OPINIONS[question.opinion].long)
    asked = shared_out(partial(_ask, False), longest_first, workers=workers, pays=True)
    yield from zip(bar_called("second opinions", progress)(longest_first), asked, strict=True)


def _ask(progress: bool, question: _Question) -> pd.DataFrame | UserError:
    bar = bar_called(f"{question.cache.label}, {question.opinion}", progress)
    try:
        return OPINIONS[question.opinion].ask(question.cache, question.settings, bar=bar)
    except UserError as error:
        return error


def _methods(opinion: str) -> dict[str, int]:
    """Versions of the methods by which an opinion is made."""
    entry = OPINIONS[opinion]
    names = ("splits", "metrics", "bootstrap", *entry.methods)
    return {name: import_module(f"emoprobe.probe.{name}").VERSION for name in names} | {opinion: entry.version}


def load_relevance(folder: str | Path) -> pd.DataFrame:
    """Read the table that :func:`relevance_opinions` keeps in a folder; empty where there is none."""
    return load_table(Path(folder) / FILE, COLUMNS)


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations between opinions over the layers.

    The layer that a cumulative opinion starts with is compared with nothing, and comes first by construction: it is
    left out of that opinion. Layers next to each other are alike, so they are not independent: the coefficients
    describe, and come with no p value.

    Parameters
    ----------
    table : DataFrame
        Of :func:`relevance_opinions`, of one or more models.

    Returns
    -------
    DataFrame
        One row a model, corpus, features, dimension and pair of opinions: `opinion`, `other`, `layers`, `spearman`,
        `kendall` (tau-b), and the most relevant layer of each, `best` and `other_best`. A pair stands once, in the
        order of :data:`OPINIONS`, whatever order they were asked in.
    """
    from scipy.stats import kendalltau, spearmanr

    rows = []
    for key, part in table.groupby(["model", "corpus", "features", "dimension"], sort=False):
        compared = part[~starts(part)]
        wide = compared.pivot(index="layer", columns="opinion", values="relevance")
        names = [name for name in OPINIONS if name in set(part["opinion"])]
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                both = wide[[one, other]].dropna()
                a, b = both[one].to_numpy(float), both[other].to_numpy(float)
                varied = len(both) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0
                rows.append(
                    (
                        *key,
                        one,
                        other,
                        len(both),
                        spearmanr(a, b).statistic if varied else np.nan,
                        kendalltau(a, b).statistic if varied else np.nan,
                        both[one].idxmax() if len(both) else None,
                        both[other].idxmax() if len(both) else None,
                    )
                )
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def keep_agreement(folder: str | Path) -> pd.DataFrame:
    """Write :func:`agreement` of all opinions that a folder keeps to its ``agreement.csv``, and return it.

    It is made anew each time: an opinion that was asked again, with another seed say, changes every pair that it is in.

    Raises
    ------
    UserError
        If what stands there is no such table, or the folder cannot be written.
    """
    folder = Path(folder)
    return derive_table(
        folder / AGREEMENT_FILE,
        lambda: agreement(load_relevance(folder)),
        AGREEMENT_COLUMNS,
        "table of how far opinions agree",
    )


def starts(table: pd.DataFrame) -> pd.Series:
    """Whether each row is the layer that a cumulative opinion starts with, whose gain is its whole score."""
    first = {name: opinion.starts_at for name, opinion in OPINIONS.items() if opinion.starts_at is not None}
    return table["depth"] == table["opinion"].map(first)
