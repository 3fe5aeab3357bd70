"""What a report is to hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportSettings:
    """What a report is to hold.

    Parameters
    ----------
    title : str
        Empty for one that names models and corpora.
    dimensions : tuple of str
        Empty for all that have scores.
    quick : bool
        Leave out what is computed from caches: second opinions and similarity.
    """

    title: str = ""
    dimensions: tuple[str, ...] = ()
    quick: bool = False
