"""``emoprobe similarity``: how alike layers are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.analysis.measures.alignment import MEASURES, VARIANCE
from emoprobe.analysis.measures.similarity import FILE, similarity_table
from emoprobe.extract.limits import STATISTICS

from .command import CommandParser, add_formats, add_output, counted, tell_end
from .running import run_command

_EPILOG = """\
examples:
  emoprobe similarity teacher.h5                          its layers with each other and with the baselines
  emoprobe similarity teacher.h5 student.h5 --measure cka
  emoprobe similarity teacher.h5 --features std --baselines logmel mfcc

Run again: comparisons that the folder holds, of the same caches and settings, are not made again.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe similarity``."""
    command = CommandParser(
        prog="emoprobe similarity",
        description="Tell how alike layers are (linear CKA without bias, PWCCA): within each model, between models on "
        "the utterances that both hold, and with the baselines of the cache. Writes similarity.csv and figures.",
        epilog=_EPILOG,
    )
    command.add_argument("caches", nargs="+", type=Path, metavar="CACHE", help="read these caches of probe-extract")
    what = command.add_argument_group("what is compared")
    what.add_argument(
        "--measure",
        nargs="+",
        choices=MEASURES,
        default=list(MEASURES),
        metavar="MEASURE",
        help=f"compare by {', '.join(MEASURES)} (default: all)",
    )
    what.add_argument(
        "--features",
        "--statistic",
        dest="statistic",
        choices=STATISTICS,
        default="mean",
        metavar="SET",
        help="read this statistic of the caches (default: %(default)s)",
    )
    what.add_argument(
        "--baselines",
        nargs="*",
        metavar="NAME",
        help="compare the layers with these baselines, too, such as logmel; with none, where no name follows "
        "(default: all in the cache)",
    )
    what.add_argument(
        "--variance",
        type=float,
        default=VARIANCE,
        metavar="P",
        help="keep this share of the variance of each side for PWCCA (default: %(default)s)",
    )
    where = command.add_argument_group("where to")
    where.add_argument(
        "--out", type=Path, default=Path("similarity"), metavar="FOLDER", help="write there (default: %(default)s)"
    )
    add_formats(where)
    where.add_argument("--overwrite", action="store_true", help="make all comparisons again")
    add_output(command)
    return command


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = parser().parse_args(argv)

    def body() -> int:
        from emoprobe.analysis.figures.similarity import draw_similarity

        table = similarity_table(
            given.caches,
            measures=given.measure,
            statistic=given.statistic,
            features=given.baselines,
            variance=given.variance,
            out=given.out,
            overwrite=given.overwrite,
            progress=not given.quiet,
        )
        drawn = draw_similarity(table, given.out, formats=given.format)
        for path in () if given.quiet else [given.out / FILE, *drawn]:
            print(path)
        pairs = counted(len(table.groupby(["model", "other"])), "comparison")
        tell_end(f"{pairs} by {', '.join(given.measure)}, in {given.out}.", quiet=given.quiet)
        return 0

    return run_command(body, verbose=given.verbose)


if __name__ == "__main__":
    sys.exit(main())
