"""The axis of the layers: their numbers, the names of what stands beside them, the label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .style import FONT_SIZE, SMALL_FONT_SIZE, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYER_LABEL = "Layer (0 = input of the first block)"


def layer_label(ax: Axes, last: int, *, width: float) -> None:
    """The axis label under the layers' numbers, broken where `width` inches are too few for it.

    Placed by hand: matplotlib would put it below the upright names beside the layers, far from what it names.
    """
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    ax.set_xlabel("\n".join(wrap(LAYER_LABEL, width, FONT_SIZE)), fontsize=FONT_SIZE)
    below = ScaledTranslation(0, -(2 * SMALL_FONT_SIZE) / 72, ax.figure.dpi_scale_trans)
    ax.xaxis.set_label_coords(last / 2, 0, transform=blended_transform_factory(ax.transData, ax.transAxes + below))


def layer_ticks(ax: Axes, last: int, others: dict[float, str] | None = None) -> None:
    """A number under every layer, or every few; a name upright under each of the `others`."""
    step = next(
        (step for step in (1, 2, 3, 4, 5, 6, 8, 10, 12) if last / step <= 8 and last % step == 0),
        max(1, math.ceil(last / 8)),
    )
    numbered = list(range(0, last + 1, step))
    others = others or {}
    ax.set_xticks([*numbered, *others], [*map(str, numbered), *others.values()])
    ax.set_xticks(np.arange(last + 1), minor=True)
    ax.tick_params(axis="x", which="minor", length=1.5, width=0.5)
    for label in ax.get_xticklabels()[len(numbered) :]:
        label.set_rotation(90)
