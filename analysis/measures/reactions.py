"""How the answers of a probe move with the words alone, and with the voice alone; see :mod:`.words_or_voice`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import Note, UserError

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
    units : tuple of ndarray of int, shape (rows,)
        What intervals leave out, one factor after the other.
    rating : ndarray, shape (rows,)
        What changes, as people hear it; NaN where it is not known.
    """

    cache: HiddenStateCache
    rows: np.ndarray
    cells: np.ndarray
    units: tuple[np.ndarray, ...]
    rating: np.ndarray

    @classmethod
    def of_words(cls, cache: HiddenStateCache) -> Changed:
        """Texts change; a voice is compared with itself."""
        rows, texts, voices = _said(cache)
        rating = cache.utterances[OF_TEXTS].to_numpy(float)[rows]
        return cls(cache, rows, voices, crossed(texts, voices), rating).checked()

    @classmethod
    def of_voice(cls, cache: HiddenStateCache) -> Changed:
        """The manner changes; a text in a voice is compared with itself."""
        rows, texts, voices = _said(cache)
        cells = texts * (voices.max(initial=0) + 1) + voices
        rating = cache.utterances[OF_MANNERS].to_numpy(float)[rows]
        return cls(cache, rows, cells, crossed(texts, voices), rating).checked()

    def checked(self) -> Changed:
        """The same, where there is enough of it to compare."""
        if len(self.rows) == len(np.unique(self.cells)) or not self.units:
            raise UserError(
                f"{self.cache.path}: there is too little to compare; the corpus needs transcripts and speakers, "
                "several utterances of each, and 3 texts, 3 voices, or 3 pairs of them"
            )
        return self

    def states(self, features: str, layer: int) -> np.ndarray:
        """Features of a layer, shape (rows, width)."""
        parts = [self.cache.states(name, layers=layer, rows=self.rows) for name in features.split("+")]
        return np.concatenate(parts, axis=1).astype(np.float64)

    def sums(self, answers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Sums of each unit of each factor: of `metrics.moments` where a rating is known, and degrees and squares.

        Shapes (units, 6) and (units, 2). Answers and ratings are taken from the mean of their cell, which costs one
        degree of freedom a cell.
        """
        from emoprobe.probe.bootstrap import sum_by_group

        centred = answers - _mean_of(answers, self.cells)
        degrees = 1 - 1 / _size_of(self.cells)
        squares = np.stack([degrees, centred**2], axis=-1)
        rated = np.isfinite(self.rating)
        terms = np.zeros((len(answers), 6))
        if rated.any():
            within = self.cells[rated]
            t = self.rating[rated] - _mean_of(self.rating[rated], within)
            p = answers[rated] - _mean_of(answers[rated], within)
            terms[rated] = np.stack([np.ones_like(t), t, p, t * t, p * p, t * p], axis=-1)
        return [(sum_by_group(terms, factor), sum_by_group(squares, factor)) for factor in self.units]


def crossed(texts: np.ndarray, voices: np.ndarray) -> tuple[np.ndarray, ...]:
    """What intervals leave out: texts, and voices; or pairs of them, where there are not 3 of either.

    Texts and voices are crossed: the variance over new ones of both is at most the sum of those over each (Owen 2007).
    """
    pairs = np.unique(np.stack([texts, voices]), axis=1, return_inverse=True)[1].reshape(-1)
    factors = [np.unique(one, return_inverse=True)[1] for one in (texts, voices)]
    several = tuple(one for one in factors if one.max(initial=-1) >= 2)
    return several or ((pairs,) if pairs.max(initial=-1) >= 2 else ())


def _said(cache: HiddenStateCache) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are done, of a known speaker and with a transcript, with numbers of their texts and voices."""
    from emoprobe.probe.units import is_unknown

    table = cache.utterances
    texts = table["transcript"].fillna("").astype(str).str.strip().to_numpy(object)
    strangers = table["speaker"].map(is_unknown).to_numpy(bool)
    if count := int((cache.done & strangers).sum()):
        warnings.warn(
            f"{cache.path}: {count:,} utterances of unknown speakers are left out: no voice is compared with another",
            Note,
            stacklevel=2,
        )
    rows = np.flatnonzero(cache.done & (texts != "") & ~strangers)
    voices = table["speaker"].fillna("").astype(str).to_numpy(object)[rows]
    numbers = [np.unique(names.astype(str), return_inverse=True)[1] for names in (texts[rows], voices)]
    return rows, numbers[0], numbers[1]


def _size_of(cells: np.ndarray) -> np.ndarray:
    """Rows of each value's cell."""
    _, member = np.unique(cells, return_inverse=True)
    return np.bincount(member)[member]


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
        sums = changed.sums(answers)
        moments, squares = (one.sum(0) for one in sums[0])
        r = pearson_from_moments(moments[None])
        samples = [pearson_from_moments(leave_one_out(one))[:, None] for one, _ in sums]
        low, high, p = (float(end[0]) for end in jackknife.limits(r, samples, scale="pearson", crossed=True))
        row |= {f"{name}_r": float(r[0]), f"{name}_low": low, f"{name}_high": high, f"{name}_p": p}
        row |= {f"{name}_sd": float(np.sqrt(_variance(squares))), f"{name}_units": min(len(one) for one, _ in sums)}
        with np.errstate(divide="ignore"):
            logs[name] = np.log(_variance(squares))
            without[name] = [np.log(_variance(leave_one_out(one)))[:, None] for _, one in sums]
    with np.errstate(invalid="ignore"):
        logit = np.array([logs["voice"] - logs["words"]])
        samples = [one - logs["words"] for one in without["voice"]]
        samples += [logs["voice"] - one for one in without["words"]]
        low, high, p = (float(end[0]) for end in jackknife.limits(logit, samples, crossed=True))
    share, share_low, share_high = (float(1 / (1 + np.exp(-end))) for end in (logit[0], low, high))
    return row | {"share": share, "share_low": share_low, "share_high": share_high, "share_p": p}


def _variance(sums: np.ndarray) -> np.ndarray:
    return sums[..., 1] / sums[..., 0]
