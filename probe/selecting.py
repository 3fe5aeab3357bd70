"""Which rows of the results are compared: the part that is reported, and the best layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from .drawing import draw_resamples, sums_of
from .results import Results

#: Columns that name a system.
SYSTEM = ("model", "corpus", "dimension", "probe", "features", "layer", "split")


# What is compared -----------------------------------------------------------------------------------------------------


class SystemName(dict):
    """Values of `SYSTEM`, usable as a key."""

    def __hash__(self):
        return hash(tuple(self.items()))


@dataclass(frozen=True)
class Run:
    """The layers of one run, or its one system of no layer."""

    names: list[SystemName]
    frames: list[pd.DataFrame]

    def depths(self) -> np.ndarray:
        layers = np.array([name["layer"] for name in self.names], dtype=float)
        return layers / max(layers.max(), 1)


def selected(results: Results, where: Mapping[str, Any]) -> pd.DataFrame:
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
            raise UserError(f"no predictions of {in_words(where)}: there is {column} {have}")
        table = table[mask.fillna(False).to_numpy(bool)]
    return table


def systems_of(table: pd.DataFrame) -> dict[SystemName, pd.DataFrame]:
    """Predictions by system, in the order of the table."""
    found = {}
    for values, frame in table.groupby(list(SYSTEM), sort=False, dropna=False):
        name = SystemName(zip(SYSTEM, values, strict=True))
        name["layer"] = None if pd.isna(name["layer"]) else int(name["layer"])
        found[name] = frame
    return found


def runs_of(results: Results, split: str | None, where: Mapping[str, Any]) -> list[Run]:
    """Runs on the split that is asked for, or on the one to report of each corpus."""
    table = selected(results, where if split is None else {**where, "split": split})
    runs: dict[tuple, Run] = {}
    for name, frame in systems_of(table).items():
        key = tuple(value for column, value in name.items() if column != "layer")
        run = runs.setdefault((*key, name["layer"] is None), Run([], []))
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


def grouped(runs: Iterable[Run], columns: Sequence[str]) -> list[list[Run]]:
    groups: dict[tuple, list] = {}
    for run in runs:
        groups.setdefault(tuple(run.names[0][column] for column in columns), []).append(run)
    return list(groups.values())


def best_of_run(results: Results, run: Run, metric: str) -> tuple[int, str]:
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
    score = draw_resamples(sums_of(run.frames), metric, 0, 0).score
    score = np.nan_to_num(-score if metric == "rmse" else score, nan=-np.inf)
    return int(score.argmax()), first["split"]


def is_baseline(name: Mapping[str, Any]) -> bool:
    """Whether a system does not depend on the model."""
    return name["layer"] is not None and name["layer"] < 0


def same_value(a, b) -> bool:
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
