"""The baselines there are. A new one is a file beside this, and a line here."""

from __future__ import annotations

from .base import Baseline
from .egemaps import EGEMAPS
from .words import WORDS

#: By name, in the order of every figure. The cache itself holds the first three (:mod:`..acoustics`).
BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline("duration", "duration", "the duration and its logarithm", acoustic=True),
        Baseline("mfcc", "MFCC", "mean and standard deviation over time of MFCCs", acoustic=True),
        Baseline("logmel", "log-mel", "mean and standard deviation over time of log-mel energies", acoustic=True),
        EGEMAPS,
        WORDS,
    )
}


def kept_beside() -> list[str]:
    """Names of those that are computed when somebody asks for them, and kept beside a cache."""
    return [name for name, baseline in BASELINES.items() if baseline.compute is not None]


def as_in_a_cache() -> list[Baseline]:
    """All of them as a cache lists them: those that it holds, then those beside it, each by name."""
    return sorted(BASELINES.values(), key=lambda baseline: (baseline.compute is not None, baseline.name))
