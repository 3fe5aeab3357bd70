"""Tables as text: cells separated by commas, semicolons, tabs or bars, quoted as in RFC 4180."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from emoprobe.errors import UserError

from .naming import recognised
from .text import decode

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

#: A first line that tells a spreadsheet the separator, and is none of the table.
_TOLD = re.compile(rb"(?:\xef\xbb\xbf)?sep=(.)\r?\n")


def csv_rows(data: bytes, path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows and the line where each row begins; every row has as many cells as the header.

    The separator is the one by which the header has most names that we know, and else most cells: commas in
    transcripts do not matter.

    Raises
    ------
    UserError
        Naming the file, the line and the remedy.
    """
    decode(data, path)  # refuses what is no text
    told = _TOLD.match(data)
    separator = _separator(data) if told is None else told[1].decode("ascii", "replace")
    if separator not in SEPARATORS:
        raise UserError(f"{path}, line 1: 'sep={separator}' is none of {', '.join(SEPARATORS.values())}; export it so")
    # The standard reader rather than pandas': it tells the line of a row with too few cells instead of filling it up.
    reader = csv.reader(_lines(data), strict=True, delimiter=separator)
    shared: dict[str, str] = {}
    rows: list[list[str]] = []
    places: list[int] = []
    header: list[str] | None = None
    begins = 1
    try:
        if told is not None:
            next(reader)
            begins = 2
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue  # a blank line, as editors and spreadsheets leave at the end
            if header is None:
                header = cells
            elif len(cells) != len(header):
                raise UserError(
                    f"{path}, line {line}: {len(cells)} cells where the header has {len(header)}; "
                    f"quote a cell that holds a {SEPARATORS[separator]}"
                )
            else:
                # Of a word that many rows have, one is kept.
                rows.append([shared.setdefault(cell, cell) for cell in cells])
                places.append(line)
    except csv.Error as problem:
        raise UserError(
            f"{path}, line {begins}: cannot be read as CSV ({problem}); close every quote, double a quote inside a cell"
        ) from None
    return header or [], rows, places


def _lines(data: bytes) -> Iterable[str]:
    """Text line by line, as it is decoded: whole in memory it would take four bytes a letter."""
    return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")


def _separator(data: bytes) -> str:
    headers = {separator: _header(data, separator) for separator in SEPARATORS}
    return max(SEPARATORS, key=lambda separator: (recognised(headers[separator]), len(headers[separator])))


def _header(data: bytes, separator: str) -> list[str]:
    """The first line that is not blank, in cells; nothing where it cannot be read by this separator."""
    try:
        rows = csv.reader(_lines(data), strict=True, delimiter=separator)
        return next((cells for cells in rows if any(cell.strip() for cell in cells)), [])
    except csv.Error:
        return []
