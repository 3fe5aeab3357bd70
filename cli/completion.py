"""What a shell can complete: subcommands, options and their values (the extra ``completion``: argcomplete).

A shell runs the command itself with ``_ARGCOMPLETE`` in its environment, and the line as it stands in ``COMP_LINE``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection

_ASKED = "_ARGCOMPLETE"


def is_asked() -> bool:
    """Whether a shell asks what can follow, and nothing is to be run."""
    return _ASKED in os.environ


def complete(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what can follow, and end; where argcomplete is not installed, nothing can."""
    try:
        import argcomplete
    except ImportError:
        raise SystemExit(1) from None
    argcomplete.autocomplete(parser)


def subcommand_in_line(subcommands: Collection[str]) -> str:
    """The subcommand that is written out in the line to complete; empty where there is none yet.

    The words up to it are passed over from then on, so that the subcommand's own parser completes the rest.
    """
    try:
        from argcomplete import split_line
    except ImportError:
        return ""
    _, _, _, words, _ = split_line(os.environ.get("COMP_LINE", ""), int(os.environ.get("COMP_POINT", "0")))
    start = int(os.environ[_ASKED])
    name = words[start] if len(words) > start else ""
    if name not in subcommands:
        return ""
    os.environ[_ASKED] = str(start + 1)
    return name
