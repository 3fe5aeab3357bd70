"""How results show themselves: one line in a terminal, a summary in a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from .told import told_depths, told_scores

if TYPE_CHECKING:
    from .results import Results

#: Columns of the table in a notebook, as far as they hold anything.
_SHOWN = (
    "model", "corpus", "dimension", "probe", "features", "layer", "chosen_on", "split", "n", "ccc", "ccc_low",
    "ccc_high", "pearson", "rmse", "uar", "uar_low", "uar_high", "highest_layer", "highest",
)  # fmt: skip


def in_a_line(results: Results) -> str:
    """What results are, and what they say, on one line."""
    found = told_depths(results) or told_scores(results) or "no score yet"
    runs, fits = len(results.protocol), len(results.scores)
    return f"Results of {runs} run{'s' * (runs != 1)}, {fits} fit{'s' * (fits != 1)}: {found}"


def in_a_notebook(results: Results) -> str:
    """The same as HTML, with the best layer of every run below; what comes from data is escaped."""
    best = results.best_layers()
    shown = [name for name in _SHOWN if name in best and best[name].notna().any()]
    table = best[shown].to_html(index=False, float_format="{:.3f}".format, na_rep="", escape=True, border=0)
    head = f"<p><b>{html.escape(in_a_line(results))}.</b></p>"
    rest = (
        "<p>Best layer of each run, with 95 % intervals; all fits are in <code>.scores</code>, how they were made in "
        "<code>.protocol</code>.</p>"
    )
    return head + (rest + table if len(best) else "")
