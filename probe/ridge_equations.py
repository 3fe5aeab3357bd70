"""Equations of ridge regressions that share one Gram matrix: of the features where they are few, else of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from emoprobe.errors import UserError

from .array_kinds import arrays_of
from .arrays import HOST, Array
from .equations import Change, LabelSums, NormalEquations, Removal
from .layer_equations import Blocks, Columns, Draw, Fits, Reader, RidgeEquations, check_finite
from .metrics import moments
from .splits import Fold

#: Rows read at once: large enough for BLAS to be at its peak, small beside the Gram matrices.
CHUNK_ROWS = 2048


def accumulate(
    read: Reader, targets: np.ndarray, folds: Sequence[Fold], *, chunk_rows: int = CHUNK_ROWS
) -> RidgeEquations:
    """First pass: blocks, units and sums (or, for fewer rows than features, the rows themselves).

    Sums are made and solved where the features are that `read` returns: by numpy, or on the device of a tensor. For
    fewer rows than features all is done on the CPU.

    Parameters
    ----------
    read, targets, folds, chunk_rows
        See :func:`.ridge.ridge_probe`; `read` may be that of :func:`.on_device.brought`.

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
    some = read(used[:chunk_rows])
    arrays = arrays_of(some)
    first = np.asarray(arrays.back(some), dtype=np.float64)
    check_finite(first, used[:chunk_rows])
    shift, spread = first.mean(0), first.std(0)
    few = len(used) <= len(shift)
    equations = (_Rows if few else _Sums)(
        arrays=HOST if few else arrays,
        read=(lambda rows: arrays.back(read(rows))) if few else read,
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
    for rows, x in equations.chunks(used, equations.arrays.take(first)):
        check_finite(x, rows)
        equations.add(x, slice(*np.searchsorted(used, [rows[0], rows[-1] + 1])))
    return equations


def _unit(values: np.ndarray) -> tuple[float, float]:
    """Mean and spread that bring labels near 0 and 1; predictions do not depend on them, digits do."""
    if not len(values):
        return 0.0, 1.0
    spread = values.std()
    return float(values.mean()), float(spread) if spread > 0 else 1.0


class _Sums(RidgeEquations[LabelSums]):
    """Normal equations from the sums of each cell."""

    def __post_init__(self) -> None:
        n_cells, width, arrays = len(self.cells), len(self.shift), self.arrays
        self.count = np.bincount(self.cell, minlength=n_cells).astype(np.float64)
        self.x = arrays.zeros(n_cells, width)
        self.xx = arrays.zeros(n_cells, width, width)
        self.labels = LabelSums(n_cells, width, self.y.shape[1], arrays)
        self._scratch = arrays.zeros(width, width)
        self._matrix = arrays.zeros(width, width)

    def add(self, x: Array, rows: slice) -> None:
        """See :meth:`RidgeEquations.add`."""
        arrays, cell, y = self.arrays, self.cell[rows], self.arrays.take(self.y[rows])
        for c in np.unique(cell):
            here = arrays.take(cell == c)
            part = x[here]
            self.x[c] += part.sum(0)
            self.xx[c] += arrays.xp.matmul(part.T, part, out=self._scratch)
            self.labels.add(c, part, y[here])

    def labels_from(self, draw: Draw, targets: int) -> LabelSums:
        """See :meth:`RidgeEquations.labels_from`."""
        labels = LabelSums(len(self.cells), len(self.shift), targets, self.arrays)
        for rows, x in self.chunks(self.rows):
            cell = self.cell[np.searchsorted(self.rows, rows)]
            for c in np.unique(cell):
                labels.add(c, x[self.arrays.take(cell == c)], draw(rows[cell == c]))
        return labels

    def _own(self, columns: Columns) -> LabelSums:
        return self.labels.take(list(columns))

    def _equations(self, blocks: Blocks, columns: Columns, labels: LabelSums) -> NormalEquations:
        xp, cells = self.arrays.xp, self._cells(blocks, columns)
        n = float(self.count[cells].sum())
        if n == 0:
            raise UserError("a fold has no labelled utterance to train on: ask for fewer --folds")
        there = self.arrays.take(cells)
        mean = self.x[there].sum(0) / n
        mean_y = labels.y[there].sum(0) / n
        matrix = self._matrix
        matrix[:] = self.xx[cells[0]]
        right = labels.xy[cells[0]] - n * xp.outer(mean, mean_y)
        for c in cells[1:]:
            matrix += self.xx[c]
            right += labels.xy[c]
        variance = matrix.diagonal() / n - mean**2
        # The rounding of a sum of n terms: below it a feature is constant on these rows, and has nothing to say.
        varies = variance > 4 * n * np.finfo(np.float64).eps * (matrix.diagonal() / n)
        inverse = xp.where(varies, 1 / xp.sqrt(xp.where(varies, variance, 1.0)), 0.0)
        matrix -= xp.outer(n * mean, mean, out=self._scratch)
        matrix *= inverse
        matrix *= inverse[:, None]
        right *= inverse[:, None]
        return NormalEquations(matrix, right, mean, inverse, mean_y)

    def removals(
        self, blocks: Blocks, fits: Sequence[tuple[Columns, float]], sets: Iterable[np.ndarray]
    ) -> Iterator[list[Change]]:
        """See :meth:`RidgeEquations.removals`."""
        arrays, known = self.arrays, []
        for columns, penalty in fits:
            some = self._equations(blocks, columns, self._own(columns))
            member = self.members(blocks, columns)
            removal = Removal.of(some.matrix, some.right, penalty, float(member.sum()))
            known.append((list(columns), some, member, removal))
        for rows in sets:
            x = arrays.xp.concatenate([x for _, x in self.chunks(rows)])
            place = np.searchsorted(self.rows, rows)
            changes = []
            for some_columns, some, member, removal in known:
                there = member[place]
                z = (x[arrays.take(there)] - some.mean) * some.inverse
                y = arrays.take(self.y[np.ix_(place[there], some_columns)]) - some.mean_y
                changes.append(some.change(*removal.without(z, y)))
            yield changes

    def score(self, fit: Fits, blocks: Blocks, columns: Columns) -> np.ndarray:
        """See :meth:`RidgeEquations.score`; from the sums alone."""
        arrays, cells = self.arrays, self._cells(blocks, columns)
        xp, n = arrays.xp, float(self.count[cells].sum())
        if n == 0:
            return np.zeros((*fit[1].shape, 6))
        coef, intercept = map(arrays.take, fit)
        labels, there = self._own(columns), arrays.take(cells)
        x = self.x[there].sum(0)
        y, yy = labels.y[there].sum(0), labels.yy[there].sum(0)
        n_penalties, width, n_targets = coef.shape
        flat = xp.moveaxis(coef, 1, 0).reshape(width, -1)
        product, xy = self.xx[cells[0]] @ flat, labels.xy[cells[0]]
        for c in cells[1:]:
            product += self.xx[c] @ flat
            xy = xy + labels.xy[c]
        square = (flat * product).sum(0).reshape(n_penalties, n_targets)
        linear = xp.einsum("w,pwt->pt", x, coef)
        p = linear + n * intercept
        pp = square + 2 * intercept * linear + n * intercept**2
        yp = xp.einsum("wt,pwt->pt", xy, coef) + intercept * y
        full = xp.ones_like(p)
        return arrays.back(xp.stack([n * full, y * full, p, yy * full, pp, yp], -1))


class _Rows(RidgeEquations[np.ndarray]):
    """The same from the rows themselves, where there are fewer of them than features: a kernel is smaller.

    Always on the CPU, where so little is solved sooner than it is sent.
    """

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
