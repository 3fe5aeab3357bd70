"""``probe-plot``: draw the figures anew from results alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from emoprobe.defaults import FIGURES, RESULTS
from emoprobe.errors import UserError

from .command import CommandParser, add_formats, add_output, counted, tell_end
from .running import run_command

_EPILOG = """\
examples:
  emoprobe plot                                   the results in this folder
  emoprobe plot results --format pdf --metric pearson
  emoprobe plot results_base results_large --figures both
  emoprobe plot --dim arousal valence --width column --tables

The results alone are needed, no cache and no model. Beside each picture stands its caption, as .txt and .tex.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``probe-plot``."""
    options = CommandParser(
        prog="probe-plot",
        description="Draw scores per layer, learned weights, a heat map and, of several models, their relative depth.",
        epilog=_EPILOG,
    )
    options.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS",
        help="draw these folders of probe-fit (default: results); several are drawn together",
    )
    what = options.add_argument_group("what is drawn")
    what.add_argument(
        "--dim", nargs="+", metavar="DIM", help="draw these dimensions, such as arousal valence (default: all)"
    )
    what.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="draw these models, each with its random twin as a control (default: all)",
    )
    what.add_argument(
        "--metric",
        choices=("ccc", "pearson", "rmse", "uar", "share"),
        default="ccc",
        help="draw this score: of ratings CCC, Pearson's r, RMSE or the share of variance that is explained, with "
        "categories by UAR beside; uar draws categories alone (default: %(default)s)",
    )
    what.add_argument("--speakers", action="store_true", help="add a thin line for each speaker, from the predictions")
    what.add_argument(
        "--tables",
        action="store_true",
        help="write the numbers with their intervals beside the figures, as .csv, .md and .tex (booktabs)",
    )
    how = options.add_argument_group("how and where")
    how.add_argument(
        "--figures", type=Path, default=Path(FIGURES), metavar="FOLDER", help="draw there (default: %(default)s)"
    )
    add_formats(how, default=("png", "svg"))
    how.add_argument(
        "--width",
        choices=("column", "page"),
        help="draw figures of scores as wide as a column (3.35 in) or a page (7 in); by default each kind has its own "
        "width, which answers to questions always keep",
    )
    how.add_argument(
        "--caption",
        action="store_true",
        help="write captions below the pictures, too; they always stand beside them, as .txt and .tex",
    )
    add_output(options)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``probe-plot``; returns its exit status."""
    options = parser().parse_args(arguments)
    return run_command(lambda: _draw(options), verbose=options.verbose)


def _draw(options: argparse.Namespace) -> int:
    folders = options.results or [Path(RESULTS)]
    for folder in folders:
        if folder.is_file() and folder.suffix in (".h5", ".hdf5"):
            raise UserError(f"{folder} is a cache, and figures are of results: probe-fit {folder} draws them as well")
        if not folder.is_dir():
            raise UserError(
                f"{folder} is not a folder of results: make one with probe-fit --out {folder}, or name another"
            )
    # Matplotlib and pandas take their time: only now, when there is something to draw.
    from emoprobe.analysis.figures.drawing import draw_figures

    drawn = draw_figures(
        folders,
        options.figures,
        formats=options.format,
        metric=options.metric,
        dimensions=options.dim,
        models=options.models,
        width=options.width,
        speakers=options.speakers,
        caption=options.caption,
        tables=options.tables,
    )
    for path in () if options.quiet else drawn:
        print(path)
    tell_end(f"{counted(len(drawn), 'file')} in {options.figures}.", "report", *folders, quiet=options.quiet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
