"""What a report computes from caches, kept in its folder so that a second run is quick."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.cache import HiddenStateCache

from ..measures import relevance, similarity
from ..measures.opinions import OPINIONS
from ..measures.relevance_settings import DIMENSIONS, RelevanceSettings
from .content import Missing
from .study import Model, Study

QUICK = "Left out by --quick: it is computed from the caches."


@dataclass(frozen=True)
class Computed:
    """Tables from caches, and why they lack what they lack.

    Parameters
    ----------
    relevance : DataFrame
        Of :func:`emoprobe.analysis.relevance_opinions`; empty where there is none.
    similarity : DataFrame
        Of :func:`emoprobe.analysis.similarity_table`.
    lacking : dict of str to tuple of Missing
        By the name of the table.
    """

    relevance: pd.DataFrame
    similarity: pd.DataFrame
    lacking: dict[str, tuple[Missing, ...]]

    @property
    def opinions(self) -> list[str]:
        """Names of the opinions that were asked."""
        return list(dict.fromkeys(self.relevance["opinion"])) if len(self.relevance) else []

    @property
    def measures(self) -> list[str]:
        """Names of the measures of similarity."""
        return list(dict.fromkeys(self.similarity["measure"])) if len(self.similarity) else []


def compute(
    study: Study,
    out: Path,
    *,
    progress: bool = False,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Computed:
    """Ask the second opinions and compare the layers, of every cache that was found.

    Parameters
    ----------
    study : Study
    out : Path
        Folder that keeps the tables.
    progress : bool
        Show bars on standard error.
    workers : int, optional
        As :func:`emoprobe.analysis.relevance_opinions` has it.
    say : callable
        Told what takes its time, a line at a time.

    Returns
    -------
    Computed
    """
    if study.quick:
        left_out = (Missing(QUICK, study.report_command()),)
        lacking: dict[str, tuple[Missing, ...]] = dict.fromkeys(("relevance", "similarity"), left_out)
        return Computed(_nothing(relevance.COLUMNS), _nothing(similarity.COLUMNS), lacking)
    asked = _relevance(study, out, progress, workers, say)
    compared = _similarity(study, out, progress, say)
    return Computed(asked[0], compared[0], {"relevance": tuple(asked[1]), "similarity": tuple(compared[1])})


def _nothing(columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(columns))


def _together(tables: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else _nothing(columns)


def _relevance(
    study: Study, out: Path, progress: bool, workers: int | None, say: Callable[[str], None]
) -> tuple[pd.DataFrame, list[Missing]]:
    tables, lacking = [], []
    if not study.dimensions:
        return _nothing(relevance.COLUMNS), []  # they are on dimensions, and these are categories
    names = tuple(name for name, opinion in OPINIONS.items() if not opinion.lacking)
    for opinion in OPINIONS.values():
        if package := opinion.lacking:
            lacking.append(
                Missing(f"{opinion.label.capitalize()} needs {package}.", "pip install 'emoprobe[relevance]'")
            )
    with ExitStack() as opened:
        asked: list[tuple[Model, HiddenStateCache, RelevanceSettings]] = []
        for corpus in study.corpora:
            trained = study.of(corpus, random=False)
            lacking += _no_cache(study, trained, "Second opinions on relevance are")
            for model in trained:
                if model.cache is None:
                    continue
                say(f"second opinions on {model.label}, {corpus}")
                try:
                    cache = opened.enter_context(HiddenStateCache(model.cache))
                    asked.append((model, cache, _settings(study, model)))
                except UserError as error:
                    lacking.append(_no_opinions(model, error))
        questions = [(cache, settings) for _, cache, settings in asked]
        answers = relevance.several_opinions(questions, opinions=names, out=out, progress=progress, workers=workers)
        for (model, _, _), answer in zip(asked, answers, strict=True):
            if isinstance(answer, UserError):
                lacking.append(_no_opinions(model, answer))
            else:
                tables.append(answer)
    return _together(tables, relevance.COLUMNS), lacking


def _no_opinions(model: Model, error: UserError) -> Missing:
    return Missing(f"No second opinions on {model.label}: {error}.")


def _settings(study: Study, model: Model) -> RelevanceSettings:
    """As the probes were fitted, as far as the protocol tells."""
    settings = (run.get("settings", {}) for run in study.runs(model=model.label, corpus=model.corpus))
    used: dict = next((one for one in settings if "folds_asked" in one), {})
    taken = {"folds": used.get("folds_asked"), "seed": used.get("seed"), "ungrouped": used.get("ungrouped")}
    labelled = {other["dimension"] for other in study.runs(model=model.label, corpus=model.corpus)}
    return RelevanceSettings(
        dimensions=tuple(name for name in DIMENSIONS if name in labelled and name in study.dimensions),
        **{name: value for name, value in taken.items() if value is not None},
    )


def _similarity(
    study: Study, out: Path, progress: bool, say: Callable[[str], None]
) -> tuple[pd.DataFrame, list[Missing]]:
    tables, lacking = [], []
    for corpus in study.corpora:
        models = study.of(corpus)
        lacking += _no_cache(study, models, "Similarity is")
        there = [model for model in models if model.cache is not None]
        # A random twin is compared with features, as their control, and not with every other model.
        groups = [[model for model in there if not model.random], *([model] for model in there if model.random)]
        for group in groups:
            if not group:
                continue
            say(f"similarity of {', '.join(model.label for model in group)}, {corpus}")
            caches = [model.cache for model in group if model.cache is not None]
            try:
                tables.append(similarity.similarity_table(caches, out=out, progress=progress))
            except UserError as error:
                lacking.append(Missing(f"No similarity on {corpus}: {error}."))
    return _together(tables, similarity.COLUMNS), lacking


def _no_cache(study: Study, models: list[Model], what: str) -> list[Missing]:
    files = [model.cache_file for model in models if model.cache is None]
    if not files:
        return []
    text = f"{what} computed from the caches, and not found was {', '.join(files)}: name where it lies."
    return [Missing(text, study.report_command("--caches", *map(shlex.quote, files)))]
