"""Tables on a screen: aligned, and never wider than the terminal or 100 columns."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

from emoprobe.extract.baselines.registry import BASELINES

_WIDEST, _GAP, _NARROWEST = 100, "  ", 12

#: What is written to the right of its column: a number, with an interval or none.
_NUMBER = re.compile(r"(< )?[-+−]?[\d.,]+( .*)?|")


def screen_width() -> int:
    """Columns that a line may take."""
    return min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> list[str]:
    r"""A table as lines: texts to the left, numbers to the right, the widest cut where there is no room.

    A column without any value is left out.

    Parameters
    ----------
    headings : sequence of str
    rows : sequence of sequence of str
        As many cells as headings.
    width : int, optional
        Most columns of a line; those of the screen by default.

    Returns
    -------
    list of str

    Examples
    --------
    >>> rows = [["arousal", "0.71"], ["a long name of it", "-0.02"]]
    >>> print("\n".join(table_lines(["dimension", "CCC"], rows, width=22)))
    dimension          CCC
    arousal           0.71
    a long name of…  -0.02
    """
    shown = [column for column in range(len(headings)) if not rows or any(str(row[column]) for row in rows)]
    headings, rows = [headings[column] for column in shown], [[row[column] for column in shown] for row in rows]
    table = [list(map(str, headings)), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    room = (screen_width() if width is None else width) - len(_GAP) * (len(headings) - 1)
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    right = [all(_NUMBER.fullmatch(row[column]) for row in table[1:]) for column in range(len(headings))]
    lines = []
    for row in table:
        cells = [cell if len(cell) <= size else f"{cell[: size - 1]}…" for cell, size in zip(row, widths, strict=True)]
        aligned = [
            cell.rjust(size) if number else cell.ljust(size)
            for cell, size, number in zip(cells, widths, right, strict=True)
        ]
        lines.append(_GAP.join(aligned).rstrip())
    return lines


def wrapped(text: str) -> str:
    """A sentence in as many lines as it takes."""
    return textwrap.fill(text, screen_width(), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def told_run(probe: str, features: str) -> str:
    """A probe and its features as the figures call them: a baseline by its label, such as MFCC."""
    label = BASELINES[probe].label if probe in BASELINES else probe
    return label if not features or features == probe else f"{label} ({features})"
