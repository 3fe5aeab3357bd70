"""How often each null of permuted labels rejects one that is true, where labels and states depend on the speaker.

Both have offsets of the speaker, and nothing else in common. A test of emotion at 5 % should find something 5 times in
100.

    python -m tests.simulated_nulls [--replications 60]
"""

from __future__ import annotations

import argparse

import numpy as np

from emoprobe.probe.metrics import ccc
from emoprobe.probe.permutation import FREE, WITHIN, exchangeable, permuted_scores, summarise
from emoprobe.probe.ridge import solve
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.splits import Fold, cross_validation, group_folds

TARGETS, WIDTH, PENALTIES = 4, 6, (1.0, 30.0, 1000.0)


def official(speaker: np.ndarray) -> tuple[Fold, ...]:
    """Two thirds of the speakers to train on, the others to test."""
    train, test = np.flatnonzero(speaker % 3 > 0), np.flatnonzero(speaker % 3 == 0)
    inner = group_folds(speaker[train], 4)
    return (Fold("all", train, tuple((train[inner != k], train[inner == k]) for k in range(4)), {"test": test}),)


def rejected(speakers: int, each: int, label: float, design: str, replications: int) -> dict[str, int]:
    """Of `replications` of `TARGETS` targets, how many each null rejects at 5 %.

    Parameters
    ----------
    speakers, each : int
        Speakers, and utterances of each.
    label : float
        Variance of the labels between speakers; within them it is 1. Of the states both are.
    design : str
        "official" or "cross-validation".
    replications : int
    """
    speaker = np.arange(speakers * each) % speakers
    folds = official(speaker) if design == "official" else cross_validation(np.arange(len(speaker)), speaker, 4)
    sets = {name: exchangeable(folds, speaker, within_speakers=name == WITHIN) for name in (FREE, WITHIN)}
    rows = np.concatenate([rows for fold in folds for rows in fold.tests.values()])
    rng = np.random.default_rng([speakers, int(100 * label)])
    counts = dict.fromkeys(sets, 0)
    for replication in range(replications):
        x = rng.standard_normal((len(speaker), WIDTH)) + rng.standard_normal((speakers, WIDTH))[speaker]
        y = rng.standard_normal((len(speaker), TARGETS))
        y += np.sqrt(label) * rng.standard_normal((speakers, TARGETS))[speaker]
        equations = accumulate(lambda some, x=x: x[some], y, folds)
        solved = solve(equations, penalties=PENALTIES)
        score = ccc(y[rows].T, solved.predictions[rows].T)
        for name in counts:
            (null,) = permuted_scores(equations, y, solved, sets[name], count=99, seed=replication).values()
            counts[name] += sum(summarise(*pair)["p"] <= 0.05 for pair in zip(score, null.T, strict=True))
    return counts


def main() -> None:
    """Print the counts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--replications", type=int, default=60)
    given = options.parse_args()
    for speakers in (12, 24):
        for label in (0.25, 1.0):
            for design in ("cross-validation", "official"):
                counts = rejected(speakers, 24, label, design, given.replications)
                told = ", ".join(f"{count} {name}" for name, count in counts.items())
                total = given.replications * TARGETS
                print(
                    f"{speakers} speakers, variance {label} of their labels, {design}: {told}, of {total}", flush=True
                )


if __name__ == "__main__":
    main()
