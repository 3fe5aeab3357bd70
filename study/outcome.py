"""What a study found, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def told_result(results: Path, teacher: Path, dimensions: Sequence[str]) -> str:
    """Where the teacher carries each dimension, and how well; empty where no layer has a score.

    Parameters
    ----------
    results : Path
        Folder of the study's results.
    teacher : Path
        The teacher's cache.
    dimensions : sequence of str

    Returns
    -------
    str
        Such as ``hubert-nano carries arousal best in layer 3 (CCC 0.71 [0.62, 0.80] on test), …``.
    """
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.results import load_results
    from emoprobe.probe.selecting import reported_split

    with HiddenStateCache(teacher) as cache:
        label, corpus = cache.label, cache.corpus
    best = load_results(results).best_layers()
    best = best[(best["model"] == label) & (best["corpus"] == corpus) & best["ccc"].notna()]
    best = best[(best["layer"] >= 0).fillna(False).to_numpy(bool)]
    parts = []
    for dimension in dimensions:
        rows = best[best["dimension"] == dimension]
        if not len(rows):
            continue
        split = reported_split(rows["split"])
        row = rows[rows["split"] == split].iloc[0]
        bounds = "" if pd.isna(row["ccc_low"]) else f" [{row['ccc_low']:.2f}, {row['ccc_high']:.2f}]"
        hindsight = ", chosen with hindsight" if row["chosen_on"] == split else ""
        parts.append(
            f"{dimension} best in layer {int(row['layer'])} (CCC {row['ccc']:.2f}{bounds} on {split}{hindsight})"
        )
    return f"{label} carries {', '.join(parts)}" if parts else ""
