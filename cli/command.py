"""What the commands have in common: their arguments, their exit status, and how they tell what went wrong."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from emoprobe.distil.settings import Keeping
from emoprobe.errors import plain
from emoprobe.extract.cluster import ENGINES, EngineSettings
from emoprobe.extract.corpora.cells import DIMENSIONS, TEXT_COLUMNS
from emoprobe.fields import is_unicode
from emoprobe.settings_as_options import option_of
from emoprobe.version import version

from .completion import complete, is_asked

if TYPE_CHECKING:
    import pandas as pd

LEFT_OUT = 3  # exit status when some files were left out


class CommandParser(argparse.ArgumentParser):
    """An argument parser that refuses empty names and paths, and those of bytes that are no UTF-8.

    ``--corpus "$CORPUS"`` with a variable that is not set is an empty word: it must not mean the default, and an empty
    path must not mean the current folder. What is written down (in a cache, a protocol, a figure) is written in UTF-8.
    It holds for every argument of type text or :class:`~pathlib.Path`; one for which an empty text has a meaning says
    ``type=text``, one that names a file which is only read ``type=file_name``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
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

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line, whatever the arguments hold."""
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


Settings = TypeVar("Settings")


def add_setting(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    settings: type,
    name: str,
    *,
    help: str,
    option: str | None = None,
    **more: Any,
) -> None:
    """Add the option of a setting: its name, default, type and number of values are those of the dataclass's field.

    A switch that is on by default becomes ``--no-NAME``.

    Parameters
    ----------
    parser : ArgumentParser or group of one
    settings : type
        A dataclass.
    name : str
        Of its field; so is the value called among the parsed arguments.
    help : str
        ``%(default)s`` stands for the default.
    option : str, optional
        What the option is called, where not as :func:`.settings_as_options.option_of` has it.
    **more
        Of :meth:`argparse.ArgumentParser.add_argument`.
    """
    field = next(field for field in fields(settings) if field.name == name)
    default, option = field.default, option or option_of(field)
    if isinstance(default, bool):
        action = "store_false" if default else "store_true"
        parser.add_argument(f"--no-{option}" if default else f"--{option}", dest=name, action=action, help=help)
        return
    values = default if isinstance(default, tuple) else (default,)
    shown = " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    help = help.replace("%(default)s", shown)
    more = {"dest": name, "default": default, "help": help, **_values(get_type_hints(settings)[name]), **more}
    parser.add_argument(f"--{option}", **more)


def _values(hint: Any) -> dict[str, Any]:
    """Type and number of the values of an option, by the type of its setting; text is the parser's own default."""
    hint = next((part for part in get_args(hint) if part is not NoneType), hint) if NoneType in get_args(hint) else hint
    if get_origin(hint) is tuple:
        kind, *others = get_args(hint)
        return {"nargs": "+" if Ellipsis in others else 1 + len(others), **_values(kind)}
    return {} if hint is str else {"type": hint}


def settings_of(options: argparse.Namespace, settings: type[Settings], **others: Any) -> Settings:
    """The settings that options of :func:`add_setting` hold.

    Parameters
    ----------
    options : Namespace
    settings : type
        A dataclass. A field that no option stands for has its default.
    **others
        Fields that are told in other words than an option's.
    """
    names = get_type_hints(settings)
    given = {name: value for name, value in vars(options).items() if name in names}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return settings(**{**given, **others})


def add_reading(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The options of every command that reads a corpus; see :func:`reading`."""
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="OURS=THEIRS",
        help="what the columns of a manifest are called, where no common name tells it: path=file,arousal=EmoAct "
        "(docs/corpora.md lists the names; NAME= takes none)",
    )
    parser.add_argument(
        "--keep-words",
        nargs="+",
        choices=TEXT_COLUMNS,
        default=[],
        metavar="COLUMN",
        help="columns of the corpus in which words such as None, NA or - are meant (a speaker called None), and stand "
        f"for no missing value: {', '.join(TEXT_COLUMNS)}",
    )


def add_beside(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, ratings: bool = True) -> None:
    """The options of a command that reads files which lie beside a corpus, for :func:`.extract.corpora.read_corpus`."""
    if ratings:
        parser.add_argument(
            "--ratings",
            type=Path,
            metavar="FILE",
            help="table of single ratings of the corpus, id,rater,arousal,valence,dominance: their mean, spread and "
            "number are kept with each utterance",
        )
    parser.add_argument(
        "--splits",
        type=Path,
        metavar="FOLDER",
        help="folds of EmoBox or EMO-SUPERB for this corpus, in place of its own splits",
    )


def reading(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :func:`.extract.corpora.read_corpus` by the options that :func:`add_reading` and others add."""
    # The tables that it knows load pandas: not for --help.
    from emoprobe.extract.corpora.naming import parse_columns

    beside = {name: getattr(options, name, None) for name in ("ratings", "splits")}
    given = {name: path for name, path in beside.items() if path is not None}
    return {"keep_words": options.keep_words, "columns": parse_columns(options.columns), **given}


def add_decoding(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, settings: type, *, batch: str = "by the device"
) -> None:
    """Add the settings of every command that decodes audio and computes it in batches; see :func:`add_setting`.

    Parameters
    ----------
    parser, settings
        As for :func:`add_setting`.
    batch : str
        How a batch is chosen by default.
    """
    add = partial(add_setting, parser, settings)
    add("batch_seconds", metavar="S", help=f"audio in a batch (default: {batch})")
    add("longest", metavar="S", help="leave longer files out (default: %(default)s seconds)")
    add("workers", metavar="N", help="threads that decode ahead (default: %(default)s)")


def add_engine(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the settings of every command that can compute on a cluster; see :func:`add_setting`."""
    add = partial(add_setting, parser, EngineSettings)
    add("engine", choices=ENGINES, help="this process, or a Ray cluster (default: %(default)s); docs/cluster.md")
    add(
        "address",
        metavar="HOST:PORT",
        help="of a Ray cluster, or auto; by default what RAY_ADDRESS says, else this machine alone is one",
    )
    add("gpus", metavar="N", help="GPUs of the cluster to compute on, a worker each: a number, all, or 0 for CPUs")


class ShowVersion(argparse.Action):
    """An option that prints the version and ends the command; the version is looked up only then."""

    def __init__(self, option_strings: Sequence[str], **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version, and end."""
        print(f"emoprobe {version()}")
        parser.exit()


def add_dimensions(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    *,
    help: str,
    known: Sequence[str] = DIMENSIONS,
) -> None:
    """Add ``--dim``, the same in every command: one or several dimensions, or all; see :func:`dimensions_of`."""
    choices = (*known, "all")
    parser.add_argument("--dim", nargs="+", choices=choices, default=[], metavar="DIM", help=help)


def dimensions_of(given: Sequence[str], *, known: Sequence[str] = DIMENSIONS) -> tuple[str, ...]:
    """What ``--dim`` asks for, each once; nothing where it is left out."""
    return tuple(known) if "all" in given else tuple(dict.fromkeys(given))


def add_keeping(parser: argparse.ArgumentParser) -> None:
    """Add what of a training is kept on the way."""
    add_setting(parser, Keeping, "save_steps", metavar="N", help="between checkpoints (default %(default)s)")
    add_setting(parser, Keeping, "log_steps", metavar="N", help="between lines of the log (default %(default)s)")


def quiet_transformers() -> None:
    """Its progress bars and notes on unused heads would bury the summary."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


#: Lines of what was left out that are printed where the rest stands in a file.
_MOST_LINES = 20


def in_lines(left_out: pd.DataFrame) -> list[str]:
    """A line for each utterance of a table with `path`, `status` and `reason`."""
    return [f"{row.path}: {row.status}: {row.reason}" for row in left_out.itertuples()]


def tell_left_out(lines: Sequence[str], *, what: str = "", elsewhere: str | None = None) -> None:
    """List what was left out on standard error, each on one line that any terminal shows.

    Parameters
    ----------
    lines : sequence of str
        What each is, and its reason.
    what : str
        Of what it was left out, where not of everything.
    elsewhere : str, optional
        Where all of them stand, so that the first 20 are enough here.
    """
    shown = lines if elsewhere is None else lines[:_MOST_LINES]
    for line in shown:
        print(f"left out{f' of {what}' if what else ''}: {plain(line)}", file=sys.stderr)
    if len(lines) > len(shown):
        print(f"… and {len(lines) - len(shown)} more: {elsewhere}", file=sys.stderr)


def conclude(
    left_out: pd.DataFrame, table: pd.DataFrame, out: Path, *, quiet: bool, elsewhere: str | None = None
) -> int:
    """Tell which utterances were left out, and return the exit status.

    Parameters
    ----------
    left_out, table : DataFrame
        Rows with `path`, `status` and `reason`: those without a result, and all.
    out : Path
        What was written.
    quiet : bool
        Leave the summary out; the list of what was left out remains.
    elsewhere : str, optional
        Where in `out` the reasons are, so that the first 20 are enough here.
    """
    tell_left_out(in_lines(left_out), elsewhere=None if elsewhere is None else f"{elsewhere} {out}")
    if not quiet:
        counts = ", ".join(f"{n} {status}" for status, n in left_out["status"].value_counts().items())
        print(
            f"{out}: {len(table) - len(left_out)} of {len(table)} utterances done"
            + (f"; left out: {counts}" if counts else "")
        )
    return LEFT_OUT if len(left_out) else 0


def tell_next(*words: str | Path) -> None:
    """Print the command that usually comes next, ready to be pasted."""
    print(f"next: {shlex.join(['emoprobe', *map(str, words)])}")


def draw(results: Path, figures: Path) -> None:
    """Draw every figure that the results hold enough for, and print its path; say where there is none yet."""
    from emoprobe.analysis.figures.drawing import NothingToDraw, draw_figures

    try:
        for path in draw_figures(results, figures):
            print(f"figure: {path}")
    except NothingToDraw as nothing:  # no layer has a score, or one system alone has nothing to stand beside
        print(f"no figure yet: {nothing}", file=sys.stderr)
