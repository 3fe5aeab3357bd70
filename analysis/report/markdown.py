"""A report as Markdown, with its figures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from .content import (
    Answers,
    Block,
    Chart,
    Code,
    Document,
    Figure,
    Finding,
    Findings,
    Folded,
    Gallery,
    Items,
    Missing,
    Paragraph,
    Table,
    clean,
)

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")
# What would begin a list, a heading or a quotation at the start of a line.
_AT_START = re.compile(r"^(\s*)(#|[-+](?=\s|$)|(?:-\s*){3,}$|=+$|\d+(?=[.)](?:\s|$)))")


def to_markdown(document: Document, files: Sequence[str]) -> str:
    """The report as Markdown.

    Parameters
    ----------
    document : Document
    files : sequence of str
        Path of each figure, in the order of ``document.figures()``.

    Returns
    -------
    str
    """
    lines = [f"# {escaped(document.title)}", "", escaped(document.subtitle), ""]
    for number, section in enumerate(document.sections, start=1):
        lines.append(f"{number}. [{escaped(section.title)}](#{section.name})")
    paths = iter(files)
    for number, section in enumerate(document.sections, start=1):
        lines += ["", f'<a id="{section.name}"></a>', "", f"## {number}. {escaped(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block, paths)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """`text` on one line, so that nothing in it is Markdown or HTML."""
    text = _SPECIAL.sub(r"\\\1", " ".join(clean(text).split()))
    return _AT_START.sub(lambda start: f"{start[1]}{_defused(start[2])}", text)


def _defused(mark: str) -> str:
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"


def _block(block: Block, paths: Iterator[str]) -> list[str]:
    match block:
        case Paragraph():
            lines = [escaped(block.text)]
        case Answers():
            lines = [f"- **{escaped(name)}**: {escaped(said)}" for name, said in block.entries]
        case Folded():
            lines = [f"### {escaped(block.label)}"]
            for inner in block.blocks:
                lines += ["", *_block(inner, paths)]
        case Items():
            lines = [f"- {escaped(entry)}" for entry in block.entries]
        case Findings():
            lines = [_finding(finding) for finding in block.entries]
        case Table():
            rule = [":--" if position < block.words else "--:" for position in range(len(block.columns))]
            rows = [_row(map(escaped, cells)) for cells in block.rows]
            lines = [escaped(block.caption), "", _row(map(escaped, block.columns)), _row(rule), *rows]
        case Figure():
            lines = _figures([block], paths)
        case Gallery() | Chart():
            lines = _figures(block.figures, paths)
        case Missing():
            lines = [f"> {escaped(block.text)}", *(["", *_fenced(block.command)] if block.command else [])]
        case Code():
            lines = [f"### {escaped(block.label)}", "", *_fenced(block.text)]
    return lines


def _finding(finding: Finding) -> str:
    verdict = finding.verdict.capitalize() + (f", {finding.beside}" if finding.beside else "")
    parts = [f"**{escaped(verdict)}**: {escaped(finding.statement)}"]
    corrected = f"; p, corrected: {finding.p}" if finding.p else ""
    parts += [escaped(f"{finding.numbers}{corrected}")] if finding.numbers else []
    parts += [escaped(finding.how)] if finding.how else []
    return "- " + "  \n  ".join(parts)


def _figures(figures: Iterable[Figure], paths: Iterator[str]) -> list[str]:
    lines = []
    for figure in figures:
        lines += [f"![{escaped(figure.alt)}]({next(paths)})", ""]
        lines += [escaped(figure.caption), ""] if figure.caption else []
    return lines[:-1]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _fenced(text: str) -> list[str]:
    """Text as it is, within a fence that no line of it can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *(clean(line) for line in text.split("\n")), fence]
