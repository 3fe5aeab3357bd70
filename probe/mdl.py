r"""Minimum description length of labels given features: how much, and how easily, a layer tells.

The online code (Voita and Titov, EMNLP 2020, section 2.3): the labels are sent in blocks, each with probes that were
trained on all blocks before it, which the receiver has and can train too. A layer from which few utterances suffice to
learn has a short code; the size of the probe costs nothing by itself, only what it gains too late.

The range of the labels and the precision are the receiver's beforehand, for every code alike; the order of the speakers
is one draw, the same for all layers, dimensions and models of a corpus.

Labels are numbers here. Each is sent to a stated precision :math:`\delta` (a tenth of the labels' standard deviation)
by a Gaussian code: :math:`-\log_2 \mathcal{N}(y; \hat y, \sigma^2) - \log_2 \delta` bits, where :math:`\hat y` is the
prediction of a ridge probe and :math:`\sigma^2` the mean squared error that it had on the block before. The first block
is sent without a probe, by a uniform code over the labels' range, and the second with the variance of the first. Blocks
end between speakers, so that a probe is always asked about voices it has not met.

No penalty is chosen: the code is the Bayesian mixture of the codes of all penalties and of the code of the labels
alone, whose prediction is the mean of what was sent. With K of them it is at most log2 K bits longer than the shortest,
so that features which tell nothing cost next to nothing. The labels' own code over the mixture's is the compression; it
depends on :math:`\delta`, which is the same for all layers and models of a corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from .layer_equations import Reader, RidgeEquations
from .ridge import PENALTIES, check_penalties
from .ridge_equations import accumulate
from .splits import Fold

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

#: Parts of the utterances that have been sent before each block but the first.
SENT = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)

#: Precision of a label in standard deviations of all labels that are sent.
PRECISION = 0.1

_FEWEST_SPEAKERS = 4


@dataclass(frozen=True)
class OnlineCode:
    """Lengths of codes.

    Attributes
    ----------
    bits, label_bits : ndarray, shape (targets,)
        Of the labels given the features, and of the labels alone. NaN where a target cannot be coded.
    """

    bits: np.ndarray
    label_bits: np.ndarray

    @property
    def compression(self) -> np.ndarray:
        """Length of the labels' own code over that given the features, shape (targets,): above 1 the features help."""
        return self.label_bits / self.bits


def blocks_of(rows: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> list[np.ndarray]:
    """Cut rows into blocks of whole speakers, most about as large as all before it together.

    Parameters
    ----------
    rows : ndarray of int
    groups : ndarray of int, shape (utterances,)
        Number of each row's speaker.
    seed : int
        Of the order of the speakers.

    Returns
    -------
    list of ndarray of int
        Ascending rows of each block, none of them empty. No block where fewer than four speakers are there.
    """
    speakers, counts = np.unique(groups[rows], return_counts=True)
    if len(speakers) < _FEWEST_SPEAKERS:
        return []
    order = np.random.default_rng([seed, len(speakers)]).permutation(speakers)
    ends = np.cumsum(counts[np.searchsorted(speakers, order)])
    cuts = sorted({int(np.abs(ends - share * len(rows)).argmin()) + 1 for share in SENT} | {len(order)})
    parts = zip([0, *cuts[:-1]], cuts, strict=True)
    return [rows[np.isin(groups[rows], order[start:end])] for start, end in parts]


def online_code(
    read: Reader,
    targets: np.ndarray,
    rows: np.ndarray,
    groups: np.ndarray,
    *,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
) -> OnlineCode:
    """Code the labels of `rows` given their features, and alone.

    The probes of all blocks, penalties and targets share the sums of :mod:`.ridge`.

    Parameters
    ----------
    read : callable
        As for :func:`.ridge.ridge_probe`.
    targets : ndarray, shape (utterances, targets)
        NaN where a label is missing: it is not sent.
    rows : ndarray of int
        Whose labels are sent, ascending.
    groups : ndarray of int, shape (utterances,)
        Number of each row's speaker.
    penalties : sequence of float
    seed : int
        Of the order in which speakers are sent.

    Returns
    -------
    OnlineCode
    """
    tried, targets = check_penalties(penalties), np.asarray(targets, dtype=np.float64)
    bits, label_bits = np.full((2, targets.shape[1]), np.nan)
    # Targets with the same labels missing are sent together: a code must not depend on what else is asked.
    together: dict[bytes, list[int]] = {}
    for column, missing in enumerate(np.isnan(targets[rows]).T):
        together.setdefault(missing.tobytes(), []).append(column)
    for columns in together.values():
        labelled = rows[~np.isnan(targets[rows, columns[0]])]
        blocks = blocks_of(labelled, groups, seed=seed)
        bits[columns], label_bits[columns] = _code_together(read, targets[:, columns], blocks, tried)
    return OnlineCode(bits, label_bits)


def _code_together(
    read: Reader, targets: np.ndarray, blocks: list[np.ndarray], penalties: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bits of targets that all have every label of the blocks, given the features and alone, each (targets,)."""
    bits, label_bits = np.full((2, targets.shape[1]), np.nan)
    # With fewer than two different labels to begin with there is no variance to go on from.
    begun = [k for k, labels in enumerate(targets.T) if blocks and np.ptp(labels[blocks[0]]) > 0]
    if not begun:
        return bits, label_bits
    wanted = np.full((len(targets), len(begun)), np.nan)
    sent = np.sort(np.concatenate(blocks))
    wanted[sent] = targets[sent][:, begun]
    folds = [Fold(str(k), np.sort(np.concatenate(blocks[:k])), (), {"next": blocks[k]}) for k in range(1, len(blocks))]
    predictions = _predictions(accumulate(read, wanted, folds), penalties)
    for fold in folds:
        predictions[-1, fold.tests["next"]] = wanted[fold.train].mean(0)
    for k, column in enumerate(begun):
        lengths = np.array([_length(wanted[:, k], one[:, k], blocks) for one in predictions])
        label_bits[column] = lengths[-1]
        bits[column] = (np.log(len(lengths)) - logsumexp(-lengths * np.log(2))) / np.log(2)
    return bits, label_bits


def _predictions(equations: RidgeEquations, penalties: np.ndarray) -> np.ndarray:
    """Predictions of each fold's next rows with every penalty, (penalties + 1, utterances, targets); the last NaN."""
    predictions = np.full((len(penalties) + 1, len(equations.block_of_row), equations.y.shape[1]), np.nan)
    arrays = equations.arrays
    for fold in equations.folds:
        for columns in equations.target_sets():
            weights, offsets = equations.fit(equations.blocks_of(fold.train), columns, penalties)
            mean, spread = equations.unit_y[list(columns)].T
            slopes = arrays.take(weights)
            for some, x in equations.chunks(fold.tests["next"]):
                values = arrays.back(arrays.xp.matmul(x, slopes)) + offsets[:, None]
                predictions[:-1, some[:, None], list(columns)] = values * spread + mean
    return predictions


def _length(truth: np.ndarray, predictions: np.ndarray, blocks: Sequence[np.ndarray]) -> float:
    """Bits of one target's labels, the predictions of every block but the first being given."""
    everything, first = truth[np.concatenate(blocks)], truth[blocks[0]]
    delta = PRECISION * everything.std()
    bits = len(first) * np.log2(np.ptp(everything) / delta + 1)
    variance = first.var()
    for block in blocks[1:]:
        squares = (truth[block] - predictions[block]) ** 2
        variance = max(variance, delta**2)  # no probe is surer than the precision it is asked for
        bits += (0.5 * np.log2(2 * np.pi * variance) + squares / (2 * variance) * np.log2(np.e) - np.log2(delta)).sum()
        variance = squares.mean()
    return float(bits)
