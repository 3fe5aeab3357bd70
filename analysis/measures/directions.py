"""What may be said of two dimensions over the layers: the rule that makes a statement of slopes and a difference.

"Shallower" and "deeper" are words about the order of layers. The order is all that a score leaves untouched: strength
of the signal, noise of the labels and few utterances to learn from each bend a curve, and each keeps the order of its
layers. A rising profile that is read strongly is flatter, and has a shallower centroid, than the same profile read
weakly; on no scale of :mod:`.scales` is that undone. Bent or not, it rises. So one dimension is called shallower than
another only where its own curve falls with depth and the other's rises, each by a slope whose interval excludes 0 on
every scale that decides. Of curves that go the same way, or of which one is not known to go anywhere, their own
directions are the statement.

A statement stands where each of its parts does (an intersection-union test): the p value of a direction is the largest
over the scales, and that of a statement the largest of the tests that it rests on. A slope is tested as a share of the
curve's mean height: how well a speaker is read at all moves the whole curve, and that share far less.

References
----------
R. L. Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24(4), 1982.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .scales import SCALES

if TYPE_CHECKING:
    import pandas as pd

#: Names of the scales on which a direction must show.
DECIDING = tuple(scale.name for scale in SCALES.values() if scale.decides)

#: Keys of a direction: sign of a slope, 0 where none is decided.
FALLS, UNDECIDED, RISES = -1, 0, 1

#: A corrected p value up to this decides.
LEVEL = 0.05

_VERB = {RISES: "rises", FALLS: "falls"}

#: How the rule is told.
RULE = (
    "One dimension is called shallower than another only where its own curve over the layers falls and the other's "
    "rises, by slopes that differ from 0 on two scales, explained variance and its odds. Strength, label noise and "
    "little data bend a curve, but none of them turns a rise into a fall. In any other case the claim says what each "
    "curve does."
)


@dataclass(frozen=True)
class Signed:
    """A number's sign, tested on every scale that decides.

    Attributes
    ----------
    sign : int
        1 or -1 where the scales agree, 0 where they do not.
    p : float
        The largest over the scales; 1 where they do not agree, NaN where one has none.
    """

    sign: int
    p: float

    @classmethod
    def of(cls, values: Sequence[float], p: Sequence[float]) -> Signed:
        """Signs of one number on several scales, and their p values.

        Examples
        --------
        >>> from emoprobe.analysis.measures.directions import Signed
        >>> Signed.of([0.2, 0.5], [0.01, 0.03]), Signed.of([0.2, -0.5], [0.01, 0.03])
        (Signed(sign=1, p=0.03), Signed(sign=0, p=1.0))
        """
        signs = {int(np.sign(value)) for value in values if np.isfinite(value)}
        if not np.isfinite([*values, *p]).all():
            return cls(0, float("nan"))
        return cls(signs.pop(), float(np.max(p))) if len(signs) == 1 else cls(0, 1.0)


@dataclass(frozen=True)
class Comparison:
    """Two dimensions of one model over the layers.

    Attributes
    ----------
    one, other : str
        Names; the claim is that `one` is the shallower.
    slopes : tuple of Signed
        Of `one` and of `other`.
    difference : Signed
        Of the centroid of `other` less that of `one`.
    """

    one: str
    other: str
    slopes: tuple[Signed, Signed]
    difference: Signed

    @classmethod
    def of(cls, table: pd.DataFrame, one: str, other: str) -> Comparison:
        """From the rows of one model in a table of :func:`.centroid.relevance_centroids`.

        Raises
        ------
        KeyError
            If the table has no such dimension, or not their difference.
        """
        name, sign = difference_of(table, one, other)
        slopes = [
            Signed.of(_numbers(table, dimension, "slope"), _numbers(table, dimension, "slope_p"))
            for dimension in (one, other)
        ]
        apart = [sign * value for value in _numbers(table, name, "centroid")]
        return cls(one, other, (slopes[0], slopes[1]), Signed.of(apart, _numbers(table, name, "p")))

    @property
    def p(self) -> tuple[float, float, float]:
        """Of the two slopes and the difference."""
        return self.slopes[0].p, self.slopes[1].p, self.difference.p

    def statement(self, decided: Sequence[bool]) -> Statement:
        """What may be said.

        Parameters
        ----------
        decided : sequence of bool, length 3
            Which of the tests of :attr:`p` stand, after whatever correction.
        """
        one, other = (slope.sign if yes else UNDECIDED for slope, yes in zip(self.slopes, decided, strict=False))
        if one and other:
            if one != other:
                return Statement(f"{self.one} is carried by shallower layers than {self.other}", (0, 1), other)
            verb = _VERB[one].rstrip("s")
            return Statement(f"{self.one} and {self.other} both {verb} with depth", (0, 1), 1, worded=True)
        if one or other:
            moves, rests, place = (self.one, self.other, 0) if one else (self.other, self.one, 1)
            sign = one or other
            verb = _VERB[sign]
            # The difference is of `other` less `one`: a rise of `other`, or a fall of `one`, makes it positive.
            apart = decided[2] and self.difference.sign == (sign if place else -sign)
            if apart and self.slopes[1 - place].sign == -sign:
                said = f"{moves} {verb} with depth, and {rests} does not follow it"
                return Statement(said, (place, 2), 1, worded=True)
            return Statement(f"{moves} {verb} with depth; of {rests} neither is shown", (place,), 1, worded=True)
        return Statement(f"{self.one} is carried by shallower layers than {self.other}", (0, 1), UNDECIDED)

    def largest(self, said: Statement, p: Sequence[float]) -> float:
        """The largest p of the tests that a statement rests on; 1 where the curves do not even go its way.

        Parameters
        ----------
        said : Statement
        p : sequence of float, length 3
            As they are, or corrected.
        """
        if said.sign == UNDECIDED and self.slopes[0].sign * self.slopes[1].sign >= 0:
            return 1.0
        return float(np.max([p[place] for place in said.rests_on]))


@dataclass(frozen=True)
class Statement:
    """What may be said of two dimensions.

    Attributes
    ----------
    text : str
        Without the model and without a full stop.
    rests_on : tuple of int
        Places of its tests in :attr:`Comparison.p`.
    sign : int
        1 where it holds, -1 where its opposite does, 0 where that is not decided.
    worded : bool
        Whether it says what the curves do, in place of which is the shallower.
    """

    text: str
    rests_on: tuple[int, ...]
    sign: int
    worded: bool = False


def _numbers(table: pd.DataFrame, dimension: str, column: str) -> list[float]:
    """A column of a dimension, or of a difference, on each scale that decides."""
    rows = table[table["dimension"] == dimension].set_index("scale")[column].astype(float)
    return [float(rows[scale]) for scale in DECIDING]


def difference_of(table: pd.DataFrame, one: str, other: str) -> tuple[str, int]:
    """Name of the difference of two dimensions in a table of centroids, and the sign that makes it `other` less `one`.

    Raises
    ------
    KeyError
        If it is not there.
    """
    for name, sign in ((f"{other} − {one}", 1), (f"{one} − {other}", -1)):
        if name in set(table["dimension"]):
            return name, sign
    raise KeyError(f"{other} − {one}")
