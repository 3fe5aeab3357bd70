"""A report as one HTML page: nothing is loaded, nothing is run but the chart, everything from a table is escaped."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from .chart import library
from .content import Document, Figure, clean

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"
_MARKS = {"supported": "✓", "contradicted": "✗", "practically equal": "=", "undecided": "?", "not tested": "–"}


def to_html(document: Document) -> str:
    """The page.

    Parameters
    ----------
    document : Document

    Returns
    -------
    str
        With its style, its figures and the library of its chart inside. A Content-Security-Policy forbids everything
        remote, and every style and script but those that are there, which it allows by their hashes.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # What is put in goes through this first, and is escaped after.
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    environment.filters["code"] = _code
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    start = (_TEMPLATES / "chart.js").read_text(encoding="utf-8")
    scripts = [library(), start] if document.charts else []
    return environment.get_template("report.html").render(
        document=document, style=style, scripts=scripts, digest=_digest, data_uri=_data_uri, marks=_MARKS
    )


def _digest(text: str) -> str:
    """As a Content-Security-Policy names what may stand in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data_uri(figure: Figure) -> str:
    return f"data:image/png;base64,{base64.b64encode(figure.png).decode()}"


def _code(text: str) -> Markup:
    """Text whose line breaks matter, escaped."""
    from markupsafe import escape

    return escape("\n".join(clean(line) for line in text.split("\n")))
