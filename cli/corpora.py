"""``emoprobe corpora``: the corpora that have a reader, and what each expects."""

from __future__ import annotations

import argparse
import sys
import textwrap

from .command import CommandParser
from .running import run_command


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe corpora``."""
    command = CommandParser(
        prog="emoprobe corpora",
        description="List the corpora that have a reader (--corpus NAME:ROOT), and what each expects at its root.",
        epilog="Any other corpus is a table with a column of paths (CSV, Parquet or JSON): --corpus FILE.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="only those whose name holds one of these")
    return command


def main(argv: list[str] | None = None) -> int:
    """Print the list; return the exit status."""
    options = parser().parse_args(argv)

    def body() -> int:
        from emoprobe.extract.corpora.listing import listed_readers

        readers = listed_readers()
        for reader in readers:
            if options.names and not any(name in each for name in options.names for each in reader.names):
                continue
            print(", ".join(reader.names) + ("" if reader.package == "emoprobe" else f" (package {reader.package})"))
            for text in filter(None, (reader.about, reader.expects)):
                print(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="    "))
        print(f"{len(readers)} readers; use one: emoprobe extract --corpus NAME:ROOT")
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
