"""How the figures look: sizes for a two-column paper, colours that everyone can tell apart.

Nothing rests on colour alone: each dimension and each model also has its own marker, fill and line style, so that
a figure survives a grey printer. The colours are those of Okabe and Ito (2008), *Color Universal Design*.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from emoprobe.errors import UserError

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath
    from matplotlib.typing import RcKeyType

COLUMN_WIDTH = 3.35
"""Width of one column of a two-column page, in inches."""

FULL_WIDTH = 7.0
"""Width of both columns of a two-column page, in inches."""

WIDTHS = {"column": COLUMN_WIDTH, "page": FULL_WIDTH}
"""Widths of a figure by name, in inches."""

FONT_SIZE = 8.0
"""Size of axis labels and titles, in points."""

SMALL_FONT_SIZE = 8.0
"""The smallest text of any figure (ticks, legends, captions), in points."""

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "bluish green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "reddish purple": "#CC79A7",
}

NEUTRAL = "#5A5A5A"
"""Grey of reference lines and captions: a contrast of 6.9 to 1 on white."""

_SETTINGS: dict[RcKeyType, Any] = {
    "font.family": ["sans-serif"],
    # It comes with matplotlib, so the same results give the same bytes on every machine.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.titleweight": "bold",
    "axes.labelsize": FONT_SIZE,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.facecolor": "white",
    "axes.edgecolor": "black",
    "figure.facecolor": "white",
    "figure.titlesize": FONT_SIZE,
    "xtick.labelsize": SMALL_FONT_SIZE,
    "ytick.labelsize": SMALL_FONT_SIZE,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": SMALL_FONT_SIZE,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.0,
    "legend.handletextpad": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.4,
    "lines.markeredgewidth": 0.8,
    "hatch.linewidth": 0.4,
    # Names of models and corpora come from files: a dollar sign in one is a dollar sign, never mathematics.
    "text.parse_math": False,
    "text.usetex": False,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    # Without a fixed salt the identifiers in an SVG differ from run to run.
    "svg.hashsalt": "emoprobe",
    "pdf.fonttype": 42,
}


def inches(width: str | None, default: str = "page") -> float:
    """Width of a figure in inches, of its name in :data:`WIDTHS`.

    Parameters
    ----------
    width : str or None
        Of ``column`` and ``page``; None stands for `default`.
    default : str

    Raises
    ------
    UserError
        If there is no such width.

    Examples
    --------
    >>> inches("column"), inches(None)
    (3.35, 7.0)
    """
    name = default if width is None else width
    if name not in WIDTHS:
        raise UserError(f"no width is called {name!r}: choose of {', '.join(WIDTHS)}")
    return WIDTHS[name]


@contextlib.contextmanager
def publication_style() -> Iterator[None]:
    """Draw in the house style for the length of a ``with`` block; the global settings stay as they were.

    Examples
    --------
    >>> import matplotlib
    >>> from emoprobe.analysis.figures.style import publication_style
    >>> before = matplotlib.rcParams["font.size"]
    >>> with publication_style():
    ...     matplotlib.rcParams["font.size"]
    8.0
    >>> matplotlib.rcParams["font.size"] == before
    True
    """
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


@dataclass(frozen=True)
class LineLook:
    """Colour, marker and line style of one series.

    Parameters
    ----------
    color, marker, linestyle
        As matplotlib names them.
    filled : bool
        Whether markers are filled with the colour or white.
    """

    color: str
    marker: str
    linestyle: str | tuple
    filled: bool = True

    def line(self) -> dict[str, Any]:
        """Keyword arguments of a line with markers."""
        return {"color": self.color, "linestyle": self.linestyle, **self.points()}

    def points(self) -> dict[str, Any]:
        """Keyword arguments of markers without a line between them."""
        face = self.color if self.filled else "white"
        return {"marker": self.marker, "markeredgecolor": self.color, "markerfacecolor": face}


_SOLID = "-"
_DASHED = (0, (4.5, 1.6))
_DASH_DOT = (0, (5.0, 1.4, 1.0, 1.4))
_DOTTED = (0, (1.2, 1.2))

_DIMENSION_LOOKS = {
    "arousal": LineLook(OKABE_ITO["vermillion"], "o", _SOLID),
    "valence": LineLook(OKABE_ITO["blue"], "s", _DASHED, filled=False),
    "dominance": LineLook(OKABE_ITO["bluish green"], "^", _DASH_DOT),
    "emotion": LineLook(OKABE_ITO["black"], "D", _SOLID, filled=False),
}
# Yellow is left out: on white it cannot be read.
_SERIES_LOOKS = (
    LineLook(OKABE_ITO["black"], "o", _SOLID),
    LineLook(OKABE_ITO["orange"], "s", _DASHED),
    LineLook(OKABE_ITO["blue"], "^", _DASH_DOT, filled=False),
    LineLook(OKABE_ITO["reddish purple"], "D", _DOTTED),
    LineLook(OKABE_ITO["sky blue"], "v", _SOLID, filled=False),
    LineLook(OKABE_ITO["vermillion"], "P", _DASHED),
    LineLook(OKABE_ITO["bluish green"], "X", _DASH_DOT),
)
_LINESTYLES = (_SOLID, _DASHED, _DASH_DOT, _DOTTED)


def dimension_look(dimension: str) -> LineLook:
    """Look of one dimension: the same in every figure, whatever else the figure shows.

    Parameters
    ----------
    dimension : str
        ``arousal``, ``valence``, ``dominance`` or ``emotion``; any other name gets a look of its own, too.
    """
    if dimension in _DIMENSION_LOOKS:
        return _DIMENSION_LOOKS[dimension]
    return series_look(3 + sum(dimension.encode()))


def series_look(position: int) -> LineLook:
    """Look of the series (a model) at `position` in its figure; seven differ in colour and marker.

    From the eighth on colours and markers repeat with another line style and the other fill.
    """
    round_, place = divmod(position, len(_SERIES_LOOKS))
    look = _SERIES_LOOKS[place]
    if not round_:
        return look
    style = _LINESTYLES[(_LINESTYLES.index(look.linestyle) + round_) % len(_LINESTYLES)]
    return LineLook(look.color, look.marker, style, filled=look.filled ^ bool(round_ % 2))


def printable(text: object) -> str:
    """`text` as it can be drawn and stored in an SVG: control characters and blanks other than spaces replaced.

    Every other character stays as it is.
    """
    characters = []
    for character in str(text):
        kind = unicodedata.category(character)
        if character in "\t\n\r" or kind in ("Zl", "Zp"):
            characters.append(" ")
        elif kind in ("Cc", "Cs") or ord(character) & 0xFFFE == 0xFFFE:
            characters.append("�")
        else:
            characters.append(character)
    return "".join(characters)


def text_width(text: str, size: float, *, weight: str = "normal") -> float:
    """Width in inches of one line of `text` in the house font at `size` points, kerning aside."""
    return sum(_advance(character, weight) for character in text) * size / 72


@lru_cache(maxsize=4096)
def _advance(character: str, weight: str) -> float:
    """Width of a character, as a part of the font's size."""
    path, font = _font(weight)
    # Between two letters, because a blank alone has no width of its own.
    around, _, _ = path.get_text_width_height_descent(f"n{character}n", font, ismath=False)
    bare, _, _ = path.get_text_width_height_descent("nn", font, ismath=False)
    return (around - bare) / font.get_size_in_points()


@lru_cache(maxsize=4)
def _font(weight: str) -> tuple[TextToPath, FontProperties]:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    return TextToPath(), FontProperties(family="DejaVu Sans", weight=weight, size=10)


def wrap(text: str, width: float, size: float, *, weight: str = "normal") -> list[str]:
    """Break `text` into lines no wider than `width` inches; a word wider than a line is broken within.

    Matplotlib's own wrapping measures against the figure's edge and never breaks a word, so a long model name would
    run out of the figure.

    Parameters
    ----------
    text : str
    width : float
        Inches.
    size : float
        Font size in points.
    weight : str
        Font weight.

    Returns
    -------
    list of str
        At least one line; joined without the blanks at the breaks they give back `text`.
    """
    lines: list[str] = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(joined, size, weight=weight) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and text_width(lines[-1] + character, size, weight=weight) > width:
                lines.append("")
            lines[-1] += character
    return lines
