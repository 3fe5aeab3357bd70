"""How sure a score or a difference of scores is: intervals, p values and tidy tables from the predictions.

Speakers (or groups, see :mod:`.units`) are resampled, and where a system has several seeds, these too; everything that
is compared meets the same resamples, so that differences are paired. Scores follow from sums over speakers
(`bootstrap`), so all resamples of all systems are matrix products.

A *system* is one combination of `SYSTEM`: a layer's probe, a baseline, a learned sum, a model trained end to end. Only
utterances that all compared systems score take part; categories too rare for an interval are left out, and named.

Holm's correction is over a *family*: the pairs of one question, which each function names. Resamples are raised to
`RESAMPLES_A_TEST` for each test of it where fewer were asked for, or nothing in a large family could be significant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from .differences import Method, corrected, differences, limits_of, tidy
from .drawing import draw_resamples, sums_of
from .refits import Refits
from .results import Results
from .selecting import (
    SYSTEM,
    best_of_run,
    grouped,
    in_words,
    is_baseline,
    runs_of,
    same_value,
    selected,
    systems_of,
)

INTERVALS = (*SYSTEM, "n", "speakers", "seeds", "score", "low", "high", "unit", "units", "without",
             "interval")  # fmt: skip


def score_intervals(
    results: Results, *, metric: str = "ccc", resamples: int = 2000, seed: int = 0, **where: Any
) -> pd.DataFrame:
    """The score of every system with its interval over speakers and seeds together.

    Parameters
    ----------
    results : Results
        With predictions.
    metric : str
        "ccc", "pearson" or "rmse"; "uar" or "macro_f1" of categories.
    resamples, seed : int
        Of the bootstrap.
    **where
        Values of columns of `SYSTEM`, to have a part only: ``split="test"``.

    Returns
    -------
    DataFrame
        One row a system: `model, corpus, dimension, probe, features, layer, split`; `n` utterances, `speakers`,
        `seeds`; `score`, the mean over seeds, and its 95 % interval `low, high`; `unit`, what is resampled
        ("speaker" or "group"), and how many `units` there are. NaN limits with fewer than 2 of them. `without` names
        the categories too rare to take part.

    Raises
    ------
    UserError
        If there are no such predictions.
    """
    rows, method = [], Method(metric, resamples, seed, Refits(results.refits))
    for name, frame in systems_of(selected(results, where, metric)).items():
        sums = sums_of([frame], metric)
        drawn = draw_resamples(sums, metric, resamples, seed)
        known = limits_of([(0,)], [name], sums, drawn, method)
        rows.append(
            {
                **name,
                **sums.counts(),
                "seeds": sums.sums[0].shape[1],
                "score": drawn.score[0],
                "low": known.low[0],
                "high": known.high[0],
                "without": ", ".join(sums.rare),
                "interval": known.interval[0],
            }
        )
    return tidy(rows, INTERVALS)


def paired_differences(
    results: Results,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    *,
    metric: str = "ccc",
    resamples: int = 2000,
    seed: int = 0,
    smallest: float = float("nan"),
) -> pd.DataFrame:
    """Differences of scores between systems, one minus other, on the same speakers.

    What neither side names is matched: ``one={"model": "a", "layer": 3}, other={"model": "b", "layer": 1}`` compares
    these two on every corpus, dimension, probe, feature set and split that both have.

    Parameters
    ----------
    results : Results
        With predictions.
    one, other : mapping of str to value
        Columns of `SYSTEM` with the values of each side. ``None`` as layer is a system of no layer.
    metric, resamples, seed
        See :func:`score_intervals`.
    smallest : float
        The smallest difference of interest, in the metric, for `p_equal`; NaN for none.

    Returns
    -------
    DataFrame
        One row a pair: the columns that both sides share (empty where they differ); `one` and `other` in words;
        `score_one, score_other, difference`, with its 95 % interval `low, high` and the two-sided bootstrap `p` of a
        difference of zero; `p_holm`, Holm's correction over the rows of the same corpus and split; `n` utterances that
        both score, `speakers`; `unit` and `units`, see :func:`score_intervals`. Where models are compared, baselines
        are left out unless a side names them: they are the same for all models of a corpus. `without` names the
        categories that are too rare to take part. `p_equal` is twice the p value of two one-sided tests that the
        difference lies within ±`smallest` (`jackknife.equivalence`): at most 0.05 where the interval lies inside.

    Raises
    ------
    UserError
        If a side names no predictions, nothing matches, or the sides disagree about the labels.
    """
    sides = [systems_of(selected(results, side, metric)) for side in (one, other)]
    named = set(one) | set(other)
    matched = [column for column in SYSTEM if column not in named]
    pairs = [
        (a, b)
        for a in sides[0]
        for b in sides[1]
        if a != b and all(same_value(a[column], b[column]) for column in matched)
    ]
    if not pairs:
        raise UserError(
            f"nothing to compare: {in_words(one)} and {in_words(other)} have no {', '.join(matched)} in common; fit "
            "both with the same settings, or name the columns in which they differ"
        )
    if "model" in named and not named & {"probe", "features", "layer"}:
        pairs = [(a, b) for a, b in pairs if not is_baseline(a)] or pairs
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    place = {name: k for k, name in enumerate(names)}
    frames = [(sides[0] if name in sides[0] else sides[1])[name] for name in names]
    family = ("corpus", "split")
    sizes = Counter(tuple(a[c] if same_value(a[c], b[c]) else "" for c in family) for a, b in pairs)
    places = [(place[a], place[b]) for a, b in pairs]
    method = Method(metric, resamples, seed, Refits(results.refits), smallest).for_family(max(sizes.values()))
    return corrected(differences(names, frames, places, method), family)


def layers_compared(
    results: Results,
    *,
    against: str | int = "best",
    split: str | None = None,
    metric: str = "ccc",
    resamples: int = 2000,
    seed: int = 0,
    **where: Any,
) -> pd.DataFrame:
    """Every layer minus one layer of the same model, corpus, dimension, probe and features.

    Parameters
    ----------
    results : Results
    against : "best" or int
        The layer to compare with. The best is chosen on the development part where that scores each layer; on the
        rows that are compared otherwise, and then with hindsight that `p` does not know of.
    split : str, optional
        By default the first test part, or cross-validation.
    metric, resamples, seed, **where
        See :func:`score_intervals`.

    Returns
    -------
    DataFrame
        As of :func:`paired_differences`, `p_holm` over the layers of a run; `chosen_on` is the split that the best
        layer was chosen on, empty where it was asked for.
    """
    rows, method = [], Method(metric, resamples, seed, Refits(results.refits))
    for systems in runs_of(results, split, where, metric):
        names, frames = list(systems.names), list(systems.frames)
        if against == "best":
            best, chosen_on = best_of_run(results, systems, metric)
        else:
            places = [k for k, name in enumerate(names) if name["layer"] == against]
            if not places:
                raise UserError(f"{in_words(names[0])} is there, but there is no layer {against} beside it")
            best, chosen_on = places[0], ""
        pairs = [(k, best) for k in range(len(names)) if k != best]
        compared = differences(names, frames, pairs, method.for_family(len(pairs)))
        rows += [{**row, "chosen_on": chosen_on} for row in compared]
    return corrected(rows, ("corpus", "split", "model", "dimension", "probe", "features"))


def models_compared(
    results: Results,
    *,
    at: str = "best",
    split: str | None = None,
    metric: str = "ccc",
    resamples: int = 2000,
    seed: int = 0,
    **where: Any,
) -> pd.DataFrame:
    """Model minus model, each pair once: teacher and student, trained and random.

    Baselines are left out: they are the same for every model of a corpus, and tests that cannot differ would only make
    the correction of the others harsher.

    Parameters
    ----------
    results : Results
    at : "best" or "depth"
        Each model at its best layer (see :func:`layers_compared`; learned sums and models trained end to end as they
        are), or every layer of the shallower model with the layer of the other that is nearest in relative depth.
    split, metric, resamples, seed, **where
        See :func:`layers_compared`.

    Returns
    -------
    DataFrame
        As of :func:`paired_differences`; `p_holm` over the depths of a pair of models, or over the pairs of models of
        the same corpus, split, dimension, probe and features.
    """
    method = Method(metric, resamples, seed, Refits(results.refits))
    if at == "best":
        return _compared(results, ("model",), split, method, where)
    rows = []
    for runs in grouped(runs_of(results, split, where, metric), ("corpus", "split", "dimension", "probe", "features")):
        for one, other in combinations([run for run in runs if len(run.names) > 1], 2):
            swap = len(one.names) > len(other.names)
            few, many = (other, one) if swap else (one, other)
            nearest = [int(np.abs(many.depths() - depth).argmin()) for depth in few.depths()]
            start = len(one.names)
            pairs = [(k, near + start) if not swap else (near, k + start) for k, near in enumerate(nearest)]
            enough = method.for_family(len(pairs))
            compared = differences(one.names + other.names, one.frames + other.frames, pairs, enough)
            rows += [{**row, "pair": f"{one.names[0]['model']} {other.names[0]['model']}"} for row in compared]
    return corrected(rows, ("corpus", "split", "dimension", "probe", "features", "pair"))


def dimensions_compared(
    results: Results,
    *,
    split: str | None = None,
    metric: str = "ccc",
    resamples: int = 2000,
    seed: int = 0,
    **where: Any,
) -> pd.DataFrame:
    """Dimension minus dimension, each at the best layer of the same model, probe and features.

    Parameters and result as of :func:`models_compared`; `p_holm` over the pairs of dimensions of the same corpus,
    split, model, probe and features. Where a dimension is read, rather than how well, is compared by
    `analysis.centroid`.
    """
    return _compared(results, ("dimension",), split, Method(metric, resamples, seed, Refits(results.refits)), where)


def features_compared(
    results: Results,
    *,
    split: str | None = None,
    metric: str = "ccc",
    resamples: int = 2000,
    seed: int = 0,
    **where: Any,
) -> pd.DataFrame:
    """Feature set minus feature set of the same model and probe: end to end, "audio+text" minus "audio".

    Parameters and result as of :func:`models_compared`; `p_holm` over the pairs of feature sets of the same corpus,
    split, model, dimension and probe.
    """
    return _compared(results, ("features",), split, Method(metric, resamples, seed, Refits(results.refits)), where)


def probes_compared(
    results: Results,
    *,
    split: str | None = None,
    metric: str = "ccc",
    resamples: int = 2000,
    seed: int = 0,
    **where: Any,
) -> pd.DataFrame:
    """Probe minus probe of the same model, whatever features each reads; baselines and learned sums are probes too.

    Parameters and result as of :func:`models_compared`; `p_holm` over the pairs of probes of the same corpus, split,
    model and dimension.
    """
    return _compared(
        results, ("probe", "features"), split, Method(metric, resamples, seed, Refits(results.refits)), where
    )


def _compared(
    results: Results, over: tuple[str, ...], split: str | None, method: Method, where: Mapping[str, Any]
) -> pd.DataFrame:
    """Pairs of runs that differ in the columns `over`, each at its best layer."""
    family = [column for column in SYSTEM if column not in (*over, "layer")]
    runs = runs_of(results, split, where, method.metric)
    if "model" in over:
        runs = [run for run in runs if not is_baseline(run.names[0])]
    rows = []
    for group in grouped(runs, family):
        best = [best_of_run(results, run, method.metric) for run in group]
        names = [run.names[k] for run, (k, _) in zip(group, best, strict=True)]
        frames = [run.frames[k] for run, (k, _) in zip(group, best, strict=True)]
        pairs = [
            (b, a)
            for a, b in combinations(range(len(group)), 2)
            if not all(same_value(names[a][column], names[b][column]) for column in over[:1])
        ]
        compared = differences(names, frames, pairs, method.for_family(len(pairs)))
        for (b, a), row in zip(pairs, compared, strict=True):
            chosen = dict.fromkeys(best[k][1] for k in (b, a) if best[k][1])
            rows.append({**row, "chosen_on": ", ".join(chosen)})
    return corrected(rows, family)
