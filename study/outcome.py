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
    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.results import load_results
    from emoprobe.probe.told import told_depths

    with HiddenStateCache(teacher) as cache:
        label, corpus = cache.label, cache.corpus
    return told_depths(load_results(results), model=label, corpus=corpus, dimensions=dimensions)
