"""The null of permuted labels: what a ridge probe scores when its labels belong to other utterances.

Permuted labels are more right-hand sides, not more fits: the features of a fold are standardised and factorised once
for all permutations of all targets. Every layer and baseline meets the same permutations, so nulls are comparable
along a curve.

The penalty of each fold and target is the one chosen on the true labels. Choosing anew for every permutation would
cost many times the fit. Without, the test errs on the safe side: at 5 % it rejects 4.0 to 4.7 % of true nulls, and
exactly 5 % where there is one penalty (`tests/probe/test_calibration.py`). Mean and spread of `rescale` are those of
the permuted labels.

What is exchangeable decides what the test tests. Labels permuted freely among the utterances test whether features and
labels are independent; if speakers differ in their mean label *and* in their features, they are not, although the
features may say nothing about emotion. At 5 % such a test rejected 29 to 49 of 240 true nulls in cross-validation and
52 to 90 on an official split (12 and 24 speakers of 24 utterances, 20 or 50 % of the variance of the labels between
them; `python -m tests.simulated_nulls`). Permuted within speakers, every speaker keeps their labels, and what the
features know of the speaker is part of the null: 8 to 20 of 240. Rows of unknown speaker are then permuted among
themselves: of them the test knows no speaker.

Labels are therefore permuted within speakers wherever these have rows enough (:func:`within_by_rule`), unless the
settings say otherwise, and what the test cannot know is said (:func:`told`).

References
----------
J. Hewitt and P. Liang, "Designing and interpreting probes with control tasks", EMNLP 2019: selectivity. Their control
task gives each word type a random label; an utterance occurs once, so its control task is a permuted label.
P. Good, "Permutation, parametric and bootstrap tests of hypotheses", 2005. B. Phipson and G. Smyth, "Permutation
p-values should never be zero", 2010.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .arrays import Array, Arrays
from .equations import Predictor
from .layer_equations import Draw, RidgeEquations
from .metrics import ccc_from_moments
from .ridge import RidgeResult, rescaling
from .splits import Fold
from .units import Units

if TYPE_CHECKING:
    import pandas as pd

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 3

#: What labels are permuted among, as the protocol and a column have it.
WITHIN, FREE = "within speakers", "among utterances"

#: Rows from which on a speaker's labels, permuted, are others than they were for all practical purposes.
ENOUGH_ROWS = 5

#: Utterances from which on products with permuted labels are taken in float32, in half the time; their sums and
#: every solution stay in double. A permutation's CCC then moves by some 1e-6, and its standard deviation is above 1e-3.
MANY = 20_000
#: Scores nearer to each other are a tie: constant features score 0, permuted or not, but for rounding.
TIE = 5e-6

#: Bytes that the permuted labels and their sums may take at once.
MEMORY = 2**30


def exchangeable(folds: Sequence[Fold], groups: np.ndarray, *, within_speakers: bool = False) -> np.ndarray:
    """Number the sets of rows within which labels are permuted.

    Parameters
    ----------
    folds : sequence of Fold
        Of a cross-validation, whose rows are all one set (and what penalties are chosen on elsewhere another), or the
        one fit of an official split, each of whose parts is a set.
    groups : ndarray of int, shape (utterances,)
        Number of each row's speaker; for sets of one speaker, rows of unknown speaker share one (`Units.voices`): a row
        that is alone in its set keeps its label, and a null in which labels stay is none.
    within_speakers : bool
        Whether a set holds one speaker only.

    Returns
    -------
    ndarray of int, shape (utterances,)
        -1 for rows that no fit uses.
    """
    part = np.full(len(groups), -1)
    if len(folds) > 1:
        for fold in folds:
            part[np.concatenate([fold.train, *fold.tests.values()])] = 0
        elsewhere = np.concatenate([rows for fold in folds for pair in fold.inner for rows in pair])
        part[elsewhere[part[elsewhere] < 0]] = 1
    else:
        rows = [*folds[0].tests.values(), *(rows for pair in folds[0].inner for rows in pair), folds[0].train]
        for number, some in enumerate(rows):
            part[some] = min(number, len(folds[0].tests) + 2 * len(folds[0].inner))
    if within_speakers:
        part = np.where(part >= 0, part * (groups.max() + 1) + groups, -1)
    return part


def within_by_rule(folds: Sequence[Fold], units: Units, labelled: np.ndarray | None = None) -> bool:
    """Whether labels are permuted within speakers where nobody says it.

    They are where at least half of the labelled rows that take part are of known speakers with at least
    :data:`ENOUGH_ROWS` of them in the same part (of a cross-validation, all of it).

    Parameters
    ----------
    folds : sequence of Fold
    units : Units
    labelled : ndarray of bool, shape (utterances,), optional
        Rows with a label of the target, which alone change places; all of them if left out.
    """
    sets = exchangeable(folds, units.voices, within_speakers=True)
    there = sets >= 0 if labelled is None else (sets >= 0) & labelled
    if not there.any():
        return False
    _, member, sizes = np.unique(sets[there], return_inverse=True, return_counts=True)
    return bool(((sizes[member] >= ENOUGH_ROWS) & ~units.unknown[there]).mean() >= 0.5)


def told(folds: Sequence[Fold], units: Units, *, within_speakers: bool) -> tuple[str, ...]:
    """What the null does not know, in sentences for the protocol.

    Parameters
    ----------
    folds : sequence of Fold
    units : Units
    within_speakers : bool
        How labels are permuted.

    Returns
    -------
    tuple of str
        None where all that makes labels alike is held.
    """
    there = exchangeable(folds, units.voices, within_speakers=False) >= 0
    unknown = int((units.unknown & there).sum())
    total = int(there.sum())
    if not within_speakers:
        if unknown == total:
            return (
                "no speaker is known: where voices recur and differ in their labels, no permutation is a valid null",
            )
        if within_by_rule(folds, units):
            return ("labels are permuted among utterances: where speakers differ in their labels, p is too small",)
        if len(np.unique(units.speakers[there])) == total:
            return ()
        few = f"most utterances are of speakers with fewer than {ENOUGH_ROWS}, too few to permute labels within"
        return (f"{few}: where speakers differ in their labels, p is too small, and no permutation is a valid null",)
    said = []
    if unknown:
        of = f"labels of the {unknown:,} of {total:,} utterances of unknown speaker are permuted among themselves"
        said.append(f"{of}: of these the test within speakers is one among utterances")
    if units.grouped:
        said.append(
            "labels are permuted within speakers across their groups: where the labels of a group go together, as in a "
            "dialogue, p is too small, and no permutation is a valid null"
        )
    return tuple(said)


def permutations(sets: np.ndarray, count: int, *, seed: int = 0, chunk: int = 100) -> Iterator[np.ndarray]:
    """Draw permutations of the rows within their sets.

    Parameters
    ----------
    sets : ndarray of int, shape (utterances,)
        Number of each row's set; rows below 0 keep their place.
    count : int
        How many permutations.
    seed : int
        The permutations of a set depend on this, on its place among the sets and on its size alone, not on `chunk`.
    chunk : int
        How many to yield at once.

    Yields
    ------
    ndarray of int32, shape (up to `chunk`, utterances)
        The row whose label each row receives.
    """
    placed = np.argsort(sets, kind="stable").astype(np.int32)[(sets < 0).sum() :]
    members = np.split(placed, np.flatnonzero(np.diff(sets[placed])) + 1)
    drawn = [(rows, np.random.default_rng([seed, k])) for k, rows in enumerate(members) if len(rows) > 1]
    for start in range(0, count, chunk):
        size = min(chunk, count - start)
        order = np.tile(np.arange(len(sets), dtype=np.int32), (size, 1))
        for rows, rng in drawn:
            order[:, rows] = rng.permuted(np.tile(rows, (size, 1)), axis=1)
        yield order


def permuted_scores(
    equations: RidgeEquations,
    targets: np.ndarray,
    found: RidgeResult,
    sets: np.ndarray,
    *,
    count: int = 1000,
    seed: int = 0,
    rescale: bool = False,
) -> dict[str, np.ndarray]:
    """CCC of the probes of one layer for permuted labels, pooled over folds.

    Parameters
    ----------
    equations : RidgeEquations
        Of the layer.
    targets : ndarray, shape (utterances, targets)
        NaN where the label is missing; such a row takes no part in the permutations of that target.
    found : RidgeResult
        For the true labels; its penalties are kept.
    sets : ndarray of int, shape (utterances,)
        Of :func:`exchangeable`.
    count, seed : int
        See :func:`permutations`.
    rescale : bool
        As the probes were.

    Returns
    -------
    dict of str to ndarray, shape (count, targets)
        By the name of the split that is scored.
    """
    targets = np.asarray(targets, dtype=np.float64)
    names = dict.fromkeys(name for fold in equations.folds for name in fold.tests)
    scores = {name: np.full((count, targets.shape[1]), np.nan) for name in names}
    # No measure depends on the unit of the labels, so all is left in that of the equations.
    labels = (targets - equations.unit_y[:, 0]) / equations.unit_y[:, 1]
    for columns in equations.target_sets():
        present = ~np.isnan(targets[:, columns[0]])
        here = np.where(present, sets, -1)
        size = at_once(equations, len(columns), len(targets))
        for k, order in enumerate(_drawn(equations.arrays, here, count, seed, size)):
            sums = permuted_moments(equations, labels, found.penalties, columns, order, rescale=rescale)
            for name, each in sums.items():
                scores[name][k * size : k * size + len(order), columns] = ccc_from_moments(each.sum(0))
    return scores


def _drawn(arrays: Arrays, sets: np.ndarray, count: int, seed: int, chunk: int) -> Iterator[Array]:
    """:func:`permutations`, where the sums are: all layers of a probe ask for the same."""
    key = hashlib.sha256(sets.tobytes()).hexdigest(), count, seed
    return arrays.pieces(lambda rows: permutations(sets, count, seed=seed, chunk=rows), (count, len(sets)), key, chunk)


def permuted_moments(
    equations: RidgeEquations,
    labels: np.ndarray,
    penalties: np.ndarray,
    columns: Sequence[int],
    order: Array,
    *,
    rescale: bool = False,
) -> dict[str, np.ndarray]:
    """Moments of permuted labels and of their predictions, for targets whose labels are missing in the same rows.

    Parameters
    ----------
    equations : RidgeEquations
    labels : ndarray, shape (utterances, targets)
        In the unit in which the moments are wanted.
    penalties : ndarray, shape (folds, targets)
    columns : sequence of int
        Targets.
    order : Array of int, shape (permutations, utterances)
        The row whose label each row receives, where the sums of the equations are.
    rescale : bool

    Returns
    -------
    dict of str to ndarray, shape (folds that score the split, permutations, len(columns), 6)
        By the name of the split.
    """
    columns, arrays = tuple(columns), equations.arrays
    present = ~np.isnan(labels[:, columns[0]])
    zeroed = np.where(np.isnan(labels), 0.0, labels)  # rows without label fill cells that no fit here uses
    known = arrays.take(zeroed.astype(np.float32 if len(labels) >= MANY else np.float64))

    def draw(rows: np.ndarray) -> Array:
        """Labels that `rows` receive, shape (rows, targets x permutations)."""
        given = order[:, arrays.take(rows)]
        return arrays.xp.concatenate([known[:, column][given] for column in columns]).T

    right = equations.labels_from(draw, len(columns) * len(order))
    sums: dict[str, list] = {}
    for f, fold in enumerate(equations.folds):
        each = np.repeat(penalties[f, list(columns)], len(order))
        predict = equations.refit(equations.blocks_of(fold.train), columns, each, right)
        scaling = None
        if rescale:
            halves = (
                (equations.refit(equations.blocks_of(train), columns, each, right), rows) for train, rows in fold.inner
            )
            inner = [_moments(equations, half, rows[present[rows]], draw) for half, rows in halves]
            scaling = rescaling(np.sum(inner, axis=0))
        for name, rows in fold.tests.items():
            total = _moments(equations, predict, rows[present[rows]], draw, scaling)
            by_permutation = total.reshape(len(columns), len(order), 6).transpose(1, 0, 2)
            sums.setdefault(name, []).append(by_permutation)
    return {name: np.stack(each) for name, each in sums.items()}


def _moments(
    equations: RidgeEquations,
    predict: Predictor,
    rows: np.ndarray,
    draw: Draw,
    scaling: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Moments (right-hand sides, 6) of the labels that `rows` receive and of predictions, by gain and shift.

    Products of a chunk of rows are in the precision of the labels.
    """
    arrays = equations.arrays
    cast = arrays.cast
    total = arrays.zeros(draw(rows[:0]).shape[1], 6)
    scales = [arrays.take(each) for each in scaling or ()]
    for some, x in equations.chunks(rows):
        t = draw(some)
        p = predict(cast(x, t.dtype))
        if scales:
            gain, shift = (cast(each, t.dtype) for each in scales)
            p = p * gain + shift
        squares = [arrays.dots(a, b) for a, b in ((t, t), (p, p), (t, p))]
        total += arrays.xp.stack([arrays.xp.full_like(t[0], len(some)), t.sum(0), p.sum(0), *squares], -1)
    return arrays.back(total)


def at_once(equations: RidgeEquations, n_targets: int, n_rows: int) -> int:
    """Permutations to take at once, so that labels and sums stay within :data:`MEMORY`.

    Parameters
    ----------
    equations : RidgeEquations
    n_targets : int
        Right-hand sides of one permutation.
    n_rows : int
        Utterances.
    """
    width, cells = len(equations.shift), len(equations.cells)
    sums = min(len(equations.rows), cells * width) + 3 * width + 3 * min(equations.chunk_rows, n_rows)
    return max(1, int(MEMORY / (8 * n_targets * sums + 4 * n_rows)))


def summarise(score: float, null: np.ndarray) -> dict[str, float]:
    """What a score and its null say together.

    Parameters
    ----------
    score : float
    null : ndarray, shape (permutations,)

    Returns
    -------
    dict
        `null_mean`, `null_high` (95th percentile), `p` = (1 + #{null >= score - TIE}) / (1 + permutations),
        `selectivity` (score minus `null_mean`), `permutations`. NaN where score or null are not defined.
    """
    defined = np.isfinite(score) and np.isfinite(null).all() and len(null) > 0
    high = np.quantile(null, 0.95) if defined else np.nan
    return {
        "null_mean": float(null.mean()) if defined else np.nan,
        "null_high": float(high),
        "p": float((1 + (null >= score - TIE).sum()) / (1 + len(null))) if defined else np.nan,
        "selectivity": float(score - null.mean()) if defined else np.nan,
        "permutations": len(null),
    }


def holm(p: Sequence[float] | pd.Series) -> np.ndarray:
    """Holm's correction of a family of p values.

    Parameters
    ----------
    p : sequence of float, shape (tests,)
        NaN are left out of the family.

    Returns
    -------
    ndarray, shape (tests,)

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    single = np.asarray(p, dtype=np.float64)
    corrected = np.full(single.shape, np.nan)
    there = np.flatnonzero(~np.isnan(single))
    order = there[np.argsort(single[there], kind="stable")]
    steps = single[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return corrected
