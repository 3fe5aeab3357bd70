"""Ridge probes of simulated states whose truth is known, and how often intervals of their scores hold it.

Labels have an offset of the speaker; the states of a layer are the label in one direction, an offset of the speaker and
noise, neighbouring layers sharing most of both. What a probe scores on endlessly many new speakers then follows from
its coefficients. The truth that an interval has to hold is the mean of that over the training sets of all replications:
what a probe of such a layer, trained on so many speakers, scores on average.

    python -m tests.simulated_probes [--replications 400]

prints how often it is held, by intervals with refits and by those of the fixed probe, and how often layers of one truth
are told apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emoprobe.probe import jackknife
from emoprobe.probe.bootstrap import leave_one_out, moments_by_speaker
from emoprobe.probe.deletion import Deletions, moments_without
from emoprobe.probe.metrics import ccc_from_moments, rmse_from_moments
from emoprobe.probe.refits import Refit
from emoprobe.probe.ridge import solve
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.splits import Fold, cross_validation, group_folds

#: The first two layers are equally good.
GAINS = np.array([0.6, 0.6, 0.9, 0.3])
DEPTH = np.linspace(0, 1, len(GAINS))
PENALTIES = (1.0, 10.0, 100.0, 1000.0)


def chain(shape: tuple[int, ...], layers: int, shared: float, rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers for each layer, (layers, *shape), neighbours correlated by `shared`."""
    values = np.empty((layers, *shape))
    values[0] = rng.standard_normal(shape)
    for layer in range(1, layers):
        values[layer] = shared * values[layer - 1] + np.sqrt(1 - shared**2) * rng.standard_normal(shape)
    return values


@dataclass(frozen=True)
class World:
    """Where speakers, labels and states come from.

    Attributes
    ----------
    label, voice : float
        Variance of the speakers' offsets of labels and of states; what is left has a variance of 1.
    each : int
        Utterances of a speaker.
    width : int
    shared : float
        Correlation of neighbouring layers.
    """

    label: float
    voice: float
    each: int
    width: int = 8
    shared: float = 0.8

    def draw(self, speakers: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """States (layers, rows, width), labels (rows,) and numbers of the speakers (rows,)."""
        speaker = np.repeat(np.arange(speakers), self.each)
        y = np.sqrt(self.label) * rng.standard_normal(speakers)[speaker] + rng.standard_normal(len(speaker))
        x = chain((len(speaker), self.width), len(GAINS), self.shared, rng)
        x += np.sqrt(self.voice) * chain((speakers, self.width), len(GAINS), self.shared, rng)[:, speaker]
        return x + GAINS[:, None, None] * y[:, None] / np.sqrt(self.width), y, speaker

    def moments(self, coef: np.ndarray, intercept: np.ndarray, layer: int) -> np.ndarray:
        """Moments (..., 6) of label and prediction on endlessly many new speakers; coef is (..., width)."""
        variance, gain = 1 + self.label, GAINS[layer]
        along = coef.sum(-1) / np.sqrt(self.width)
        spread = (1 + self.voice) * (coef**2).sum(-1) + gain**2 * variance * along**2
        one = np.ones_like(along)
        terms = (one, 0 * one, intercept, variance * one, spread + intercept**2, gain * variance * along)
        return np.stack(terms, axis=-1)


#: Speakers that differ as much as their utterances do, and speakers that differ less.
STRONG, MODERATE = World(label=0.3, voice=1.0, each=15), World(label=0.05, voice=0.2, each=30)


@dataclass(frozen=True)
class Design:
    """Who is trained on and tested.

    Attributes
    ----------
    name : str
    trained : int
        Speakers to train on, as a multiple of those that are tested; 0 is a cross-validation.
    shared : int
        How many of the tested speakers are trained on too.
    """

    name: str
    trained: int = 0
    shared: int = 0

    def folds(self, speaker: np.ndarray) -> tuple[Fold, ...]:
        """Of rows whose speakers are numbered; those to train on come first."""
        if not self.trained:
            return cross_validation(np.arange(len(speaker)), speaker, 5)
        first = (speaker.max() + 1) * self.trained // (self.trained + 1)
        train, test = np.flatnonzero(speaker < first + self.shared), np.flatnonzero(speaker >= first)
        inner = group_folds(speaker[train], 5)
        return (Fold("all", train, tuple((train[inner != k], train[inner == k]) for k in range(5)), {"test": test}),)


CROSSED, OFFICIAL = Design("cross-validation"), Design("official", trained=1)

#: Many to train on and few to test, so that degrees of freedom matter; nobody, and one speaker, on both sides.
UNEVEN, SHARED = Design("official, 5 to 1", trained=5), Design("official, 5 to 1, one shared", trained=5, shared=1)


@dataclass(frozen=True)
class Replication:
    """All layers of one draw.

    Attributes
    ----------
    tested : ndarray, shape (speakers, layers, 6)
        Sums by speaker.
    refit : Refit
        Of all layers together.
    truth : ndarray, shape (folds, layers, 6)
        Moments of each fitted probe on endlessly many new speakers.
    """

    tested: np.ndarray
    refit: Refit
    truth: np.ndarray


def replicate(world: World, speakers: int, design: Design, rng: np.random.Generator) -> Replication:
    """Draw, fit and refit, with so many speakers to test."""
    x, y, speaker = world.draw((design.trained + 1) * speakers, rng)
    folds = design.folds(speaker)
    rows = np.concatenate([rows for fold in folds for rows in fold.tests.values()])
    deletions = Deletions.of(folds, [f"{number:03d}" for number in speaker], y[:, None])
    parts = tuple(deletions.parts(next(iter(folds[0].tests))).tolist())
    predictions, refits, truths = [], [], []
    for k, layer in enumerate(x):
        equations = accumulate(lambda some, layer=layer: layer[some], y[:, None], folds)
        solved = solve(equations, penalties=PENALTIES)
        predictions.append(solved.predictions[rows, 0])
        (sums,) = moments_without(equations, solved, y[:, None], deletions).values()
        refits.append(Refit(deletions.names, parts, sums[:, 0]))
        truths.append(world.moments(solved.coef[:, 0], solved.intercept[:, 0], k))
    tested = moments_by_speaker(y[rows], np.stack(predictions), speaker[rows])
    return Replication(tested, Refit.stacked(refits), np.stack(truths, axis=1))


def centroid(sums: np.ndarray) -> np.ndarray:
    """Mean depth of the layers, weighted by CCC, shape (..., 1)."""
    weight = ccc_from_moments(sums)
    total = weight.sum(-1)
    return (weight @ DEPTH / np.where(total > 0, total, np.nan))[..., None]


def less_first(measure: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Each layer but the first, less the first."""
    return lambda sums: measure(sums)[..., 1:] - measure(sums)[..., :1]


#: What is scored, on which scale.
STATISTICS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str | None]] = {
    "CCC": (ccc_from_moments, "ccc"),
    "RMSE": (rmse_from_moments, "rmse"),
    "difference in CCC": (less_first(ccc_from_moments), None),
    "difference in RMSE": (less_first(rmse_from_moments), None),
    "centroid": (centroid, None),
}


def coverage(
    world: World, speakers: int, design: Design, replications: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each statistic, how many intervals hold the truth: with refits, and of the fixed probe; and the mean width."""
    # Nobody shared, or some: the same speakers and labels.
    rng = np.random.default_rng([seed, speakers, design.trained])
    drawn = [replicate(world, speakers, design, rng) for _ in range(replications)]
    truths = np.stack([one.truth for one in drawn])
    counts = {}
    for name, (measure, scale) in STATISTICS.items():
        true = np.nanmean(measure(truths), axis=(0, 1))
        held, width = np.zeros((2, len(true)), dtype=int), np.zeros(len(true))
        for one in drawn:
            score = measure(one.tested.sum(0))
            fixed = [measure(leave_one_out(one.tested))]
            for k, samples in enumerate((one.refit.samples(measure, one.tested), fixed)):
                low, high, _ = jackknife.limits(score, samples, scale=scale)
                held[k] += (low <= true) & (true <= high)
                width += (high - low) / replications if k == 0 else 0
        counts[name] = (held[0], held[1], width)
    return counts


def main() -> None:
    """Print the counts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--replications", type=int, default=400)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    for name, world in (("moderate", MODERATE), ("strong", STRONG)):
        for design in (CROSSED, OFFICIAL, UNEVEN, SHARED):
            for speakers in (12, 24, 50):
                counts = coverage(world, speakers, design, given.replications, given.seed)
                print(f"{name} speakers, {design.name}, {speakers} tested, held of {given.replications}:")
                for statistic, (refitted, fixed, width) in counts.items():
                    told = f"refitted {refitted.tolist()} (wide {np.round(width, 3).tolist()})"
                    print(f"    {statistic:20} {told}, fixed probe {fixed.tolist()}", flush=True)


if __name__ == "__main__":
    main()
