"""Which rows of the results are compared: the part that is reported, and the best layer.

Every table, figure and claim asks here. The first test part is reported. A layer is chosen on the exploration, or else
the development part, where that has a score of every layer, and else on the very rows that are reported: that is
hindsight, and is called so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from .drawing import columns_of, is_there, scores_of, sums_of
from .halves import EXPLORATION
from .schema import CATEGORIES, KEY, SYSTEM
from .splits import CROSS_VALIDATION, DEVELOPMENT, POOLED

if TYPE_CHECKING:
    from .results import Results

#: Parts that layers and rivals are chosen on, the first of them that a run has scores of.
CHOSEN_ON = (EXPLORATION, DEVELOPMENT)

#: Parts that choices were made on: reported only where nothing else was scored.
NOT_HELD_OUT = (*CHOSEN_ON, "train")

#: Scores whose lowest value is the best.
LOWER_IS_BETTER = ("rmse",)


# Which part is reported -----------------------------------------------------------------------------------------------


def is_pooled(scores: pd.DataFrame) -> pd.Series:
    """Which rows of the scores are of all folds together; so are those of a table that names no fold."""
    return scores["fold"].isin((POOLED, ""))


def ordered_splits(splits: Iterable[str]) -> list[str]:
    """Names of splits, the one to report first: test parts, other held-out rows, and last what was chosen on.

    Examples
    --------
    >>> from emoprobe.probe.selecting import ordered_splits
    >>> ordered_splits(["train", "development", "cross-validation", "test2", "test"])
    ['test', 'test2', 'cross-validation', 'development', 'train']
    """

    def rank(split: str) -> tuple[bool, bool, bool, str]:
        return (split in NOT_HELD_OUT, split == CROSS_VALIDATION, not split.startswith("test"), split)

    return sorted(set(splits), key=rank)


def held_out(splits: Iterable[str]) -> list[str]:
    """The splits that no choice was made on, the one to report first; all of them where there is none."""
    ordered = ordered_splits(splits)
    return [split for split in ordered if split not in NOT_HELD_OUT] or ordered


def reported_split(splits: Iterable[str]) -> str:
    """The split to report; empty where there is none."""
    return next(iter(ordered_splits(splits)), "")


def on_reported_split(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the one split that is reported of each corpus: scores on different parts do not compare."""
    reported = {corpus: reported_split(part["split"]) for corpus, part in table.groupby("corpus", sort=False)}
    return table[table["split"] == table["corpus"].map(reported)]


# Which layer is best --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """One of several layers, or of several baselines.

    Attributes
    ----------
    best : int or str or None
        What is reported; None where nothing has a score.
    chosen_on : str
        The split that it was chosen on; empty where nothing could be chosen.
    highest : int or str or None
        What is best on the rows that are reported, whatever was chosen: with hindsight. The same as `best` where the
        choice was made in an exploration: what the confirmation alone would choose is not looked at.
    highest_score : float
        Its score on these rows.
    split : str
        The split that is reported.
    """

    best: Any
    chosen_on: str
    highest: Any
    highest_score: float
    split: str

    @property
    def hindsight(self) -> bool:
        """Whether it was chosen on the very rows that are reported."""
        return self.chosen_on == self.split

    @property
    def differs(self) -> bool:
        """Whether the reported rows alone would have chosen another one."""
        return self.best != self.highest


def choose(scored: pd.Series, development: pd.Series, split: str, metric: str, *, part: str = DEVELOPMENT) -> Choice:
    """The best of several layers: on the part to choose on where that has a score of each, else with hindsight.

    Parameters
    ----------
    scored : Series
        Score of each layer on the rows that are reported; a layer without one is not chosen. Of equals the first wins.
    development : Series
        Score of each layer on the part to choose on, as far as it has any.
    split : str
        Name of the split that is reported.
    metric : str
        Name of the score.
    part : str
        The part to choose on, of :data:`CHOSEN_ON`.

    Returns
    -------
    Choice
    """
    scored = scored.astype(float).dropna().sort_index()
    if not len(scored):
        return Choice(None, "", None, np.nan, split)
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    highest: Any = (sign * scored).idxmax()
    known = development.astype(float).reindex(scored.index)
    fair = split not in CHOSEN_ON[: CHOSEN_ON.index(part) + 1] and known.notna().all()
    best = (sign * known).idxmax() if fair else highest
    if fair and part == EXPLORATION:
        highest = best
    return Choice(best, part if fair else split, highest, float(scored[highest]), split)


def scores_to_choose_by(scores: pd.DataFrame, name: Mapping[str, Any], metric: str) -> tuple[pd.Series, str]:
    """Score of each layer of a run on the part to choose on, averaged over seeds, and that part.

    Parameters
    ----------
    scores : DataFrame
        All scores.
    name : mapping
        Values of `schema.KEY`.
    metric : str
        Name of the score.

    Returns
    -------
    scores : Series
        By layer; empty where there is none.
    part : str
        Of :data:`CHOSEN_ON`.
    """
    if not len(scores) or metric not in scores:
        return pd.Series(dtype=float), DEVELOPMENT
    same = is_pooled(scores) & scores["layer"].ge(0)
    for column in KEY:
        same &= scores[column] == name[column]
    run = scores[same.fillna(False).to_numpy(bool)]
    part = next((part for part in CHOSEN_ON if (run["split"] == part).any()), DEVELOPMENT)
    return run[run["split"] == part].groupby("layer")[metric].mean(), part


def best_layer(scores: pd.DataFrame, fits: pd.DataFrame, metric: str) -> Choice:
    """The layer of a run to report.

    Parameters
    ----------
    scores : DataFrame
        All scores, in which those of the part to choose on are looked up.
    fits : DataFrame
        Rows of one run on the split that is reported, one a layer and seed.
    metric : str
        Name of the score.

    Returns
    -------
    Choice
    """
    first = fits.iloc[0]
    scored = fits.groupby("layer")[metric].mean()
    name = {column: first[column] for column in KEY}
    known, part = scores_to_choose_by(scores, name, metric)
    return choose(scored, known, first["split"], metric, part=part)


def best_baseline(
    scores: pd.DataFrame, scored: pd.Series, layer: Mapping[str, Any], metric: str, *, chosen_on: str
) -> Choice:
    """The strongest of several baselines, chosen where a layer was chosen: neither side has more hindsight.

    Parameters
    ----------
    scores, metric
        As for :func:`best_layer`.
    scored : Series
        Score of each baseline on the split that is reported, by the name of its probe.
    layer : mapping
        `model, corpus, dimension, split` of the layer that they are compared with.
    chosen_on : str
        The split that the layer was chosen on.

    Returns
    -------
    Choice
        Of names of probes.
    """
    same = (scores["split"] == chosen_on) & is_pooled(scores) & scores["probe"].isin(scored.index)
    for column in ("corpus", "dimension"):
        same &= scores[column] == layer[column]
    there = scores[same & (chosen_on in CHOSEN_ON)]
    own = there[there["model"] == layer["model"]].groupby("probe")[metric].mean()
    # A baseline does not depend on the model: what its cache lacks, another cache of the corpus may have.
    known = own.combine_first(there.groupby("probe")[metric].mean())
    part = chosen_on if chosen_on in CHOSEN_ON else DEVELOPMENT
    return choose(scored, known, layer["split"], metric, part=part)


def headline_metric(dimension: str) -> str:
    """The score by which layers are compared where nobody names one: CCC, and UAR of categories."""
    return "uar" if dimension == CATEGORIES else "ccc"


def chosen_in_words(choices: Iterable[tuple[str, str]]) -> str:
    """Where layers were chosen, for "chosen on …": a choice on the rows that are reported is called hindsight.

    Parameters
    ----------
    choices : iterable of (str, str)
        The split that each was chosen on, empty where there was no choice, and the split that is reported.

    Examples
    --------
    >>> from emoprobe.probe.selecting import chosen_in_words
    >>> chosen_in_words([("development", "test")]), chosen_in_words([("test", "test"), ("", "test")])
    ('development', 'the same rows, with hindsight')
    """
    choices = [(chosen_on, split) for chosen_on, split in choices if chosen_on]
    others = ", ".join(dict.fromkeys(chosen_on for chosen_on, split in choices if chosen_on != split))
    if all(chosen_on != split for chosen_on, split in choices):
        return others
    hindsight = "the same rows, with hindsight"
    return f"{others}; where that does not score each layer, on {hindsight}" if others else hindsight


# What is compared -----------------------------------------------------------------------------------------------------


class SystemName(Mapping[str, Any]):
    """A system by its columns, which nobody can change, so that it can be a key.

    Parameters
    ----------
    values : iterable
        Of the columns of `SYSTEM`; a missing layer is None, another one a number.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = dict(zip(SYSTEM, values, strict=True))
        layer = self._values["layer"]
        self._values["layer"] = None if pd.isna(layer) else int(layer)

    def __getitem__(self, column: str) -> Any:
        return self._values[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))


@dataclass(frozen=True)
class Run:
    """The layers of one run, or its one system of no layer."""

    names: list[SystemName]
    frames: list[pd.DataFrame]

    def depths(self) -> np.ndarray:
        """Depth of each layer, 0 for the input of the first block and 1 for the last, shape (layers,)."""
        layers = np.array([name["layer"] for name in self.names], dtype=float)
        return layers / max(layers.max(), 1)


def selected(results: Results, where: Mapping[str, Any], metric: str = "ccc") -> pd.DataFrame:
    """Predictions of what a metric scores (numbers, or categories), in which the columns have the given values."""
    table = results.predictions
    if not len(table):
        raise UserError(
            "the results hold no predictions (predictions.parquet), which significance is computed from: bring the "
            "file back, or fit again with probe-fit --overwrite"
        )
    table = table[is_there(table[columns_of(metric)[0]])]
    if not len(table):
        raise UserError(f"the results hold no predictions of what {metric} scores: choose another metric=")
    unknown = [column for column in where if column not in SYSTEM]
    if unknown:
        raise UserError(f"systems are named by {', '.join(SYSTEM)}, not by {', '.join(unknown)}")
    for column, value in where.items():
        there = table[column]
        mask = there.isna() if value is None else there == value
        if not mask.fillna(False).any():
            have = ", ".join(map(str, dict.fromkeys(there.dropna())))
            raise UserError(f"no predictions of {in_words(where)}: there is {column} {have}")
        table = table[mask.fillna(False).to_numpy(bool)]
    return table


def systems_of(table: pd.DataFrame) -> dict[SystemName, pd.DataFrame]:
    """Predictions by system, in the order of the table."""
    return {SystemName(values): frame for values, frame in table.groupby(list(SYSTEM), sort=False, dropna=False)}


def runs_of(results: Results, split: str | None, where: Mapping[str, Any], metric: str = "ccc") -> list[Run]:
    """Runs on the split that is asked for, or on the one to report of each corpus."""
    table = selected(results, where if split is None else {**where, "split": split}, metric)
    table = on_reported_split(table) if split is None else table
    runs: dict[tuple, Run] = {}
    for name, frame in systems_of(table).items():
        key = tuple(value for column, value in name.items() if column != "layer")
        run = runs.setdefault((*key, name["layer"] is None), Run([], []))
        run.names.append(name)
        run.frames.append(frame)
    return list(runs.values())


def grouped(runs: Iterable[Run], columns: Sequence[str]) -> list[list[Run]]:
    """Runs in groups that have the same values in some columns."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.names[0][column] for column in columns), []).append(run)
    return list(groups.values())


def best_of_run(results: Results, run: Run, metric: str) -> tuple[int, str]:
    """Place of the best layer in a run, and the split that it was chosen on."""
    if len(run.names) == 1:
        return 0, ""
    layers = [name["layer"] for name in run.names]
    scored = pd.Series(scores_of(sums_of(run.frames, metric), metric), index=layers)
    known, part = scores_to_choose_by(results.scores, run.names[0], metric)
    chosen = choose(scored, known, run.names[0]["split"], metric, part=part)
    return 0 if chosen.best is None else layers.index(chosen.best), chosen.chosen_on


def is_baseline(name: Mapping[str, Any]) -> bool:
    """Whether a system does not depend on the model."""
    return name["layer"] is not None and name["layer"] < 0


def same_value(a: object, b: object) -> bool:
    """Whether two values of a column are one; a missing value is the same as another."""
    return a == b or (a is None and b is None)


def in_words(name: Mapping[str, Any]) -> str:
    """A system by what tells it from another: "hubert-base, layer 9"."""
    words = []
    for column, value in name.items():
        if column == "layer":
            words.append("no layer" if value is None else "baseline" if value < 0 else f"layer {value}")
        elif value:
            words.append(str(value))
    return ", ".join(words) or "all predictions"
