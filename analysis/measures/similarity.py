"""How alike layers are: linear CKA without bias, and PWCCA; with each other, with another model's, with features.

Both are computed from sums over utterances that are read in chunks, one layer against all others at a time: the
memory is that of one width × width matrix a layer, however many utterances there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import lazy_loader as _lazy

from emoprobe.errors import UserError
from emoprobe.extract.digest import cache_digest
from emoprobe.extract.finished import refuse_unfinished
from emoprobe.progress import progress_bar

from .alignment import MEASURES, VARIANCE, check_settings, compare
from .stored import MADE_FROM, READ, fingerprint, load_table, update_table
from .summaries import Matrix

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")


COLUMNS = (
    "measure",
    "model",
    "corpus",
    "layer",
    "other",
    "other_layer",
    "n",
    "value",
    "chance",
    "statistic",
    "reason",
    MADE_FROM,
)
_KEY = ("measure", "model", "corpus", "other", "statistic")
FILE = "similarity.csv"

Given: TypeAlias = "HiddenStateCache | str | Path"


def similarity_table(
    caches: Given | Sequence[Given],
    *,
    measures: Sequence[str] = tuple(MEASURES),
    statistic: str = "mean",
    features: Sequence[str] | None = None,
    variance: float = VARIANCE,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> pd.DataFrame:
    """Compare the layers of each cache with one another, with acoustic and other features, and with the other caches.

    Two caches are compared on the utterances that both hold, matched by id. Layers are compared as they are; features
    (``cache.baselines``) are standardised column by column first, because their units differ, and only on utterances
    that have them.

    A similarity says what two sets of numbers share over these utterances, not what a model uses; whatever drives
    both (the speaker, the duration, the sentence) makes them alike.

    Parameters
    ----------
    caches : HiddenStateCache, path, or a sequence of these
    measures : sequence of str
        Of "cka" (:func:`linear_cka`) and "pwcca" (:func:`pwcca`).
    statistic : str
        Which pooled statistic of the states: "mean", "std", "mean_ln".
    features : sequence of str, optional
        Names in ``cache.baselines``; by default all that a cache has. Empty for none.
    variance : float
        See :func:`pwcca`.
    out : path, optional
        Folder that keeps the table, ``similarity.csv``. Each comparison is written when it is done; one that is there,
        of the same caches and settings, is not made again.
    overwrite : bool
        Make them all again.
    progress : bool
        Show bars on standard error.

    Returns
    -------
    DataFrame
        One row a measure and pair: `measure`, `model`, `corpus`, `layer`, `other` (label of a model, or name of a
        feature), `other_layer` (empty for features), `n` (utterances), `value`, `chance` (expected of unrelated rows:
        0 for CKA; see :func:`pwcca`), `statistic`, `reason` (why there is no value), `made_from`. Pairs of layers are
        there in both orders; PWCCA is weighted by the side of `layer`.

    Raises
    ------
    UserError
        If a cache is incomplete or lacks what is asked for, two caches have one name, or hold different audio under
        the same id.
    """
    check_settings(measures, variance)
    path = None if out is None else Path(out) / FILE
    there = pd.DataFrame(columns=list(COLUMNS)) if path is None or overwrite else load_table(path, COLUMNS)
    with ExitStack() as stack:
        opened = _opened(caches, stack)
        settings = {"statistic": statistic, "variance": variance}
        hashes = {cache.path: cache_digest(cache, cache.utterances, READ) for cache in opened}
        parts = []
        for comparison in _comparisons(opened, statistic, features):
            made_from = {
                measure: fingerprint(
                    **settings,
                    about=comparison.about,
                    caches=[hashes[cache.path] for cache in comparison.caches],
                    methods={measure: MEASURES[measure].version},
                )
                for measure in measures
            }
            choices = {
                measure: {"measure": measure, "statistic": statistic, MADE_FROM: made_from[measure]}
                for measure in measures
            }
            missing = [
                measure
                for measure in measures
                if not all(len(_of(there, name, **choices[measure])) for name in comparison.names)
            ]
            if missing:
                bar = _bar(f"{comparison.caches[0].label} with {comparison.name}", progress)
                new = _rows(comparison, {measure: choices[measure] for measure in missing}, variance, bar)
                if path is not None:
                    update_table(path, new, key=_KEY)
                there = pd.concat([there, new], ignore_index=True) if len(there) else new
            parts += [_of(there, name, **choices[measure]) for measure in measures for name in comparison.names]
    return pd.concat(parts, ignore_index=True)


def load_similarity(folder: str | Path) -> pd.DataFrame:
    """Read the table that :func:`similarity_table` keeps in a folder; empty where there is none."""
    return load_table(Path(folder) / FILE, COLUMNS)


def _opened(caches: Given | Sequence[Given], stack: ExitStack) -> list[HiddenStateCache]:
    from emoprobe.extract.cache import HiddenStateCache

    opened: list[HiddenStateCache] = []
    for given in [caches] if isinstance(caches, str | Path | HiddenStateCache) else caches:
        cache = given if isinstance(given, HiddenStateCache) else stack.enter_context(HiddenStateCache(given))
        refuse_unfinished(cache)
        same = next((other for other in opened if (other.label, other.corpus) == (cache.label, cache.corpus)), None)
        if same is not None:
            raise UserError(
                f"{same.path} and {cache.path} are both '{cache.label}' on '{cache.corpus}': "
                "give one another --label when it is extracted"
            )
        opened.append(cache)
    return opened


# Which comparisons ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Comparison:
    """One unit of work: the layers of a cache, and what they are compared with."""

    caches: tuple[HiddenStateCache, ...]
    name: str
    one: list[Matrix]
    other: list[Matrix] | None = None
    about: dict | None = None

    @property
    def names(self) -> list[tuple[str, str, str]]:
        """Model, corpus and other of each set of rows that this gives."""
        first, last = self.caches[0], self.caches[-1]
        names = [(first.label, first.corpus, self.name)]
        return names if first is last else [*names, (last.label, last.corpus, first.label)]


def _comparisons(
    caches: Sequence[HiddenStateCache], statistic: str, features: Sequence[str] | None
) -> Iterator[_Comparison]:
    for position, cache in enumerate(caches):
        done = np.flatnonzero(cache.done)
        yield _Comparison((cache,), cache.label, _layers(cache, statistic, done))
        yield from _with_features(cache, statistic, features)
        for other in caches[position + 1 :]:
            rows, other_rows = _matched(cache, other)
            one, two = _layers(cache, statistic, rows), _layers(other, statistic, other_rows)
            yield _Comparison((cache, other), other.label, one, two)


def _with_features(cache: HiddenStateCache, statistic: str, names: Sequence[str] | None) -> Iterator[_Comparison]:
    for name in cache.baselines if names is None else names:
        values = cache.baseline(name)
        # Not every utterance has words, say.
        rows = np.flatnonzero(cache.done & np.isfinite(values).all(1))
        if not len(rows):
            raise UserError(f"{cache.path}: no utterance has '{name}'; leave it out with --features")
        values = values[rows]
        other = [Matrix(values.__getitem__, *values.shape, standardise=True)]
        about = {name: cache.baselines[name]}
        yield _Comparison((cache,), name, _layers(cache, statistic, rows), other, about)


def _layers(cache: HiddenStateCache, statistic: str, rows: np.ndarray) -> list[Matrix]:
    def reader(layer: int) -> Callable[[slice], np.ndarray]:
        return lambda part: cache.states(statistic, layers=layer, rows=rows[part])

    cache.states(statistic, layers=0, rows=slice(0, 0))  # complains of a statistic that is not there
    return [Matrix(reader(layer), len(rows), cache.width) for layer in range(cache.n_layers)]


def _matched(one: HiddenStateCache, other: HiddenStateCache) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the utterances that both have done, in the order of the first."""
    there, here = other.utterances["id"][other.done], one.utterances["id"][one.done]
    place = dict(zip(there, there.index, strict=True))
    pairs = [(row, place[name]) for row, name in here.items() if name in place]
    if not pairs:
        raise UserError(f"{one.path} and {other.path} share no utterance: their ids differ")
    rows, other_rows = np.array(pairs).T
    differ = one.samples[rows] != other.samples[other_rows]
    if differ.any():
        name = one.utterances["id"].iloc[rows[differ][0]]
        raise UserError(
            f"{name} is {one.samples[rows[differ][0]]} samples long in {one.path} and "
            f"{other.samples[other_rows[differ][0]]} in {other.path}: caches of different audio cannot be compared"
        )
    return rows, other_rows


def _of(table: pd.DataFrame, name: tuple[str, str, str], **choice: str) -> pd.DataFrame:
    """Rows of one comparison by one measure."""
    choice |= dict(zip(("model", "corpus", "other"), name, strict=True))
    return table[np.logical_and.reduce([(table[column] == value).to_numpy(bool) for column, value in choice.items()])]


def _rows(
    comparison: _Comparison, made: dict[str, dict[str, str]], variance: float, bar: Callable[[Any], Any]
) -> pd.DataFrame:
    """Rows of one comparison; `made` says of each measure what stands in its rows of how they were made."""
    names, n = comparison.names, comparison.one[0].n
    of_features = comparison.other is not None and len(comparison.caches) == 1
    rows = []
    for pair in compare(comparison.one, comparison.other, tuple(made), variance, bar=bar):
        for measure, score in pair.scores.items():
            orders = [(names[0], pair.i, None if of_features else pair.j, score.value)]
            if not of_features and (comparison.other is not None or pair.i != pair.j):
                orders.append((names[-1], pair.j, pair.i, score.back))
            rows += [
                made[measure]
                | {"model": model, "corpus": corpus, "layer": layer, "other": other, "other_layer": other_layer}
                | {"n": n, "value": value, "chance": score.chance, "reason": score.reason}
                for (model, corpus, other), layer, other_layer, value in orders
            ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table[["layer", "other_layer", "n"]] = table[["layer", "other_layer", "n"]].astype("Int64")
    order = ["measure", "model", "other", "layer", "other_layer"]
    return table.sort_values(order, kind="stable", ignore_index=True)


def _bar(label: str, progress: bool) -> Callable[[Any], Any]:
    return lambda items: progress_bar(items, desc=label, unit="layer", show=progress)
