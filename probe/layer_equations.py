"""What every ridge fit on a layer follows from, whether from the sums of its rows or from the rows themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from emoprobe.errors import UserError

from .array_kinds import arrays_of
from .arrays import Array, Arrays
from .equations import Change, LabelSums, NormalEquations, Predictor
from .splits import Fold

#: Features of ascending rows, shape (rows, width): an ndarray, or on a device a tensor, where the sums are then made.
Reader = Callable[[np.ndarray], Array]
#: What holds labels: sums of each cell, or the rows' own.
L = TypeVar("L", LabelSums, np.ndarray)
#: Blocks that make up a training set, and targets whose labels are missing in the same rows.
Blocks = frozenset[int]
Columns = tuple[int, ...]
#: What gives rows other labels, shape (rows, targets), where the features are.
Draw = Callable[[np.ndarray], Array]
#: Coefficients (penalty, width, target) and intercepts (penalty, target).
Fits = tuple[np.ndarray, np.ndarray]


def check_finite(x: Array, rows: np.ndarray) -> None:
    """Refuse features that are no numbers, naming the utterance."""
    arrays = arrays_of(x)
    if not arrays.xp.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(arrays.back(x)))[0]
        raise UserError(f"feature {column} of utterance {rows[row]} is not a finite number: extract the cache anew")


@dataclass
class RidgeEquations(ABC, Generic[L]):
    """What every fit on a layer follows from: which cells make up a training set, sums or rows, and the units.

    Labels are their right-hand sides. Their own are `y`; :meth:`labels_from` reads the features again to make others
    for the same rows, which any fit and score then takes instead. They are made by :func:`.ridge_equations.accumulate`.

    Attributes
    ----------
    arrays : Arrays
        Where features, sums and solutions are. All else, fits and moments too, is in this machine's memory.
    rows : ndarray of int, shape (rows,)
        Rows with a label that any fit uses, ascending; `y` are their labels in the unit of the equations, 0 where there
        is none, and `cell` the number of their cell.
    cells, present : ndarray of int, shape (cells, 2), and of bool, shape (cells, targets)
        Block and pattern of missing labels of each cell, and which labels its rows have.
    block_of_row : ndarray of int, shape (utterances,)
        -1 for what is not among `rows`.
    unit_y, shift, spread : ndarray, shapes (targets, 2), (width,), (width,)
        Mean and spread that labels and features were brought to these units by.
    """

    arrays: Arrays
    read: Reader
    folds: Sequence[Fold]
    chunk_rows: int
    rows: np.ndarray
    y: np.ndarray
    cell: np.ndarray
    cells: np.ndarray
    present: np.ndarray
    block_of_row: np.ndarray
    unit_y: np.ndarray
    shift: np.ndarray
    spread: np.ndarray
    _scratch: Array | None = field(init=False, default=None)
    _blocks: dict[tuple[int, bytes, bytes], Blocks] = field(init=False, default_factory=dict)

    @abstractmethod
    def __post_init__(self) -> None: ...

    @abstractmethod
    def add(self, x: Array, rows: slice) -> None:
        """Take in the features of some of `rows`, in units of the equations."""

    @abstractmethod
    def labels_from(self, draw: Draw, targets: int) -> L:
        """Other labels of the same rows; ``draw(rows)`` gives them, shape (rows, targets)."""

    @abstractmethod
    def score(self, fit: Fits, blocks: Blocks, columns: Columns) -> np.ndarray:
        """Moments (penalty, target, 6) of labels and predictions on `blocks`."""

    @abstractmethod
    def removals(
        self, blocks: Blocks, fits: Sequence[tuple[Columns, float]], sets: Iterable[np.ndarray]
    ) -> Iterator[list[Change]]:
        """How predictions change when rows leave a training set: of each set of rows, for each of the fits.

        `blocks` is the training set, `fits` are targets whose labels are missing in the same rows, with their penalty,
        `sets` some of `rows` each, ascending. Changes are in units of the equations.
        """

    @abstractmethod
    def _own(self, columns: Columns) -> L: ...

    @abstractmethod
    def _equations(self, blocks: Blocks, columns: Columns, labels: L) -> NormalEquations: ...

    def chunks(self, rows: np.ndarray, first: Array | None = None) -> Iterator[tuple[np.ndarray, Array]]:
        """Rows, a chunk at a time, with their features in units of the equations; `first` if it was read."""
        shift, spread = self.arrays.take(self.shift), self.arrays.take(self.spread)
        for start in range(0, len(rows), self.chunk_rows):
            some = rows[start : start + self.chunk_rows]
            given = start == 0 and first is not None
            x = first if given else self.arrays.features(self.read(some))
            x -= shift
            x /= spread
            yield some, x

    def target_sets(self) -> list[Columns]:
        """Targets whose labels are missing in the same rows, together: they share every factorisation."""
        sets: dict[bytes, list[int]] = {}
        for target, column in enumerate(self.present.T):
            sets.setdefault(column.tobytes(), []).append(target)
        return [tuple(columns) for columns in sets.values()]

    def blocks_of(self, rows: np.ndarray) -> Blocks:
        """Blocks that make up `rows`."""
        key = (len(rows), rows[:1].tobytes(), rows.tobytes())
        if key not in self._blocks:
            blocks = np.unique(self.block_of_row[rows])
            self._blocks[key] = frozenset(blocks[blocks >= 0].tolist())
        return self._blocks[key]

    def normal_equations(self, blocks: Blocks, columns: Columns) -> NormalEquations:
        """Of features standardised on a training set, and its labels in the unit of the equations; on the CPU alone."""
        return self._equations(blocks, columns, self._own(columns)).primal()

    def fit(self, blocks: Blocks, columns: Columns, penalties: np.ndarray) -> Fits:
        """Coefficients and intercepts in the units of the equations."""
        equations, arrays = self._equations(blocks, columns, self._own(columns)), self.arrays
        coef, intercept = equations.fit(
            arrays.solve_penalties(equations.matrix, equations.right, penalties, scratch=self._scratch)
        )
        return arrays.back(coef), arrays.back(intercept)

    def refit(self, blocks: Blocks, columns: Columns, penalties: np.ndarray, labels: L) -> Predictor:
        """Fit other labels, each with the one penalty given for it; return what predicts them from features."""
        equations, solution = self._solve(blocks, columns, penalties, labels)
        return equations.predictor(solution)

    def refit_explained(
        self, blocks: Blocks, columns: Columns, penalties: np.ndarray, labels: L
    ) -> tuple[Predictor, np.ndarray]:
        """:meth:`refit`, and of each of the labels the sum over rows of centred label times centred prediction."""
        equations, solution = self._solve(blocks, columns, penalties, labels)
        return equations.predictor(solution), equations.explained(solution, penalties)

    def _solve(
        self, blocks: Blocks, columns: Columns, penalties: np.ndarray, labels: L
    ) -> tuple[NormalEquations, Array]:
        equations, arrays = self._equations(blocks, columns, labels), self.arrays
        solution = arrays.xp.empty_like(equations.right)
        for penalty in np.unique(penalties):
            which = arrays.take(penalties == penalty)
            right = equations.right[:, which]
            if right.shape[1] > len(right):
                # Products run at the machine's peak and triangular solves do not; a null needs no last digit.
                solution[:, which] = arrays.inverse(equations.matrix, penalty) @ right
            else:
                solved = arrays.solve_penalties(equations.matrix, right, [penalty], scratch=self._scratch)
                solution[:, which] = solved[0]
        return equations, solution

    def _cells(self, blocks: Blocks, columns: Columns) -> np.ndarray:
        return np.flatnonzero(np.isin(self.cells[:, 0], list(blocks)) & self.present[:, columns[0]])

    def members(self, blocks: Blocks, columns: Columns) -> np.ndarray:
        """Which rows of `rows` make up a training set, as a mask."""
        return np.isin(self.cell, self._cells(blocks, columns))

    def in_units(self, weights: np.ndarray, offset: float, target: int) -> tuple[np.ndarray, float]:
        """Weights and intercept in the units of features and labels."""
        mean, spread = self.unit_y[target]
        weights = weights * spread / self.spread
        return weights, offset * spread + mean - weights @ self.shift
