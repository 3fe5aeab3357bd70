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

from .style import printable, publication_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FORMATS = ("png", "svg", "pdf")
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


def is_own_page(path: Path) -> bool:
    """Whether a file is a page of a report of ours."""
    return b"Made by emoprobe" in path.read_bytes()


def encoded(figure: Figure, kind: str) -> bytes:
    """The file's bytes: no date in them, and the caption with them wherever the image goes."""
    caption = printable(figure.get_supxlabel().replace("\n", " "))
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
    """Draw figures one after the other, and write each into a folder.

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
        In the order drawn.

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
    return written


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, then put it in its place: a reader sees the old file or the new one.

    Raises
    ------
    UserError
        If what is there is not ours, or the file cannot be written.
    """
    page = path.suffix in (".html", ".md")
    option = "--out" if page else "--figures (of a report: --out)"
    refuse_stranger(path, is_own_page if page else is_own_figure, "page" if page else "figure", option=option)
    try:
        write_file(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room, or name another folder") from error
