"""``emoprobe models``: the models that have a short name, and which of them are here."""

from __future__ import annotations

import argparse
import sys

from .command import CommandParser
from .running import run_command


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe models``."""
    command = CommandParser(
        prog="emoprobe models",
        description="List the models that have a short name: what each is, where it comes from, and whether it is on "
        "this machine.",
        epilog="Beside these, --model takes any folder with config.json and weights, and any name on the hub "
        "(OWNER/NAME), of the same families.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="only those whose name holds one of these")
    command.add_argument("--here", action="store_true", help="only those that need no network")
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
        print(f"{'name':<26} {'of':<7} {'family':<20} {'from':<40} here")
        for model in shown:
            here = "yes" if model.is_here else "no"
            print(f"{model.name:<26} {model.kind:<7} {model.family or '-':<20} {model.source:<40} {here}")
        others = sorted(set(cached_names()) - {model.source for model in models})
        if others:
            print(f"also in the local cache of the hub: {', '.join(others)}")
        count = sum(model.is_here for model in models)
        print(f"{count} of {len(models)} are here; use one: emoprobe extract --corpus CORPUS --model NAME")
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
