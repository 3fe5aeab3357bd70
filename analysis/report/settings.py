"""What a report is to hold."""

from __future__ import annotations

from dataclasses import dataclass

from emoprobe.errors import UserError


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
    smallest : float
        The smallest difference of interest, in CCC, and in UAR of categories: what is sure to be smaller is practically
        equal. 0 where every difference is of interest.
    """

    title: str = ""
    dimensions: tuple[str, ...] = ()
    quick: bool = False
    smallest: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.smallest < 1:
            raise UserError(
                f"--smallest {self.smallest:g} is no difference of scores: give one from 0 (every difference is of "
                "interest) to below 1"
            )
