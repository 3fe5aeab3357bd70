"""``emoprobe similarity``: how alike layers are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.analysis.measures.alignment import MEASURES, VARIANCE
from emoprobe.analysis.measures.similarity import FILE, similarity_table

from .command import CommandParser
from .running import run_command


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe similarity``."""
    command = CommandParser(
        prog="emoprobe similarity",
        description="How alike layers are (linear CKA without bias, PWCCA): within each model, between models on the "
        "utterances that both hold, and with the acoustic and other features of the cache. Writes similarity.csv and "
        "figures.",
        epilog="Run again: comparisons that the folder holds, of the same caches and settings, are not made again.",
    )
    command.add_argument("caches", nargs="+", type=Path, metavar="CACHE", help="caches that probe-extract wrote")
    command.add_argument("--out", type=Path, default=Path("similarity"), metavar="FOLDER", help="default: %(default)s")
    command.add_argument("--measure", nargs="+", choices=MEASURES, default=list(MEASURES), help="default: both")
    command.add_argument("--statistic", default="mean", help="pooled statistic of the states (default: %(default)s)")
    command.add_argument("--features", nargs="*", metavar="NAME", help="such as logmel (default: all in the cache)")
    command.add_argument(
        "--variance", type=float, default=VARIANCE, help="that PWCCA keeps of each side (default: %(default)s)"
    )
    command.add_argument("--format", nargs="+", choices=("png", "svg", "pdf"), default=["png"], help="default: png")
    command.add_argument("--overwrite", action="store_true", help="make all comparisons again")
    command.add_argument("--quiet", action="store_true", help="no progress bars")
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
            features=given.features,
            variance=given.variance,
            out=given.out,
            overwrite=given.overwrite,
            progress=not given.quiet,
        )
        print(given.out / FILE)
        for path in draw_similarity(table, given.out, formats=given.format):
            print(path)
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
