"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

from emoprobe.errors import plain
from emoprobe.extract.corpora.cells import TEXT_COLUMNS
from emoprobe.extract.limits import LONGEST_SECONDS
from emoprobe.fields import is_unicode


class CommandParser(argparse.ArgumentParser):
    """An argument parser that refuses empty names and paths, and those of bytes that are no UTF-8.

    ``--corpus "$CORPUS"`` with a variable that is not set is an empty word: it must not mean the default, and an empty
    path must not mean the current folder. What is written down (in a cache, a protocol, a figure) is written in UTF-8.
    It holds for every argument of type text or :class:`~pathlib.Path`; one for which an empty text has a meaning says
    ``type=text``, one that names a file which is only read ``type=file_name``.
    """

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.register("type", None, lambda given: text(file_name(given)))
        self.register("type", Path, lambda given: Path(text(file_name(given))))

    def error(self, message: str) -> None:
        """Exit with status 2 and one line, whatever the arguments hold."""
        super().error(plain(message))


def text(given: str) -> str:
    """What was given, in UTF-8."""
    if not is_unicode(given):
        raise argparse.ArgumentTypeError(
            f"{given!a} holds bytes that are no UTF-8; rename the file or folder (mv), or give another name"
        )
    return given


def file_name(given: str) -> str:
    """What was given, and not nothing; a file's name may be of any bytes."""
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


def add_longest(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The option of every command that leaves long files out."""
    parser.add_argument(
        "--longest",
        type=float,
        default=LONGEST_SECONDS,
        metavar="S",
        help=f"leave longer files out (default: {LONGEST_SECONDS:g} seconds)",
    )
