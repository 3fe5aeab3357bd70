"""How a figure becomes a file: names, formats, and a sign that it is ours."""

from __future__ import annotations

import hashlib
import io
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoprobe.errors import UserError
from emoprobe.ownership import refuse_stranger
from emoprobe.storage import write_file

from .captions import caption_of
from .style import COLUMN_WIDTH, publication_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FORMATS = ("png", "svg", "pdf")
MADE_BY = "Made by emoprobe"
#: With which the CSV of a table begins (:mod:`.numbers_beside`).
TABLE_COLUMNS = ("corpus", "split", "model", "system", "dimension", "layer", "metric", "value", "low", "high", "n")
_FIRST_COLUMNS = ",".join(TABLE_COLUMNS).encode()
_MAX_PART = 60  # characters that a file name keeps of one name
_MAX_STEM = 160  # and of all names together: file systems take 255 bytes


def file_stems(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """A file name, without ending, for each tuple of names; safe on every file system, and no two alike.

    Letters without their accents, digits, ``.``, ``-`` are kept; anything else becomes ``-``, so that no name leads
    out of a folder. Names that only then are alike get a few digits of a hash of the true name.

    Parameters
    ----------
    parts : sequence of tuple of str

    Returns
    -------
    list of str

    Examples
    --------
    >>> from emoprobe.analysis.figures.files import file_stems
    >>> file_stems([("layers", "facebook/hubert-base"), ("layers", "../../étc")])
    ['layers_facebook-hubert-base', 'layers_etc']
    """
    plain = ["_".join(_safe(part) for part in names)[:_MAX_STEM] for names in parts]
    # Case does not tell files apart everywhere.
    folded = [stem.casefold() for stem in plain]
    stems = []
    for names, stem in zip(parts, plain, strict=True):
        true_name = "\0".join(names).encode("utf-8", "surrogatepass")
        digits = f"-{hashlib.sha256(true_name).hexdigest()[:8]}" if folded.count(stem.casefold()) > 1 else ""
        stems.append(f"{stem}{digits}")
    return stems


def _safe(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name)
    kept = [
        character if character.isascii() and (character.isalnum() or character in ".-+") else "-"
        for character in decomposed
        if not unicodedata.combining(character)
    ]
    stem = "-".join(filter(None, "".join(kept).split("-")))
    while ".." in stem:
        stem = stem.replace("..", ".")
    return stem[:_MAX_PART].strip(".-") or "unnamed"


def make_folder(folder: Path) -> None:
    """Make a folder for figures, where there is none.

    Raises
    ------
    UserError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be a folder for figures ({error.strerror}): name another") from error


#: How a PNG, an SVG and a PDF hold the name that :func:`encoded` gives them; to mention it elsewhere proves nothing.
_SIGNS = (b"tEXtSource\0emoprobe", b"<dc:source>emoprobe</dc:source>", b"/Keywords (emoprobe)")


def is_own_figure(path: Path) -> bool:
    """Whether a file is a figure of ours: it says so, or (of release 0.1) matplotlib made it with a caption in it."""
    content = path.read_bytes()
    if any(sign in content for sign in _SIGNS):
        return True
    return b"Matplotlib" in content and any(key in content for key in (b"Description", b"dc:description", b"/Subject"))


def is_own_text(path: Path) -> bool:
    """Whether a file is a caption or a table of ours."""
    content = path.read_bytes()
    return MADE_BY.encode() in content or content.startswith(_FIRST_COLUMNS)


def is_own_page(path: Path) -> bool:
    """Whether a file is a page of a report of ours."""
    return b"Made by emoprobe" in path.read_bytes()


def encoded(figure: Figure, kind: str) -> bytes:
    """The file's bytes: no date in them, and the caption with them wherever the image goes."""
    caption = caption_of(figure)
    metadata = {
        "png": {"Description": caption, "Source": "emoprobe"},
        "svg": {"Date": None, "Description": caption, "Source": "emoprobe"},
        "pdf": {"CreationDate": None, "Subject": caption, "Keywords": "emoprobe"},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata[kind])
    return buffer.getvalue()


def write_drawings(
    drawings: Sequence[tuple[tuple[str, ...], Callable[..., Any]]], folder: Path, formats: Sequence[str]
) -> list[Path]:
    """Draw figures one after the other, and write each into a folder, with its caption beside it.

    ``STEM.txt`` has the caption as text, ``STEM.tex`` a figure of LaTeX that includes the picture and has the caption.

    Parameters
    ----------
    drawings : sequence of pairs
        A file name in parts, and a function that fills an empty ``figure=``.
    folder : Path
        Made where it is absent; files of the same name are replaced, whole or not at all.
    formats : sequence of str
        Of :data:`FORMATS`.

    Returns
    -------
    list of Path
        The pictures, in the order drawn.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    from matplotlib.figure import Figure

    make_folder(folder)
    written = []
    for (_, draw), stem in zip(drawings, file_stems([parts for parts, _ in drawings]), strict=True):
        with publication_style():
            # Not through pyplot: it would keep every figure open, and choose a window system on some machines.
            figure = Figure()
            draw(figure=figure)
            for kind in formats:
                path = folder / f"{stem}.{kind}"
                replace_file(path, encoded(figure, kind))
                written.append(path)
            if caption := caption_of(figure):
                replace_file(folder / f"{stem}.txt", f"{caption}\n\n{MADE_BY}.\n".encode())
                page_wide = figure.get_figwidth() > COLUMN_WIDTH
                replace_file(folder / f"{stem}.tex", latex_figure(stem, caption, formats, page_wide=page_wide).encode())
    return written


def latex_figure(stem: str, caption: str, formats: Sequence[str], *, page_wide: bool) -> str:
    r"""A figure of LaTeX to ``\input``: the picture of that name, its caption, and a label.

    Parameters
    ----------
    stem : str
        File name of the picture without its ending.
    caption : str
        As plain text.
    formats : sequence of str
        Of the picture; LaTeX takes PDF and PNG, not SVG.
    page_wide : bool
        Whether it takes both columns of a page.
    """
    ending = next((f".{kind}" for kind in ("pdf", "png") if kind in formats), "")
    kind, width = ("figure*", r"\textwidth") if page_wide else ("figure", r"\columnwidth")
    return (
        f"% {MADE_BY}.\n\\begin{{{kind}}}[t]\n  \\centering\n"
        f"  \\includegraphics[width={width}]{{{stem}{ending}}}\n"
        f"  \\caption{{{latex_text(caption)}}}\n  \\label{{fig:{stem}}}\n\\end{{{kind}}}\n"
    )


def latex_text(text: str) -> str:
    r"""Plain text as LaTeX sets it: what has a meaning there is escaped, signs that fonts lack are commands.

    Examples
    --------
    >>> print(latex_text("95 % of a_b"))
    95~\% of a\_b
    """
    return "".join(_LATEX.get(character, character) for character in text).replace(r" \%", r"~\%")


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "−": "$-$", "–": "--", "…": r"\dots{}", "²": "$^2$", "τ": r"$\tau$", "≤": r"$\leq$",
    "≥": r"$\geq$", "×": r"$\times$", "·": r"$\cdot$", "★": r"$\star$", "☆": r"$\star$", "•": r"$\bullet$",
}  # fmt: skip


#: How a file of another kind than a picture proves to be ours, what it is, and the option that names its place.
_PROOFS = {
    ".html": (is_own_page, "page", "--out"),
    ".md": (is_own_page, "page", "--out"),
    ".txt": (is_own_text, "caption", "--figures"),
    ".tex": (is_own_text, "caption or table", "--figures"),
    ".csv": (is_own_text, "table", "--figures"),
}


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, then put it in its place: a reader sees the old file or the new one.

    Raises
    ------
    UserError
        If what is there is not ours, or the file cannot be written.
    """
    is_own, what, option = _PROOFS.get(path.suffix, (is_own_figure, "figure", "--figures (of a report: --out)"))
    refuse_stranger(path, is_own, what, option=option)
    try:
        write_file(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room, or name another folder") from error
