"""How sure a score or a difference of scores is: intervals, p values and tidy tables from the predictions.

Speakers are resampled, and where a system has several seeds, these too; everything that is compared meets the same
resamples, so that differences are paired. Scores follow from sums over speakers (`bootstrap`), so all resamples of all
systems are matrix products.

A *system* is one combination of `SYSTEM`: a layer's probe, a baseline, a learned sum, a model trained end to end. Only
utterances that all compared systems score take part. Categories have no such table; their scores have intervals in the
results.

Holm's correction is over a *family*: the pairs of one question, which each function names. No bootstrap p value is
below 2 / (1 + resamples), so resamples are raised to `RESAMPLES_A_TEST` for each test of the family where fewer were
asked for: otherwise nothing in a large family could be significant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from .bootstrap import SCALES, leave_one_out, moments_by_speaker, resampled, stretched
from .metrics import ccc_from_moments, pearson_from_moments, rmse_from_moments
from .permutation import holm
from .results import Results
from .splits import is_unknown

#: Columns that name a system.
SYSTEM = ("model", "corpus", "dimension", "probe", "features", "layer", "split")

MEASURES = {"ccc": ccc_from_moments, "pearson": pearson_from_moments, "rmse": rmse_from_moments}

#: Fewest resamples for each test of a family: with these the smallest p value, 2 / (1 + resamples), times the size of
#: the family is below 0.05.
RESAMPLES_A_TEST = 40

INTERVALS = (*SYSTEM, "n", "speakers", "seeds", "score", "low", "high")
DIFFERENCES = (
    "corpus", "split", "model", "dimension", "probe", "features", "layer", "one", "other", "score_one", "score_other",
    "difference", "low", "high", "p", "p_holm", "n", "speakers", "chosen_on",
)  # fmt: skip


@dataclass(frozen=True)
class _Sums:
    """Systems on the utterances that all of them score.

    Attributes
    ----------
    sums : list of ndarray, shape (speakers, seeds, 6)
        One a system.
    n : int
        Utterances.
    """

    sums: list[np.ndarray]
    n: int

    @property
    def speakers(self) -> int:
        return len(self.sums[0])


@dataclass(frozen=True)
class _Drawn:
    """Scores of systems, means over their seeds.

    Attributes
    ----------
    score : ndarray, shape (systems,)
    drawn : ndarray, shape (resamples, systems)
        On resamples of the speakers.
    with_seeds : ndarray, shape (resamples, systems)
        On the same resamples of the speakers, and resamples of the seeds.
    left_out : ndarray, shape (speakers, systems)
        Without one speaker each.
    """

    score: np.ndarray
    drawn: np.ndarray
    with_seeds: np.ndarray
    left_out: np.ndarray


def score_intervals(
    results: Results, *, metric: str = "ccc", resamples: int = 2000, seed: int = 0, **where: Any
) -> pd.DataFrame:
    """The score of every system with its interval over speakers and seeds together.

    Parameters
    ----------
    results : Results
        With predictions.
    metric : str
        "ccc", "pearson" or "rmse".
    resamples, seed : int
        Of the bootstrap.
    **where
        Values of columns of `SYSTEM`, to have a part only: ``split="test"``.

    Returns
    -------
    DataFrame
        One row a system: `model, corpus, dimension, probe, features, layer, split`; `n` utterances, `speakers`,
        `seeds`; `score`, the mean over seeds, and its 95 % interval `low, high`. NaN limits with fewer than 2 speakers.

    Raises
    ------
    UserError
        If there are no such predictions.
    """
    rows = []
    for name, frame in _systems(_selected(results, where)).items():
        sums = _sums([frame])
        drawn = _draw(sums, metric, resamples, seed)
        low, high, _ = limits(drawn.drawn, drawn.left_out, scale=metric, with_seeds=drawn.with_seeds)
        rows.append(
            {
                **name,
                "n": sums.n,
                "speakers": sums.speakers,
                "seeds": sums.sums[0].shape[1],
                "score": drawn.score[0],
                "low": low[0],
                "high": high[0],
            }
        )
    return _table(rows, INTERVALS)


def paired_differences(
    results: Results,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    *,
    metric: str = "ccc",
    resamples: int = 2000,
    seed: int = 0,
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

    Returns
    -------
    DataFrame
        One row a pair: the columns that both sides share (empty where they differ); `one` and `other` in words;
        `score_one, score_other, difference`, with its 95 % interval `low, high` and the two-sided bootstrap `p` of a
        difference of zero; `p_holm`, Holm's correction over the rows of the same corpus and split; `n` utterances that
        both score, `speakers`. Where models are compared, baselines are left out unless a side names them: they are the
        same for all models of a corpus.

    Raises
    ------
    UserError
        If a side names no predictions, nothing matches, or the sides disagree about the labels.
    """
    sides = [_systems(_selected(results, side)) for side in (one, other)]
    named = set(one) | set(other)
    matched = [column for column in SYSTEM if column not in named]
    pairs = [
        (a, b) for a in sides[0] for b in sides[1] if a != b and all(_same(a[column], b[column]) for column in matched)
    ]
    if not pairs:
        raise UserError(
            f"nothing to compare: {_words(one)} and {_words(other)} have no {', '.join(matched)} in common; fit both "
            "with the same settings, or name the columns in which they differ"
        )
    if "model" in named and not named & {"probe", "features", "layer"}:
        pairs = [(a, b) for a, b in pairs if not _is_baseline(a)] or pairs
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    place = {name: k for k, name in enumerate(names)}
    frames = [sides[0].get(name, sides[1].get(name)) for name in names]
    family = ("corpus", "split")
    sizes = Counter(tuple(a[c] if _same(a[c], b[c]) else "" for c in family) for a, b in pairs)
    places = [(place[a], place[b]) for a, b in pairs]
    rows = _differences(names, frames, places, metric, _enough(resamples, max(sizes.values())), seed)
    return _corrected(rows, family)


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
        The layer to compare with. The best is chosen on the development part where that was scored too; on the rows
        that are compared otherwise, and then with hindsight that `p` does not know of.
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
    rows = []
    for systems in _runs(results, split, where):
        names, frames = list(systems.names), list(systems.frames)
        if against == "best":
            best, chosen_on = _best(results, systems, metric)
        else:
            best, chosen_on = next((k for k, name in enumerate(names) if name["layer"] == against), None), ""
            if best is None:
                raise UserError(f"{_words(names[0])} is there, but there is no layer {against} beside it")
        pairs = [(k, best) for k in range(len(names)) if k != best]
        found = _differences(names, frames, pairs, metric, _enough(resamples, len(pairs)), seed)
        rows += [{**row, "chosen_on": chosen_on} for row in found]
    return _corrected(rows, ("corpus", "split", "model", "dimension", "probe", "features"))


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
    if at == "best":
        return _compared(results, ("model",), split, metric, resamples, seed, where)
    rows = []
    for runs in _grouped(_runs(results, split, where), ("corpus", "split", "dimension", "probe", "features")):
        for one, other in combinations([run for run in runs if len(run.names) > 1], 2):
            swap = len(one.names) > len(other.names)
            few, many = (other, one) if swap else (one, other)
            nearest = [int(np.abs(many.depths() - depth).argmin()) for depth in few.depths()]
            start = len(one.names)
            pairs = [(k, near + start) if not swap else (near, k + start) for k, near in enumerate(nearest)]
            enough = _enough(resamples, len(pairs))
            found = _differences(one.names + other.names, one.frames + other.frames, pairs, metric, enough, seed)
            rows += [{**row, "pair": f"{one.names[0]['model']} {other.names[0]['model']}"} for row in found]
    return _corrected(rows, ("corpus", "split", "dimension", "probe", "features", "pair"))


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
    return _compared(results, ("dimension",), split, metric, resamples, seed, where)


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
    return _compared(results, ("features",), split, metric, resamples, seed, where)


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
    return _compared(results, ("probe", "features"), split, metric, resamples, seed, where)


# What is compared -----------------------------------------------------------------------------------------------------


class _Name(dict):
    """Values of `SYSTEM`, usable as a key."""

    def __hash__(self):
        return hash(tuple(self.items()))


@dataclass(frozen=True)
class _Run:
    """The layers of one run, or its one system of no layer."""

    names: list[_Name]
    frames: list[pd.DataFrame]

    def depths(self) -> np.ndarray:
        layers = np.array([name["layer"] for name in self.names], dtype=float)
        return layers / max(layers.max(), 1)


def _selected(results: Results, where: Mapping[str, Any]) -> pd.DataFrame:
    """Predictions of numbers in which the columns have the given values."""
    table = results.predictions
    if not len(table):
        raise UserError(
            "the results hold no predictions (predictions.parquet), which significance is computed from: bring the "
            "file back, or fit again with probe-fit --overwrite"
        )
    table = table[table["truth"].notna()]
    unknown = [column for column in where if column not in SYSTEM]
    if unknown:
        raise UserError(f"systems are named by {', '.join(SYSTEM)}, not by {', '.join(unknown)}")
    for column, value in where.items():
        there = table[column]
        mask = there.isna() if value is None else there == value
        if not mask.fillna(False).any():
            have = ", ".join(map(str, dict.fromkeys(there.dropna())))
            raise UserError(f"no predictions of {_words(where)}: there is {column} {have}")
        table = table[mask.fillna(False).to_numpy(bool)]
    return table


def _systems(table: pd.DataFrame) -> dict[_Name, pd.DataFrame]:
    """Predictions by system, in the order of the table."""
    found = {}
    for values, frame in table.groupby(list(SYSTEM), sort=False, dropna=False):
        name = _Name(zip(SYSTEM, values, strict=True))
        name["layer"] = None if pd.isna(name["layer"]) else int(name["layer"])
        found[name] = frame
    return found


def _runs(results: Results, split: str | None, where: Mapping[str, Any]) -> list[_Run]:
    """Runs on the split that is asked for, or on the one to report of each corpus."""
    table = _selected(results, where if split is None else {**where, "split": split})
    runs: dict[tuple, _Run] = {}
    for name, frame in _systems(table).items():
        key = tuple(value for column, value in name.items() if column != "layer")
        run = runs.setdefault((*key, name["layer"] is None), _Run([], []))
        run.names.append(name)
        run.frames.append(frame)
    if split is None:
        wanted = {}
        for corpus, part in table.groupby("corpus", sort=False):
            wanted[corpus] = first_split(part["split"])
        runs = {key: run for key, run in runs.items() if wanted[run.names[0]["corpus"]] == run.names[0]["split"]}
    return list(runs.values())


def first_split(splits: Iterable[str]) -> str:
    """The split to report: the first test part, else the first that there is."""
    there = list(dict.fromkeys(splits))
    return next((split for split in sorted(there) if split.startswith("test")), there[0])


def _grouped(runs: Iterable[_Run], columns: Sequence[str]) -> list[list[_Run]]:
    groups: dict[tuple, list] = {}
    for run in runs:
        groups.setdefault(tuple(run.names[0][column] for column in columns), []).append(run)
    return list(groups.values())


def _best(results: Results, run: _Run, metric: str) -> tuple[int, str]:
    """Place of the best layer in a run, and the split that it was chosen on."""
    if len(run.names) == 1:
        return 0, ""
    first, layers = run.names[0], [name["layer"] for name in run.names]
    scores = results.scores
    if first["split"] != "development" and len(scores) and (scores["split"] == "development").any():
        same = (scores["split"] == "development") & (scores["fold"] == "all") & scores["layer"].isin(layers)
        for column in ("model", "corpus", "dimension", "probe", "features"):
            same &= scores[column] == first[column]
        by_layer = scores[same].groupby("layer")[metric].mean().dropna()
        if len(by_layer) == len(layers):
            return layers.index(int(by_layer.idxmin() if metric == "rmse" else by_layer.idxmax())), "development"
    score = _draw(_sums(run.frames), metric, 0, 0).score
    score = np.nan_to_num(-score if metric == "rmse" else score, nan=-np.inf)
    return int(score.argmax()), first["split"]


def _compared(results, over, split, metric, resamples, seed, where) -> pd.DataFrame:
    """Pairs of runs that differ in the columns `over`, each at its best layer."""
    family = [column for column in SYSTEM if column not in (*over, "layer")]
    runs = _runs(results, split, where)
    if "model" in over:
        runs = [run for run in runs if not _is_baseline(run.names[0])]
    rows = []
    for group in _grouped(runs, family):
        best = [_best(results, run, metric) for run in group]
        names = [run.names[k] for run, (k, _) in zip(group, best, strict=True)]
        frames = [run.frames[k] for run, (k, _) in zip(group, best, strict=True)]
        pairs = [
            (b, a)
            for a, b in combinations(range(len(group)), 2)
            if not all(_same(names[a][column], names[b][column]) for column in over[:1])
        ]
        found = _differences(names, frames, pairs, metric, _enough(resamples, len(pairs)), seed)
        for (b, a), row in zip(pairs, found, strict=True):
            chosen = dict.fromkeys(best[k][1] for k in (b, a) if best[k][1])
            rows.append({**row, "chosen_on": ", ".join(chosen)})
    return _corrected(rows, family)


def _enough(resamples: int, family: int) -> int:
    """Resamples for a family of so many tests; none stay none."""
    return max(resamples, RESAMPLES_A_TEST * family) if resamples else 0


def _is_baseline(name: Mapping[str, Any]) -> bool:
    """Whether a system does not depend on the model."""
    return name["layer"] is not None and name["layer"] < 0


# Numbers --------------------------------------------------------------------------------------------------------------


def _sums(frames: Sequence[pd.DataFrame]) -> _Sums:
    """Moments by speaker of systems on the utterances that all score; each about its own labels."""
    wide, labels = [], []
    for frame in frames:
        seeds = frame["seed"].fillna(-1)
        if frame.assign(seed=seeds).duplicated(["id", "seed"]).any():
            raise UserError("a system predicts an utterance twice: the results are damaged, fit again with --overwrite")
        wide.append(frame.assign(seed=seeds).pivot(index="id", columns="seed", values="prediction").dropna())
        labels.append(frame.drop_duplicates("id").set_index("id")[["truth", "speaker", "dimension"]])
    ids = wide[0].index
    for one in wide[1:]:
        ids = ids.intersection(one.index)
    if not len(ids):
        raise UserError("the systems that are compared have no utterance in common: were they fitted on one corpus?")
    ids = ids.sort_values()
    labels = [one.loc[ids] for one in labels]
    first = {}
    for one in labels:
        known = first.setdefault(one["dimension"].iloc[0], one)
        if not np.array_equal(known["truth"], one["truth"]) or not (labels[0]["speaker"] == one["speaker"]).all():
            raise UserError(
                "the systems that are compared disagree about the label or the speaker of an utterance: they were "
                "fitted on different versions of the corpus; fit them again on the same one"
            )
    speaker = [s if not is_unknown(s) else f"utterance {i}" for i, s in zip(ids, labels[0]["speaker"], strict=True)]
    groups = np.unique(speaker, return_inverse=True)[1]
    sums = [
        moments_by_speaker(label["truth"].to_numpy(float), one.loc[ids].to_numpy(float).T, groups)
        for one, label in zip(wide, labels, strict=True)
    ]
    return _Sums(sums, len(ids))


def _draw(systems: _Sums, metric: str, resamples: int, seed: int) -> _Drawn:
    """Scores of systems and their resamples, the same of all of them."""
    if metric not in MEASURES:
        raise UserError(f"no score is called {metric!r}: choose one of {', '.join(MEASURES)}")
    measure, sums = MEASURES[metric], systems.sums
    score = np.array([measure(one.sum(0)).mean() for one in sums])
    left_out = np.stack([measure(leave_one_out(one)).mean(1) for one in sums], 1)
    drawn, with_seeds = np.empty((2, resamples, len(sums)))
    if resamples:
        # Systems side by side: `resampled` goes over the draws in parts, so that they need not all be held at once.
        each = resampled(np.concatenate(sums, axis=1), {metric: measure}, resamples=resamples, seed=seed)[metric]
        ends = np.cumsum([one.shape[1] for one in sums])
        for k, of_seeds in enumerate(np.split(each, ends[:-1], axis=1)):
            drawn[:, k] = of_seeds.mean(1)
            with_seeds[:, k] = (of_seeds * _seed_weights(of_seeds.shape[1], resamples, seed)).sum(1)
    return _Drawn(score, drawn, with_seeds, left_out)


def _seed_weights(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """Weights of the seeds in each resample, shape (resamples, seeds); the same of every system with as many seeds.

    Drawing S seeds with replacement gives their mean (S - 1) / S of its variance: the deviations are scaled up by the
    root of the inverse.
    """
    if seeds == 1:
        return np.ones((resamples, 1))
    rng = np.random.default_rng([seed, seeds, 1])
    counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    return (1 + (counts - 1) * np.sqrt(seeds / (seeds - 1))) / seeds


def limits(
    drawn: np.ndarray, left_out: np.ndarray, *, scale: str | None = None, with_seeds: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """95 % interval of each column of resamples, and the two-sided p value of zero.

    Parameters
    ----------
    drawn : ndarray, shape (resamples, columns)
    left_out : ndarray, shape (speakers, columns)
        Without one speaker each.
    scale : str, optional
        See :func:`bootstrap.stretched`, which widens the resamples first.
    with_seeds : ndarray, shape (resamples, columns), optional
        The same resamples of the speakers with other seeds. What the seeds change is added after the resamples were
        widened: the jackknife knows of the speakers alone, and the correction for few of them would be lost in the
        spread of the seeds.

    Returns
    -------
    low, high, p : ndarray, shape (columns,)
        NaN with fewer than 2 speakers, or where more than a tenth of the resamples have no value.
    """
    columns = drawn.shape[1]
    low, high, p = np.full((3, columns), np.nan)
    if len(left_out) < 2 or not len(drawn):
        return low, high, p
    wide = stretched(drawn, left_out, scale=scale)
    if with_seeds is not None:
        forth, back = SCALES.get(scale, (np.asarray, np.asarray))
        wide = back(forth(wide) + forth(with_seeds) - forth(drawn))
    scored = np.isfinite(wide).mean(0) >= 0.9
    for k in np.flatnonzero(scored):
        values = wide[np.isfinite(wide[:, k]), k]
        low[k], high[k] = np.quantile(values, [0.025, 0.975])
        p[k] = min(1.0, 2 * (1 + min((values <= 0).sum(), (values >= 0).sum())) / (1 + len(values)))
    return low, high, p


def _differences(names, frames, pairs, metric, resamples, seed) -> list[dict]:
    """Rows of the table, one for each of `pairs` of places in `names` and `frames`, on what both of a pair score."""
    ids = [_scored(frame) for frame in frames]
    # Systems that score other utterances must not narrow what two others have in common; pairs that have the same in
    # common are resampled once.
    together: dict[frozenset, list] = {}
    for pair in pairs:
        together.setdefault(ids[pair[0]] & ids[pair[1]], []).append(pair)
    found = {}
    for same in together.values():
        places = list(dict.fromkeys(k for pair in same for k in pair))
        sums = _sums([frames[k] for k in places])
        drawn = _draw(sums, metric, resamples, seed)
        local = [(places.index(one), places.index(other)) for one, other in same]
        rows = _rows([names[k] for k in places], local, sums, drawn)
        found |= dict(zip(same, rows, strict=True))
    return [found[pair] for pair in pairs]


def _scored(frame: pd.DataFrame) -> frozenset:
    """Utterances that every seed of a system scores."""
    there = frame[frame["prediction"].notna()]
    counts = there["id"].value_counts()
    return frozenset(counts.index[counts >= frame["seed"].nunique(dropna=False)])


def _rows(names: Sequence[_Name], pairs: Sequence[tuple[int, int]], sums: _Sums, drawn: _Drawn) -> list[dict]:
    a, b = np.array(pairs, dtype=int).T
    score = drawn.score[a] - drawn.score[b]
    low, high, p = limits(
        drawn.drawn[:, a] - drawn.drawn[:, b],
        drawn.left_out[:, a] - drawn.left_out[:, b],
        with_seeds=drawn.with_seeds[:, a] - drawn.with_seeds[:, b],
    )
    rows = []
    for k, (one, other) in enumerate(pairs):
        first, second = names[one], names[other]
        shared = [column for column in SYSTEM if _same(first[column], second[column])]
        rows.append(
            {
                **{column: first[column] for column in shared},
                "one": _words({column: first[column] for column in SYSTEM if column not in shared}),
                "other": _words({column: second[column] for column in SYSTEM if column not in shared}),
                "score_one": drawn.score[one],
                "score_other": drawn.score[other],
                "difference": score[k],
                "low": low[k],
                "high": high[k],
                "p": p[k],
                "n": sums.n,
                "speakers": sums.speakers,
            }
        )
    return rows


def _corrected(rows: list[dict], family: Sequence[str]) -> pd.DataFrame:
    """The table of differences, with Holm's correction over the rows that agree in `family`."""
    made = pd.DataFrame(rows)
    if len(made):
        family = [column for column in family if column in made]
        made["p_holm"] = np.nan
        for _, part in made.groupby(family, dropna=False, sort=False):
            made.loc[part.index, "p_holm"] = holm(part["p"])
    return _table(made, DIFFERENCES)


def _table(rows, columns) -> pd.DataFrame:
    made = pd.DataFrame(rows).reindex(columns=list(columns))
    made["layer"] = made["layer"].astype("Int64")
    for column in ("corpus", "split", "model", "dimension", "probe", "features", "chosen_on"):
        if column in made:
            made[column] = made[column].astype(object).where(made[column].notna(), "").astype(str)
    return made


def _same(a, b) -> bool:
    return a == b or (a is None and b is None)


def _words(name: Mapping[str, Any]) -> str:
    """A system by what tells it from another: "hubert-base, layer 9"."""
    words = []
    for column, value in name.items():
        if column == "layer":
            words.append("no layer" if value is None else "baseline" if value < 0 else f"layer {value}")
        elif value:
            words.append(str(value))
    return ", ".join(words) or "all predictions"
