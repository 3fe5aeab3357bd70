"""Equations of ridge regressions that share one Gram matrix: of the features where they are few, else of the rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from emoprobe.errors import UserError

from .equations import Change, LabelSums, NormalEquations, Predictor, Removal, inverse, solve_penalties
from .metrics import moments
from .splits import Fold

#: Rows read at once: large enough for BLAS to be at its peak, small beside the Gram matrices.
CHUNK_ROWS = 2048

Reader = Callable[[np.ndarray], np.ndarray]
#: What holds labels: sums of each cell, or the rows' own.
L = TypeVar("L", LabelSums, np.ndarray)
#: Blocks that make up a training set, and targets whose labels are missing in the same rows.
Blocks = frozenset[int]
Columns = tuple[int, ...]
#: What gives rows other labels, shape (rows, targets).
Draw = Callable[[np.ndarray], np.ndarray]
#: Coefficients (penalty, width, target) and intercepts (penalty, target).
Fits = tuple[np.ndarray, np.ndarray]


def accumulate(
    read: Reader, targets: np.ndarray, folds: Sequence[Fold], *, chunk_rows: int = CHUNK_ROWS
) -> RidgeEquations:
    """First pass: blocks, units and sums (or, for fewer rows than features, the rows themselves).

    Parameters
    ----------
    read, targets, folds, chunk_rows
        See :func:`ridge_probe`.

    Raises
    ------
    UserError
        If no row to train on has a label, or a feature is not finite.
    """
    targets = np.asarray(targets, dtype=np.float64)
    n_rows = len(targets)
    parts = [fold.train for fold in folds]
    parts += [rows for fold in folds for pair in fold.inner for rows in pair]
    membership = np.zeros((n_rows, len(parts)), dtype=np.uint8)
    for column, rows in enumerate(parts):
        membership[rows, column] = 1
    present = ~np.isnan(targets)
    used = np.flatnonzero(membership.any(1) & present.any(1))
    if not len(used):
        raise UserError("no utterance to train on has a label")
    _, block = np.unique(np.packbits(membership[used], axis=1), axis=0, return_inverse=True)
    patterns, pattern = np.unique(present[used], axis=0, return_inverse=True)
    # A cell holds the rows of one block that have the same labels missing: targets that differ in their rows still
    # share every cell that both have.
    cells, cell = np.unique(np.stack([block.ravel(), pattern.ravel()], 1), axis=0, return_inverse=True)
    block_of_row = np.full(n_rows, -1)
    block_of_row[used] = block.ravel()
    y = targets[used]
    unit_y = np.array([_unit(column[~np.isnan(column)]) for column in y.T])
    first = np.asarray(read(used[:chunk_rows]), dtype=np.float64)
    check_finite(first, used[:chunk_rows])
    shift, spread = first.mean(0), first.std(0)
    kind = _Rows if len(used) <= len(shift) else _Sums
    equations = kind(
        read=read,
        folds=folds,
        chunk_rows=chunk_rows,
        rows=used,
        y=np.where(np.isnan(y), 0.0, (y - unit_y[:, 0]) / unit_y[:, 1]),
        cell=cell.ravel(),
        cells=cells,
        present=patterns[cells[:, 1]],
        block_of_row=block_of_row,
        unit_y=unit_y,
        shift=shift,
        # A feature that is constant here may vary later; one unit is as good as another, this only keeps sums near 1.
        spread=np.where(spread > 0, spread, 1.0),
    )
    for rows, x in equations.chunks(used, first):
        check_finite(x, rows)
        equations.add(x, slice(*np.searchsorted(used, [rows[0], rows[-1] + 1])))
    return equations


def _unit(values: np.ndarray) -> tuple[float, float]:
    """Mean and spread that bring labels near 0 and 1; predictions do not depend on them, digits do."""
    if not len(values):
        return 0.0, 1.0
    spread = values.std()
    return float(values.mean()), float(spread) if spread > 0 else 1.0


def check_finite(x: np.ndarray, rows: np.ndarray) -> None:
    """Refuse features that are no numbers, naming the utterance."""
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise UserError(f"feature {column} of utterance {rows[row]} is not a finite number: extract the cache anew")


@dataclass
class RidgeEquations(ABC, Generic[L]):
    """What every fit on a layer follows from: which cells make up a training set, sums or rows, and the units.

    Labels are their right-hand sides. Their own are `y`; :meth:`labels_from` reads the features again to make others
    for the same rows, which any fit and score then takes instead. They are made by :func:`accumulate`.

    Attributes
    ----------
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
    _scratch: np.ndarray | None = field(init=False, default=None)
    _blocks: dict[tuple[int, bytes, bytes], Blocks] = field(init=False, default_factory=dict)

    @abstractmethod
    def __post_init__(self) -> None: ...

    @abstractmethod
    def add(self, x: np.ndarray, rows: slice) -> None:
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

    def chunks(self, rows: np.ndarray, first: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows, a chunk at a time, with their features in units of the equations; `first` if it was read."""
        for start in range(0, len(rows), self.chunk_rows):
            some = rows[start : start + self.chunk_rows]
            given = start == 0 and first is not None
            x = first if given else np.array(self.read(some), dtype=np.float64)
            x -= self.shift
            x /= self.spread
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
        """Of the features, standardised on a training set, and its own labels in the unit of the equations."""
        return self._equations(blocks, columns, self._own(columns)).primal()

    def fit(self, blocks: Blocks, columns: Columns, penalties: np.ndarray) -> Fits:
        """Coefficients and intercepts in the units of the equations."""
        equations = self._equations(blocks, columns, self._own(columns))
        return equations.fit(solve_penalties(equations.matrix, equations.right, penalties, scratch=self._scratch))

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
    ) -> tuple[NormalEquations, np.ndarray]:
        equations = self._equations(blocks, columns, labels)
        solution = np.empty_like(equations.right)
        for penalty in np.unique(penalties):
            which = penalties == penalty
            right = equations.right[:, which]
            if right.shape[1] > len(right):
                # Products run at the machine's peak and triangular solves do not; a null needs no last digit.
                solution[:, which] = inverse(equations.matrix, penalty) @ right
            else:
                solution[:, which] = solve_penalties(equations.matrix, right, [penalty], scratch=self._scratch)[0]
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


class _Sums(RidgeEquations[LabelSums]):
    """Normal equations from the sums of each cell."""

    def __post_init__(self) -> None:
        n_cells, width = len(self.cells), len(self.shift)
        self.count = np.bincount(self.cell, minlength=n_cells).astype(np.float64)
        self.x = np.zeros((n_cells, width))
        self.xx = np.zeros((n_cells, width, width))
        self.labels = LabelSums(n_cells, width, self.y.shape[1])
        self._scratch = np.empty((width, width))
        self._matrix = np.empty((width, width))

    def add(self, x: np.ndarray, rows: slice) -> None:
        """See :meth:`RidgeEquations.add`."""
        cell, y = self.cell[rows], self.y[rows]
        for c in np.unique(cell):
            part = x[cell == c]
            self.x[c] += part.sum(0)
            self.xx[c] += np.matmul(part.T, part, out=self._scratch)
            self.labels.add(c, part, y[cell == c])

    def labels_from(self, draw: Draw, targets: int) -> LabelSums:
        """See :meth:`RidgeEquations.labels_from`."""
        labels = LabelSums(len(self.cells), len(self.shift), targets)
        for rows, x in self.chunks(self.rows):
            cell = self.cell[np.searchsorted(self.rows, rows)]
            for c in np.unique(cell):
                labels.add(c, x[cell == c], draw(rows[cell == c]))
        return labels

    def _own(self, columns: Columns) -> LabelSums:
        return self.labels.take(list(columns))

    def _equations(self, blocks: Blocks, columns: Columns, labels: LabelSums) -> NormalEquations:
        cells = self._cells(blocks, columns)
        n = self.count[cells].sum()
        if n == 0:
            raise UserError("a fold has no labelled utterance to train on: ask for fewer --folds")
        mean = self.x[cells].sum(0) / n
        mean_y = labels.y[cells].sum(0) / n
        matrix = self._matrix
        matrix[:] = self.xx[cells[0]]
        right = labels.xy[cells[0]] - n * np.outer(mean, mean_y)
        for c in cells[1:]:
            matrix += self.xx[c]
            right += labels.xy[c]
        variance = np.diagonal(matrix) / n - mean**2
        # The rounding of a sum of n terms: below it a feature is constant on these rows, and has nothing to say.
        varies = variance > 4 * n * np.finfo(np.float64).eps * (np.diagonal(matrix) / n)
        inverse = np.zeros_like(mean)
        inverse[varies] = 1 / np.sqrt(variance[varies])
        matrix -= np.multiply.outer(n * mean, mean, out=self._scratch)
        matrix *= inverse
        matrix *= inverse[:, None]
        right *= inverse[:, None]
        return NormalEquations(matrix, right, mean, inverse, mean_y)

    def removals(
        self, blocks: Blocks, fits: Sequence[tuple[Columns, float]], sets: Iterable[np.ndarray]
    ) -> Iterator[list[Change]]:
        """See :meth:`RidgeEquations.removals`."""
        known = []
        for columns, penalty in fits:
            some = self._equations(blocks, columns, self._own(columns))
            member = self.members(blocks, columns)
            known.append((list(columns), some, member, Removal.of(some.matrix, some.right, penalty, member.sum())))
        for rows in sets:
            x = np.concatenate([x for _, x in self.chunks(rows)])
            place = np.searchsorted(self.rows, rows)
            changes = []
            for some_columns, some, member, removal in known:
                there = member[place]
                z = (x[there] - some.mean) * some.inverse
                y = self.y[np.ix_(place[there], some_columns)] - some.mean_y
                changes.append(some.change(*removal.without(z, y)))
            yield changes

    def score(self, fit: Fits, blocks: Blocks, columns: Columns) -> np.ndarray:
        """See :meth:`RidgeEquations.score`; from the sums alone."""
        (coef, intercept), cells = fit, self._cells(blocks, columns)
        n = self.count[cells].sum()
        if n == 0:
            return np.zeros((*intercept.shape, 6))
        labels = self._own(columns)
        x = self.x[cells].sum(0)
        y, yy = labels.y[cells].sum(0), labels.yy[cells].sum(0)
        n_penalties, width, n_targets = coef.shape
        flat = coef.transpose(1, 0, 2).reshape(width, -1)
        product, xy = self.xx[cells[0]] @ flat, labels.xy[cells[0]].copy()
        for c in cells[1:]:
            product += self.xx[c] @ flat
            xy += labels.xy[c]
        square = (flat * product).sum(0).reshape(n_penalties, n_targets)
        linear = np.einsum("w,pwt->pt", x, coef)
        p = linear + n * intercept
        pp = square + 2 * intercept * linear + n * intercept**2
        yp = np.einsum("wt,pwt->pt", xy, coef) + intercept * y
        full = np.ones_like(p)
        return np.stack([n * full, y * full, p, yy * full, pp, yp], -1)


class _Rows(RidgeEquations[np.ndarray]):
    """The same from the rows themselves, where there are fewer of them than features: a kernel is smaller."""

    def __post_init__(self) -> None:
        self.features = np.empty((len(self.y), len(self.shift)))

    def add(self, x: np.ndarray, rows: slice) -> None:
        """See :meth:`RidgeEquations.add`."""
        self.features[rows] = x

    def labels_from(self, draw: Draw, targets: int) -> np.ndarray:  # noqa: ARG002 (the rows tell how many)
        """See :meth:`RidgeEquations.labels_from`."""
        return draw(self.rows)

    def _own(self, columns: Columns) -> np.ndarray:
        return self.y[:, list(columns)]

    def _equations(self, blocks: Blocks, columns: Columns, labels: np.ndarray) -> NormalEquations:
        rows = np.isin(self.cell, self._cells(blocks, columns))
        if not rows.any():
            raise UserError("a fold has no labelled utterance to train on: ask for fewer --folds")
        x, y = self.features[rows], labels[rows]
        mean, mean_y = x.mean(0), y.mean(0)
        x -= mean
        variance = (x**2).mean(0)
        varies = variance > 4 * len(x) * np.finfo(np.float64).eps * (variance + mean**2)
        inverse = np.zeros_like(mean)
        inverse[varies] = 1 / np.sqrt(variance[varies])
        x *= inverse
        return NormalEquations(x @ x.T, y - mean_y, mean, inverse, mean_y, rows=x)

    def removals(
        self, blocks: Blocks, fits: Sequence[tuple[Columns, float]], sets: Iterable[np.ndarray]
    ) -> Iterator[list[Change]]:
        """See :meth:`RidgeEquations.removals`."""
        known = []
        for columns, penalty in fits:
            some = self._equations(blocks, columns, self._own(columns))
            member = self.members(blocks, columns)
            place = np.cumsum(member) - 1  # of a row among those of the fit
            known.append((some, member, place, some.dual_removal(penalty)))
        for rows in sets:
            used = np.searchsorted(self.rows, rows)
            yield [some.change(*removal.without(place[used[member[used]]])) for some, member, place, removal in known]

    def score(self, fit: Fits, blocks: Blocks, columns: Columns) -> np.ndarray:
        """See :meth:`RidgeEquations.score`."""
        coef, intercept = fit
        rows = np.isin(self.cell, self._cells(blocks, columns))
        predicted = np.einsum("nw,pwt->ptn", self.features[rows], coef, optimize=True) + intercept[..., None]
        return moments(self._own(columns)[rows].T, predicted)
