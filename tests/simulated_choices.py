"""What choosing the best of equally good layers gains: on the scored rows, and on other speakers.

All layers know the label equally well, so that what the chosen one scores above the mean of all is what the choice
gained, and nothing else. `planning.plan` makes the splits, `selecting.choose` chooses, ridge probes are fitted.

    python -m tests.simulated_choices [--replications 400]

prints the mean gain with its Monte Carlo error, of a cross-validation and of its halves, of an official split and of
the same with ``--confirm``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoprobe.probe.halves import EXPLORATION
from emoprobe.probe.metrics import ccc
from emoprobe.probe.planning import plan
from emoprobe.probe.ridge import solve
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.selecting import choose
from emoprobe.probe.splits import Fold, Split

LAYERS, WIDTH, EACH, GAIN = 12, 6, 8, 0.6

#: Speakers of an official split on whom nothing is chosen and nothing claimed: they tell what a fitted probe is worth.
FRESH = 200
PENALTIES = (1.0, 10.0, 100.0)


def draw(speakers: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """States (layers, rows, width), labels (rows,) and speakers; speakers have offsets of both."""
    speaker = np.repeat(np.arange(speakers), EACH)
    y = 0.4 * rng.standard_normal(speakers)[speaker] + rng.standard_normal(len(speaker))
    x = rng.standard_normal((LAYERS, len(speaker), WIDTH))
    x += 0.5 * rng.standard_normal((LAYERS, speakers, WIDTH))[:, speaker]
    return x + GAIN * y[:, None] / np.sqrt(WIDTH), y, [f"s{number}" for number in speaker]


def planned(speakers: Sequence[str], *, official: bool, confirm: bool) -> Split:
    """An official split trains on two thirds of the speakers; it tests the others, and fresh ones."""
    names = list(dict.fromkeys(speakers))
    known = len(names) - FRESH * official
    part = ["test"] * (known // 3) + ["train"] * (known - known // 3) + ["test2"] * (len(names) - known)
    of = dict(zip(names, part, strict=True)) if official else dict.fromkeys(names, "")
    parts = [of[name] for name in speakers]
    everybody = np.ones(len(speakers), dtype=bool)
    return plan(parts, speakers, everybody, everybody, alike=[""] * len(speakers) if confirm else None)


def scores(x: np.ndarray, y: np.ndarray, folds: Sequence[Fold]) -> dict[str, pd.Series]:
    """CCC of each layer over what the folds score, by the name of the part."""
    parts = {name: np.concatenate([fold.tests[name] for fold in folds]) for name in folds[0].tests}
    values: dict[str, list[float]] = {name: [] for name in parts}
    for layer in x:
        equations = accumulate(lambda some, layer=layer: layer[some], y[:, None], folds)
        predictions = solve(equations, penalties=PENALTIES).predictions[:, 0]
        for name, rows in parts.items():
            values[name].append(float(ccc(y[rows], predictions[rows])))
    return {name: pd.Series(of_layers) for name, of_layers in values.items()}


def gains(
    replications: int, *, official: bool, confirm: bool, speakers: int = 18, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """What the chosen layer scores above the mean of all, and the same on fresh speakers by the very same probes.

    Both of shape (replications,). The second is what the choice is worth; of an official split alone, since the folds
    of a cross-validation have a probe each.
    """
    rng = np.random.default_rng([seed, speakers])
    gained, worth = np.full((2, replications), np.nan)
    for k in range(replications):
        x, y, names = draw(speakers + FRESH * official, rng)
        split = planned(names, official=official, confirm=confirm)
        scored = scores(x, y, split.folds)
        reported = next(iter(scored.values()))
        nothing = pd.Series([np.nan] * LAYERS)
        explored = scores(x, y, split.exploration.folds)[EXPLORATION] if split.exploration else nothing
        choice = choose(reported, explored, "scored", "ccc", part=EXPLORATION)
        assert choice.hindsight != confirm
        gained[k] = reported[choice.best] - reported.mean()
        if official:
            worth[k] = scored["test2"][choice.best] - scored["test2"].mean()
    return gained, worth


def main() -> None:
    """Print the mean gains."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--replications", type=int, default=400)
    given = options.parse_args()
    for official in (False, True):
        for confirm in (False, True):
            gained, worth = gains(given.replications, official=official, confirm=confirm)
            name = ("official split" if official else "cross-validation") + ", --confirm" * confirm
            print(f"{name}: {_mean(gained)}", flush=True)
            if official:
                print(f"{name}, less what the probe is worth: {_mean(gained - worth)}", flush=True)


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.4f}, Monte Carlo error {values.std(ddof=1) / np.sqrt(len(values)):.4f}"


if __name__ == "__main__":
    main()
