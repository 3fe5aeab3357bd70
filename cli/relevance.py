"""``emoprobe relevance``: second opinions on which layers matter."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from emoprobe.analysis.measures.opinions import OPINIONS
from emoprobe.analysis.measures.relevance import AGREEMENT_FILE, FILE, keep_agreement, relevance_opinions
from emoprobe.analysis.measures.relevance_settings import RelevanceSettings

from .command import CommandParser, add_dimensions, add_setting, dimensions_of, settings_of
from .running import run_command


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe relevance``."""
    command = CommandParser(
        prog="emoprobe relevance",
        description="Ask six opinions on which layers matter, and how far they agree. Writes relevance.csv, "
        "agreement.csv and a figure.",
        epilog="Run again: opinions that the folder holds, of the same cache and settings, are not asked again.",
    )
    command.add_argument("cache", type=Path, metavar="CACHE", help="cache that probe-extract wrote")
    add_dimensions(command, help="arousal, valence, dominance, several of them, or all (default: all with labels)")
    command.add_argument("--out", type=Path, default=Path("relevance"), metavar="FOLDER", help="default: %(default)s")
    command.add_argument("--opinions", nargs="+", choices=tuple(OPINIONS), default=list(OPINIONS), help="default: all")
    add = partial(add_setting, command, RelevanceSettings)
    add("features", help="statistic (default: %(default)s)")
    add("split", help="part to score (default: the first test part)")
    for name, meaning in (
        ("folds", "folds that keep speakers and groups whole"),
        ("seed", "of folds, bootstrap, search and training"),
        ("seeds", "of the learned weights"),
        ("resamples", "of the bootstrap over speakers, or groups of them"),
        ("max_train", "most utterances that kernels are trained on"),
        ("iterations", "of the random search of the banded ridge"),
    ):
        add(name, metavar="N", help=f"{meaning} (default: %(default)s)")
    add("ungrouped", help="accept folds by utterance where no speaker is named")
    command.add_argument("--format", nargs="+", choices=("png", "svg", "pdf"), default=["png"], help="default: png")
    command.add_argument("--overwrite", action="store_true", help="ask all opinions again")
    command.add_argument("--quiet", action="store_true", help="no progress bars")
    return command


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = parser().parse_args(argv)

    def body() -> int:
        from emoprobe.analysis.figures.relevance import draw_relevance

        settings = settings_of(
            given, RelevanceSettings, dimensions=() if "all" in given.dim else dimensions_of(given.dim)
        )
        table = relevance_opinions(
            given.cache,
            settings,
            opinions=given.opinions,
            out=given.out,
            overwrite=given.overwrite,
            progress=not given.quiet,
        )
        print(given.out / FILE)
        if len(keep_agreement(given.out)):
            print(given.out / AGREEMENT_FILE)
        for path in draw_relevance(table, given.out, formats=given.format):
            print(path)
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
