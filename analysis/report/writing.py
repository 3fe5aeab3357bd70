"""From results to the files of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from emoprobe.defaults import REPORT, RESULTS

from ..figures.files import file_stems, make_folder, replace_file
from .claims import claims
from .computed import compute
from .content import Document, listed
from .html import to_html
from .markdown import to_markdown
from .material import Material
from .methods import version_of
from .sections.order import sections
from .settings import ReportSettings
from .study import Study, gather

FIGURES = "figures"
_LONGEST_TITLE = 160


def write_report(
    results: str | Path | Sequence[str | Path] = RESULTS,
    *,
    caches: Sequence[str | Path] = (),
    out: str | Path = REPORT,
    title: str = ReportSettings.title,
    dimensions: Sequence[str] = ReportSettings.dimensions,
    quick: bool = ReportSettings.quick,
    smallest: float = ReportSettings.smallest,
    progress: bool = False,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Write a report of results: one page of HTML, and the same as Markdown with its figures beside it.

    Parameters
    ----------
    results : path or sequence of paths
        Folders that ``probe-fit`` and ``probe-train`` wrote; several are put together.
    caches : sequence of paths
        Those that the protocol names, beside the results or in the current folder, are found without.
    out : path
        Folder to write into; made where it is absent. It keeps what was computed from the caches, so that a second
        report is quick.
    title : str
        A title of your own.
    dimensions : sequence of str
        Of "arousal", "valence", "dominance" and "emotion"; all that there are by default.
    quick : bool
        Leave out what is computed from caches: second opinions on relevance, and similarity.
    smallest : float
        The smallest difference of interest, in CCC and UAR; 0 where every difference is.
    progress : bool
        Show bars on standard error.
    workers : int, optional
        Processes that ask second opinions and build sections, where that pays; as many as there are processors by
        default.
    say : callable
        Told what takes its time, a line at a time.

    Returns
    -------
    list of Path
        ``report.html``, ``report.md``, then the figures.

    Raises
    ------
    UserError
        If there are no results, a cache does not belong to them, or the folder cannot be written.

    Examples
    --------
    >>> write_report("results", out="report")  # doctest: +SKIP
    """
    ReportSettings(title=title, dimensions=tuple(dimensions), quick=quick, smallest=smallest)  # refuses what is none
    folders = [Path(one) for one in ([results] if isinstance(results, str | Path) else results)]
    out = Path(out)
    study = gather(folders, caches=[Path(cache) for cache in caches], dimensions=dimensions, quick=quick)
    make_folder(out)
    say("claims")
    tested = claims(study, smallest=smallest)
    computed = compute(study, out, progress=progress, workers=workers, say=say)
    say("figures and tables")
    document = Document(
        title or _title(study), _subtitle(study), sections(Material(study, tested, computed), workers=workers)
    )
    return _write(document, out)


def _title(study: Study) -> str:
    models = dict.fromkeys(model.label for model in study.models if not model.random)
    title = f"What the layers of {listed(models)} know of emotion (corpus: {listed(study.corpora)})"
    return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"


def _subtitle(study: Study) -> str:
    return (
        f"Made by emoprobe {version_of(study)} from {listed(folder.name or str(folder) for folder in study.folders)}."
    )


def _write(document: Document, out: Path) -> list[Path]:
    """The figures first: a page never names one that is not there."""
    figures = document.figures()
    stems = file_stems([figure.parts for figure in figures])
    make_folder(out / FIGURES)
    written = []
    for figure, stem in zip(figures, stems, strict=True):
        path = out / FIGURES / f"{stem}.png"
        replace_file(path, figure.png)
        written.append(path)
    files = [f"{FIGURES}/{stem}.png" for stem in stems]
    pages = [(out / "report.html", to_html(document)), (out / "report.md", to_markdown(document, files))]
    for path, text in pages:
        replace_file(path, text.encode("utf-8", "replace"))
    return [path for path, _ in pages] + written
