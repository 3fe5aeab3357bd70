"""Figures of the report: drawn by the functions that draw them everywhere, with the caption beside and not inside."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

from ..figures.captions import caption_of
from ..figures.files import encoded
from ..figures.style import COLUMN_WIDTH, publication_style
from .content import Figure


def picture(parts: tuple[str, ...], draw: Callable[..., Any], *, alt: str) -> Figure:
    """Draw a figure.

    Parameters
    ----------
    parts : tuple of str
        Of its file name.
    draw : callable
        One of the plotting functions, waiting for ``figure=`` alone.
    alt : str
        What it shows.

    Returns
    -------
    Figure
        With the caption that the plotting function gives it.
    """
    from matplotlib.figure import Figure as Sheet

    with publication_style():
        # Not through pyplot, which would keep every figure open.
        sheet = Sheet()
        draw(figure=sheet, caption=False)
        png = fewer_colours(encoded(sheet, "png"))
    wide = not math.isclose(sheet.get_figwidth(), COLUMN_WIDTH)
    return Figure(parts, png, alt, caption_of(sheet), wide=wide)


def fewer_colours(png: bytes) -> bytes:
    """The same picture in 256 colours, which is a third of the bytes; what it says of itself stays with it."""
    from PIL import Image, PngImagePlugin

    with Image.open(io.BytesIO(png)) as picture:
        about = PngImagePlugin.PngInfo()
        for name, text in picture.info.items():
            if isinstance(name, str) and isinstance(text, str):
                about.add_text(name, text)
        buffer = io.BytesIO()
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(buffer, "png", optimize=True, pnginfo=about, dpi=picture.info["dpi"])
    return buffer.getvalue()
