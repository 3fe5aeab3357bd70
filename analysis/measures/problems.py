"""The folds, labels and kernels that second opinions share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import lazy_loader as _lazy

from emoprobe.errors import UserError
from emoprobe.extract.finished import refuse_unfinished
from emoprobe.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.splits import Fold
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")

from .relevance_settings import DIMENSIONS, RelevanceSettings

Bar: TypeAlias = Callable[[Iterable[Any]], Iterable[Any]]
"""What shows progress: gives what it is given."""

_ROWS_AT_ONCE = 4096


# Whom they ask -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Dimensions that the same utterances have labels of: one set of fits for all of them.

    Attributes
    ----------
    targets : ndarray, shape (utterances, dimensions)
    folds : tuple of Fold
        Labelled rows alone; `tests` holds the scored part alone.
    scored : ndarray of int
        All rows that are scored.
    groups, whole : ndarray of int, shape (utterances,)
        What intervals resample, and what no fold splits: speakers, or groups of them.
    """

    cache: HiddenStateCache
    settings: RelevanceSettings
    dimensions: tuple[str, ...]
    targets: np.ndarray
    folds: tuple[Fold, ...]
    scored: np.ndarray
    groups: np.ndarray
    whole: np.ndarray
    split: str

    def read(self, layer: int, rows: np.ndarray) -> np.ndarray:
        """Features of a layer, shape (rows, width)."""
        names = self.settings.features.split("+")
        return np.concatenate([self.cache.states(name, layers=layer, rows=rows) for name in names], axis=1)

    def table(
        self,
        opinion: str,
        column: int,
        relevance: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        score: np.ndarray | float,
    ) -> pd.DataFrame:
        """Rows of one opinion on one dimension, a row a layer."""
        layers = np.arange(self.cache.n_layers)
        values = {
            "model": self.cache.label,
            "corpus": self.cache.corpus,
            "dimension": self.dimensions[column],
            "opinion": opinion,
            "layer": layers,
            "depth": layers / max(self.cache.n_layers - 1, 1),
            "relevance": relevance,
            "low": low,
            "high": high,
            "score": score,
            "n": len(self.scored),
            "split": self.split,
            "features": self.settings.features,
            "trained": max(len(fold.train) for fold in self.folds),
        }
        return pd.DataFrame(values).astype(dict.fromkeys(("layer", "n", "trained"), "Int64"))


def problems(
    cache: HiddenStateCache,
    settings: RelevanceSettings,
    *,
    kernels: bool = False,
    among: Sequence[str] = DIMENSIONS,
) -> list[Problem]:
    """Fits for the dimensions of the settings; for `kernels` on no more training rows than the settings allow.

    Whoever has a label of any target `among` is dealt to the folds; of all that can be one, they are those of the
    probes.
    """
    from emoprobe.probe.targets import Labels

    refuse_unfinished(cache)
    for name in settings.features.split("+"):
        cache.states(name, layers=0, rows=slice(0, 0))  # complains of a statistic that is not there
    labels = Labels.of(cache.utterances)
    asked = settings.dimensions or [name for name in DIMENSIONS if labels.vary(name)]
    together: dict[bytes, list[str]] = {}
    for name in asked:
        if not labels.vary(name):
            raise UserError(f"{cache.path}: {name} has no labels that vary; ask for another dimension")
        together.setdefault(labels.labelled(name).tobytes(), []).append(name)
    if not together:
        raise UserError(f"{cache.path}: no dimension has labels that vary")
    problems = []
    for names in together.values():
        labelled = labels.labelled(names[0])
        try:
            split = labels.plan(names, settings, among=among)
        except UserError as error:
            raise UserError(f"{cache.path}: {error}") from error
        part = _part_to_score(cache, split.folds, settings.split)
        folds = tuple(_restricted(fold, labelled, part) for fold in split.folds)
        if kernels:
            folds = _drawn(folds, settings)
        if not all(len(fold.train) and all(len(train) for train, _ in fold.inner) for fold in folds):
            raise UserError(f"{cache.path}: too few speakers have a label of {names[0]} for {settings.folds} folds")
        scored = np.concatenate([fold.tests[part] for fold in folds])
        ratings, whole = labels.ratings(names), split.whole
        problems.append(Problem(cache, settings, tuple(names), ratings, folds, scored, split.groups, whole, part))
    return problems


def _part_to_score(cache: HiddenStateCache, folds: Sequence[Fold], wanted: str | None) -> str:
    from emoprobe.probe.selecting import reported_split

    parts = list(folds[0].tests)
    if wanted is None:
        return reported_split(parts)
    if wanted not in parts:
        raise UserError(f"{cache.path}: no part '{wanted}' is scored; there is {', '.join(parts)}")
    return wanted


def _restricted(fold: Fold, rows: np.ndarray, part: str) -> Fold:
    """The fold with the rows alone for which `rows` (a mask) is true, scored on one part."""
    return replace(
        fold,
        train=fold.train[rows[fold.train]],
        inner=tuple((train[rows[train]], held[rows[held]]) for train, held in fold.inner),
        tests={part: fold.tests[part][rows[fold.tests[part]]]},
        development=None if fold.development is None else fold.development[rows[fold.development]],
    )


def _drawn(folds: tuple[Fold, ...], settings: RelevanceSettings) -> tuple[Fold, ...]:
    """Folds whose training parts are cut to the limit by one lot for all of them, so that folds keep their shape."""
    limit = settings.max_train
    larger = [fold.train for fold in folds if len(fold.train) > limit]
    if not larger:
        return folds
    size = 1 + max(int(fold.train.max()) for fold in folds)
    lot = np.random.default_rng(settings.seed).random(size)
    highest = min(np.sort(lot[train])[limit - 1] for train in larger)

    def few(rows: np.ndarray) -> np.ndarray:
        return rows[lot[rows] <= highest]

    return tuple(
        replace(fold, train=few(fold.train), inner=tuple((few(train), held) for train, held in fold.inner))
        for fold in folds
    )


def bar_called(label: str, progress: bool) -> Bar:
    """A bar on standard error, or none."""
    return lambda items: progress_bar(items, desc=label, show=progress)


# Layers side by side -------------------------------------------------------------------------------------------------


def concatenated(problem: Problem, kind: str, bar: Bar) -> np.ndarray:
    """Predictions (fits, utterances, dimensions) of ridges on layers side by side, the penalty chosen by CCC.

    The kernel of features side by side is the sum of the layers' kernels, so a fit costs the same however many
    layers it has. The penalties tried are those of the single layers times the number of layers, which is the same
    as their mean kernel with the single layers' penalties.
    """
    from emoprobe.probe.metrics import ccc
    from emoprobe.probe.ridge import choose

    wanted: dict[bytes, tuple[np.ndarray, list[np.ndarray]]] = {}
    for fold in problem.folds:
        for train, rows in (*fold.inner, *((fold.train, rows) for rows in fold.tests.values())):
            _, ahead = wanted.setdefault(train.tobytes(), (train, []))
            ahead.append(rows)
    last = {key: number for number, fold in enumerate(problem.folds) for key in _trained(fold)}
    steps = iter(bar(list(wanted.values())))
    fitted: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def ahead_of(train: np.ndarray, rows: np.ndarray) -> np.ndarray:  # (fits, penalties, rows, dimensions)
        held, predicted = fitted[train.tobytes()]
        return predicted[:, :, np.searchsorted(held, rows)]

    fits = problem.cache.n_layers + (kind == "without")
    predictions = np.full((fits, *problem.targets.shape), np.nan)
    for number, fold in enumerate(problem.folds):
        # Training parts come in the order in which folds first use them, so the next step is the one that is lacking.
        for key in _trained(fold):
            if key not in fitted:
                train, ahead = next(steps)
                held = np.unique(np.concatenate(ahead))
                fitted[key] = (held, _all_penalties(problem, kind, train, held))
        validation = np.concatenate([rows for _, rows in fold.inner])
        inner = np.concatenate([ahead_of(train, rows) for train, rows in fold.inner], axis=2)
        scores = ccc(problem.targets[validation].T, inner.swapaxes(2, 3))  # (fits, penalties, dimensions)
        best = choose(scores.swapaxes(1, 2))
        for rows in fold.tests.values():
            final = ahead_of(fold.train, rows)
            predictions[:, rows] = np.take_along_axis(final, best[:, None, None, :], axis=1)[:, 0]
        fitted = {key: value for key, value in fitted.items() if last[key] > number}
    next(steps, None)  # lets the bar see that all is done
    return predictions


def _trained(fold: Fold) -> list[bytes]:
    """Keys of the parts that a fold trains on, in the order of `concatenated`."""
    return list(dict.fromkeys(train.tobytes() for train in (*(train for train, _ in fold.inner), fold.train)))


def _all_penalties(problem: Problem, kind: str, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Predictions (fits, penalties, rows, dimensions) of the fits on `train`."""
    from emoprobe.probe.arrays import solve_penalties
    from emoprobe.probe.ridge import PENALTIES

    targets = problem.targets[train]
    mean = targets.mean(0)
    predicted = []
    for count, kernel, cross in _sums(kind, problem.cache.n_layers, lambda k: _kernels(problem, k, train, rows)):
        dual = solve_penalties(kernel, targets - mean, np.asarray(PENALTIES) * count)
        predicted.append(cross @ dual + mean)
    # From the top the last layer came first.
    return np.stack(predicted[::-1] if kind == "top" else predicted)


def _sums(
    kind: str, layers: int, kernels: Callable[[int], tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Number of layers, kernel and cross kernel of each fit; one kernel at a time is made and forgotten.

    "bottom": layers up to k, k rising; "top": layers from k on, k falling; "without": all but k, k rising, then all.
    """
    total, cross_total = np.zeros(()), np.zeros(())
    if kind == "without":
        for k in range(layers):
            kernel, cross = kernels(k)
            total, cross_total = total + kernel, cross_total + cross
        for k in range(layers):
            kernel, cross = kernels(k)
            yield max(layers - 1, 1), total - kernel, cross_total - cross
        yield layers, total, cross_total
        return
    for count, k in enumerate(range(layers) if kind == "bottom" else reversed(range(layers)), start=1):
        kernel, cross = kernels(k)
        total, cross_total = total + kernel, cross_total + cross
        yield count, total, cross_total


def _kernels(problem: Problem, layer: int, train: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of the training rows and of `rows` with them, features standardised by the training rows."""
    x, mean, scale = _standardised(problem, layer, train)
    ahead = (problem.read(layer, rows) - mean) / scale
    return x @ x.T, ahead @ x.T


def _standardised(problem: Problem, layer: int, train: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardised features of the training rows, and what was subtracted from them and divided by."""
    x = problem.read(layer, train).astype(np.float64)
    if not np.isfinite(x).all():
        raise UserError(f"{problem.cache.path}: a state of layer {layer} is not a finite number: extract it anew")
    mean = x.mean(0)
    x -= mean
    variance = (x**2).mean(0)
    varies = variance > 4 * len(x) * np.finfo(np.float64).eps * (variance + mean**2)
    scale = np.where(varies, np.sqrt(variance), np.inf)
    x /= scale
    return x, mean, scale


# Banded ridge --------------------------------------------------------------------------------------------------------


def lacks_package(opinion: str, package: str) -> UserError:
    """The error of an opinion whose package is not installed."""
    return UserError(
        f"{opinion} needs {package}: install it with pip install 'emoprobe[relevance]', or leave this opinion out"
    )


@contextmanager
def _himalaya() -> Iterator[tuple[Any, Any]]:
    """The model of himalaya and its backend, which is torch meanwhile: nearly twice as fast as NumPy, on a CPU too.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        from himalaya.backend import get_backend, set_backend
        from himalaya.kernel_ridge import MultipleKernelRidgeCV
    except ImportError as error:
        raise lacks_package("banded_ridge", "himalaya") from error
    before = get_backend()
    try:
        yield MultipleKernelRidgeCV, set_backend("torch")
    finally:
        set_backend(before)


def banded_parts(problem: Problem, fold: Fold, rows: np.ndarray) -> np.ndarray:
    """What each layer contributes to the predictions of `rows`, shape (layers, rows, dimensions); they sum to it."""
    from emoprobe.probe.ridge import PENALTIES

    layers, train = problem.cache.n_layers, fold.train
    kernels = np.empty((layers, len(train), len(train)))
    for k in range(layers):
        x, _, _ = _standardised(problem, k, train)
        np.matmul(x, x.T, out=kernels[k])
    targets = problem.targets[train]
    mean, spread = targets.mean(0), targets.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    with _himalaya() as (model, backend):
        fitted = model(
            kernels="precomputed",
            solver="random_search",
            solver_params={"n_iter": problem.settings.iterations, "alphas": np.array(PENALTIES), "progress_bar": False},
            cv=_inner_places(problem, fold),
            random_state=problem.settings.seed,
            force_cpu=True,
        ).fit(kernels, (targets - mean) / spread)
        dual = backend.to_numpy(fitted.dual_coef_)  # (train, dimensions)
        bands = np.exp(backend.to_numpy(fitted.deltas_))  # (layers, dimensions)
    # Himalaya predicts from kernels of all layers with all rows at once, which may take many gigabytes. The same
    # prediction by way of the weights of the features needs one layer and a few rows at a time.
    parts = np.empty((layers, len(rows), targets.shape[1]))
    for k in range(layers):
        x, center, scale = _standardised(problem, k, train)
        weights = x.T @ dual * bands[k]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            parts[k, some] = (problem.read(k, rows[some]) - center) / scale @ weights
    # Each band bears its share of the mean, so that the bands sum to the prediction also where folds are pooled.
    return parts * spread + mean / layers


def _inner_places(problem: Problem, fold: Fold) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inner folds as places in the training part; made by speaker where the corpus's own lie outside of it."""
    from emoprobe.probe.splits import group_folds

    train = fold.train
    speakers = problem.whole[train]
    inside = [np.isin(train, held) for _, held in fold.inner]
    if np.sum(inside, axis=0).min() == 0:
        count = min(problem.settings.folds, len(np.unique(speakers)))
        if count < 2:
            raise UserError(f"{problem.cache.path}: a banded ridge needs two speakers or more to train on")
        dealt = group_folds(speakers, count, seed=problem.settings.seed)
        inside = [dealt == k for k in range(count)]
    return [(np.flatnonzero(~held), np.flatnonzero(held)) for held in inside if held.any()]


def split_moments(truth: np.ndarray, parts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums (speakers, layers, 8): those of the whole prediction, then Σp and Σtp of the layer's part."""
    from emoprobe.probe.bootstrap import moments_by_speaker, sum_by_group

    whole = moments_by_speaker(truth, parts.sum(0)[None], groups)
    # About the mean of the labels, as the others.
    origin = truth.mean()
    centred = parts - origin / len(parts)
    of_parts = [sum_by_group(values.T, groups) for values in (centred, centred * (truth - origin))]
    return np.concatenate([np.broadcast_to(whole, (*of_parts[0].shape, 6)), np.stack(of_parts, axis=-1)], axis=-1)


def split_ccc(sums: np.ndarray) -> np.ndarray:
    """Part of each layer in the CCC of the whole, shape (..., layers)."""
    n, t, p, tt, pp, _, part, cross = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = cross / n - (t / n) * (part / n)
        return 2 * covariance / (tt / n - (t / n) ** 2 + pp / n - (p / n) ** 2 + (t / n - p / n) ** 2)
