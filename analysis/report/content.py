"""What a report consists of, before it is HTML or Markdown: plain text, which both escape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeGuard

from ..figures.style import printable

NOTHING = "–"
_MINUS = "−"
# They make text that follows run backwards: a name could dress up as another.
_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Answers:
    """Sentences that answer, each with the word that it is about."""

    entries: tuple[tuple[str, str], ...]
    kind: ClassVar[str] = "answers"


@dataclass(frozen=True)
class Items:
    """A list; each entry is one sentence or two."""

    entries: tuple[str, ...]
    kind: ClassVar[str] = "items"


@dataclass(frozen=True)
class Table:
    """Cells as they are to be read.

    Parameters
    ----------
    caption : str
    columns : tuple of str
    rows : tuple of tuple of str
    words : int
        How many of the first columns are words; the others are numbers, and aligned as such.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    kind: ClassVar[str] = "table"

    def filled(self) -> Table:
        """The same without columns that no row fills."""
        kept = [
            k
            for k in range(len(self.columns))
            if not self.rows or any(row[k] not in ("", NOTHING) for row in self.rows)
        ]
        return replace(
            self,
            columns=tuple(self.columns[k] for k in kept),
            rows=tuple(tuple(row[k] for k in kept) for row in self.rows),
            words=sum(k < self.words for k in kept),
        )


@dataclass(frozen=True)
class Figure:
    """A picture as PNG.

    Parameters
    ----------
    parts : tuple of str
        Of its file name.
    png : bytes
    alt : str
        What it shows, for those who cannot see it.
    caption : str
    wide : bool
        Whether it is made for the width of a page rather than of a column.
    svg : bytes
        The same without pixels, where the page shows that.
    """

    parts: tuple[str, ...]
    png: bytes = field(repr=False)
    alt: str
    caption: str
    wide: bool = False
    svg: bytes = field(default=b"", repr=False)
    kind: ClassVar[str] = "figure"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the head of the PNG."""
        return int.from_bytes(self.png[16:20], "big"), int.from_bytes(self.png[20:24], "big")


@dataclass(frozen=True)
class Gallery:
    """Figures that stand beside each other where there is room."""

    figures: tuple[Figure, ...]
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Chart:
    """Figures that can be asked, where a browser may run what is in the page; elsewhere they are as they are.

    Parameters
    ----------
    figures : tuple of Figure
        What is printed, and shown without scripts.
    specification : dict, optional
        Of Vega-Lite; None where nothing here can draw it.
    note : str
        How to ask, or how to get what draws it.
    """

    figures: tuple[Figure, ...]
    specification: dict[str, Any] | None = field(repr=False)
    note: str
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Missing:
    """What a section lacks, and the command that would fill it."""

    text: str
    command: str = ""
    kind: ClassVar[str] = "missing"


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is."""

    text: str
    label: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Finding:
    """A claim with its verdict.

    Parameters
    ----------
    statement : str
    verdict : str
        "supported", "contradicted", "practically equal", "undecided" or "not tested".
    numbers : str
        The estimate with its interval; empty where nothing was tested.
    how : str
        What was compared with what.
    beside : str
        What is said beside the verdict.
    p : str
        After correction.
    """

    statement: str
    verdict: str
    numbers: str
    how: str
    beside: str = ""
    p: str = ""


@dataclass(frozen=True)
class Findings:
    """Claims with their verdicts."""

    entries: tuple[Finding, ...]
    kind: ClassVar[str] = "findings"


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when asked for."""

    label: str
    blocks: tuple[Block, ...]
    kind: ClassVar[str] = "folded"


Block = Paragraph | Answers | Items | Table | Figure | Gallery | Chart | Missing | Code | Findings | Folded


@dataclass(frozen=True)
class Section:
    """A numbered part of the report; its `name` is its anchor, and it is shown at once where it is `open`."""

    name: str
    title: str
    blocks: tuple[Block, ...]
    open: bool = False


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    @property
    def charts(self) -> bool:
        """Whether anything of it can be asked."""
        blocks = (block for section in self.sections for block in section.blocks)
        return any(isinstance(block, Chart) and block.specification is not None for block in blocks)

    def figures(self) -> list[Figure]:
        """Every figure, in order."""
        return [figure for section in self.sections for figure in _figures_in(section.blocks)]


def _figures_in(blocks: Iterable[Block]) -> Iterator[Figure]:
    for block in blocks:
        match block:
            case Figure():
                yield block
            case Gallery() | Chart():
                yield from block.figures
            case Folded():
                yield from _figures_in(block.blocks)


def clean(text: object) -> str:
    """`text` without control characters, and without those that turn the direction of what follows."""
    return printable(str(text).translate(_TURNING))


def number(value: object, digits: int = 3) -> str:
    """A number as tables and sentences have it: a true minus, a dash for what is missing."""
    if not known(value):
        return NOTHING
    text = f"{float(value):.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")  # what rounds to zero has no sign
    return text.replace("-", _MINUS)


def interval(low: object, high: object, digits: int = 3) -> str:
    """An interval in brackets, or a dash."""
    if not (known(low) and known(high)):
        return NOTHING
    return f"[{number(low, digits)}, {number(high, digits)}]"


def with_interval(value: object, low: object, high: object, digits: int = 3) -> str:
    """A number and its interval; without one, the number alone."""
    bounds = interval(low, high, digits)
    return number(value, digits) if bounds == NOTHING else f"{number(value, digits)} {bounds}"


def probability(p: object) -> str:
    """A p value: three digits, and "< 0.001" where they would say 0."""
    if not known(p):
        return NOTHING
    return "< 0.001" if float(p) < 0.0005 else number(p)


def counted_probability(p: object, alone: object, draws: object) -> str:
    """A p value that was counted among permutations: a bound, as a fraction, where none of them reached the score.

    Parameters
    ----------
    p : float
        After correction.
    alone : float
        Before it. Never below 1 / (`draws` + 1), however far the score lies above its null.
    draws : int
        The number of permutations.

    Examples
    --------
    >>> from emoprobe.analysis.report.content import counted_probability
    >>> counted_probability(13 / 1001, 1 / 1001, 1000), counted_probability(0.5, 0.25, 1000)
    ('≤ 13/1001', '0.500')
    """
    if not (known(p) and known(alone) and known(draws)) or float(alone) * (int(draws) + 1) > 1.001:
        return probability(p)
    return f"≤ {round(float(p) * (int(draws) + 1))}/{int(draws) + 1}"


def whole(value: object) -> str:
    """A count with its thousands apart, or a dash."""
    return f"{int(value):,}".replace(",", " ") if known(value) else NOTHING


def known(value: Any) -> TypeGuard[float]:
    """Whether there is a number at all: neither None, nor NaN, nor pandas' NA."""
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def listed(names: Iterable[object]) -> str:
    """Names in a sentence: a, b and c."""
    words = [str(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def layers_in_words(layers: Iterable[int]) -> str:
    """Layers by their numbers, neighbours as a range.

    Examples
    --------
    >>> from emoprobe.analysis.report.content import layers_in_words
    >>> layers_in_words([1, 2, 3, 7]), layers_in_words([4])
    ('Layers 1 to 3 and 7', 'Layer 4')
    """
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    said = listed(f"{run[0]} to {run[-1]}" if len(run) > 1 else run[0] for run in runs)
    return f"{'Layer' if len(runs) == 1 and len(runs[0]) == 1 else 'Layers'} {said}"


def counted(n: int, noun: str) -> str:
    """A count and its noun, in the plural where it must be."""
    return f"{whole(n)} {noun}" + ("" if n == 1 else "s")
