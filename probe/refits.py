"""The table of refits: of every system, the sums of what it would have predicted without each unit (:mod:`.deletion`).

The sums of one unit are those of the rows that remain, so that every score of :mod:`.metrics`, and every difference of
two systems that leave out the same units, follows from two tables: this, and the predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .bootstrap import leave_one_out
from .deletion import TRAINING, is_block, samples
from .drawing import Measure
from .jackknife import IN_BLOCKS, REFITTED
from .schema import KEY, MOMENTS, SYSTEM


@dataclass(frozen=True)
class Refit:
    """One system without each unit.

    Attributes
    ----------
    units : tuple of str
        What was left out.
    parts : tuple of str
        What each takes from the split: `deletion.TRAINING`, `deletion.TESTED` or `deletion.BOTH`.
    sums : ndarray, shape (units, 6), or (units, systems, 6)
        Of `metrics.moments`, of the rows that remain; of several systems at once, see :meth:`stacked`.
    """

    units: tuple[str, ...]
    parts: tuple[str, ...]
    sums: np.ndarray

    @classmethod
    def stacked(cls, refits: Sequence[Refit]) -> Refit:
        """Several systems that leave out the same, for a measure of all of them, such as a centroid of layers."""
        return cls(refits[0].units, refits[0].parts, np.stack([refit.sums for refit in refits], axis=1))

    @property
    def utterances(self) -> int:
        """How many the system scores, of which each unit takes its own where it is tested too."""
        count = self.sums[..., 0].reshape(len(self.units), -1)[:, 0]
        if TRAINING in self.parts:
            return round(count[self.parts.index(TRAINING)])
        return round(count.sum() / (len(count) - 1))

    @property
    def interval(self) -> str:
        """What an interval of it is called (`jackknife.REFITTED` or `jackknife.IN_BLOCKS`)."""
        return IN_BLOCKS if any(map(is_block, self.units)) else REFITTED

    def pairs_with(self, other: Refit) -> bool:
        """Whether both leave out the same, so that their difference can be taken unit by unit."""
        return (self.units, self.parts, self.utterances) == (other.units, other.parts, other.utterances)

    def samples(self, measure: Measure, tested: np.ndarray) -> list[np.ndarray]:
        """Scores without each unit, for :func:`.jackknife.limits`: one array (units,) for each sample of units.

        Parameters
        ----------
        measure : callable
        tested : ndarray, shape (tested units, 6) or (tested units, systems, 6)
            Sums of each unit that is tested, by the probe that knows all of the training part.
        """
        return samples(np.array(self.parts), measure(self.sums), lambda: measure(leave_one_out(tested)))


class Refits:
    """Refits by the name of the system.

    Parameters
    ----------
    table : DataFrame
        Of `schema.REFITS`.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table
        self._rows: dict[tuple, list[int]] = {}
        for row, values in enumerate(zip(*(table[column] for column in SYSTEM), strict=True)):
            self._rows.setdefault(_key(dict(zip(SYSTEM, values, strict=True))), []).append(row)

    def of(self, name: Mapping[str, Any]) -> Refit | None:
        """Refits of a system; None where there are none, or too few to vary."""
        rows = self._rows.get(_key(name))
        if rows is None or len(rows) < 2:
            return None
        found = self._table.iloc[rows]
        if found["seed"].nunique(dropna=False) > 1:
            return None
        return Refit(tuple(found["unit"]), tuple(found["part"]), found[list(MOMENTS)].to_numpy(np.float64))

    def all_of(self, names: Sequence[Mapping[str, Any]]) -> list[Refit] | None:
        """Refits of several systems that leave out the same; None where one has none, or they do not."""
        refits = [self.of(name) for name in names]
        some = [refit for refit in refits if refit is not None]
        return some if len(some) == len(refits) and all(some[0].pairs_with(one) for one in some[1:]) else None

    def of_layers(self, name: Mapping[str, Any], layers: Iterable[int], *, utterances: int) -> Refit | None:
        """Refits of some layers at once (:meth:`Refit.stacked`); None where one has none, or scores other utterances.

        Parameters
        ----------
        name : mapping
            The other columns that name the systems.
        layers : iterable of int
        utterances : int
            How many each of them scores.
        """
        columns = {column: name[column] for column in SYSTEM}
        known = self.all_of([{**columns, "layer": int(layer)} for layer in layers])
        return Refit.stacked(known) if known and known[0].utterances == utterances else None


def _key(name: Mapping[str, Any]) -> tuple:
    layer = name["layer"]
    return (*(str(name[column]) for column in (*KEY, "split")), None if pd.isna(layer) else int(layer))
