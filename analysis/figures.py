"""All figures that results support, as files: the same results give the same bytes."""

from __future__ import annotations

import hashlib
import io
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoprobe.errors import UserError
from emoprobe.ownership import refuse_stranger

from .comparison import plot_comparison
from .plots import plot_heatmap, plot_layers, plot_teacher_student, plot_weights
from .style import printable, publication_style
from .tables import (
    METRICS,
    WEIGHTED,
    Subject,
    Tables,
    ordered_dimensions,
    ordered_features,
    ordered_splits,
    read_tables,
    subjects,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")

_LAST_SPLITS = ("development", "train")
_PLAIN_PROBES = ("ridge", "logistic")
_MAX_PART = 60  # characters that a file name keeps of one name
_MAX_STEM = 160  # and of all names together: file systems take 255 bytes


@dataclass(frozen=True)
class _Drawing:
    """One figure to be: what its file name says, and the function that fills it."""

    parts: tuple[str, ...]
    draw: Callable[..., Any]


def draw_figures(
    results: Any,
    figures: str | Path = "figures",
    *,
    formats: Sequence[str] = ("png", "svg"),
    metric: str = "ccc",
) -> list[Path]:
    """Draw every figure that the results support and write it into a folder.

    ``layers_MODEL`` (score per layer), ``emotion_MODEL`` (UAR per layer), ``weights_MODEL`` (learned weights),
    ``heatmap`` (all models of a corpus), ``depth`` (two models or more on relative depth), ``comparison`` (two systems
    or more: baselines, layers, learned sums, models trained end to end). Where the results hold several corpora, each
    name says which; several probes, pooled features or test parts are told apart from the second on:
    ``layers_MODEL_mlp``.

    Parameters
    ----------
    results : results, pandas.DataFrame, path, or a sequence of these
        As for :func:`emoprobe.plot_layers`; several are put together.
    figures : path
        Folder to write into; made where it is absent. Files of the same name are replaced, whole or not at all.
    formats : sequence of str
        Of ``png`` (300 dots an inch), ``svg`` and ``pdf``.
    metric : str
        ``ccc``, ``pearson`` or ``rmse``; other than ``ccc`` it is part of the file names.

    Returns
    -------
    list of Path
        Files written, in the order drawn.

    Raises
    ------
    UserError
        If the results hold nothing to draw, or the folder cannot be written.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise UserError(f"cannot write {kind!r} figures: choose of {', '.join(FORMATS)}")
    folder = Path(figures)
    tables = read_tables(results)
    drawings = list(_drawings(tables, metric))
    if not drawings:
        raise UserError("the results hold nothing to draw: no score of a layer, no learned weight, no two systems")
    _make_folder(folder)
    written = []
    for drawing, stem in zip(drawings, file_stems([drawing.parts for drawing in drawings]), strict=True):
        written += _write(drawing, tables, folder / stem, formats)
    return written


def _drawings(tables: Tables, metric: str) -> Iterator[_Drawing]:
    scores = tables.scores
    if metric not in METRICS:
        raise UserError(f"no score is called {metric!r}: choose one of {', '.join(METRICS)}")
    suffix = () if metric == "ccc" else (metric,)
    found = subjects(scores)
    several_corpora = len({subject.corpus for subject in found}) > 1
    for dimensions, score, prefix, ending in (
        (_ratings(scores), metric, "layers", suffix),
        (["emotion"], "uar", "emotion", ()),
    ):
        for subject in found:
            name = (subject.model, *((subject.corpus,) if several_corpora else ()))
            for parts, choice in _variants(scores, subject, dimensions, score):
                choice |= {"model": subject.model, "corpus": subject.corpus, "dimensions": dimensions}
                yield _Drawing((prefix, *name, *ending, *parts), partial(plot_layers, metric=score, **choice))
    for subject in subjects(tables.weights):
        name = (subject.model, *((subject.corpus,) if several_corpora else ()))
        rows = _of(tables.weights, subject)
        for probe, fits in rows.groupby("probe"):
            for position, features in enumerate(ordered_features(fits["features"])):
                parts = (probe,) if probe != WEIGHTED else ()
                parts += (features,) if position else ()
                choice = {"model": subject.model, "corpus": subject.corpus, "probe": probe, "features": features}
                yield _Drawing(("weights", *name, *parts), partial(plot_weights, **choice))
    for dimensions, score, prefix, ending in (
        (_ratings(scores), metric, (), suffix),
        (["emotion"], "uar", ("emotion",), ()),
    ):
        layered = _layered(scores, dimensions, score)
        layered = layered[layered["probe"].isin(_PLAIN_PROBES)] if len(layered) else layered
        found = subjects(layered)
        # Scores on different corpora do not compare: each corpus has its own figures.
        for corpus in dict.fromkeys(subject.corpus for subject in found):
            name = (corpus,) if several_corpora else ()
            choice = {"metric": score, "dimensions": dimensions, "corpus": corpus}
            if not prefix:
                yield _Drawing(("heatmap", *name, *ending), partial(plot_heatmap, **choice))
            if sum(subject.corpus == corpus for subject in found) > 1:
                yield _Drawing((*prefix, "depth", *name, *ending), partial(plot_teacher_student, **choice))

    for dimensions, score, prefix, ending in (
        (_ratings(scores), metric, (), suffix),
        (["emotion"], "uar", ("emotion",), ()),
    ):
        for corpus in dict.fromkeys(scores["corpus"]) if len(scores) else ():
            name = (corpus,) if several_corpora else ()
            for number, split in enumerate(_compared_splits(scores, corpus, dimensions, score)):
                parts = (*prefix, "comparison", *name, *ending, *((split,) if number else ()))
                choice = {"metric": score, "dimensions": dimensions, "corpus": corpus, "split": split}
                yield _Drawing(parts, partial(plot_comparison, **choice))


def _compared_splits(scores: Any, corpus: str, dimensions: Sequence[str], metric: str) -> list[str]:
    """The held-out parts on which two systems or more have a score, beside the predictor of the mean."""
    if metric not in scores.columns:
        return []
    rows = scores[(scores["corpus"] == corpus) & scores["dimension"].isin(dimensions) & scores[metric].notna()]
    # The layers of a probe are one system; a baseline is the same for every model.
    systems = rows[rows["probe"] != "mean"].assign(model=lambda table: table["model"].where(table["layer"] != -1, ""))
    systems = systems[["split", "model", "probe", "features"]].drop_duplicates()
    found = [split for split in ordered_splits(systems["split"]) if (systems["split"] == split).sum() > 1]
    return [split for split in found if split not in _LAST_SPLITS] or found


def _ratings(scores: Any) -> list[str]:
    names = scores["dimension"] if len(scores) else []
    return [name for name in ordered_dimensions(names) if name != "emotion"]


def _of(table: Any, subject: Subject) -> Any:
    return table[(table["model"] == subject.model) & (table["corpus"] == subject.corpus)]


def _layered(scores: Any, dimensions: Iterable[str], metric: str) -> Any:
    if not len(scores) or metric not in scores.columns:
        return scores.iloc[:0]
    return scores[scores["dimension"].isin(list(dimensions)) & scores["layer"].ge(0) & scores[metric].notna()]


def _variants(
    scores: Any, subject: Subject, dimensions: Iterable[str], metric: str
) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """Each probe, features and held-out part that has scores per layer, with what the file name adds for it."""
    rows = _layered(scores, dimensions, metric)
    rows = _of(rows, subject) if len(rows) else rows
    for probe in dict.fromkeys(rows["probe"]) if len(rows) else ():
        of_probe = rows[rows["probe"] == probe]
        splits = ordered_splits(of_probe["split"])
        # What the penalty was chosen on is no result, unless there is nothing else.
        splits = [split for split in splits if split not in _LAST_SPLITS] or splits
        for number, split in enumerate(splits):
            of_split = of_probe[of_probe["split"] == split]
            for position, features in enumerate(ordered_features(of_split["features"])):
                parts = (probe,) if probe not in _PLAIN_PROBES else ()
                parts += (features,) if position else ()
                parts += (split,) if number else ()
                yield parts, {"probe": probe, "split": split, "features": features}


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
    >>> from emoprobe.analysis.figures import file_stems
    >>> file_stems([("layers", "facebook/hubert-base"), ("layers", "../../étc")])
    ['layers_facebook-hubert-base', 'layers_etc']
    """
    plain = ["_".join(_safe(part) for part in names)[:_MAX_STEM] for names in parts]
    # Case does not tell files apart everywhere.
    folded = [stem.casefold() for stem in plain]
    stems = []
    for names, stem in zip(parts, plain, strict=True):
        if folded.count(stem.casefold()) > 1:
            true_name = "\0".join(names).encode("utf-8", "surrogatepass")
            stem = f"{stem}-{hashlib.sha256(true_name).hexdigest()[:8]}"
        stems.append(stem)
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


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be a folder for figures ({error.strerror}): name another") from error


def _write(drawing: _Drawing, tables: Tables, stem: Path, formats: Sequence[str]) -> list[Path]:
    from matplotlib.figure import Figure

    written = []
    with publication_style():
        # Not through pyplot: it would keep every figure open, and choose a window system on some machines.
        figure = Figure()
        drawing.draw(tables, figure=figure)
        for kind in formats:
            path = stem.with_name(f"{stem.name}.{kind}")
            _replace(path, _encoded(figure, kind))
            written.append(path)
    return written


#: How a PNG, an SVG and a PDF hold the name that :func:`_encoded` gives them; to mention it elsewhere proves nothing.
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


def _encoded(figure: Figure, kind: str) -> bytes:
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


def _replace(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, then put it in its place: a reader sees the old file or the new one.

    Raises
    ------
    UserError
        If what is there is not ours, or the file cannot be written.
    """
    page = path.suffix in (".html", ".md")
    option = "--out" if page else "--figures (of a report: --out)"
    refuse_stranger(path, is_own_page if page else is_own_figure, "page" if page else "figure", option=option)
    temporary = path.with_name(f".{path.name}.new")  # one name, so that a killed run leaves nothing for ever
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room, or name another folder") from error
    finally:
        temporary.unlink(missing_ok=True)
