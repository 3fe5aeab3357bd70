"""How the answers of a probe move with the words alone, and with the voice alone; see :mod:`.words_or_voice`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError

if TYPE_CHECKING:
    from emoprobe.extract.cache import HiddenStateCache

#: What of a text, and of a manner, the answers are compared with.
OF_TEXTS, OF_MANNERS = "valence", "arousal"


@dataclass(frozen=True)
class Changed:
    """A corpus in which one thing changes.

    Attributes
    ----------
    cache : HiddenStateCache
    rows : ndarray of int
        Utterances that can be used.
    cells : ndarray of int, shape (rows,)
        Within which answers are compared: a voice, or a text in a voice.
    units : ndarray of int, shape (rows,)
        What intervals leave out.
    rating : ndarray, shape (rows,)
        What changes, as people hear it; NaN where it is not known.
    """

    cache: HiddenStateCache
    rows: np.ndarray
    cells: np.ndarray
    units: np.ndarray
    rating: np.ndarray

    @classmethod
    def of_words(cls, cache: HiddenStateCache) -> Changed:
        """Texts change; a voice is compared with itself."""
        rows, texts, voices = _said(cache)
        return cls(cache, rows, voices, texts, cache.utterances[OF_TEXTS].to_numpy(float)[rows]).checked("texts")

    @classmethod
    def of_voice(cls, cache: HiddenStateCache) -> Changed:
        """The manner changes; a text in a voice is compared with itself."""
        rows, texts, voices = _said(cache)
        cells = texts * (voices.max(initial=0) + 1) + voices
        rating = cache.utterances[OF_MANNERS].to_numpy(float)[rows]
        return cls(cache, rows, cells, cells, rating).checked("pairs of text and voice")

    def checked(self, what: str) -> Changed:
        """The same, where there is enough of it to compare."""
        if len(np.unique(self.units)) < 3 or len(self.rows) == len(np.unique(self.cells)):
            raise UserError(
                f"{self.cache.path}: fewer than 3 {what} to compare; the corpus needs transcripts and speakers, and "
                "several utterances of each"
            )
        return self

    def states(self, features: str, layer: int) -> np.ndarray:
        """Features of a layer, shape (rows, width)."""
        parts = [self.cache.states(name, layers=layer, rows=self.rows) for name in features.split("+")]
        return np.concatenate(parts, axis=1).astype(np.float64)

    def sums(self, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of each unit: of `metrics.moments` where a rating is known, (units, 6); and n and squares, (units, 2).

        Answers and ratings are taken from the mean of their cell.
        """
        from emoprobe.probe.bootstrap import sum_by_group

        centred = answers - _mean_of(answers, self.cells)
        rated = np.isfinite(self.rating)
        squares = sum_by_group(np.stack([np.ones_like(centred), centred**2], axis=-1), self.units)
        if not rated.any():
            return np.zeros((len(squares), 6)), squares
        within = self.cells[rated]
        t = self.rating[rated] - _mean_of(self.rating[rated], within)
        p = answers[rated] - _mean_of(answers[rated], within)
        terms = np.stack([np.ones_like(t), t, p, t * t, p * p, t * p], axis=-1)
        return sum_by_group(terms, self.units[rated]), squares


def _said(cache: HiddenStateCache) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are done and have a transcript, with numbers of their texts and voices."""
    table = cache.utterances
    texts = table["transcript"].fillna("").astype(str).str.strip().to_numpy(object)
    rows = np.flatnonzero(cache.done & (texts != ""))
    voices = table["speaker"].fillna("").astype(str).to_numpy(object)[rows]
    numbers = [np.unique(names.astype(str), return_inverse=True)[1] for names in (texts[rows], voices)]
    return rows, numbers[0], numbers[1]


def _mean_of(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Mean of each value's cell."""
    _, member = np.unique(cells, return_inverse=True)
    return (np.bincount(member, weights=values) / np.bincount(member))[member]


def reaction(words: Changed, voice: Changed, to_words: np.ndarray, to_voice: np.ndarray) -> dict:
    """What moves answers: correlations, spreads and the share of the voice, with intervals.

    Parameters
    ----------
    words, voice : Changed
    to_words, to_voice : ndarray, shapes (rows,)
        Answers on each.

    Returns
    -------
    dict
        Columns of the table, `words_sd` and `voice_sd` in the unit of the answers.
    """
    from emoprobe.probe import jackknife
    from emoprobe.probe.bootstrap import leave_one_out
    from emoprobe.probe.metrics import pearson_from_moments

    row: dict = {}
    logs, without = {}, {}
    for name, changed, answers in (("words", words, to_words), ("voice", voice, to_voice)):
        moments, squares = changed.sums(answers)
        r = pearson_from_moments(moments.sum(0, keepdims=True))
        samples = [pearson_from_moments(leave_one_out(moments))[:, None]]
        low, high, p = (float(end[0]) for end in jackknife.limits(r, samples, scale="pearson"))
        row |= {f"{name}_r": float(r[0]), f"{name}_low": low, f"{name}_high": high, f"{name}_p": p}
        row |= {f"{name}_sd": float(np.sqrt(_variance(squares.sum(0)))), f"{name}_units": len(squares)}
        with np.errstate(divide="ignore"):
            logs[name] = np.log(_variance(squares.sum(0)))
            without[name] = np.log(_variance(leave_one_out(squares)))[:, None]
    with np.errstate(invalid="ignore"):
        logit = np.array([logs["voice"] - logs["words"]])
        samples = [without["voice"] - logs["words"], logs["voice"] - without["words"]]
        low, high, p = (float(end[0]) for end in jackknife.limits(logit, samples))
    share, share_low, share_high = (float(1 / (1 + np.exp(-end))) for end in (logit[0], low, high))
    return row | {"share": share, "share_low": share_low, "share_high": share_high, "share_p": p}


def _variance(sums: np.ndarray) -> np.ndarray:
    return sums[..., 1] / sums[..., 0]
