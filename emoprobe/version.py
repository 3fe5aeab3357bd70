"""The version of the package, asked of its metadata when somebody wants to know it: that takes as long as `--help`."""

from __future__ import annotations

import argparse


def version() -> str:
    """Version of the installed package; in an editable installation, that of the day it was installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("emoprobe")
    except PackageNotFoundError:  # the source alone, on somebody's path
        return "0+unknown"


def __getattr__(name: str) -> str:
    if name == "__version__":
        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class ShowVersion(argparse.Action):
    """An option that prints the version and ends the command; the version is looked up only then."""

    def __init__(self, option_strings, dest, **kwargs):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show the version and exit")

    def __call__(self, parser, *arguments):
        print(f"emoprobe {version()}")
        parser.exit()
