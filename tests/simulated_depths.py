"""Simulated states in which two dimensions have known profiles over the layers, read by real ridge probes.

The state of a layer holds each dimension with a signal-to-noise ratio: a strength times a profile. Labels are the
dimension with noise of their own. Speakers have offsets in the dimension and in the state, and neighbouring layers
share most of their noise. All pairs lie in one state, side by side, so that one fit a layer serves them all, and the
probe has more features than it needs: weak layers are learned less well, as in real corpora.

``python -m tests.simulated_depths`` counts what is said of each pair (docs/significance.md has the counts).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emoprobe.analysis.measures.centroid import training_means
from emoprobe.analysis.measures.curve_depth import Centroid, Estimate, centroid_of_sums
from emoprobe.analysis.measures.directions import DECIDING, Comparison, Signed, Statement
from emoprobe.analysis.measures.scales import SCALES
from emoprobe.probe.bootstrap import moments_by_speaker
from emoprobe.probe.deletion import Deletions, moments_without
from emoprobe.probe.permutation import holm
from emoprobe.probe.refits import Refit
from emoprobe.probe.ridge import solve
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.splits import Fold, cross_validation

LAYERS, EACH = 6, 10
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
DEPTH = np.linspace(0, 1, LAYERS)
UP = np.linspace(0.25, 1.0, LAYERS)
FLAT, NOTHING = np.full(LAYERS, 0.6), np.zeros(LAYERS)
BUMP = np.array([0.3, 0.7, 1.0, 1.0, 0.7, 0.3])


@dataclass(frozen=True)
class Side:
    """A dimension: its signal-to-noise ratio in each layer, and the share of its labels' variance that is no noise."""

    profile: np.ndarray
    strength: float
    reliability: float = 1.0


def _pairs() -> dict[str, tuple[Side, Side]]:
    pairs = {}
    for name, profile in (("rising", UP), ("falling", UP[::-1]), ("bump", BUMP)):
        pairs[f"{name}, unequal strength"] = Side(profile, 2.5), Side(profile, 1.0)
        pairs[f"{name}, unequal label noise"] = Side(profile, 2.0, 0.9), Side(profile, 2.0, 0.4)
        pairs[f"{name}, unequal both"] = Side(profile, 3.0, 0.85), Side(profile, 0.8, 0.5)
    pairs["flat"] = Side(FLAT, 2.0), Side(FLAT, 0.6, 0.7)
    pairs["noise alone"] = Side(NOTHING, 1.0), Side(NOTHING, 1.0)
    pairs["falls, rises"] = Side(UP[::-1], 1.5, 0.8), Side(UP, 0.8, 0.7)
    pairs["flat, rises"] = Side(FLAT, 1.0, 0.8), Side(UP, 1.0, 0.8)
    return pairs


#: (one, other) by name. All but the last two have one profile on both sides.
PAIRS = _pairs()
OPPOSED, ONE_RISES = "falls, rises", "flat, rises"
EQUAL = tuple(name for name in PAIRS if name not in (OPPOSED, ONE_RISES))


def simulated(speakers: int, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """States of each layer (rows, width), labels (rows, 2 × pairs) and speakers (rows,)."""
    speaker = np.repeat(np.arange(speakers), EACH)
    sides = [side for pair in PAIRS.values() for side in pair]
    shape, offsets = (len(speaker), len(sides)), (speakers, len(sides))
    held = (rng.standard_normal(shape) + np.sqrt(0.3) * rng.standard_normal(offsets)[speaker]) / np.sqrt(1.3)
    reliability = np.array([side.reliability for side in sides])
    labels = np.sqrt(reliability) * held + np.sqrt(1 - reliability) * rng.standard_normal(shape)
    states, noise, voice = [], rng.standard_normal(shape), rng.standard_normal(offsets)
    for layer in range(LAYERS):
        if layer:
            noise = 0.8 * noise + 0.6 * rng.standard_normal(shape)
            voice = 0.8 * voice + 0.6 * rng.standard_normal(offsets)
        ratio = np.array([side.strength * side.profile[layer] for side in sides])
        states.append(np.sqrt(ratio) * held + (noise + np.sqrt(0.5) * voice[speaker]) / np.sqrt(1.5))
    return states, labels, speaker


def folds_of(speaker: np.ndarray, official: bool) -> tuple[Fold, ...]:
    """Half of the speakers to train on and half to score, or a cross-validation over all."""
    if not official:
        return cross_validation(np.arange(len(speaker)), speaker, 3)
    tested = speaker < (speaker.max() + 1) // 2
    train = np.flatnonzero(~tested)
    odd = speaker[train] % 2 == 0
    inner = ((train[odd], train[~odd]), (train[~odd], train[odd]))
    return (Fold("all", train, inner, {"test": np.flatnonzero(tested)}),)


def comparisons(
    speakers: int, *, official: bool, replications: int, refitted: bool = True, resamples: int = 400, seed: int = 0
) -> Iterator[tuple[dict[str, Comparison], dict[str, float]]]:
    """For each replication, the comparison of every pair, and p of the difference of its centroids by CCC alone.

    The latter takes the fits as given, as a bootstrap over the scored speakers does.

    Parameters
    ----------
    speakers : int
        That are scored.
    official : bool
        Whether as many others are trained on, or all are scored in a cross-validation.
    refitted : bool
        Whether intervals know of other training speakers.
    replications, resamples, seed : int
    """
    rng = np.random.default_rng([seed, speakers, official])
    for _ in range(replications):
        states, labels, speaker = simulated(2 * speakers if official else speakers, rng)
        curves, by_ccc = read(states, labels, speaker, folds_of(speaker, official), refitted, resamples)
        yield (
            {name: compared(curves[2 * k], curves[2 * k + 1]) for k, name in enumerate(PAIRS)},
            {name: (by_ccc[2 * k + 1] - by_ccc[2 * k]).limits()[2] for k, name in enumerate(PAIRS)},
        )


def read(
    states: list[np.ndarray],
    labels: np.ndarray,
    speaker: np.ndarray,
    folds: tuple[Fold, ...],
    refitted: bool,
    resamples: int,
) -> tuple[list[dict[str, Centroid]], list[Estimate]]:
    """Of each label, centroid and slope on each scale; and the centroid by CCC of the fits as they are."""
    deletions = Deletions.of(folds, [f"{number:03d}" for number in speaker], labels)
    parts = tuple(deletions.parts(next(iter(folds[0].tests))).tolist())
    predictions, left_out = [], []
    for x in states:
        equations = accumulate(lambda rows, x=x: x[rows], labels, folds)
        solved = solve(equations, penalties=PENALTIES)
        predictions.append(solved.predictions)
        if refitted:
            left_out += moments_without(equations, solved, labels, deletions).values()
    scored = [rows for fold in folds for rows in fold.tests.values()]
    member = np.repeat(np.arange(len(folds)), [len(rows) for rows in scored]).astype(str)
    rows = np.concatenate(scored)
    _, groups = np.unique(speaker[rows], return_inverse=True)
    curves, by_ccc = [], []
    for k in range(labels.shape[1]):
        truth, predicted = labels[rows, k], np.stack([one[rows, k] for one in predictions])
        plain = moments_by_speaker(truth, predicted, groups)
        centred = moments_by_speaker(truth, predicted - training_means(truth, member), groups)
        refit = None
        if refitted:
            refit = Refit(deletions.names, parts, np.stack([one[:, k] for one in left_out], axis=1))
        curves.append(
            {
                name: centroid_of_sums(
                    centred if scale.from_training_mean else plain,
                    DEPTH,
                    scale=scale,
                    refit=refit,
                    predicted=plain,
                    resamples=resamples,
                )
                for name, scale in SCALES.items()
            }
        )
        by_ccc.append(centroid_of_sums(plain, DEPTH, resamples=resamples).depth)
    return curves, by_ccc


def compared(one: dict[str, Centroid], other: dict[str, Centroid]) -> Comparison:
    """As `Comparison.of` makes it from a table."""
    slopes = [[side[scale].slope for scale in DECIDING] for side in (one, other)]
    apart = [other[scale].depth - one[scale].depth for scale in DECIDING]
    tests = [
        Signed.of([estimate.value for estimate in estimates], [estimate.limits()[2] for estimate in estimates])
        for estimates in (*slopes, apart)
    ]
    return Comparison("arousal", "valence", (tests[0], tests[1]), tests[2])


#: What is said of a pair whose first curve falls and whose second rises.
SHALLOWER = "arousal is carried by shallower layers than valence"


def counted(speakers: int, *, official: bool, replications: int) -> dict[str, Counter]:
    """By pair, how often each thing was said, and what the difference of centroids alone would have said."""
    counts: dict[str, Counter] = {name: Counter() for name in PAIRS}
    for by_pair, alone in comparisons(speakers, official=official, replications=replications):
        for name, comparison in by_pair.items():
            statement = comparison.statement([p <= 0.05 for p in holm(comparison.p)])
            counts[name][false(name, statement)] += 1
            counts[name][statement.text] += statement.sign > 0
            counts[name]["turned round"] += statement.sign < 0
            counts[name]["CCC alone"] += alone[name] <= 0.05
    return counts


def false(name: str, statement: Statement) -> str:
    """ "false" where two equal profiles are told apart, or a curve is said to go where it does not."""
    if statement.sign == 0:
        return "open"
    apart = "shallower" in statement.text or "follow" in statement.text
    rises, falls = "rise" in statement.text, "fall" in statement.text
    true = {"rising": rises, "falling": falls}.get(name.split(",")[0], False)
    return "false" if apart or not true else "true"


def main() -> None:
    """Print how often each pair is told apart, by the rule and by CCC alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=100)
    parser.add_argument("--speakers", type=int, nargs="+", default=[12, 24, 60])
    options = parser.parse_args()
    for speakers in options.speakers:
        for official in (True, False):
            counts = counted(speakers, official=official, replications=options.replications)
            wrong = {name: counts[name]["false"] for name in EQUAL}
            alone = {name: counts[name]["CCC alone"] for name in EQUAL}
            design = "official split" if official else "cross-validation"
            print(f"{speakers} speakers, {design}, {options.replications} runs of {len(EQUAL)} equal pairs:")
            print(f"  told apart by CCC alone {sum(alone.values())}, falsely by the rule {sum(wrong.values())}")
            print(f"  the worst pair by the rule {max(wrong.values())}; opposed found {counts[OPPOSED][SHALLOWER]}")


if __name__ == "__main__":
    main()
