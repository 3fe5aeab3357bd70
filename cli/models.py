"""``emoprobe models``: the models that have a short name, and which of them are here."""

from __future__ import annotations

import argparse
import sys

from emoprobe.errors import UserError
from emoprobe.misspelt import meant

from .command import CommandParser, add_output, tell_end
from .running import run_command
from .screen import table_lines

_EXAMPLES = """\
examples:
  emoprobe models
  emoprobe models wavlm
  emoprobe models --here

"""


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe models``."""
    command = CommandParser(
        prog="emoprobe models",
        description="List the models that have a short name: what each is, where it comes from, and whether it is on "
        "this machine.",
        epilog=_EXAMPLES
        + "Beside these, --model takes any folder with config.json and weights, and any name on the hub "
        "(OWNER/NAME), of the same families.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="list only those whose name holds one of these")
    command.add_argument("--here", action="store_true", help="list only those that need no network")
    add_output(command, quiet="print the table alone")
    return command


def main(argv: list[str] | None = None) -> int:
    """Print the list; return the exit status."""
    options = parser().parse_args(argv)

    def body() -> int:
        from emoprobe.extract.encoders.hub import cached_names
        from emoprobe.extract.encoders.listing import listed_models

        models = listed_models()
        shown = [
            model
            for model in models
            if (model.is_here or not options.here)
            and (not options.names or any(name in f"{model.name} {model.source}" for name in options.names))
        ]
        if not shown:
            known = [name for model in models for name in (model.name, model.source)]
            raise UserError(f"no model has {' or '.join(options.names)} in its name: {meant(options.names[0], known)}")
        rows = [
            [model.name, model.kind, model.family or "-", model.source, "yes" if model.is_here else "no"]
            for model in shown
        ]
        print("\n".join(table_lines(["name", "of", "family", "from", "here"], rows)))
        if options.quiet:
            return 0
        others = sorted(set(cached_names()) - {model.source for model in models})
        if others:
            print(f"also in the local cache of the hub: {', '.join(others)}")
        count = sum(model.is_here for model in models)
        tell_end(
            f"{count} of {len(models)} models are here.", "extract", "--corpus", "CORPUS", "--model", shown[0].name
        )
        return 0

    return run_command(body, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main())
