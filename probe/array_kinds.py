"""Which operations are those of some values: the type of a layer's features decides where its sums are made."""

from __future__ import annotations

import numpy as np

from .arrays import HOST, Array, Arrays


def arrays_of(values: Array) -> Arrays:
    """The operations of where some values are."""
    if isinstance(values, np.ndarray):
        return HOST
    from .on_device import Device

    return Device(values.device)
