"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

from .errors import plain
from .extract.corpora.cells import TEXT_COLUMNS


class CommandParser(argparse.ArgumentParser):
    """An argument parser that refuses empty names and paths.

    ``--corpus "$CORPUS"`` with a variable that is not set is an empty word: it must not mean the default, and an empty
    path must not mean the current folder. It holds for every argument of type text or :class:`~pathlib.Path`; one for
    which an empty text has a meaning says ``type=str``.
    """

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.register("type", None, _text)
        self.register("type", Path, lambda given: Path(_text(given)))

    def error(self, message: str) -> None:
        """Exit with status 2 and one line, whatever the arguments hold."""
        super().error(plain(message))


def _text(given: str) -> str:
    if not given.strip():
        raise argparse.ArgumentTypeError(
            "is empty; give a value, or leave it out (is the shell variable that should hold it set?)"
        )
    return given


def add_keep_words(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The option of every command that reads a corpus; its value goes to :func:`.extract.corpora.read_corpus`."""
    parser.add_argument(
        "--keep-words",
        nargs="+",
        choices=TEXT_COLUMNS,
        default=[],
        metavar="COLUMN",
        help="columns of the corpus in which words such as None, NA or - are meant (a speaker called None), and stand "
        f"for no missing value: {', '.join(TEXT_COLUMNS)}",
    )
