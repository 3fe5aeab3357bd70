"""Batches of like lengths, under a budget of padded seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def plan_batches(samples: np.ndarray, *, budget: int, groups: np.ndarray | None = None) -> list[np.ndarray]:
    """Group utterances so that little is padded and no batch exceeds the budget.

    The plan depends on the lengths and the budget alone, so a resumed run meets the same batches, and with them the
    same rounding, as one that was never stopped. The longest come first: what does not fit in memory shows at once,
    and the time left is not underestimated.

    Parameters
    ----------
    samples : ndarray of int, (utterances,)
        Length of each waveform, or what it takes of a batch where a model brings it to another; 0 leaves it out.
    budget : int
        Most samples of a batch with its padding. An utterance longer than this is a batch of its own.
    groups : ndarray of int, (utterances,), optional
        The utterances of one number make batches of their own, one after the other, since they are read together
        (:func:`.audio.gathered`); those of 0 come first.

    Returns
    -------
    list of ndarray of int
        Indices of the utterances of each batch.
    """
    if groups is not None and groups.any():
        members = [np.flatnonzero(groups == number) for number in np.unique(groups)]
        members.sort(key=lambda rows: (groups[rows[0]] > 0, -samples[rows].max()))
        return [rows[batch] for rows in members for batch in plan_batches(samples[rows], budget=budget)]
    order = np.argsort(-samples, kind="stable")
    order = order[samples[order] > 0]
    batches = []
    start = 0
    while start < len(order):
        size = max(1, budget // int(samples[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def frame_starts(batches: Sequence[np.ndarray], frames: np.ndarray) -> np.ndarray:
    """Where the frames of each utterance begin, were those of all batches written one after the other.

    Parameters
    ----------
    batches : sequence of ndarray of int
        As :func:`plan_batches` gives them.
    frames : ndarray of int, (utterances,)

    Returns
    -------
    ndarray of int, (utterances,)
        0 for those that are in no batch.
    """
    starts = np.zeros(len(frames), dtype=np.int64)
    if batches:
        order = np.concatenate(batches)
        starts[order] = np.cumsum(frames[order]) - frames[order]
    return starts
