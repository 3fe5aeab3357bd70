"""The numbers of the figures as tables to paste: CSV, Markdown, and LaTeX with booktabs."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoprobe.probe.schema import ordered_dimensions

from ..curves import layer_curve
from ..measures.comparison import compare_systems
from ..tables import METRICS, Subject, records
from .captions import curve_caption, subject_name
from .cells import written
from .comparison import comparison_caption
from .files import MADE_BY, TABLE_COLUMNS, file_stems, latex_text, make_folder, replace_file
from .kinds import categories, each_comparison, each_curve, ratings
from .style import printable

if TYPE_CHECKING:
    from emoprobe.probe.results import Results

#: What stands where there is no number.
_NOTHING = "–"
_MOST_IN_COLUMN = 3  # columns of a table that one column of a page has room for


@dataclass(frozen=True)
class NumberTable:
    """A table that a reader can paste.

    Parameters
    ----------
    parts : tuple of str
        Of its file name.
    caption : str
    heads : tuple of str
        Names of the columns, the first that of the rows.
    rows : list of tuple of str
        Text of the cells, as Markdown and LaTeX have them.
    numbers : list of dict
        One score each, by :data:`.files.TABLE_COLUMNS`, as the CSV has them: unrounded.
    """

    parts: tuple[str, ...]
    caption: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: list[dict[str, Any]]

    def csv(self) -> str:
        """One row a score, unrounded."""
        import pandas as pd

        buffer = io.StringIO()
        pd.DataFrame(self.numbers, columns=list(TABLE_COLUMNS)).to_csv(buffer, index=False, lineterminator="\n")
        return buffer.getvalue()

    def markdown(self) -> str:
        """One row a layer or a system, with its caption."""
        cells = [self.heads, tuple("---" for _ in self.heads), *self.rows]
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in cells]
        return "\n".join([f"<!-- {MADE_BY}. -->", *lines, "", self.caption, ""])

    def latex(self, label: str) -> str:
        r"""A floating table to ``\input``; it needs the package booktabs."""
        body = [" & ".join(map(latex_text, row)) + r" \\" for row in self.rows]
        heads = " & ".join(map(latex_text, self.heads)) + r" \\"
        kind = "table" if len(self.heads) <= _MOST_IN_COLUMN else "table*"
        lines = [
            f"% {MADE_BY}. Needs \\usepackage{{booktabs}}.", f"\\begin{{{kind}}}[t]", r"  \centering",
            f"  \\caption{{{latex_text(self.caption)}}}", f"  \\label{{tab:{label}}}",
            f"  \\begin{{tabular}}{{l{'r' * (len(self.heads) - 1)}}}", r"    \toprule", f"    {heads}", r"    \midrule",
            *(f"    {line}" for line in body), r"    \bottomrule", r"  \end{tabular}", f"\\end{{{kind}}}", "",
        ]  # fmt: skip
        return "\n".join(lines)


def number_tables(results: Results, *, metric: str = "ccc") -> list[NumberTable]:
    """The numbers of every curve over layers, and of every comparison of systems, each with its interval.

    Parameters
    ----------
    results : Results
        As :func:`.tables.read_tables` returns them.
    metric : str
        As for :func:`.drawing.draw_figures`.

    Returns
    -------
    list of NumberTable
    """
    return [
        one
        for name, of in (("layers", ratings), ("emotion", categories))
        for one in (*_of_layers(name, of, results, metric), *_of_systems(name, of, results, metric))
    ]


def write_tables(tables: Sequence[NumberTable], folder: Path) -> list[Path]:
    """Write each table as ``.csv``, ``.md`` and ``.tex`` into a folder; files of the same name are replaced.

    Raises
    ------
    UserError
        If a file cannot be written, or one that is not ours has its name.
    """
    make_folder(folder)
    written_files = []
    for table, stem in zip(tables, file_stems([table.parts for table in tables]), strict=True):
        for ending, text in (("csv", table.csv()), ("md", table.markdown()), ("tex", table.latex(stem))):
            path = folder / f"{stem}.{ending}"
            replace_file(path, text.encode())
            written_files.append(path)
    return written_files


def _of_layers(name: str, of: Any, results: Results, metric: str) -> Iterator[NumberTable]:
    for wanted in each_curve(of)(results, metric):
        options = dict(wanted.options)
        subject = Subject(options.pop("model"), options.pop("corpus"))
        wanted_dimensions = options.pop("dimensions")
        curves = [
            curve
            for dimension in wanted_dimensions
            if (curve := layer_curve(results.scores, subject, dimension=dimension, **options))
        ]
        numbers = [
            {"corpus": subject.corpus, "split": curve.split, "model": subject.model, "system": curve.probe,
             "dimension": curve.dimension, "layer": layer, "metric": curve.metric, "value": value, "low": low,
             "high": high, "n": curve.n[1] if curve.n else None}
            for curve in curves
            for layer, (value, low, high) in enumerate(zip(curve.values, curve.low, curve.high, strict=True))
        ]  # fmt: skip
        rows = [
            (str(layer), *(_cell(curve.values[layer], curve.low[layer], curve.high[layer]) for curve in curves))
            for layer in range(max(len(curve.values) for curve in curves))
        ]
        said = curve_caption(curves, results.protocol, band="In brackets")
        yield NumberTable(
            ("table", name, *wanted.parts),
            f"{METRICS[curves[0].metric]} of each layer. {said}",
            ("Layer", *(printable(curve.dimension) for curve in curves)),
            rows,
            numbers,
        )


def _of_systems(name: str, of: Any, results: Results, metric: str) -> Iterator[NumberTable]:
    for wanted in each_comparison(of)(results, metric):
        systems = compare_systems(results, **wanted.options)
        score = wanted.options["metric"]
        dimensions = ordered_dimensions(systems["dimension"])
        rows, numbers = [], []
        for (model, system), part in systems.groupby(["model", "system"], sort=False):
            of_dimension = {row.dimension: row for row in records(part)}
            label = ": ".join(printable(word) for word in (model, system) if word)
            cells = [_system_cell(of_dimension.get(dimension)) for dimension in dimensions]
            rows.append((label, *cells))
            numbers += [
                {"corpus": row.corpus, "split": row.split, "model": model, "system": system, "dimension": dimension,
                 "layer": row.layer, "metric": score, "value": row.value, "low": row.low, "high": row.high, "n": row.n}
                for dimension, row in of_dimension.items()
            ]  # fmt: skip
        with_predictions = len(results.predictions) > 0
        said = comparison_caption(systems, score, results.protocol, with_predictions=with_predictions, drawn=False)
        kind = ("emotion", "comparison") if name == "emotion" else ("comparison",)
        subject = subject_name(Subject("", wanted.options["corpus"])).removeprefix("unnamed model on ")
        heads = ("System", *map(printable, dimensions))
        yield NumberTable(("table", *kind, *wanted.parts), f"{subject}: {said}", heads, rows, numbers)


def _system_cell(row: Any) -> str:
    if row is None:
        return _NOTHING
    layer = f", layer {row.layer}" if row.kind == "layer" else ""
    return _cell(row.value, row.low, row.high) + layer


def _cell(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return _NOTHING
    limits = f" [{written(low)}, {written(high)}]" if math.isfinite(low) and math.isfinite(high) else ""
    return written(value) + limits
