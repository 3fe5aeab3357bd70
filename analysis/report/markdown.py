"""A report as Markdown, with its figures as files beside it."""

from __future__ import annotations

import re

from .content import Block, Document, clean

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")
# What would begin a list, a heading or a quotation at the start of a line.
_AT_START = re.compile(r"^(\s*)(#|[-+](?=\s|$)|(?:-\s*){3,}$|=+$|\d+(?=[.)](?:\s|$)))")


def to_markdown(document: Document, files: dict[int, str]) -> str:
    """The report as Markdown.

    Parameters
    ----------
    document : Document
    files : dict of int to str
        Path of each figure, by its place in ``document.figures()``.

    Returns
    -------
    str
    """
    lines = [f"# {escaped(document.title)}", "", escaped(document.subtitle), ""]
    for number, section in enumerate(document.sections, start=1):
        lines.append(f"{number}. [{escaped(section.title)}](#{section.name})")
    place = iter(range(len(files)))
    for number, section in enumerate(document.sections, start=1):
        lines += ["", f'<a id="{section.name}"></a>', "", f"## {number}. {escaped(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block, files, place)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """`text` on one line, so that nothing in it is Markdown or HTML."""
    text = _SPECIAL.sub(r"\\\1", " ".join(clean(text).split()))
    return _AT_START.sub(lambda found: f"{found[1]}{_defused(found[2])}", text)


def _defused(mark: str) -> str:
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"


def _block(block: Block, files: dict[int, str], place) -> list[str]:
    if block.kind == "paragraph":
        return [escaped(block.text)]
    if block.kind == "items":
        return [f"- {escaped(entry)}" for entry in block.entries]
    if block.kind == "findings":
        lines = []
        for finding in block.entries:
            parts = [f"**{escaped(finding.verdict.capitalize())}**: {escaped(finding.statement)}"]
            parts += [escaped(part) for part in (finding.numbers, finding.how) if part]
            lines.append("- " + "  \n  ".join(parts))
        return lines
    if block.kind == "table":
        rule = [":--" if position < block.words else "--:" for position in range(len(block.columns))]
        rows = [_row(escaped(cell) for cell in row) for row in block.rows]
        return [escaped(block.caption), "", _row(map(escaped, block.columns)), _row(rule), *rows]
    if block.kind in ("figure", "gallery"):
        lines = []
        for figure in block.figures if block.kind == "gallery" else (block,):
            lines += [f"![{escaped(figure.alt)}]({files[next(place)]})", ""]
            lines += [escaped(figure.caption), ""] if figure.caption else []
        return lines[:-1]
    if block.kind == "missing":
        return [f"> {escaped(block.text)}", *(["", *_fenced(block.command)] if block.command else [])]
    return [f"### {escaped(block.label)}", "", *_fenced(block.text)]


def _row(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def _fenced(text: str) -> list[str]:
    """Text as it is, within a fence that no line of it can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *(clean(line) for line in text.split("\n")), fence]
