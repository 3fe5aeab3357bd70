"""``emoprobe corpora``: the corpora that have a reader, and what each expects."""

from __future__ import annotations

import argparse
import sys
import textwrap

from emoprobe.errors import UserError
from emoprobe.misspelt import meant

from .command import CommandParser, add_output, counted, tell_end
from .running import run_command
from .screen import screen_width

_EXAMPLES = """\
examples:
  emoprobe corpora
  emoprobe corpora emodb msp

"""


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe corpora``."""
    command = CommandParser(
        prog="emoprobe corpora",
        description="List the corpora that have a reader (--corpus NAME:ROOT), and what each expects at its root.",
        epilog=_EXAMPLES + "Any other corpus is a table with a column of paths (CSV, Parquet or JSON): --corpus FILE.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="list only those whose name holds one of these")
    add_output(command, quiet="print the list alone")
    return command


def main(argv: list[str] | None = None) -> int:
    """Print the list; return the exit status."""
    options = parser().parse_args(argv)

    def body() -> int:
        from emoprobe.extract.corpora.listing import listed_readers

        readers = listed_readers()
        shown = [
            reader
            for reader in readers
            if not options.names or any(name in each for name in options.names for each in reader.names)
        ]
        if not shown:
            known = [name for reader in readers for name in reader.names]
            raise UserError(f"no reader has {' or '.join(options.names)} in its name: {meant(options.names[0], known)}")
        for reader in shown:
            print(", ".join(reader.names) + ("" if reader.package == "emoprobe" else f" (package {reader.package})"))
            for text in filter(None, (reader.about, reader.expects)):
                print(textwrap.fill(text, screen_width(), initial_indent="  ", subsequent_indent="    "))
        told = f"{len(shown)} of {counted(len(readers), 'reader')}."
        tell_end(told, "extract", "--corpus", f"{shown[0].names[0]}:ROOT", quiet=options.quiet)
        return 0

    return run_command(body, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main())
