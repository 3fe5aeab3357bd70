"""``probe-plot``: draw the figures anew from results alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from emoprobe.defaults import FIGURES, RESULTS
from emoprobe.errors import UserError

from .command import CommandParser
from .running import run_command


def parser() -> argparse.ArgumentParser:
    """The options of ``probe-plot``."""
    options = CommandParser(
        prog="probe-plot",
        description="Draw scores per layer, learned weights, a heat map and, of several models, their relative depth.",
        epilog="The results alone are needed, no cache and no model.",
    )
    options.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS",
        help="folders that probe-fit wrote (default: results); several are drawn together",
    )
    options.add_argument(
        "--figures", type=Path, default=Path(FIGURES), metavar="FOLDER", help="where to (default: %(default)s)"
    )
    options.add_argument(
        "--format",
        nargs="+",
        choices=("png", "svg", "pdf"),
        default=["png", "svg"],
        metavar="FORMAT",
        help="of png, svg, pdf (default: png svg)",
    )
    options.add_argument(
        "--metric", choices=("ccc", "pearson", "rmse"), default="ccc", help="score to draw (default: %(default)s)"
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``probe-plot``; returns its exit status."""
    options = parser().parse_args(arguments)
    return run_command(lambda: _draw(options))


def _draw(options: argparse.Namespace) -> int:
    folders = options.results or [Path(RESULTS)]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f"{folder} is not a folder of results: make one with probe-fit --out {folder}, or name another"
            )
    # Matplotlib and pandas take their time: only now, when there is something to draw.
    from emoprobe.analysis.figures.drawing import draw_figures

    for path in draw_figures(folders, options.figures, formats=options.format, metric=options.metric):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
