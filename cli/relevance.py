"""``emoprobe relevance``: second opinions on which layers matter."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from emoprobe.analysis.measures.opinions import OPINIONS
from emoprobe.analysis.measures.relevance import AGREEMENT_FILE, FILE, keep_agreement, relevance_opinions
from emoprobe.analysis.measures.relevance_settings import RelevanceSettings
from emoprobe.parallel import ProcessSettings

from .command import (
    CommandParser,
    add_dimensions,
    add_formats,
    add_output,
    add_setting,
    add_workers,
    counted,
    dimensions_of,
    settings_of,
    tell_end,
)
from .running import run_command

_EPILOG = """\
examples:
  emoprobe relevance hidden_states.h5
  emoprobe relevance teacher.h5 --dim arousal valence --out relevance_teacher --format pdf

Run again: opinions that the folder holds, of the same cache and settings, are not asked again.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe relevance``."""
    command = CommandParser(
        prog="emoprobe relevance",
        description="Ask six opinions on which layers matter, and how far they agree. Writes relevance.csv, "
        "agreement.csv and a figure.",
        epilog=_EPILOG,
    )
    command.add_argument("cache", type=Path, metavar="CACHE", help="read this cache of probe-extract")
    what = command.add_argument_group("what is asked")
    add_dimensions(what, help="ask of arousal, valence, dominance, several of them, or all (default: all with labels)")
    what.add_argument(
        "--opinions",
        nargs="+",
        choices=tuple(OPINIONS),
        default=list(OPINIONS),
        metavar="OPINION",
        help=f"ask {', '.join(OPINIONS)}, or several of them (default: all)",
    )
    add = partial(add_setting, what, RelevanceSettings)
    add("features", metavar="SET", help="read this statistic of the cache (default: %(default)s)")
    add("split", metavar="PART", help="score this part, such as test (default: the first test part)")
    how = command.add_argument_group("how")
    add = partial(add_setting, how, RelevanceSettings)
    add("folds", metavar="K", help="make K folds that keep speakers and groups whole (default: %(default)s)")
    for name, meaning in (
        ("seed", "draw folds, bootstrap, search and training from this seed"),
        ("seeds", "learn the weights with N seeds"),
        ("resamples", "draw N resamples in the bootstrap over speakers, or groups of them"),
        ("max_train", "train kernels on N utterances at most"),
        ("iterations", "try N times in the random search of the banded ridge"),
    ):
        add(name, metavar="N", help=f"{meaning} (default: %(default)s)")
    add("ungrouped", help="accept folds by utterance in a corpus that names no speaker")
    add_workers(how)
    where = command.add_argument_group("where to")
    where.add_argument(
        "--out", type=Path, default=Path("relevance"), metavar="FOLDER", help="write there (default: %(default)s)"
    )
    add_formats(where)
    where.add_argument("--overwrite", action="store_true", help="ask all opinions again")
    add_output(command)
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
            workers=settings_of(given, ProcessSettings).workers,
        )
        agreement = keep_agreement(given.out)
        drawn = draw_relevance(table, given.out, formats=given.format)
        if not given.quiet:
            for path in [given.out / FILE, *([given.out / AGREEMENT_FILE] if len(agreement) else []), *drawn]:
                print(path)
        asked = counted(table["opinion"].nunique(), "opinion")
        layers = counted(table["layer"].nunique(), "layer")
        dimensions = ", ".join(table["dimension"].unique())
        tell_end(f"{asked} on {layers}, of {dimensions}, in {given.out}.", quiet=given.quiet)
        return 0

    return run_command(body, verbose=given.verbose)


if __name__ == "__main__":
    sys.exit(main())
