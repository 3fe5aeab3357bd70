"""The choices that a result may hang on, and the specifications that they make.

A choice is one entry of :data:`CHOICES`; the first of each factor is what is taken by default. A new one is a line
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import lazy_loader as _lazy

from emoprobe.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
else:
    np = _lazy.load("numpy")

#: Changes features (..., rows, width), given the number of the voice of each row.
FeatureChange = Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]

#: Changes the table of utterances.
TableChange = Callable[["pd.DataFrame"], "pd.DataFrame"]

#: Factors, in the order of tables and figures: what is chosen.
STATES, UTTERANCES, LABELS, FEATURES, FOLDS, TWIN = "states", "utterances", "labels", "features", "folds", "twin"
FACTORS = (STATES, UTTERANCES, LABELS, FEATURES, FOLDS, TWIN)

#: Status of an utterance that a specification leaves out.
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Choice:
    """One way to do one thing.

    Parameters
    ----------
    factor : str
        Of :data:`FACTORS`.
    name : str
        In tables and figures.
    about : str
        What it does, and what it is for.
    features : callable, optional
        How features of layers and baselines are changed.
    table : callable, optional
        How the table of utterances is changed.
    fit : mapping
        Settings of the fit.
    """

    factor: str
    name: str
    about: str
    features: FeatureChange | None = None
    table: TableChange | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)


def standardised_within(features: np.ndarray, voices: np.ndarray) -> np.ndarray:
    """Features with the mean of each speaker taken off, over the spread of the speaker.

    Parameters
    ----------
    features : ndarray, shape (..., rows, width)
        NaN for rows that have none, which do not count.
    voices : ndarray of int, shape (rows,)

    Returns
    -------
    ndarray, same shape
        0 for a feature that is constant within a speaker, such as of one who has one row.
    """
    changed = np.array(features, dtype=np.float32)
    for voice in np.unique(voices):
        rows = np.flatnonzero(voices == voice)
        rows = rows[np.isfinite(changed[..., rows, :]).all(axis=(*range(changed.ndim - 2), changed.ndim - 1))]
        if not len(rows):
            continue
        part = changed[..., rows, :].astype(np.float64)
        centred = part - part.mean(-2, keepdims=True)
        spread = centred.std(-2, keepdims=True)
        # Below the rounding of the stored numbers a feature is constant.
        varies = spread > 1e-6 * (np.abs(part).max(-2, keepdims=True) + 1e-30)
        changed[..., rows, :] = np.where(varies, centred / np.where(varies, spread, 1.0), 0.0)
    return changed


def of_like_duration(table: pd.DataFrame) -> pd.DataFrame:
    """The utterances whose duration is between the quartiles of those that are done; the others are left out."""
    done = (table["status"] == "done").to_numpy()
    seconds = table["seconds"].to_numpy(np.float64)
    known = done & np.isfinite(seconds)
    if not known.any():
        raise UserError("no duration is known, so none is like the others")
    low, high = np.quantile(seconds[known], [0.25, 0.75])
    status = np.where(done & ~((low <= seconds) & (seconds <= high)), LEFT_OUT, table["status"])
    return table.assign(status=status)


def labels_within(table: pd.DataFrame) -> pd.DataFrame:
    """Ratings with the mean of each known speaker replaced by the mean of all."""
    from emoprobe.extract.corpora.cells import DIMENSIONS
    from emoprobe.probe.units import is_unknown

    done = table["status"] == "done"
    known = ~table["speaker"].map(is_unknown) & done
    changed = {}
    for name in DIMENSIONS:
        values = table[name].astype(float).copy()
        means = values[known].groupby(table.loc[known, "speaker"]).transform("mean")
        values[known] = values[known] - means + values[done].mean()
        changed[name] = values
    return table.assign(**changed)


#: What does not depend on the caches or settings. The first of each factor is the default.
CHOICES = (
    Choice(STATES, "as they are", "states and acoustic features as they were extracted"),
    Choice(
        STATES,
        "standardised within speakers",
        "mean and spread of each speaker taken off states and acoustic features: what a voice is like is gone",
        features=standardised_within,
    ),
    Choice(UTTERANCES, "all", "every utterance"),
    Choice(
        UTTERANCES,
        "of like duration",
        "the half of the utterances whose duration lies between its quartiles: how long one speaks hardly tells",
        table=of_like_duration,
    ),
    Choice(LABELS, "as they are", "ratings as they are"),
    Choice(
        LABELS,
        "within speakers",
        "each speaker's mean rating replaced by the mean of all: that a speaker is happy throughout is gone",
        table=labels_within,
    ),
)


@dataclass(frozen=True)
class Specification:
    """One choice for each factor.

    Parameters
    ----------
    choices : tuple of Choice
    """

    choices: tuple[Choice, ...]

    def name_of(self, factor: str) -> str:
        """The choice of a factor; empty where there is none."""
        return next((choice.name for choice in self.choices if choice.factor == factor), "")

    @property
    def fit(self) -> dict[str, Any]:
        """Settings of the fit."""
        return {name: value for choice in self.choices for name, value in choice.fit.items()}

    @property
    def features(self) -> tuple[FeatureChange, ...]:
        """How features are changed, one after the other."""
        return tuple(choice.features for choice in self.choices if choice.features)

    @property
    def tables(self) -> tuple[TableChange, ...]:
        """How the table of utterances is changed, one after the other."""
        return tuple(choice.table for choice in self.choices if choice.table)


def factors(choices: Sequence[Choice]) -> dict[str, list[Choice]]:
    """Choices by their factor, in the order of :data:`FACTORS`; a factor without any is left out."""
    by_factor = {factor: [choice for choice in choices if choice.factor == factor] for factor in FACTORS}
    return {factor: some for factor, some in by_factor.items() if some}


def specifications(choices: Sequence[Choice], *, crossed: bool) -> Iterator[Specification]:
    """Every combination of choices, or those that differ from the default in one factor; the default first."""
    by_factor = factors(choices)
    default = [some[0] for some in by_factor.values()]
    if crossed:
        yield from (Specification(combined) for combined in product(*by_factor.values()))
        return
    yield Specification(tuple(default))
    for place, some in enumerate(by_factor.values()):
        for other in some[1:]:
            yield Specification((*default[:place], other, *default[place + 1 :]))
