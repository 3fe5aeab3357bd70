"""A cache as a specification sees it: its features and its table changed, its file untouched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.extract.cache import HiddenStateCache
from emoprobe.probe.units import Units

from .specifications import Specification


class VariedCache(HiddenStateCache):
    """A cache under a specification.

    Parameters
    ----------
    path : path
    specification : Specification
    """

    def __init__(self, path: str | Path, specification: Specification) -> None:
        super().__init__(path)
        self._specification = specification
        self._changed: dict[tuple, np.ndarray] = {}

    @cached_property
    def _voices(self) -> np.ndarray:
        """Number of the speaker of each row, those of unknown speaker sharing one."""
        return Units.of(super().utterances["speaker"].fillna("").astype(str).tolist()).voices

    @property
    def utterances(self) -> pd.DataFrame:
        """See :class:`HiddenStateCache`."""
        table = super().utterances
        for change in self._specification.tables:
            table = change(table)
        return table

    def states(
        self,
        statistic: str = "mean",
        *,
        layers: int | Sequence[int] | slice | None = None,
        rows: np.ndarray | slice | None = None,
        dtype: np.dtype | str | None = None,
    ) -> np.ndarray:
        """See :class:`HiddenStateCache`; a layer is changed whole, and kept until another one is asked for."""
        if not self._specification.features:
            return super().states(statistic, layers=layers, rows=rows, dtype=dtype)
        read = super().states
        key = (statistic, repr(layers))
        if any(kept[1] != key[1] for kept in self._changed):
            self._changed.clear()
        whole = self._once(key, lambda: read(statistic, layers=layers))
        return np.array(whole[..., slice(None) if rows is None else rows, :], dtype=dtype or np.float32)

    def baseline(self, name: str) -> np.ndarray:
        """See :class:`HiddenStateCache`; changed as the states are."""
        if not self._specification.features:
            return super().baseline(name)
        read = super().baseline
        return self._once((name, "baseline"), lambda: read(name))

    def _once(self, key: tuple, read: Callable[[], np.ndarray]) -> np.ndarray:
        if key not in self._changed:
            values = read()
            for change in self._specification.features:
                values = change(values, self._voices)
            self._changed[key] = values
        return self._changed[key]
