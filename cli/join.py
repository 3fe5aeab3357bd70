"""The command `probe-extract join`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.defaults import CACHE
from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION

from .command import CommandParser, add_output, conclude, counted, tell_end
from .running import run_command

_EPILOG = """\
examples:
  emoprobe extract --corpus ratings.csv --shard 1/2 --out shards/1.h5
  emoprobe extract --corpus ratings.csv --shard 2/2 --out shards/2.h5
  emoprobe join shards/*.h5 --out ratings.h5

The new cache is what one run without --shard writes, up to the last bits of the states, and goes on as such a one.
Every utterance is compared with its checksum while it is copied. The shards stay; once joined, nothing needs them.
Stopped, run the same command again: nothing is at --out before all is.

exit status: 0 joined; 3 joined, and some utterances had been left out, each with its reason; 2 an error.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = CommandParser(
        prog="probe-extract join",
        description="Make one cache of all shards of a corpus that probe-extract --shard has made.",
        epilog=_EPILOG,
    )
    p.add_argument(
        "shards",
        nargs="+",
        type=Path,
        metavar="SHARD",
        help="take these caches: all shards of a corpus, in any order",
    )
    where = p.add_argument_group("where to")
    where.add_argument(
        "--out", type=Path, default=Path(CACHE), metavar="FILE", help="write the cache there (default: %(default)s)"
    )
    where.add_argument("--overwrite", action="store_true", help="replace another cache that is there")
    add_output(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(argv)
    return run_command(lambda: _join(options), verbose=options.verbose)


def _join(options: argparse.Namespace) -> int:
    # It loads pandas and h5py: not for --help.
    from emoprobe.extract.joining import join

    cache = join(
        options.shards,
        options.out,
        overwrite=options.overwrite,
        progress=not options.quiet,
        report=None if options.quiet else print,
    )
    with cache:
        table = cache.utterances
    status = conclude(
        table[table["status"] != "done"],
        table,
        options.out,
        quiet=options.quiet,
        elsewhere="column `reason` of the utterances in",
    )
    targets = [name for name in (*DIMENSIONS, EMOTION) if (table[name].notna() & (table[name] != "")).any()]
    fit = ("fit", options.out, *(("--target", EMOTION) if targets == [EMOTION] else ()))
    told = f"Joined: {counted(len(options.shards), 'shard')}, which nothing needs any more."
    tell_end(told, *(fit if targets else ()), quiet=options.quiet)
    return status


if __name__ == "__main__":
    sys.exit(main())
