"""What the sections of a report are built from, and what a section is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .claim import Claim
from .computed import Computed
from .content import Block
from .study import Study


@dataclass(frozen=True)
class Material:
    """All that the sections read.

    Parameters
    ----------
    study : Study
        Results, caches and models.
    claims : sequence of Claim
        What was tested.
    computed : Computed
        What was computed from the caches.
    """

    study: Study
    claims: Sequence[Claim]
    computed: Computed


@dataclass(frozen=True)
class SectionKind:
    """A section of every report.

    Parameters
    ----------
    name : str
        What links lead to.
    title : str
    build : callable
        Blocks of the section, given the material.
    open : bool
        Whether it is shown at once, and printed; the others unfold where they are asked for.
    long : bool
        Whether it draws enough to be built by a process of its own.
    """

    name: str
    title: str
    build: Callable[[Material], Sequence[Block]]
    open: bool = False
    long: bool = False
