"""What the commands have in common: their arguments, their exit status, and how they tell what went wrong."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from emoprobe.distil.settings import Keeping
from emoprobe.errors import plain
from emoprobe.extract.cluster import ENGINES, EngineSettings
from emoprobe.extract.corpora.cells import DIMENSIONS, TEXT_COLUMNS
from emoprobe.parallel import ProcessSettings
from emoprobe.settings_as_options import former_option_of, option_of

from .parsing import CommandParser, add_output, file_name, text
from .screen import wrapped

if TYPE_CHECKING:
    import pandas as pd

#: What a command takes from here; how it is parsed stands in :mod:`.parsing`.
__all__ = [
    "LEFT_OUT",
    "CommandParser",
    "add_beside",
    "add_decoding",
    "add_device",
    "add_dimensions",
    "add_engine",
    "add_formats",
    "add_keeping",
    "add_output",
    "add_reading",
    "add_setting",
    "add_workers",
    "conclude",
    "counted",
    "dimensions_of",
    "draw",
    "file_name",
    "in_lines",
    "quiet_transformers",
    "reading",
    "settings_of",
    "tell_end",
    "tell_left_out",
    "tell_next",
    "text",
]

LEFT_OUT = 3  # exit status when some files were left out


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
    names = [f"--{name}" for name in (option, former_option_of(field)) if name]
    if isinstance(default, bool):
        action = "store_false" if default else "store_true"
        parser.add_argument(f"--no-{option}" if default else f"--{option}", dest=name, action=action, help=help)
        return
    values = default if isinstance(default, tuple) else (default,)
    shown = " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    help = help.replace("%(default)s", shown)
    more = {"dest": name, "default": default, "help": help, **_values(get_type_hints(settings)[name]), **more}
    parser.add_argument(*names, **more)


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
        help="name the columns of a manifest, where no common name tells it: path=file,arousal=EmoAct "
        "(docs/corpora.md lists the names; NAME= takes none)",
    )
    parser.add_argument(
        "--keep-words",
        nargs="+",
        choices=TEXT_COLUMNS,
        default=[],
        metavar="COLUMN",
        help="take words such as None, NA or - in these columns as they stand (a speaker called None), and not for a "
        f"missing value: {', '.join(TEXT_COLUMNS)}",
    )


def add_beside(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, ratings: bool = True) -> None:
    """The options of a command that reads files which lie beside a corpus, for :func:`.extract.corpora.read_corpus`."""
    if ratings:
        parser.add_argument(
            "--ratings",
            type=Path,
            metavar="FILE",
            help="read single ratings from this table, id,rater,arousal,valence,dominance: their mean, spread and "
            "number are kept with each utterance",
        )
    parser.add_argument(
        "--splits",
        type=Path,
        metavar="FOLDER",
        help="take the folds of EmoBox or EMO-SUPERB for this corpus, in place of its own splits",
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
    add("batch_seconds", metavar="S", help=f"put at most S seconds of audio in a batch (default: {batch})")
    add("longest", metavar="S", help="leave out files longer than S seconds (default: %(default)s)")
    add("workers", metavar="N", help="decode ahead in N threads (default: %(default)s)")


def add_engine(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, gpus: bool = True) -> None:
    """Add the settings of every command that can compute on a cluster; see :func:`add_setting`.

    `gpus` tells whether it can do so on GPUs.
    """
    add = partial(add_setting, parser, EngineSettings)
    add(
        "engine",
        choices=ENGINES,
        help="compute in this process, or on a Ray cluster (default: %(default)s); docs/cluster.md",
    )
    add(
        "address",
        metavar="HOST:PORT",
        help="join the Ray cluster at this address, or auto (default: what RAY_ADDRESS says, else this machine alone)",
    )
    if gpus:
        add("gpus", metavar="N", help="compute on N GPUs of the cluster, a worker each: a number, all, or 0 for CPUs")


def add_workers(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--workers``, the same in every command whose work is shared out among processes."""
    add_setting(
        parser,
        ProcessSettings,
        "workers",
        metavar="N",
        help="share the work among N processes, where that pays (default: one for each processor)",
    )


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


def add_device(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, settings: type | None = None, *, does: str = "compute"
) -> None:
    """Add ``--device``, the same in every command: that of `settings`, where it has one."""
    help = f"{does} on auto, cpu, cuda, cuda:1 or mps (default: %(default)s)"
    if settings is None:
        parser.add_argument("--device", default="auto", help=help)
    else:
        add_setting(parser, settings, "device", help=help)


def add_formats(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, default: Sequence[str] = ("png",)
) -> None:
    """Add ``--format`` of figures, the same in every command."""
    parser.add_argument(
        "--format",
        nargs="+",
        choices=("png", "svg", "pdf"),
        default=list(default),
        metavar="FORMAT",
        help=f"write figures as png, svg or pdf, or several of them (default: {' '.join(default)})",
    )


def add_keeping(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add what of a training is kept on the way."""
    add_setting(
        parser, Keeping, "save_steps", metavar="N", help="write a checkpoint every N steps (default: %(default)s)"
    )
    add_setting(
        parser, Keeping, "log_steps", metavar="N", help="write a line of the log every N steps (default: %(default)s)"
    )


def quiet_transformers(*, verbose: bool = False) -> None:
    """Its progress bars and notes on unused heads would bury the summary; notes are what `verbose` asks for."""
    from transformers.utils import logging

    logging.set_verbosity_info() if verbose else logging.set_verbosity_error()
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


def tell_end(sentence: str, *words: str | Path, quiet: bool = False) -> None:
    """Print what a command found or made, in one sentence, and the command that usually comes next.

    Parameters
    ----------
    sentence : str
        With its full stop; nothing is printed of an empty one.
    *words : str or Path
        Of the next command, ready to be pasted; nothing where none usually follows.
    quiet : bool
        Print neither.
    """
    if quiet:
        return
    if sentence:
        print(wrapped(sentence))
    if words:
        tell_next(*words)


def tell_next(*words: str | Path) -> None:
    """Print the command that usually comes next, ready to be pasted."""
    print(f"next: {shlex.join(['emoprobe', *map(str, words)])}")


def counted(count: int, thing: str) -> str:
    """A number of things, such as ``1 figure`` or ``3 figures``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def draw(results: Path, figures: Path, *, run: Path | None = None, quiet: bool = False) -> None:
    """Draw every figure that the results hold enough for, and print where; say where there is none yet.

    Of a `run` of ``probe-train`` its learning curves are drawn, too.
    """
    from emoprobe.analysis.figures.drawing import NothingToDraw, draw_figures

    try:
        drawn = draw_figures(results, figures)
    except NothingToDraw as nothing:  # no layer has a score, or one system alone has nothing to stand beside
        drawn = []
        print(f"no figure yet: {nothing}", file=sys.stderr)
    if run is not None:
        from emoprobe.analysis.figures.learning import draw_learning_curves

        drawn += draw_learning_curves(run, figures)
    for path in () if quiet else drawn:
        print(f"figure: {path}")
