"""Exploration and confirmation: choices are made on one half of the speakers, claims on the other.

The best of many layers is too high by what the choice gains, and so is the best of several baselines. No interval knows
of that. Chosen on other speakers, it is a layer like any other. These have to be other ones than those it is trained
on, too: a layer that is read well from some training speakers is chosen on them, and would keep that luck. So each half
is cross-validated by itself. Penalties, and the epochs of trained probes, are chosen on the exploration.

The halves are drawn in pairs of sets (speakers, or what speakers and groups join) that are alike: sorted by gender and
by number of utterances, each two neighbours go to one half each, by the seed. Labels are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emoprobe.errors import UserError

from .splits import Fold, cross_validation

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

#: The part that layers and rivals are chosen on, and the one that claims are made on.
EXPLORATION, CONFIRMATION = "exploration", "confirmation"

#: Kind of a split into both.
HALVES = "exploration and confirmation halves"

#: Fewest sets of a half: one is scored, one chooses the penalty, the others train.
FEWEST = 3


def halves(rows: np.ndarray, whole: np.ndarray, alike: Sequence[str], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part rows in two halves that share no set.

    Parameters
    ----------
    rows : ndarray of int
        Who takes part, ascending.
    whole : ndarray of int, shape (utterances,)
        Number of the set of each row.
    alike : sequence of str, shape (utterances,)
        What the halves are to have in common, such as the gender of the speaker; a set has that of most of its rows.
    seed : int

    Returns
    -------
    exploration, confirmation : ndarray of int
        Ascending. With an odd number of sets the exploration has one more.

    Raises
    ------
    UserError
        If there are too few sets.
    """
    names, member, sizes = np.unique(whole[rows], return_inverse=True, return_counts=True)
    if len(names) < 2 * FEWEST:
        raise UserError(
            f"--confirm parts speakers in two halves, and {len(names)} speakers (or sets of speakers and groups that "
            f"stay together) are too few: {FEWEST} have to explore and {FEWEST} to confirm; leave it out"
        )
    rng = np.random.default_rng([seed, len(names)])
    kinds = _most_common(member, [str(alike[row]) for row in rows])
    shuffled = rng.permutation(len(names))
    order = sorted(shuffled.tolist(), key=lambda one: (kinds[one], -sizes[one]))
    confirms = np.zeros(len(names), dtype=bool)
    for first, second in zip(order[::2], order[1::2], strict=False):
        confirms[(first, second)[int(rng.integers(2))]] = True
    return rows[~confirms[member]], rows[confirms[member]]


def _most_common(member: np.ndarray, values: Sequence[str]) -> list[str]:
    """The value that most rows of each set have; of equals the first of the alphabet."""
    kinds, number = np.unique(values, return_inverse=True)
    counts = np.zeros((member.max() + 1, len(kinds)), dtype=int)
    np.add.at(counts, (member, number), 1)
    return [str(kinds[k]) for k in counts.argmax(1)]


def folds_within(rows: np.ndarray, whole: np.ndarray, n_folds: int, *, seed: int, name: str) -> tuple[Fold, ...]:
    """Folds of one half, which they score under its name.

    Parameters
    ----------
    rows : ndarray of int
    whole : ndarray of int, shape (utterances,)
    n_folds, seed : int
        At most as many folds as there are sets.
    name : str
        Of the half.

    Raises
    ------
    UserError
        If there are fewer than three sets.
    """
    sets = len(np.unique(whole[rows]))
    if sets < FEWEST:
        raise UserError(
            f"--confirm chooses layers by folds of the training part, and its {sets} speakers (or sets that stay "
            f"together) are too few for {FEWEST}: leave it out"
        )
    folds = cross_validation(rows, whole, min(max(n_folds, FEWEST), sets), seed=seed)
    return tuple(replace(fold, tests={name: np.concatenate(list(fold.tests.values()))}) for fold in folds)
