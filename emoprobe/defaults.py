"""Where a command leaves what it makes, and the next one looks for it, unless it is told: in the current folder."""

from __future__ import annotations

#: Of probe-extract.
CACHE = "hidden_states.h5"
#: Of probe-fit and probe-train: tables.
RESULTS = "results"
#: Of every command that draws.
FIGURES = "figures"
#: Of probe-report.
REPORT = "report"
