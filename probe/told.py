"""What results say, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .selecting import headline_metric, reported_split

if TYPE_CHECKING:
    import pandas as pd

    from .results import Results


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
        empty where no layer has a score.
    """
    best = _scored(results)
    best = best[(best["layer"] >= 0).fillna(False).to_numpy(bool)]
    best = best if model is None else best[best["model"] == model]
    if not len(best):
        return ""
    model = best["model"].iloc[0]
    corpus = best.loc[best["model"] == model, "corpus"].iloc[0] if corpus is None else corpus
    best = best[(best["model"] == model) & (best["corpus"] == corpus)]
    parts = []
    for dimension in dict.fromkeys(best["dimension"]) if dimensions is None else dimensions:
        rows = best[best["dimension"] == dimension]
        if len(rows):
            split = reported_split(rows["split"])
            parts.append(_told(rows[rows["split"] == split].iloc[0]))
    return f"{model} carries {', '.join(parts)}" if parts else ""


def _told(row: pd.Series) -> str:
    hindsight = ", chosen with hindsight" if row["chosen_on"] == row["split"] else ""
    return f"{row['dimension']} best in layer {int(row['layer'])} ({_score(row)} on {row['split']}{hindsight})"


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
    if not len(best):
        return ""
    split = reported_split(best["split"])
    rows = [row for _, row in best[best["split"] == split].iterrows()]
    scores = ", ".join(f"{row['dimension']} with {_score(row)}" for row in rows)
    return f"{rows[0]['model']} ({rows[0]['features']}) predicts {scores} on {split}"


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
