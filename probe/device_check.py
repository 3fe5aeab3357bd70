"""A device is compared with the CPU before ridge probes run on it: a planted problem, solved on both."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from emoprobe.errors import UserError
from emoprobe.extract.devices import choose_device

from .deletion import Deletions, moments_without
from .equations import MANY
from .layer_equations import Reader
from .on_device import brought, working
from .permutation import exchangeable, permuted_scores
from .ridge import solve
from .ridge_equations import accumulate
from .splits import Fold

#: How far a device may be off: predictions, deletions and nulls in units of their spread, and the relative error of a
#: product of matrices in single precision, which one with operands of 10 bits (TF32) exceeds twentyfold.
ALLOWED = {"predictions": 1e-8, "deletions": 1e-8, "permutations": 1e-8, "products in single precision": 1e-5}


@cache
def checked_device(name: str) -> torch.device:
    """A device by name, on which ridge probes have the scores that they have on the CPU; compared once a process.

    Raises
    ------
    UserError
        If it is not there, or computes something else.
    """
    device = choose_device(name)
    for what, difference in differences(device).items():
        if not difference <= ALLOWED[what]:
            raise UserError(
                f"ridge probes on {name} are not those of the CPU: {what} of a planted problem differ by "
                f"{difference:.1e}, and may by {ALLOWED[what]:.0e}; fit with --device cpu"
            )
    return device


def differences(device: torch.device) -> dict[str, float]:
    """By how much a device differs from the CPU on a planted problem, by the names of :data:`ALLOWED`.

    It is large enough for rows to be taken out in steps (`equations.MANY`), and has a constant feature, one far from
    zero and missing labels.
    """
    rng = np.random.default_rng(0)
    each, width = MANY + 88, MANY + 8
    x = rng.standard_normal((5 * each, width), dtype=np.float32)
    x[:, 0], x[:, 1] = 3.0, x[:, 1] + 100.0
    y = x[:, 2:4] + 2 * rng.standard_normal((5 * each, 2))
    y[::5, 1] = np.nan
    part = np.repeat(np.arange(5), each)
    folds = [Fold("all", np.flatnonzero(part < 4), _halves(part), {"test": np.flatnonzero(part == 4)})]

    def read(rows: np.ndarray) -> np.ndarray:
        return x[rows]

    wanted = _numbers(read, y, folds, part)
    with working(device):
        found = _numbers(brought(read, folds, device), y, folds, part)
        features, labels = torch.from_numpy(x[:, 2:]).to(device), torch.from_numpy(_many(len(y))).to(device)
        single, double = product(features.T, labels), features.T.double() @ labels.double()
    apart = {name: _apart(found[name], wanted[name]) for name in wanted}
    return apart | {"products in single precision": float((single - double).norm() / double.norm())}


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """As the device makes it."""
    return a @ b


def _many(rows: int) -> np.ndarray:
    """As many columns as permuted labels have: a product with few takes other kernels."""
    return np.random.default_rng(1).standard_normal((rows, 300), dtype=np.float32)


def _halves(part: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    one, other = np.flatnonzero(part < 2), np.flatnonzero((part == 2) | (part == 3))
    return (one, other), (other, one)


def _numbers(read: Reader, y: np.ndarray, folds: list[Fold], part: np.ndarray) -> dict[str, np.ndarray]:
    """All that ridge probes compute on a device, for one penalty: between two a difference could choose."""
    equations = accumulate(read, y, folds)
    solved = solve(equations, penalties=[100.0])
    (sums,) = moments_without(equations, solved, y, Deletions.of(folds, [f"{k}" for k in part], y)).values()
    sets, more_than_features = exchangeable(folds, part), len(equations.shift) + 1  # these are solved in another way
    (null,) = permuted_scores(equations, y, solved, sets, count=more_than_features).values()
    return {"predictions": solved.predictions, "deletions": sums, "permutations": null}


def _apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference, in units of the largest number; infinite where only one is a number."""
    if (np.isnan(found) != np.isnan(wanted)).any():
        return float("inf")
    return float(np.nanmax(np.abs(found - wanted)) / np.nanmax(np.abs(wanted)))
