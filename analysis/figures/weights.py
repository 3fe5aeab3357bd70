"""Learned weights of the layers, as they are and corrected by the norm of the states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions

from ..curves import layer_weights, n_layers
from ..tables import WEIGHTED, one_subject, read_tables
from .canvas import opened_sheet, plain_ticks
from .captions import subject_name, weights_caption
from .layer_axis import layer_ticks
from .legends import titled_legend
from .style import FONT_SIZE, NEUTRAL, dimension_look, inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_weights(
    results: Any,
    *,
    model: str | None = None,
    dimensions: Sequence[str] | None = None,
    corpus: str | None = None,
    probe: str = WEIGHTED,
    features: str | None = None,
    width: str | None = None,
    caption: bool = True,
    ax: Sequence[Axes] | None = None,
    figure: Figure | None = None,
) -> np.ndarray:
    """Draw the weights of the learned weighted sum, as learned and norm-corrected, with their spread over seeds.

    Layers differ in length, so a raw softmax weight says little of what a layer contributes; the corrected one (weight
    times the root mean square of the layer's centred states, which are what is summed, renormalised to sum to one) is
    closer to it. Both are read from the table.

    Parameters
    ----------
    results : results, pandas.DataFrame or path
        As for :func:`plot_layers`; a DataFrame is the table of weights.
    model, corpus, dimensions, features, caption, figure
        As for :func:`plot_layers`.
    probe : str
        Which learned sum, where there are several.
    width : str, optional
        ``column`` (the default): one above the other; ``page``: side by side.
    ax : two matplotlib Axes, optional
        Where to draw the raw and the corrected weights; by default one above the other in a figure one column wide.

    Returns
    -------
    ndarray of two matplotlib Axes

    Raises
    ------
    UserError
        If the results hold no weights of the model.
    """
    tables = read_tables(results)
    if not len(tables.weights):
        raise UserError("the results hold no learned weights: fit them with probe-fit --probe weighted")
    subject = one_subject(tables.weights, model, corpus)
    rows = tables.weights[tables.weights["model"] == subject.model]
    wanted = ordered_dimensions(rows["dimension"]) if dimensions is None else list(dimensions)
    learned = [
        weights
        for dimension in wanted
        if (weights := layer_weights(tables.weights, subject, dimension=dimension, probe=probe, features=features))
    ]
    if not learned:
        raise UserError(
            f"{subject_name(subject)}: no learned weights for any of {wanted}: fit them with probe-fit --probe weighted"
        )
    depth = n_layers(tables.weights, subject)
    title = subject_name(subject)
    n_fits = max(len(weights.raw) for weights in learned)
    kinds = list(dict.fromkeys(weights.features for weights in learned))
    older = [weights.dimension for weights in learned if not all(weights.centred)]
    newer = [weights.dimension for weights in learned if any(weights.centred)]
    text = weights_caption(subject, probe, kinds, n_fits, tables.protocol, older=older, newer=newer)
    total = inches(width, "column")
    beside = total == inches("page")
    n_rows, n_columns = (1, 2) if beside else (2, 1)
    with opened_sheet(
        ax, figure, width=total, panel_height=1.6 if beside else 1.2, n_rows=n_rows, n_columns=n_columns,
        titles=["", title], caption=text, caption_inside=caption, legend_rows=1, share_x=True, share_y=True,
    ) as sheet:  # fmt: skip
        layers = np.arange(depth)
        for axes, part, label in (
            (sheet.axes[0], "raw", "as learned"),
            (sheet.axes[1], "normed", "norm-corrected"),
        ):
            for weights in learned:
                look = dimension_look(weights.dimension)
                values = getattr(weights, part)
                mean, low, high = _spread(values)
                if len(values) > 1:
                    axes.fill_between(layers, low, high, color=look.color, alpha=0.18, linewidth=0, zorder=1)
                axes.plot(layers, mean, gid=f"{part}-{weights.dimension}", zorder=3, **look.line())
            axes.axhline(1 / depth, color=NEUTRAL, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
            axes.set_title(label, loc="left")
            if not beside or axes is sheet.axes[0]:
                axes.set_ylabel("Weight", fontsize=FONT_SIZE)
            layer_ticks(axes, depth - 1)
            axes.set_xlim(-0.4, depth - 0.6)
            plain_ticks(axes)
        # One scale for both, so that a height means the same in both.
        top = max(axes.get_ylim()[1] for axes in sheet.axes)
        for axes in sheet.axes:
            axes.set_ylim(0, top)
        for axes in sheet.axes if beside else sheet.axes[1:]:
            axes.set_xlabel("Layer", fontsize=FONT_SIZE)
        if ax is None and not beside:
            sheet.axes[0].tick_params(labelbottom=False)
        titled_legend(sheet, [weights.dimension for weights in learned], title)
    return sheet.axes


def _spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lowest and highest over rows, of what is there; NaN where nothing is."""
    known = np.isfinite(values)
    some = known.any(axis=0)
    count = np.where(some, known.sum(axis=0), 1)
    mean = np.where(some, np.where(known, values, 0).sum(axis=0) / count, np.nan)
    low = np.where(some, np.where(known, values, np.inf).min(axis=0), np.nan)
    high = np.where(some, np.where(known, values, -np.inf).max(axis=0), np.nan)
    return mean, low, high
