"""How a command reads its arguments: what it refuses, how it lists them, and what it proposes for a misspelt one."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from emoprobe.errors import plain
from emoprobe.fields import is_unicode
from emoprobe.misspelt import meant, nearest
from emoprobe.version import version

from .completion import complete, is_asked


class Help(argparse.HelpFormatter):
    """Fills each paragraph of a text for itself; a line that is indented, such as an example, stays as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for kept, group in groupby(text.strip("\n").split("\n"), key=lambda line: not line or line.startswith(" ")):
            paragraph = list(group)
            lines += paragraph if kept else textwrap.wrap(" ".join(paragraph), width)
        return "\n".join(f"{indent}{line}".rstrip() for line in lines)


class CommandParser(argparse.ArgumentParser):
    """An argument parser that refuses empty names and paths, and those of bytes that are no UTF-8.

    ``--corpus "$CORPUS"`` with a variable that is not set is an empty word: it must not mean the default, and an empty
    path must not mean the current folder. What is written down (in a cache, a protocol, a figure) is written in UTF-8.
    It holds for every argument of type text or :class:`~pathlib.Path`; one for which an empty text has a meaning says
    ``type=text``, one that names a file which is only read ``type=file_name``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", Help)
        super().__init__(*args, **options)
        self.register("type", None, lambda given: text(file_name(given)))
        self.register("type", Path, lambda given: Path(text(file_name(given))))
        self.register("action", None, Store)
        self.add_argument("--version", action=ShowVersion)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it; where a shell asks what can follow, tell it and end."""
        if is_asked():
            complete(self)
        return super().parse_args(args, namespace)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse does it, without a trace of what was given how often.

        A place behind the names of an option (``--dim arousal valence states.h5``) is none of these names.
        """
        words = list(sys.argv[1:] if args is None else args)
        parsed, rest = super().parse_known_args(self._places_first(words), namespace)
        parsed.__dict__.pop(_GIVEN, None)
        return parsed, rest

    def _places_first(self, words: list[str]) -> list[str]:
        """The same words, the first file or folder behind an option's choices, and what follows it, before them all."""
        for action in self._actions:
            if action.nargs != "+" or not action.choices or "--" in words:
                continue
            for start in (k for k, word in enumerate(words) if word in action.option_strings):
                end = next((k for k in range(start + 1, len(words)) if words[k].startswith("-")), len(words))
                behind = (k for k in range(start + 2, end) if words[k] not in action.choices and _is_place(words[k]))
                place = next(behind, end)
                words = [*words[place:end], *words[:place], *words[end:]]
        return words

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does it, with the name that was meant."""
        if action.choices is not None and value not in action.choices:
            told = f"invalid choice: {value!r}; {meant(str(value), map(str, action.choices))}"
            raise argparse.ArgumentError(action, told)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line, whatever the arguments hold."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            options = [option for action in self._actions for option in action.option_strings if option[:2] == "--"]
            near = (nearest(word.partition("=")[0], options) for word in unknown.split() if word.startswith("--"))
            message += "".join(f"; did you mean {option}?" for option in list(filter(None, near))[:1])
        super().error(plain(message))


_GIVEN = "options that were given"


def _is_place(word: str) -> bool:
    return "/" in word or "." in word or Path(word).exists()


class Store(argparse.Action):
    """Keep what is given; an option of several values that is given again adds its values to the others."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse gives it, and the name of the option
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Take the values of an option, one after another."""
        given = vars(namespace).setdefault(_GIVEN, set())
        again = self.dest in given and isinstance(values, list)
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), *values] if again else values)
        given.add(self.dest)


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


class ShowVersion(argparse.Action):
    """An option that prints the version and ends the command; the version is looked up only then."""

    def __init__(self, option_strings: Sequence[str], **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version, and end."""
        print(f"emoprobe {version()}")
        parser.exit()


def add_output(parser: argparse.ArgumentParser, *, quiet: str = "print no progress and no summary") -> None:
    """Add ``--quiet`` and ``--verbose``, the same in every command.

    What was left out, errors, and what a command is asked to print are printed in any case.
    """
    group = parser.add_argument_group("output").add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true", help=quiet)
    group.add_argument(
        "--verbose",
        action="store_true",
        help="print what the libraries log, the place in the code of an error, and at the end time and memory",
    )
