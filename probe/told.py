"""What results say, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .schema import KEY
from .selecting import headline_metric, is_pooled, reported_split

if TYPE_CHECKING:
    import pandas as pd

    from .results import Results

#: Corrected p values up to which a layer reads a target.
LEVEL = 0.05


def told_depths(
    results: Results, *, model: str | None = None, corpus: str | None = None, dimensions: Sequence[str] | None = None
) -> str:
    """Where a model carries each dimension, and how well.

    Parameters
    ----------
    results : Results
    model, corpus : str, optional
        By default those that stand first.
    dimensions : sequence of str, optional
        By default all that have a score.

    Returns
    -------
    str
        Such as ``hubert-nano carries arousal best in layer 3 (CCC 0.71 [0.62, 0.80] on test), …``, without a full stop;
        empty where no layer has a score. What no layer reads better than permuted labels allow is said to be so.
    """
    best = _scored(results)
    best = best[(best["layer"] >= 0).fillna(False).to_numpy(bool)]
    best = best if model is None else best[best["model"] == model]
    if not len(best):
        return ""
    model = best["model"].iloc[0]
    corpus = best.loc[best["model"] == model, "corpus"].iloc[0] if corpus is None else corpus
    best = best[(best["model"] == model) & (best["corpus"] == corpus)]
    best = best[best["probe"] == best["probe"].iloc[0]]
    carried, not_read = [], []
    for dimension in dict.fromkeys(best["dimension"]) if dimensions is None else dimensions:
        rows = best[best["dimension"] == dimension]
        if len(rows):
            split = reported_split(rows["split"])
            newest = rows[rows["split"] == split].iloc[-1]  # of several sets of features
            if _is_read(results, newest):
                carried.append(_told(newest, features=rows["features"].nunique() > 1))
            else:
                not_read.append(f"no layer reads {dimension} better than chance for sure (highest {_score(newest)})")
    if not carried:
        return f"{model}: {', '.join(not_read)}" if not_read else ""
    return "; ".join([f"{model} carries {', '.join(carried)}", *not_read])


def _is_read(results: Results, best: pd.Series) -> bool:
    """Whether any layer of the run reads its target better than permuted labels allow; without these, than nothing."""
    scores = results.scores[is_pooled(results.scores)]
    of_run = (scores[[*KEY, "split"]] == best[[*KEY, "split"]]).all(axis=1)
    p = scores.loc[of_run & (scores["layer"] >= 0).fillna(False), "p_holm"]
    if p.notna().any():
        return bool(p.min() <= LEVEL)
    low = best[f"{headline_metric(best['dimension'])}_low"]
    return math.isnan(low) or low > 0


def _told(row: pd.Series, *, features: bool) -> str:
    of = f" of {row['features']}" if features else ""
    hindsight = ", chosen with hindsight" if row["chosen_on"] == row["split"] else ""
    return f"{row['dimension']} best in layer {int(row['layer'])}{of} ({_score(row)} on {row['split']}{hindsight})"


def told_scores(results: Results) -> str:
    """How well a model that was trained end to end predicts each dimension.

    Parameters
    ----------
    results : Results
        Of that model alone.

    Returns
    -------
    str
        Such as ``distilhubert-nano (audio+text) predicts arousal with CCC 0.71 [0.62, 0.80], … on test``, without a
        full stop; empty where nothing has a score.
    """
    best = _scored(results)
    best = best[best["layer"].isna().to_numpy(bool)]
    if not len(best):
        return ""
    system = ["model", "corpus", "probe", "features"]
    others = len(best[system].drop_duplicates()) - 1
    best = best[(best[system] == best[system].iloc[0]).all(axis=1)]
    split = reported_split(best["split"])
    rows = [row for _, row in best[best["split"] == split].iterrows()]
    scores = ", ".join(f"{row['dimension']} with {_score(row)}" for row in rows)
    return f"{rows[0]['model']} ({rows[0]['features']}) predicts {scores} on {split}" + (
        f"; {others} other systems stand beside it" if others else ""
    )


def _scored(results: Results) -> pd.DataFrame:
    """The best layers that have a score."""
    best = results.best_layers()
    return best.loc[np.array([not math.isnan(_value(row)) for _, row in best.iterrows()], dtype=bool)]


def _value(row: pd.Series) -> float:
    return float(row[headline_metric(row["dimension"])])


def _score(row: pd.Series) -> str:
    metric = headline_metric(row["dimension"])
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    bounds = "" if math.isnan(low) or math.isnan(high) else f" [{low:.2f}, {high:.2f}]"
    return f"{metric.upper()} {row[metric]:.2f}{bounds}"
