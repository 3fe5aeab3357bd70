"""Ridge probes on a device: a layer is brought there once, and its sums are made and solved there by torch.

What a layer takes there, for n rows of width w and cells of rows that the folds never separate (`ridge_equations`):

- its features in the precision of the cache, n·w numbers, where they fit (:data:`SHARE` of what is free); else each
  chunk of `ridge_equations.CHUNK_ROWS` rows is sent when it is read;
- sums and factors in double precision, at most (cells + 12)·w² numbers, and as much again for a description length;
- permuted labels and their sums, `permutation.MEMORY` at a time;
- the permutations, 4 bytes a row each, kept for the next layers within :data:`KEPT`; beyond, they are drawn anew.

Of 270,000 utterances and a width of 2,048 on an official split with 1,000 permutations these are 2.2, 1.0, 1.1 and 1.1
GB by this count. Products are in double precision but for permuted labels of many utterances (`permutation.MANY`),
which are in single precision as on the CPU: :func:`working` sees to it that nothing less is used on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from emoprobe.extract.devices import numerics
from emoprobe.extract.transfers import to_device

from .arrays import Arrays, too_small
from .splits import Fold

if TYPE_CHECKING:
    from .layer_equations import Reader

#: Part of the free memory of a device that the features of a layer may take.
SHARE = 0.6

#: Bytes that permutations may take on a device from one layer to the next.
KEPT = 4 * 2**30

#: Rows that are read and sent at once while a layer is brought.
_ROWS_SENT = 8192

_kept: dict[tuple, torch.Tensor] = {}


@dataclass(frozen=True)
class Device(Arrays):
    """torch on a device; see :class:`.arrays.Arrays`."""

    device: torch.device
    xp = torch

    def take(self, values: np.ndarray) -> torch.Tensor:
        """A copy on the device."""
        return torch.tensor(np.ascontiguousarray(values), device=self.device)

    def back(self, values: torch.Tensor) -> np.ndarray:
        """See :class:`.arrays.Arrays`."""
        return values.cpu().numpy()

    def features(self, values: torch.Tensor) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        return values.to(torch.float64, copy=True)

    def zeros(self, *shape: int) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def eye(self, size: int) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        return torch.eye(size, dtype=torch.float64, device=self.device)

    def cast(self, values: torch.Tensor, dtype: Any) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        return values.to(dtype)

    def dots(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        return (a * b).sum(0)

    def pieces(
        self, draw: Callable[[int], Iterable[np.ndarray]], shape: tuple[int, int], key: tuple, rows: int
    ) -> Iterator[torch.Tensor]:
        """Of what was kept, or drawn now and kept, the oldest making room; see :class:`.arrays.Arrays`."""
        size, key = 4 * prod(shape), (self.device, *key)
        if key not in _kept:
            if size > min(KEPT, SHARE * free_memory(self.device)):
                yield from map(self.take, draw(rows))
                return
            while _kept and size + sum(kept.nbytes for kept in _kept.values()) > KEPT:
                del _kept[next(iter(_kept))]
            drawn = torch.empty(shape, dtype=torch.int32, device=self.device)
            start = 0
            for piece in draw(rows):
                drawn[start : start + len(piece)] = self.take(piece)
                start += len(piece)
            _kept[key] = drawn
        yield from _kept[key].split(rows)

    def solve_penalties(
        self,
        matrix: torch.Tensor,
        right: torch.Tensor,
        penalties: Sequence[float] | np.ndarray,
        *,
        scratch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :func:`.arrays.solve_penalties`."""
        scratch = torch.empty_like(matrix) if scratch is None else scratch
        solutions = right.new_empty((len(penalties), *right.shape))
        for k, penalty in enumerate(penalties):
            scratch.copy_(matrix).diagonal().add_(float(penalty))
            solutions[k] = self.solve_factored(self.cholesky(scratch, penalty), right)
        return solutions

    def inverse(self, matrix: torch.Tensor, penalty: float) -> torch.Tensor:
        """See :func:`.arrays.inverse`."""
        return torch.cholesky_inverse(self.cholesky(matrix + penalty * self.eye(len(matrix)), penalty))

    def cholesky(self, matrix: torch.Tensor, penalty: float) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        factor, info = torch.linalg.cholesky_ex(matrix)
        if info:
            raise too_small(penalty)
        return factor

    def solve_factored(self, factor: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        return torch.cholesky_solve(right, factor)

    def solve_lower(self, factor: torch.Tensor, right: torch.Tensor, *, transposed: bool = False) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        return torch.linalg.solve_triangular(factor.T if transposed else factor, right, upper=transposed)

    def solve(self, matrix: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """See :class:`.arrays.Arrays`."""
        factor, info = torch.linalg.cholesky_ex(matrix)
        return torch.full_like(right, torch.nan) if info else self.solve_factored(factor, right)


def brought(read: Reader, folds: Sequence[Fold], device: torch.device) -> Reader:
    """Bring the features of all rows of the folds to a device, where they fit, and return what reads them there.

    Parameters
    ----------
    read : callable
        ``read(rows)`` returns the features of ascending `rows` as an ndarray, shape (len(rows), width).
    folds : sequence of Fold
    device : torch.device

    Returns
    -------
    callable
        ``read(rows)`` returns a tensor, in the precision in which the features are.
    """

    def sent(rows: np.ndarray) -> torch.Tensor:
        return to_device(torch.from_numpy(np.ascontiguousarray(read(rows))), device)

    parts = [rows for fold in folds for rows in (fold.train, *fold.tests.values(), *sum(fold.inner, ()))]
    rows = np.unique(np.concatenate(parts))
    one = sent(rows[:1])
    if len(rows) * one.nbytes > SHARE * free_memory(device):
        return sent
    features = one.new_empty((len(rows), one.shape[1]))
    for start in range(0, len(rows), _ROWS_SENT):
        features[start : start + _ROWS_SENT] = sent(rows[start : start + _ROWS_SENT])
    # A row that was not brought has no place: it is no other row.
    place = torch.full((int(rows[-1]) + 1,), len(rows), dtype=torch.int64, device=device)
    place[torch.tensor(rows, device=device)] = torch.arange(len(rows), device=device)
    return lambda some: features[place[torch.tensor(some, device=device)]]


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device, what torch holds for later too; without end on the CPU."""
    if device.type != "cuda":
        return float("inf")
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held


def working(device: torch.device) -> AbstractContextManager[None]:
    """No gradients, and no precision on the way but that of the numbers."""
    return numerics(device, "float32")


def forget() -> None:
    """Give back what is kept on devices from one layer to the next."""
    _kept.clear()
    torch.cuda.empty_cache()
