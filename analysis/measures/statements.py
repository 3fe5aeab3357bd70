"""What may be said of two dimensions in each model, by the rule of :mod:`.directions`, decided whatever the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from emoprobe.probe.jackknife import least_known

from ..tables import named_parts
from .centroid import relevance_centroids
from .directions import DECIDING, Comparison, difference_of
from .settling import FIRST, MOST, Question, Settled, settle

if TYPE_CHECKING:
    from emoprobe.probe.results import Results

#: Who is compared.
_ABOUT = ["model", "corpus", "features", "split"]

_VERDICT = {1: "supported", 0: "undecided", -1: "contradicted"}


@dataclass(frozen=True)
class Depths:
    """Centroids and slopes of one model, and the comparison of two of its dimensions.

    Attributes
    ----------
    table : DataFrame
        The model's rows of :func:`.centroid.relevance_centroids`.
    comparison : Comparison
    """

    table: pd.DataFrame
    comparison: Comparison

    @classmethod
    def of(cls, table: pd.DataFrame, one: str, other: str) -> Depths:
        """From the rows of one model.

        Raises
        ------
        KeyError
            If a dimension is not there, or not their difference.
        """
        return cls(table, Comparison.of(table, one, other))

    @property
    def p(self) -> tuple[float, ...]:
        """Of the two slopes and the difference."""
        return self.comparison.p

    @property
    def intervals(self) -> tuple[str, ...]:
        """What the interval of each knows of: of the scales that decide, the one that knows least."""
        one, other = self.comparison.one, self.comparison.other
        names = (one, other, difference_of(self.table, one, other)[0])
        return tuple(least_known([self.row(name, scale)["interval"] for scale in DECIDING]) for name in names)

    def row(self, name: str, scale: str) -> pd.Series:
        """The row of a dimension, or of a difference, on a scale."""
        return self.table[(self.table["dimension"] == name) & (self.table["scale"] == scale)].iloc[0]


@dataclass(frozen=True)
class _Together:
    """All models of a table."""

    table: pd.DataFrame
    depths: list[Depths]

    @property
    def p(self) -> tuple[float, ...]:
        return tuple(p for depths in self.depths for p in depths.p)

    @property
    def intervals(self) -> tuple[str, ...]:
        return tuple(kind for depths in self.depths for kind in depths.intervals)


def depth_statements(
    table: pd.DataFrame, *, one: str = "arousal", other: str = "valence", resamples: int = FIRST
) -> pd.DataFrame:
    """What may be said of two dimensions in each model, by :data:`.directions.RULE`.

    Parameters
    ----------
    table : DataFrame
        Of :func:`.centroid.relevance_centroids`.
    one, other : str
        Names of dimensions; the claim is that `one` is the shallower.
    resamples : int
        On how many the table was made. A p value that was counted on them is decided at the upper end of its error;
        :func:`settled_depths` takes as many as that needs.

    Returns
    -------
    DataFrame
        One row a model, corpus, features and split that has both: `statement`; `verdict`, "supported", or
        "contradicted" and "undecided" of the claim itself; `p`, the largest of the tests that the statement rests on,
        and `p_holm`, the same after Holm's correction over the three tests of every model of the table.
    """
    together = _Together(table, list(_compared(table, one, other)))
    return _worded(_settle(lambda _: together, together, resamples, resamples))


def settled_depths(
    results: Results,
    *,
    one: str = "arousal",
    other: str = "valence",
    resamples: int = FIRST,
    most: int = MOST,
    **options: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Centroids and statements, on as many resamples as it takes until no seed changes a statement (:mod:`.settling`).

    Parameters
    ----------
    results : Results
    one, other : str
        See :func:`depth_statements`.
    resamples, most : int
        At first, and where what is still open counts as undecided.
    **options
        Of :func:`.centroid.relevance_centroids`.

    Returns
    -------
    centroids, statements : DataFrame
        The centroids of the last resamples.

    Examples
    --------
    Arousal was planted in a shallow layer, valence in the last:

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from emoprobe import fit_layers
    >>> from emoprobe.testing import write_cache
    >>> quick = {"permutations": 0, "resamples": 20, "mdl": False, "progress": False}
    >>> with TemporaryDirectory() as folder:
    ...     planted = write_cache(Path(folder) / "states.h5", layers=6)
    ...     results = fit_layers(Path(folder) / "states.h5", dimensions=("arousal", "valence"), **quick)
    >>> centroids, statements = settled_depths(results, resamples=200, most=200)
    >>> print(statements["statement"].item())
    arousal is carried by shallower layers than valence
    """

    def ask(count: int) -> _Together:
        table = relevance_centroids(results, resamples=count, **options)
        return _Together(table, list(_compared(table, one, other)))

    first = ask(resamples)
    settled = _settle(lambda count: first if count <= resamples else ask(count), first, resamples, max(most, resamples))
    return settled.tested.table, _worded(settled)


def _compared(table: pd.DataFrame, one: str, other: str) -> Iterator[Depths]:
    for _, part in named_parts(table, *_ABOUT):
        there = set(part["dimension"])
        if {one, other} <= there and there & {f"{one} − {other}", f"{other} − {one}"}:
            yield Depths.of(part, one, other)


def _settle(ask: Callable[[int], _Together], first: _Together, resamples: int, most: int) -> Settled[_Together]:
    (settled,) = settle([Question(ask, tests=len(first.p))], first=resamples, most=most)
    return settled


def _worded(settled: Settled[_Together]) -> pd.DataFrame:
    rows = []
    for k, depths in enumerate(settled.tested.depths):
        comparison, own = depths.comparison, slice(3 * k, 3 * k + 3)
        said = comparison.statement(settled.decided[own])
        rows.append(
            {
                **depths.table.iloc[0][_ABOUT].to_dict(),
                "statement": said.text,
                "verdict": _VERDICT[said.sign],
                "p": comparison.largest(said, comparison.p),
                "p_holm": comparison.largest(said, settled.corrected[own]),
            }
        )
    return pd.DataFrame(rows, columns=[*_ABOUT, "statement", "verdict", "p", "p_holm"])
