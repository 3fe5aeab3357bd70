"""The axis of the layers: their numbers, the names of what stands beside them, the label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .style import FONT_SIZE, SMALL_FONT_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_APART = 0.21  # from one number to the next, in inches: two digits and a blank
LAYER_LABEL = "Layer (0 = input of the first block)"


def layer_label(ax: Axes, last: int) -> None:
    """The axis label under the layers' numbers. That layer 0 is the input of the first block, the caption says.

    Placed by hand: matplotlib would put it below the upright names beside the layers, far from what it names.
    """
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    ax.set_xlabel("Layer", fontsize=FONT_SIZE)
    below = ScaledTranslation(0, -(2 * SMALL_FONT_SIZE) / 72, ax.figure.dpi_scale_trans)
    ax.xaxis.set_label_coords(last / 2, 0, transform=blended_transform_factory(ax.transData, ax.transAxes + below))


def layer_ticks(ax: Axes, last: int, others: dict[float, str] | None = None, *, spacing: float = 0.0) -> None:
    """A number under every layer, or every few; a name upright under each of the `others`.

    Parameters
    ----------
    last : int
    others : dict of float to str
        What stands beside the layers, by its place.
    spacing : float
        Inches from layer to layer, where so few are left that numbers would touch.
    """
    step = next(
        (
            step
            for step in (1, 2, 3, 4, 5, 6, 8, 10, 12)
            if last / step <= 8 and last % step == 0 and (not spacing or step * spacing >= _APART)
        ),
        max(1, math.ceil(last / 8)),
    )
    numbered = list(range(0, last + 1, step))
    others = others or {}
    ax.set_xticks([*numbered, *others], [*map(str, numbered), *others.values()])
    ax.set_xticks(np.arange(last + 1), minor=True)
    ax.tick_params(axis="x", which="minor", length=1.5, width=0.5)
    for label in ax.get_xticklabels()[len(numbered) :]:
        label.set_rotation(90)
