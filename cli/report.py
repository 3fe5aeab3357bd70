"""``probe-report``: one page with everything that results can show, and what they cannot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from emoprobe.analysis.report.settings import ReportSettings
from emoprobe.defaults import REPORT, RESULTS
from emoprobe.errors import UserError
from emoprobe.parallel import ProcessSettings

from .command import CommandParser, add_output, add_setting, add_workers, settings_of, text
from .running import run_command

_CHOICES = ("arousal", "valence", "dominance", "emotion", "all")


_EPILOG = """\
examples:
  emoprobe report                                  the results in this folder
  emoprobe report results --dim arousal valence --title 'Layers of HuBERT'
  emoprobe report results trained/results --caches teacher.h5 student.h5 --out page

Run again: what was computed from the caches is kept in the folder of the report.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``probe-report``."""
    options = CommandParser(
        prog="probe-report",
        description="Write report.html, one page that opens from disk, and the same as report.md: the answer in a few "
        "sentences, a figure that can be asked (with emoprobe[report]), every claim with its verdict; folded below: "
        "protocol, curves with controls, weights, similarity, end-to-end models, fairness, limits, methods, BibTeX.",
        epilog=_EPILOG,
    )
    options.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS",
        help="read these folders of probe-fit and probe-train (default: results); several are put together",
    )
    options.add_argument(
        "--caches",
        nargs="+",
        type=Path,
        default=[],
        metavar="CACHE",
        help="read these caches of the results (default: those that the protocol names, beside the results or here)",
    )
    options.add_argument(
        "--out", type=Path, default=Path(REPORT), metavar="FOLDER", help="write there (default: %(default)s)"
    )
    add = partial(add_setting, options, ReportSettings)
    add("title", type=text, metavar="TEXT", help="give the page a title of your own")
    add(
        "dimensions",
        option="dim",
        choices=_CHOICES,
        metavar="DIM",
        help=f"report {', '.join(_CHOICES)} (default: all that have scores)",
    )
    add(
        "smallest",
        metavar="D",
        help="call what is sure to differ by less than D, in CCC (UAR of categories), practically equal "
        "(default: %(default)s; 0: every difference is of interest)",
    )
    add_workers(options)
    add("quick", help="leave out what is computed from caches: second opinions and similarity")
    add_output(options)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``probe-report``; returns its exit status."""
    options = parser().parse_args(arguments)
    return run_command(lambda: _report(options), verbose=options.verbose)


def _report(options: argparse.Namespace) -> int:
    folders = options.results or [Path(RESULTS)]
    for folder in folders:
        if folder.is_file() and folder.suffix in (".h5", ".hdf5"):
            raise UserError(
                f"{folder} is a cache, and a report is of results: probe-fit {folder}, then probe-report {RESULTS} "
                f"--caches {folder}"
            )
        if not folder.is_dir():
            raise UserError(
                f"{folder} is not a folder of results: make one with probe-fit --out {folder}, or name another"
            )
    # Pandas, matplotlib and jinja2 take their time: only now, when there is something to report.
    from emoprobe.analysis.report.writing import write_report

    everything = "all" in options.dimensions
    settings = settings_of(
        options, ReportSettings, dimensions=() if everything else tuple(dict.fromkeys(options.dimensions))
    )
    written = write_report(
        folders,
        caches=options.caches,
        out=options.out,
        **asdict(settings),
        progress=not options.quiet,
        workers=settings_of(options, ProcessSettings).workers,
        say=(lambda line: None) if options.quiet else lambda line: print(line, file=sys.stderr),
    )
    for path in () if options.quiet else written[:2]:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
