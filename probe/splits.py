"""The fits of a corpus, and folds that keep groups whole: nobody is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from emoprobe.errors import UserError

from .units import SPEAKER, Units

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

#: What the held-out parts of folds are called together.
CROSS_VALIDATION = "cross-validation"

#: What the column `fold` says of a score that is not of one fold alone: no fold can be called so.
POOLED = "all"

#: A corpus's own part that layers, penalties and epochs are chosen on.
DEVELOPMENT = "development"

#: A corpus's own parts, one to train on and others to score.
OFFICIAL = "official"

#: Rows to train on and rows to choose on, of each inner fold.
Pairs = tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class Fold:
    """One fit: rows to train on, rows to choose the penalty (or the epoch) on, rows to score.

    Parameters
    ----------
    name : str
        "1", "2", ... in a cross-validation, or the corpus's own name of the fold; "all" for a corpus's own split.
    train : ndarray of int
        Rows of the final fit, ascending.
    inner : tuple of (train, validation)
        Fits from which the penalty is chosen: inner folds of `train`, or the development split alone.
    tests : dict of str to ndarray of int
        Rows to score by the name of their split.
    development : ndarray of int, optional
        Rows of the corpus's own development part, or of the exploration, on which probes that are trained by epochs
        stop.
    """

    name: str
    train: np.ndarray
    inner: Pairs
    tests: dict[str, np.ndarray]
    development: np.ndarray | None = None

    @property
    def stopping(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows that a probe is trained on by epochs, and the rows on which it stops."""
        return self.inner[0] if self.development is None else (self.train, self.development)


@dataclass(frozen=True)
class Split:
    """All fits of a corpus, who belongs together, and what is to be said about it.

    Parameters
    ----------
    kind : str
        "official" (a corpus's own parts), "folds of the corpus", or what its folds keep whole: "speaker-grouped folds",
        "speaker- and group-wise folds", "ungrouped folds"; or :data:`.halves.HALVES`.
    folds : tuple of Fold
    units : Units
        Speakers, groups, and what an interval resamples.
    whole : ndarray of int, shape (utterances,)
        Number of what stays together wherever the training rows are parted again: `units.whole`, or the larger of
        speakers and groups where these hold most rows together.
    leakage : list of dict
        For what the corpus gives: each pair of parts that share speakers or groups, with them and their utterances.
    notes : list of str
        Sentences for the protocol and the screen.
    unknown_speakers : int
        Utterances that take part and have no known speaker.
    kept_whole : str
        What no inner fold splits: "speaker", "speaker and group", or nothing, where the corpus's own folds are taken.
    exploration : Split, optional
        Other fits, that score rows that none of these does: by them layers and rivals are chosen (:mod:`.halves`).
    """

    kind: str
    folds: tuple[Fold, ...]
    units: Units
    whole: np.ndarray
    leakage: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unknown_speakers: int = 0
    kept_whole: str = SPEAKER
    exploration: Split | None = None

    @property
    def groups(self) -> np.ndarray:
        """Number of what an interval resamples, shape (utterances,)."""
        return self.units.resampled


def group_folds(groups: np.ndarray, n_folds: int, *, seed: int = 0) -> np.ndarray:
    """Deal groups to folds of nearly equal size, none to two folds.

    The largest group goes first, each to the fold that is smallest so far; groups of equal size are dealt in an order
    drawn from `seed`.

    Parameters
    ----------
    groups : ndarray of int, shape (rows,)
    n_folds : int
    seed : int

    Returns
    -------
    ndarray of int, shape (rows,)
        Number of each row's fold, 0 to n_folds - 1.

    Raises
    ------
    UserError
        If there are fewer groups than folds.
    """
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if n_folds < 2:
        raise UserError(f"{n_folds} folds cannot hold anything out: ask for 2 or more")
    if len(names) < n_folds:
        raise UserError(
            f"{len(names)} speakers cannot fill {n_folds} folds without one on both sides: "
            f"ask for at most {len(names)} with --folds"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of_group = np.empty(len(names), dtype=np.int64)
    filled = np.zeros(n_folds, dtype=np.int64)
    for group in order:
        smallest = int(filled.argmin())
        fold_of_group[group] = smallest
        filled[smallest] += sizes[group]
    return fold_of_group[member]


def inner_folds(rows: np.ndarray, groups: np.ndarray, n_folds: int, *, seed: int = 0, what: str = SPEAKER) -> Pairs:
    """Inner folds of `rows` that keep groups whole, as many as there are groups for, 2 at least.

    Parameters
    ----------
    rows : ndarray of int
    groups : ndarray of int, shape (utterances,)
    n_folds, seed : int
    what : str
        What a group is, for the message.

    Returns
    -------
    tuple of (train, validation)

    Raises
    ------
    UserError
        If there is one group alone.
    """
    available = len(np.unique(groups[rows]))
    if available < 2:
        raise UserError(
            f"the {len(rows)} training utterances come from {available} {what}: no {what} is left to choose the "
            f"penalty on; give the corpus a development split or more {what}s"
        )
    fold = group_folds(groups[rows], min(n_folds, available), seed=seed)
    return tuple((rows[fold != k], rows[fold == k]) for k in range(fold.max() + 1))


def cross_validation(rows: np.ndarray, groups: np.ndarray, n_folds: int, *, seed: int = 0) -> tuple[Fold, ...]:
    """Speaker-grouped folds, each with the other folds as its inner folds.

    The inner fits of a fold leave out one more fold: the fit that leaves out folds i and j serves both. The first
    inner validation fold of fold i is the one that follows it, so each is used for that once.

    Parameters
    ----------
    rows : ndarray of int
        Rows that take part, ascending.
    groups : ndarray of int, shape (utterances,)
    n_folds : int
        At least 3: one to score, one to choose on, one to train on.
    seed : int

    Returns
    -------
    tuple of Fold

    Raises
    ------
    UserError
        If there are fewer groups than folds, or fewer folds than 3.
    """
    speakers = len(np.unique(groups[rows]))
    if speakers < 3:
        raise UserError(
            f"{speakers} speakers are too few: one is scored, one chooses the penalty, the others train; "
            "at least 3 are needed"
        )
    if n_folds < 3:
        raise UserError(
            f"--folds {n_folds} is too few: one scores, one chooses the penalty, the others train; ask for 3"
        )
    return each_held_out(rows, group_folds(groups[rows], n_folds, seed=seed), list(map(str, range(1, n_folds + 1))))


def each_held_out(rows: np.ndarray, fold: np.ndarray, names: Sequence[str]) -> tuple[Fold, ...]:
    """A fit for each fold, with the other folds as its inner folds.

    Parameters
    ----------
    rows : ndarray of int
    fold : ndarray of int, shape (rows,)
        Number of each row's fold.
    names : sequence of str
        Of the folds, by number.
    """
    folds = []
    for k, name in enumerate(names):
        others = [(k + step) % len(names) for step in range(1, len(names))]
        inner = tuple((rows[(fold != k) & (fold != j)], rows[fold == j]) for j in others)
        folds.append(Fold(name, rows[fold != k], inner, {CROSS_VALIDATION: rows[fold == k]}))
    return tuple(folds)
