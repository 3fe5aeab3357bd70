"""Six ways to ask how relevant a layer is; each docstring says what its answer can and cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

import lazy_loader as _lazy

from emoprobe.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache

    _OfSums: TypeAlias = Callable[[np.ndarray], np.ndarray]
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")

from .problems import Bar, Problem, banded_parts, concatenated, problems, split_ccc, split_moments
from .relevance_settings import RelevanceSettings

# The opinions --------------------------------------------------------------------------------------------------------


def best_layer(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar: Bar = iter
) -> pd.DataFrame:
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
    for problem in problems(cache, settings):
        predicted = np.stack(
            [
                ridge_probe(partial(problem.read, k), problem.targets, problem.folds).predictions
                for k in bar(range(cache.n_layers))
            ]
        )
        tables.append(_judged(problem, "best_layer", predicted, ccc_from_moments))
    return pd.concat(tables, ignore_index=True)


def cumulative_bottom(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar: Bar = iter
) -> pd.DataFrame:
    """What layer k adds to the layers below it: CCC of layers 0 to k together, less that of 0 to k - 1.

    Can tell from which depth on nothing new comes. Favours shallow layers by construction: what two layers share is
    counted for the lower one. Layer 0 is compared with the mean label, whose CCC is 0.

    Parameters and returns as :func:`best_layer`; `score` is that of layers 0 to k, `relevance` the gain, with a paired
    interval. The layers' features, each standardised on the training rows, stand side by side under one penalty.
    """

    def gain(sums: np.ndarray) -> np.ndarray:
        from emoprobe.probe.metrics import ccc_from_moments

        return np.diff(ccc_from_moments(sums), prepend=0.0)

    tables = [
        _judged(problem, "cumulative_bottom", concatenated(problem, "bottom", bar), gain)
        for problem in problems(cache, settings, kernels=True)
    ]
    return pd.concat(tables, ignore_index=True)


def cumulative_top(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar: Bar = iter
) -> pd.DataFrame:
    """What layer k adds to the layers above it: CCC of layers k to the last together, less that of k + 1 to the last.

    The mirror image of :func:`cumulative_bottom`: what two layers share is counted for the deeper one. A layer that is
    relevant from both sides holds something that no other has. Parameters and returns as there.
    """

    def gain(sums: np.ndarray) -> np.ndarray:
        from emoprobe.probe.metrics import ccc_from_moments

        return -np.diff(ccc_from_moments(sums), append=0.0)

    tables = [
        _judged(problem, "cumulative_top", concatenated(problem, "top", bar), gain)
        for problem in problems(cache, settings, kernels=True)
    ]
    return pd.concat(tables, ignore_index=True)


def leave_one_out(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar: Bar = iter
) -> pd.DataFrame:
    """What is lost without layer k: CCC of all layers together, less that of all but k.

    Can tell that a layer is irreplaceable. Cannot tell that it is useless: where neighbours hold the same, none is
    missed, and every drop is near zero or below (one layer less is also less to overfit). Expect little of it on real
    models; its interval says when it has spoken.

    Parameters and returns as :func:`best_layer`; `score` is that without layer k, `relevance` the drop, with a paired
    interval. The layers' features, each standardised on the training rows, stand side by side under one penalty.
    """

    def drop(sums: np.ndarray) -> np.ndarray:
        from emoprobe.probe.metrics import ccc_from_moments

        scores = ccc_from_moments(sums)
        return scores[:, -1:] - scores

    tables = [
        _judged(problem, "leave_one_out", concatenated(problem, "without", bar), drop)
        for problem in problems(cache, settings, kernels=True)
    ]
    return pd.concat(tables, ignore_index=True)


def learned_weights(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar: Bar = iter
) -> pd.DataFrame:
    """Softmax weights of the learned weighted sum of layers, averaged over seeds, each times the length of its states.

    The length is that of the centred states, which are what is summed (`probe.weighted.norm_corrected`).

    Can tell what a SUPERB-style model on top would attend to. Cannot tell what a layer holds: one head reads the sum,
    so a layer whose directions fit its neighbours' is favoured; training that stops early leaves weights near the
    equal ones that they start from, and training that goes on may pile nearly all on one of several good layers. A
    weight has no interval here; `low` and `high` are empty.

    Parameters and returns as :func:`best_layer`; `relevance` sums to 1 over layers, `score` is the CCC of the sum, the
    mean over seeds.
    """
    from emoprobe.probe.metrics import ccc
    from emoprobe.probe.weighted import weighted_probe

    if settings.features not in ("mean", "mean_ln"):
        raise UserError(
            f"learned weights take the features mean or mean_ln, not {settings.features}: other statistics of a sum "
            "are no sum of statistics; leave out learned_weights, or ask for mean"
        )
    seeds = range(settings.seed, settings.seed + settings.seeds)

    def read(rows: np.ndarray) -> np.ndarray:
        return cache.states(settings.features, rows=rows)

    tables = []
    for problem in problems(cache, settings):
        fits = weighted_probe(read, problem.targets, problem.folds, seeds=seeds, bar=bar)
        weights = fits.corrected.mean((0, 1))  # (targets, layers)
        truth, predicted = problem.targets[problem.scored], fits.predictions[:, problem.scored]
        scores = ccc(truth.T, predicted.transpose(0, 2, 1)).mean(0)
        nothing = np.full(cache.n_layers, np.nan)
        tables += [
            problem.table("learned_weights", column, weights[column], nothing, nothing, scores[column])
            for column in range(len(problem.dimensions))
        ]
    return pd.concat(tables, ignore_index=True)


def banded_ridge(
    cache: HiddenStateCache, settings: RelevanceSettings = RelevanceSettings(), *, bar: Bar = iter
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
    for problem in problems(cache, settings, kernels=True):
        parts = np.full((cache.n_layers, *problem.targets.shape), np.nan)
        for fold in bar(problem.folds):
            (rows,) = fold.tests.values()
            parts[:, rows] = banded_parts(problem, fold, rows)
        for column in range(len(problem.dimensions)):
            truth, split = problem.targets[problem.scored, column], parts[:, problem.scored, column]
            sums = split_moments(truth, split, problem.groups[problem.scored])
            tables.append(_with_interval(problem, "banded_ridge", column, sums, split_ccc, _whole_ccc))
    return pd.concat(tables, ignore_index=True)


# What there is -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opinion:
    """A way to ask how relevant each layer is.

    Parameters
    ----------
    ask : callable
        Given a cache, settings and `bar`; its name is that of the opinion.
    label : str
        As figures and tables call it.
    in_words : str
        What is asked, for the methods of a report.
    methods : tuple of str
        Modules of `emoprobe.probe` on whose versions its numbers depend, beside those of every opinion.
    cites : tuple of str
        Keys of the references.
    needs : str
        A package that only the extra `relevance` brings.
    starts_at : float, optional
        Relative depth of the layer that it starts with, which is compared with nothing.
    long : bool
        Whether it takes several times as long as the others: it is asked first.
    version : int
        Raise it with any change that moves its numbers beyond rounding; kept ones are then made anew.
    """

    ask: Callable[..., pd.DataFrame]
    label: str
    in_words: str
    methods: tuple[str, ...] = ("ridge",)
    cites: tuple[str, ...] = ()
    needs: str = ""
    starts_at: float | None = None
    long: bool = False
    version: int = 1

    @property
    def name(self) -> str:
        """In tables and options."""
        return self.ask.__name__

    @property
    def lacking(self) -> str:
        """The package that it needs, where that is not installed; else empty."""
        return self.needs if self.needs and find_spec(self.needs) is None else ""


OPINIONS = {
    opinion.name: opinion
    for opinion in (
        Opinion(best_layer, "each layer alone", "each layer alone"),
        Opinion(cumulative_bottom, "gain from below", "what a layer adds to those below it", starts_at=0.0),
        Opinion(cumulative_top, "gain from above", "what it adds to those above it", starts_at=1.0),
        Opinion(leave_one_out, "loss without it", "what is lost without it"),
        Opinion(
            learned_weights,
            "learned weights",
            "the learned weights, norm-corrected",
            methods=("weighted", "training"),
            version=2,
        ),
        Opinion(
            banded_ridge,
            "banded ridge",
            "its share in a banded ridge over all layers",
            methods=(),
            cites=("dupre2022feature",),
            needs="himalaya",
            long=True,
        ),
    )
}
"""Every opinion, by its name, in the order of every figure."""


# How a table is made of predictions ----------------------------------------------------------------------------------


def _judged(problem: Problem, opinion: str, predicted: np.ndarray, measure: _OfSums) -> pd.DataFrame:
    """Relevance by `measure` of predictions (fits, utterances, dimensions); fits beyond the layers only compare."""
    from emoprobe.probe.bootstrap import moments_by_speaker
    from emoprobe.probe.metrics import ccc_from_moments

    tables = []
    for column in range(len(problem.dimensions)):
        truth, fits = problem.targets[problem.scored, column], predicted[:, problem.scored, column]
        sums = moments_by_speaker(truth, fits, problem.groups[problem.scored])
        tables.append(_with_interval(problem, opinion, column, sums, measure, ccc_from_moments))
    return pd.concat(tables, ignore_index=True)


def _with_interval(
    problem: Problem, opinion: str, column: int, sums: np.ndarray, measure: _OfSums, score: _OfSums
) -> pd.DataFrame:
    from emoprobe.probe.bootstrap import intervals

    settings, layers = problem.settings, problem.cache.n_layers
    total = sums.sum(0)[None]
    # Where the relevance is the score itself its interval is that of a CCC, on the scale of that name.
    name = "ccc" if measure is score else "relevance"
    bounds = intervals(sums, {name: measure}, resamples=settings.resamples, seed=settings.seed)[name]
    low, high = bounds[:, :layers]
    return problem.table(opinion, column, measure(total)[0, :layers], low, high, score(total)[0, :layers])


def _whole_ccc(sums: np.ndarray) -> np.ndarray:
    from emoprobe.probe.metrics import ccc_from_moments

    return ccc_from_moments(sums[..., :6])
