"""Rows of the table of differences: systems in pairs, on the utterances and the units that both share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from . import jackknife
from .drawing import Drawn, Sums, draw_resamples, equivalence, limits, scored, sums_of
from .jackknife import FIXED
from .metrics import DIMENSION_MEASURES
from .permutation import holm
from .refits import Refits
from .schema import SYSTEM
from .selecting import SystemName, in_words, same_value

#: Fewest resamples for each test of a family: the smallest p value, 2 / (1 + resamples), times its size is below 0.05.
RESAMPLES_A_TEST = 40

DIFFERENCES = (
    "corpus", "split", "model", "dimension", "probe", "features", "layer", "one", "other", "score_one", "score_other",
    "difference", "low", "high", "p", "p_holm", "n", "speakers", "chosen_on", "unit", "units", "without", "interval",
    "p_equal",
)  # fmt: skip


@dataclass(frozen=True)
class Method:
    """How differences get their intervals.

    Attributes
    ----------
    metric : str
    resamples, seed : int
        Of the bootstrap, of systems that are not in `refits`.
    refits : Refits
    smallest : float
        The smallest difference of interest; NaN where nobody asks whether two are practically equal.
    """

    metric: str
    resamples: int
    seed: int
    refits: Refits
    smallest: float = float("nan")

    def for_family(self, tests: int) -> Method:
        """With resamples enough for a family of so many tests; none stay none."""
        return replace(self, resamples=max(self.resamples, RESAMPLES_A_TEST * tests) if self.resamples else 0)


@dataclass(frozen=True)
class Limits:
    """What is known of some differences, or scores.

    Attributes
    ----------
    low, high, p : ndarray, shape (pairs,)
    p_equal : ndarray, shape (pairs,)
        Twice that of two one-sided tests within the smallest difference of interest; NaN where none is stated.
    interval : list of str
        `jackknife.REFITTED`, `IN_BLOCKS` or `FIXED` each; empty where there is no interval.
    """

    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    p_equal: np.ndarray
    interval: list[str]


def limits_of(
    pairs: Sequence[tuple[int, ...]], names: Sequence[SystemName], sums: Sums, drawn: Drawn, method: Method
) -> Limits:
    """Limits and p of each difference, or of each score, and what they know of.

    Parameters
    ----------
    pairs : sequence of tuple of int
        Places of a system alone, or of two, in `names`.
    names : sequence of SystemName
        In the order of `sums` and `drawn`.
    sums : Sums
    drawn : Drawn
    method : Method

    Returns
    -------
    Limits
    """
    places = np.array(pairs, dtype=int).T
    scale = method.metric if len(places) == 1 else None

    def less(values: np.ndarray) -> np.ndarray:
        return values[:, places[0]] - values[:, places[1]] if len(places) == 2 else values[:, places[0]]

    low, high, p = limits(less(drawn.drawn), less(drawn.left_out), scale=scale, with_seeds=less(drawn.with_seeds))
    asked = not np.isnan(method.smallest)
    equal = np.full(len(low), np.nan)
    if asked:
        equal = equivalence(less(drawn.drawn), less(drawn.left_out), method.smallest, with_seeds=less(drawn.with_seeds))
    kinds = np.where(np.isfinite(low), FIXED, "").tolist()
    for k, pair in enumerate(pairs):
        refitted = _samples([names[place] for place in pair], [sums.sums[place] for place in pair], sums.n, method)
        if refitted is None or not method.resamples:
            continue
        samples, kind = refitted
        score = less(drawn.score[None])[0, k : k + 1]
        ends = [value[0] for value in jackknife.limits(score, samples, scale=scale)]
        if np.isfinite(ends).all():
            low[k], high[k], p[k], kinds[k] = *ends, kind
            if asked:
                equal[k] = jackknife.equivalence(score, samples, method.smallest)[0]
    return Limits(low, high, p, equal, kinds)


def _samples(
    names: Sequence[SystemName], sums: Sequence[np.ndarray], utterances: int, method: Method
) -> tuple[list[np.ndarray], str] | None:
    """Scores, or differences of two, without each unit, its probe fitted again: shape (units, 1) a sample; their kind.

    None where a system was not refitted, has several seeds, or scores utterances that the other does not.
    """
    known = method.refits.all_of(names) if method.metric in DIMENSION_MEASURES else None
    if known is None or known[0].utterances != utterances or any(one.shape[1] != 1 for one in sums):
        return None
    measure = DIMENSION_MEASURES[method.metric]
    each = [refit.samples(measure, one[:, 0]) for refit, one in zip(known, sums, strict=True)]
    less = [(sample[0] - sample[1] if len(sample) == 2 else sample[0])[:, None] for sample in zip(*each, strict=True)]
    return less, known[0].interval


def differences(
    names: Sequence[SystemName], frames: Sequence[pd.DataFrame], pairs: Sequence[tuple[int, int]], method: Method
) -> list[dict]:
    """Rows of the table, one for each of `pairs` of places in `names` and `frames`, on what both of a pair score."""
    ids = [scored(frame, method.metric) for frame in frames]
    # Systems that score other utterances must not narrow what two others have in common; pairs that have the same in
    # common are resampled once.
    together: dict[frozenset, list[tuple[int, int]]] = {}
    for pair in pairs:
        together.setdefault(ids[pair[0]] & ids[pair[1]], []).append(pair)
    rows: dict[tuple[int, int], dict] = {}
    for same in together.values():
        places = list(dict.fromkeys(k for pair in same for k in pair))
        sums = sums_of([frames[k] for k in places], method.metric)
        drawn = draw_resamples(sums, method.metric, method.resamples, method.seed)
        local = [(places.index(one), places.index(other)) for one, other in same]
        rows |= dict(zip(same, _rows([names[k] for k in places], local, sums, drawn, method), strict=True))
    return [rows[pair] for pair in pairs]


def _rows(
    names: Sequence[SystemName], pairs: Sequence[tuple[int, int]], sums: Sums, drawn: Drawn, method: Method
) -> list[dict]:
    known = limits_of(pairs, names, sums, drawn, method)
    rows = []
    for k, (one, other) in enumerate(pairs):
        first, second = names[one], names[other]
        shared = [column for column in SYSTEM if same_value(first[column], second[column])]
        rows.append(
            {
                **{column: first[column] for column in shared},
                "one": in_words({column: first[column] for column in SYSTEM if column not in shared}),
                "other": in_words({column: second[column] for column in SYSTEM if column not in shared}),
                "score_one": drawn.score[one],
                "score_other": drawn.score[other],
                "difference": drawn.score[one] - drawn.score[other],
                "low": known.low[k],
                "high": known.high[k],
                "p": known.p[k],
                "p_equal": known.p_equal[k],
                **sums.counts(),
                "without": ", ".join(sums.rare),
                "interval": known.interval[k],
            }
        )
    return rows


def corrected(rows: Sequence[dict], family: Sequence[str]) -> pd.DataFrame:
    """The table of differences, with Holm's correction over the rows that agree in `family`."""
    table = pd.DataFrame(rows)
    if len(table):
        family = [column for column in family if column in table]
        table["p_holm"] = table.groupby(family, dropna=False, sort=False)["p"].transform(holm)
    return tidy(table, DIFFERENCES)


def tidy(rows: Sequence[dict] | pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Rows as a table of the given columns, texts empty where a row has none."""
    table = pd.DataFrame(rows).reindex(columns=list(columns))
    table["layer"] = table["layer"].astype("Int64")
    for column in ("corpus", "split", "model", "dimension", "probe", "features", "chosen_on", "without", "interval"):
        if column in table:
            table[column] = table[column].astype(object).where(table[column].notna(), "").astype(str)
    return table
