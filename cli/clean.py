"""``emoprobe clean``: remove what killed commands have left."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.errors import UserError, plain

from .command import CommandParser, add_output
from .running import run_command


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe clean``."""
    command = CommandParser(
        prog="emoprobe clean",
        description="List what killed commands have left below folders: files that were being written, and locks that "
        "nobody holds. What is not proven to be of this program is let be.",
        epilog="examples:\n  emoprobe clean\n  emoprobe clean runs --yes\n\n"
        "Without its journal an output is an end: the command that made it does not go on with it any more, and "
        "asks for --overwrite.",
    )
    command.add_argument(
        "folders", nargs="*", type=Path, metavar="FOLDER", help="look below these (default: the current one)"
    )
    command.add_argument(
        "--journals",
        action="store_true",
        help="list journals of outputs that are finished, too; those of a study stay, for it goes on from them",
    )
    command.add_argument("--yes", action="store_true", help="remove what is listed")
    add_output(command, quiet="print the last sentence alone")
    return command


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(argv)

    def body() -> int:
        from emoprobe.extract.leftovers import find_leftovers

        folders = options.folders or [Path()]
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"{folder} is no folder: name one that commands wrote into")
        count, size = 0, 0
        for folder in folders:
            for leftover in find_leftovers(folder, journals=options.journals):
                count, size = count + 1, size + leftover.size
                if not options.quiet:
                    print(plain(f"{leftover.path}: {leftover.reason}"))
                if options.yes:
                    leftover.remove()
        told = f"{count} file{'s' * (count != 1)}, {size / 1e6:,.1f} MB"
        if options.yes or not count:
            print(f"removed: {told}" if count else "nothing to remove")
        else:
            print(f"{told}; nothing has been removed: --yes removes them")
        return 0

    return run_command(body, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main())
