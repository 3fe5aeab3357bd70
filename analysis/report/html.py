"""A report as one HTML page: nothing is loaded, nothing is run, everything from a table is escaped."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

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
        With its style and its figures inside. A Content-Security-Policy forbids scripts and everything remote; only
        the style that is there is allowed, by its hash.
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
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        document=document, style=style, style_hash=digest, data_uri=_data_uri, marks=_MARKS
    )


def _data_uri(figure: Figure) -> str:
    return f"data:image/png;base64,{base64.b64encode(figure.png).decode()}"


def _code(text: str) -> Markup:
    """Text whose line breaks matter, escaped."""
    from markupsafe import escape

    return escape("\n".join(clean(line) for line in text.split("\n")))
