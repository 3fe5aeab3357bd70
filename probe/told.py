"""What results say, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    best = results.best_layers()
    best = best[(best["layer"] >= 0).fillna(False).to_numpy(bool)]
    best = best[[_score_of(row) == _score_of(row) for _, row in best.iterrows()]]
    if not len(best):
        return ""
    model = best["model"].iloc[0] if model is None else model
    corpus = best.loc[best["model"] == model, "corpus"].iloc[0] if corpus is None else corpus
    best = best[(best["model"] == model) & (best["corpus"] == corpus)]
    parts = []
    for dimension in dict.fromkeys(best["dimension"]) if dimensions is None else dimensions:
        rows = best[best["dimension"] == dimension]
        if len(rows):
            split = reported_split(rows["split"])
            parts.append(_told(rows[rows["split"] == split].iloc[0]))
    return f"{model} carries {', '.join(parts)}" if parts else ""


def _score_of(row: pd.Series) -> float:
    return float(row[headline_metric(row["dimension"])])


def _told(row: pd.Series) -> str:
    metric = headline_metric(row["dimension"])
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    bounds = f" [{low:.2f}, {high:.2f}]" if low == low and high == high else ""
    hindsight = ", chosen with hindsight" if row["chosen_on"] == row["split"] else ""
    return (
        f"{row['dimension']} best in layer {int(row['layer'])} ({metric.upper()} {row[metric]:.2f}{bounds} on "
        f"{row['split']}{hindsight})"
    )
