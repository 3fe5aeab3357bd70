"""Second opinions on which layers matter: six ways to ask, one table, and how far they agree.

No single number says how relevant a layer is. Each function here asks another question, and its docstring says what
the answer can and cannot tell; where the answers agree, a claim stands on more than one leg.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader as _lazy

from emoprobe.errors import UserError

from .stored import MADE_FROM, cache_hash, fingerprint, load_table, update_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.splits import Fold
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")

DIMENSIONS = ("arousal", "valence", "dominance")

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
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class RelevanceSettings:
    """What is asked, and on whom; the same for every opinion.

    Parameters
    ----------
    dimensions : tuple of str
        Of "arousal", "valence", "dominance"; empty for all that the corpus has labels of.
    features : str
        Statistic of the cache, or several joined by "+". Learned weights take "mean" or "mean_ln" alone.
    split : str, optional
        Part to score, such as "test"; by default the first test part, or all speaker-grouped folds pooled.
    folds, seed : int
        Of the folds, as :func:`emoprobe.probe.splits.plan` makes them. The seed is also that of the bootstrap, of the
        random search, and the first of the learned weights.
    seeds : int
        Seeds of the learned weights, which are averaged.
    resamples : int
        Of the bootstrap over speakers.
    max_train : int
        Opinions that solve kernels (all but the best layer and the learned weights) are trained on at most so many
        utterances, drawn by lot: their time grows with the cube of that number. So many numbers are held at once, of 8
        bytes: by the banded ridge its square times the layers; by the others a few times its square and its product
        with the utterances predicted from one training part, and the predictions of these for each fit, penalty and
        dimension, until the last fold that uses them is done.
    iterations : int
        Tries of the random search of the banded ridge.
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.
    """

    dimensions: tuple[str, ...] = ()
    features: str = "mean"
    split: str | None = None
    folds: int = 5
    seed: int = 0
    seeds: int = 3
    resamples: int = 2000
    max_train: int = 2000
    iterations: int = 60
    ungrouped: bool = False

    def __post_init__(self):
        for name in self.dimensions:
            if name not in DIMENSIONS:
                raise UserError(f"unknown dimension '{name}': there is {', '.join(DIMENSIONS)}")
        if self.seeds < 1 or self.iterations < 1 or self.max_train < 10 or self.resamples < 0:
            raise UserError("seeds and iterations must be at least 1, max_train at least 10, resamples at least 0")


# The opinions --------------------------------------------------------------------------------------------------------


def best_layer(cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar=iter) -> pd.DataFrame:
    """Score of a ridge probe on each layer alone.

    Can tell what can be read linearly from a layer by itself. Cannot tell whether another layer holds the same:
    neighbours are alike, so all of a deep plateau may be relevant for one and the same thing.

    Parameters
    ----------
    cache : HiddenStateCache
    settings : RelevanceSettings
    bar : callable
        Wraps the layers to show progress.

    Returns
    -------
    DataFrame
        `model`, `corpus`, `dimension`, `opinion`, `layer`, `depth`, `relevance` (here the score itself), `low`, `high`
        (95 % bootstrap interval over speakers), `score` (CCC), `n` (utterances scored), `split`, `features`,
        `trained` (most utterances that one fit was trained on).
    """
    from emoprobe.probe.metrics import ccc_from_moments
    from emoprobe.probe.ridge import ridge_probe

    tables = []
    for problem in _problems(cache, settings):
        predicted = np.stack(
            [
                ridge_probe(partial(problem.read, k), problem.targets, problem.folds).predictions
                for k in bar(range(cache.n_layers))
            ]
        )
        tables.append(_judged(problem, "best_layer", predicted, ccc_from_moments))
    return pd.concat(tables, ignore_index=True)


def cumulative_bottom(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar=iter
) -> pd.DataFrame:
    """What layer k adds to the layers below it: CCC of layers 0 to k together, less that of 0 to k - 1.

    Can tell from which depth on nothing new comes. Favours shallow layers by construction: what two layers share is
    counted for the lower one. Layer 0 is compared with the mean label, whose CCC is 0.

    Parameters and returns as :func:`best_layer`; `score` is that of layers 0 to k, `relevance` the gain, with a paired
    interval. The layers' features, each standardised on the training rows, stand side by side under one penalty.
    """

    def gain(sums):
        from emoprobe.probe.metrics import ccc_from_moments

        return np.diff(ccc_from_moments(sums), prepend=0.0)

    tables = [
        _judged(problem, "cumulative_bottom", _concatenated(problem, "bottom", bar), gain)
        for problem in _problems(cache, settings, kernels=True)
    ]
    return pd.concat(tables, ignore_index=True)


def cumulative_top(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar=iter
) -> pd.DataFrame:
    """What layer k adds to the layers above it: CCC of layers k to the last together, less that of k + 1 to the last.

    The mirror image of :func:`cumulative_bottom`: what two layers share is counted for the deeper one. A layer that is
    relevant from both sides holds something that no other has. Parameters and returns as there.
    """

    def gain(sums):
        from emoprobe.probe.metrics import ccc_from_moments

        return -np.diff(ccc_from_moments(sums), append=0.0)

    tables = [
        _judged(problem, "cumulative_top", _concatenated(problem, "top", bar), gain)
        for problem in _problems(cache, settings, kernels=True)
    ]
    return pd.concat(tables, ignore_index=True)


def leave_one_out(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar=iter
) -> pd.DataFrame:
    """What is lost without layer k: CCC of all layers together, less that of all but k.

    Can tell that a layer is irreplaceable. Cannot tell that it is useless: where neighbours hold the same, none is
    missed, and every drop is near zero or below (one layer less is also less to overfit). Expect little of it on real
    models; its interval says when it has spoken.

    Parameters and returns as :func:`best_layer`; `score` is that without layer k, `relevance` the drop, with a paired
    interval. The layers' features, each standardised on the training rows, stand side by side under one penalty.
    """

    def drop(sums):
        from emoprobe.probe.metrics import ccc_from_moments

        scores = ccc_from_moments(sums)
        return scores[:, -1:] - scores

    tables = [
        _judged(problem, "leave_one_out", _concatenated(problem, "without", bar), drop)
        for problem in _problems(cache, settings, kernels=True)
    ]
    return pd.concat(tables, ignore_index=True)


def learned_weights(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar=iter
) -> pd.DataFrame:
    """Softmax weights of the learned weighted sum of layers, corrected for the layers' norms, averaged over seeds.

    Can tell what a SUPERB-style model on top would attend to. Cannot tell what a layer holds: one head reads the sum,
    so a layer whose directions fit its neighbours' is favoured; training that stops early leaves weights near the
    equal ones that they start from, and training that goes on may pile nearly all on one of several good layers. A
    weight has no interval here; `low` and `high` are empty.

    Parameters and returns as :func:`best_layer`; `relevance` sums to 1 over layers, `score` is the CCC of the sum, the
    mean over seeds.
    """
    from emoprobe.probe.metrics import ccc
    from emoprobe.probe.weighted import norm_corrected, weighted_probe

    if settings.features not in ("mean", "mean_ln"):
        raise UserError(
            f"learned weights take the features mean or mean_ln, not {settings.features}: other statistics of a sum "
            "are no sum of statistics; leave out learned_weights, or ask for mean"
        )
    norms = cache.layers["norm"].to_numpy(np.float64)
    # Layer-normed frames have one norm, so the weight is already the share.
    norms = np.ones_like(norms) if settings.features == "mean_ln" else norms
    seeds = range(settings.seed, settings.seed + settings.seeds)

    def read(rows):
        return cache.states(settings.features, rows=rows)

    tables = []
    for problem in _problems(cache, settings):
        found = weighted_probe(read, problem.targets, problem.folds, seeds=seeds, bar=bar)
        weights = norm_corrected(found.weights, norms).mean((0, 1))  # (targets, layers)
        truth, predicted = problem.targets[problem.scored], found.predictions[:, problem.scored]
        scores = ccc(truth.T, predicted.transpose(0, 2, 1)).mean(0)
        nothing = np.full(cache.n_layers, np.nan)
        tables += [
            problem.table("learned_weights", column, weights[column], nothing, nothing, scores[column])
            for column in range(len(problem.dimensions))
        ]
    return pd.concat(tables, ignore_index=True)


def banded_ridge(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar=iter
) -> pd.DataFrame:
    r"""Share of each layer in the score of a ridge on all layers, each with a penalty of its own (himalaya).

    The prediction is a sum over layers, :math:`\hat y = \sum_k \hat y_k`, and so is its covariance with the labels:
    layer k has the part :math:`2\,\mathrm{cov}(y, \hat y_k)` of the numerator of the CCC. The parts sum to the score,
    and are in the proportions of himalaya's ``correlation_score_split``.

    Can tell how a joint model that may drop whole layers divides its work. Cannot tell which of two layers that hold
    the same is meant: it takes one or splits between them, and the random search, with many layers, tries few of the
    ways to do so. A part may be negative, where a layer corrects another.

    Parameters and returns as :func:`best_layer`; `score` is the CCC of the whole. Penalties (a common one, and weights
    of the layers drawn from Dirichlet distributions) are chosen by squared error on speaker-grouped inner folds of
    the training part.

    Raises
    ------
    UserError
        If himalaya is not installed.

    References
    ----------
    T. Dupré la Tour et al., "Feature-space selection with banded ridge regression", NeuroImage 264, 2022.
    """
    tables = []
    for problem in _problems(cache, settings, kernels=True):
        parts = np.full((cache.n_layers, *problem.targets.shape), np.nan)
        for fold in bar(problem.folds):
            (rows,) = fold.tests.values()
            parts[:, rows] = _banded_parts(problem, fold, rows)
        for column in range(len(problem.dimensions)):
            truth, split = problem.targets[problem.scored, column], parts[:, problem.scored, column]
            sums = _split_moments(truth, split, problem.groups[problem.scored])
            tables.append(_with_interval(problem, "banded_ridge", column, sums, _split_ccc, _whole_ccc))
    return pd.concat(tables, ignore_index=True)


OPINIONS: dict[str, Callable[..., pd.DataFrame]] = {
    function.__name__: function
    for function in (best_layer, cumulative_bottom, cumulative_top, leave_one_out, learned_weights, banded_ridge)
}

#: Of each opinion. Raise one with any change that moves its numbers beyond rounding; kept ones are then made anew.
VERSIONS = dict.fromkeys(OPINIONS, 1)


def relevance_opinions(
    cache: HiddenStateCache | str | Path,
    settings: RelevanceSettings = RelevanceSettings(),
    *,
    opinions: Sequence[str] = tuple(OPINIONS),
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
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
    if not isinstance(cache, HiddenStateCache):
        with HiddenStateCache(cache) as opened:
            return relevance_opinions(
                opened, settings, opinions=opinions, out=out, overwrite=overwrite, progress=progress
            )
    if "banded_ridge" in opinions:
        _himalaya()  # to complain before the others take their time
    path = None if out is None else Path(out) / FILE
    there = pd.DataFrame(columns=list(COLUMNS)) if path is None or overwrite else load_table(path, COLUMNS)
    wanted = [dimension for problem in _problems(cache, settings) for dimension in problem.dimensions]
    used = {name: value for name, value in asdict(settings).items() if name != "dimensions"}
    digest = cache_hash(cache)
    found = []
    for name in opinions:
        made_from = fingerprint(**used, cache=digest, methods=_methods(name))
        same = (there["opinion"] == name) & (there[MADE_FROM] == made_from)
        kept = there[same & there["dimension"].isin(wanted)]
        missing = tuple(dimension for dimension in wanted if dimension not in set(kept["dimension"]))
        found.append(kept)
        if missing:
            bar = _bar(f"{cache.label}, {name}", progress)
            new = OPINIONS[name](cache, replace(settings, dimensions=missing), bar=bar)
            new[MADE_FROM] = made_from
            if path is not None:
                update_table(path, new, key=_KEY)
            found.append(new)
    return pd.concat([part for part in found if len(part)], ignore_index=True)


def _methods(opinion: str) -> dict[str, int]:
    """Versions of the methods by which an opinion is made."""
    from emoprobe.probe import bootstrap, metrics, ridge, splits, training, weighted

    fitted = {"learned_weights": [weighted, training], "banded_ridge": []}.get(opinion, [ridge])
    used = {module.__name__.rpartition(".")[2]: module.VERSION for module in [splits, metrics, bootstrap, *fitted]}
    return {**used, opinion: VERSIONS[opinion]}


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
        `kendall` (tau-b), and the most relevant layer of each, `best` and `other_best`.
    """
    from scipy.stats import kendalltau, spearmanr

    rows = []
    for key, part in table.groupby(["model", "corpus", "features", "dimension"], sort=False):
        compared = part[~starts(part)]
        wide = compared.pivot(index="layer", columns="opinion", values="relevance")
        names = list(dict.fromkeys(part["opinion"]))
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
                        both.index[a.argmax()] if len(both) else None,
                        both.index[b.argmax()] if len(both) else None,
                    )
                )
    names = ["model", "corpus", "features", "dimension", "opinion", "other", "layers", "spearman", "kendall"]
    return pd.DataFrame(rows, columns=[*names, "best", "other_best"])


def starts(table: pd.DataFrame) -> pd.Series:
    """Whether each row is the layer that a cumulative opinion starts with, whose gain is its whole score."""
    bottom = (table["opinion"] == "cumulative_bottom") & (table["depth"] == 0)
    return bottom | ((table["opinion"] == "cumulative_top") & (table["depth"] == 1))


# Whom they ask -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Problem:
    """Dimensions that the same utterances have labels of: one set of fits for all of them.

    Attributes
    ----------
    targets : ndarray, shape (utterances, dimensions)
    folds : tuple of Fold
        Labelled rows alone; `tests` holds the scored part alone.
    scored : ndarray of int
        All rows that are scored.
    groups : ndarray of int, shape (utterances,)
        Speakers.
    """

    cache: HiddenStateCache
    settings: RelevanceSettings
    dimensions: tuple[str, ...]
    targets: np.ndarray
    folds: tuple[Fold, ...]
    scored: np.ndarray
    groups: np.ndarray
    split: str

    def read(self, layer: int, rows: np.ndarray) -> np.ndarray:
        """Features of a layer, shape (rows, width)."""
        names = self.settings.features.split("+")
        return np.concatenate([self.cache.states(name, layers=layer, rows=rows) for name in names], axis=1)

    def table(self, opinion, column, relevance, low, high, score) -> pd.DataFrame:
        """Rows of one opinion on one dimension."""
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
        made = pd.DataFrame(values)
        made[["layer", "n", "trained"]] = made[["layer", "n", "trained"]].astype("Int64")
        return made


def _problems(cache: HiddenStateCache, settings: RelevanceSettings, *, kernels: bool = False) -> list[_Problem]:
    """Fits for the dimensions of the settings; for `kernels` on no more training rows than the settings allow."""
    from emoprobe.probe.splits import plan

    if not cache.complete:
        raise UserError(f"{cache.path} is not complete: run the same probe-extract again, it goes on where it stopped")
    for name in settings.features.split("+"):
        cache.states(name, layers=0, rows=slice(0, 0))  # complains of a statistic that is not there
    table, done = cache.utterances, cache.done
    values = {name: np.where(done, table[name].to_numpy(np.float64), np.nan) for name in DIMENSIONS}
    usable = {name: ~np.isnan(column) for name, column in values.items()}
    asked = settings.dimensions or [
        name for name in DIMENSIONS if usable[name].any() and np.nanmin(values[name]) < np.nanmax(values[name])
    ]
    together: dict = {}
    for name in asked:
        if not usable[name].any() or np.nanmin(values[name]) == np.nanmax(values[name]):
            raise UserError(f"{cache.path}: {name} has no labels that vary; ask for another dimension")
        together.setdefault(usable[name].tobytes(), []).append(name)
    if not together:
        raise UserError(f"{cache.path}: no dimension has labels that vary")
    problems = []
    for names in together.values():
        labelled = usable[names[0]]
        try:
            split = plan(
                table["split"].fillna("").astype(str),
                table["speaker"].fillna("").astype(str).tolist(),
                np.logical_or.reduce(list(usable.values())),
                labelled,
                n_folds=settings.folds,
                seed=settings.seed,
                ungrouped=settings.ungrouped,
            )
        except UserError as error:
            raise UserError(f"{cache.path}: {error}") from error
        part = _part_to_score(cache, split.folds, settings.split)
        folds = tuple(_restricted(fold, labelled, part) for fold in split.folds)
        if kernels:
            folds = _drawn(folds, settings)
        if not all(len(fold.train) and all(len(train) for train, _ in fold.inner) for fold in folds):
            raise UserError(f"{cache.path}: too few speakers have a label of {names[0]} for {settings.folds} folds")
        scored = np.concatenate([fold.tests[part] for fold in folds])
        targets = np.stack([values[name] for name in names], axis=1)
        problems.append(_Problem(cache, settings, tuple(names), targets, folds, scored, split.groups, part))
    return problems


def _part_to_score(cache, folds, wanted: str | None) -> str:
    parts = list(folds[0].tests)
    if wanted is None:
        return next((name for name in sorted(parts) if name.startswith("test")), parts[0])
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

    def few(rows):
        return rows[lot[rows] <= highest]

    return tuple(
        replace(fold, train=few(fold.train), inner=tuple((few(train), held) for train, held in fold.inner))
        for fold in folds
    )


# How a table is made of predictions ----------------------------------------------------------------------------------


def _judged(problem: _Problem, opinion: str, predicted: np.ndarray, measure) -> pd.DataFrame:
    """Relevance by `measure` of predictions (fits, utterances, dimensions); fits beyond the layers only compare."""
    from emoprobe.probe.bootstrap import moments_by_speaker
    from emoprobe.probe.metrics import ccc_from_moments

    tables = []
    for column in range(len(problem.dimensions)):
        truth, fits = problem.targets[problem.scored, column], predicted[:, problem.scored, column]
        sums = moments_by_speaker(truth, fits, problem.groups[problem.scored])
        tables.append(_with_interval(problem, opinion, column, sums, measure, ccc_from_moments))
    return pd.concat(tables, ignore_index=True)


def _with_interval(problem, opinion, column, sums, measure, score) -> pd.DataFrame:
    from emoprobe.probe.bootstrap import intervals

    settings, layers = problem.settings, problem.cache.n_layers
    total = sums.sum(0)[None]
    # Where the relevance is the score itself its interval is that of a CCC, on the scale of that name.
    name = "ccc" if measure is score else "relevance"
    bounds = intervals(sums, {name: measure}, resamples=settings.resamples, seed=settings.seed)[name]
    low, high = bounds[:, :layers]
    return problem.table(opinion, column, measure(total)[0, :layers], low, high, score(total)[0, :layers])


def _bar(label: str, progress: bool):
    if not progress:
        return iter
    from tqdm import tqdm

    return lambda items: tqdm(items, desc=label, file=sys.stderr)


# Layers side by side -------------------------------------------------------------------------------------------------


def _concatenated(problem: _Problem, kind: str, bar) -> np.ndarray:
    """Predictions (fits, utterances, dimensions) of ridges on layers side by side, the penalty chosen by CCC.

    The kernel of features side by side is the sum of the layers' kernels, so a fit costs the same however many
    layers it has. The penalties tried are those of the single layers times the number of layers, which is the same
    as their mean kernel with the single layers' penalties.
    """
    from emoprobe.probe.metrics import ccc
    from emoprobe.probe.ridge import choose

    wanted: dict = {}
    for fold in problem.folds:
        for train, rows in (*fold.inner, *((fold.train, rows) for rows in fold.tests.values())):
            _, ahead = wanted.setdefault(train.tobytes(), (train, []))
            ahead.append(rows)
    last = {key: number for number, fold in enumerate(problem.folds) for key in _trained(fold)}
    steps = iter(bar(list(wanted.values())))
    found: dict = {}

    def ahead_of(train, rows):  # (fits, penalties, rows, dimensions)
        held, predicted = found[train.tobytes()]
        return predicted[:, :, np.searchsorted(held, rows)]

    fits = problem.cache.n_layers + (kind == "without")
    predictions = np.full((fits, *problem.targets.shape), np.nan)
    for number, fold in enumerate(problem.folds):
        # Training parts come in the order in which folds first use them, so the next step is the one that is lacking.
        for key in _trained(fold):
            if key not in found:
                train, ahead = next(steps)
                held = np.unique(np.concatenate(ahead))
                found[key] = (held, _all_penalties(problem, kind, train, held))
        validation = np.concatenate([rows for _, rows in fold.inner])
        inner = np.concatenate([ahead_of(train, rows) for train, rows in fold.inner], axis=2)
        scores = ccc(problem.targets[validation].T, inner.swapaxes(2, 3))  # (fits, penalties, dimensions)
        best = choose(scores.swapaxes(1, 2))
        for rows in fold.tests.values():
            final = ahead_of(fold.train, rows)
            predictions[:, rows] = np.take_along_axis(final, best[:, None, None, :], axis=1)[:, 0]
        found = {key: value for key, value in found.items() if last[key] > number}
    next(steps, None)  # lets the bar see that all is done
    return predictions


def _trained(fold: Fold) -> list[bytes]:
    """Keys of the parts that a fold trains on, in the order of `_concatenated`."""
    return list(dict.fromkeys(train.tobytes() for train in (*(train for train, _ in fold.inner), fold.train)))


def _all_penalties(problem: _Problem, kind: str, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Predictions (fits, penalties, rows, dimensions) of the fits on `train`."""
    from emoprobe.probe.ridge import PENALTIES, solve_penalties

    targets = problem.targets[train]
    mean = targets.mean(0)
    predicted = []
    for count, kernel, cross in _sums(kind, problem.cache.n_layers, lambda k: _kernels(problem, k, train, rows)):
        dual = solve_penalties(kernel, targets - mean, np.asarray(PENALTIES) * count)
        predicted.append(cross @ dual + mean)
    # From the top the last layer came first.
    return np.stack(predicted[::-1] if kind == "top" else predicted)


def _sums(kind: str, layers: int, kernels) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Number of layers, kernel and cross kernel of each fit; one kernel at a time is made and forgotten.

    "bottom": layers up to k, k rising; "top": layers from k on, k falling; "without": all but k, k rising, then all.
    """
    if kind == "without":
        total = cross_total = 0.0
        for k in range(layers):
            kernel, cross = kernels(k)
            total, cross_total = total + kernel, cross_total + cross
        for k in range(layers):
            kernel, cross = kernels(k)
            yield max(layers - 1, 1), total - kernel, cross_total - cross
        yield layers, total, cross_total
        return
    total = cross_total = 0.0
    for count, k in enumerate(range(layers) if kind == "bottom" else reversed(range(layers)), start=1):
        kernel, cross = kernels(k)
        total, cross_total = total + kernel, cross_total + cross
        yield count, total, cross_total


def _kernels(problem: _Problem, layer: int, train: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of the training rows and of `rows` with them, features standardised by the training rows."""
    x, mean, scale = _standardised(problem, layer, train)
    ahead = (problem.read(layer, rows) - mean) / scale
    return x @ x.T, ahead @ x.T


def _standardised(problem: _Problem, layer: int, train: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def _himalaya():
    try:
        from himalaya.backend import get_backend
        from himalaya.kernel_ridge import MultipleKernelRidgeCV
    except ImportError as error:
        raise UserError(
            "banded_ridge needs himalaya: install it with pip install 'emoprobe[relevance]', or leave this opinion out"
        ) from error
    return MultipleKernelRidgeCV, get_backend


def _banded_parts(problem: _Problem, fold: Fold, rows: np.ndarray) -> np.ndarray:
    """What each layer contributes to the predictions of `rows`, shape (layers, rows, dimensions); they sum to it."""
    from emoprobe.probe.ridge import PENALTIES

    model, get_backend = _himalaya()
    layers, train = problem.cache.n_layers, fold.train
    kernels = np.empty((layers, len(train), len(train)))
    for k in range(layers):
        x, _, _ = _standardised(problem, k, train)
        np.matmul(x, x.T, out=kernels[k])
    targets = problem.targets[train]
    mean, spread = targets.mean(0), targets.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    fitted = model(
        kernels="precomputed",
        solver="random_search",
        solver_params={"n_iter": problem.settings.iterations, "alphas": np.array(PENALTIES), "progress_bar": False},
        cv=_inner_places(problem, fold),
        random_state=problem.settings.seed,
        force_cpu=True,
    ).fit(kernels, (targets - mean) / spread)
    to_numpy = get_backend().to_numpy
    dual, bands = to_numpy(fitted.dual_coef_), np.exp(to_numpy(fitted.deltas_))  # (train, dimensions), (layers, ...)
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


def _inner_places(problem: _Problem, fold: Fold) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inner folds as places in the training part; made by speaker where the corpus's own lie outside of it."""
    from emoprobe.probe.splits import group_folds

    train = fold.train
    speakers = problem.groups[train]
    inside = [np.isin(train, held) for _, held in fold.inner]
    if np.sum(inside, axis=0).min() == 0:
        count = min(problem.settings.folds, len(np.unique(speakers)))
        if count < 2:
            raise UserError(f"{problem.cache.path}: a banded ridge needs two speakers or more to train on")
        dealt = group_folds(speakers, count, seed=problem.settings.seed)
        inside = [dealt == k for k in range(count)]
    return [(np.flatnonzero(~held), np.flatnonzero(held)) for held in inside if held.any()]


def _split_moments(truth: np.ndarray, parts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums (speakers, layers, 8): those of the whole prediction, then Σp and Σtp of the layer's part."""
    from emoprobe.probe.bootstrap import moments_by_speaker, sum_by_group

    whole = moments_by_speaker(truth, parts.sum(0)[None], groups)
    # About the mean of the labels, as the others.
    origin = truth.mean()
    own = parts - origin / len(parts)
    of_parts = [sum_by_group(values.T, groups) for values in (own, own * (truth - origin))]
    return np.concatenate([np.broadcast_to(whole, (*of_parts[0].shape, 6)), np.stack(of_parts, axis=-1)], axis=-1)


def _split_ccc(sums: np.ndarray) -> np.ndarray:
    """Part of each layer in the CCC of the whole, shape (..., layers)."""
    n, t, p, tt, pp, _, part, cross = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = cross / n - (t / n) * (part / n)
        return 2 * covariance / (tt / n - (t / n) ** 2 + pp / n - (p / n) ** 2 + (t / n - p / n) ** 2)


def _whole_ccc(sums: np.ndarray) -> np.ndarray:
    from emoprobe.probe.metrics import ccc_from_moments

    return ccc_from_moments(sums[..., :6])
