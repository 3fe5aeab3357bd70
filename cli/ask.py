"""``emoprobe ask``: a question by its name."""

from __future__ import annotations

import argparse
import sys
import textwrap
from functools import partial
from pathlib import Path

from emoprobe.analysis.measures.inquiries import INQUIRIES
from emoprobe.analysis.measures.inquiry import SUBJECT, Inquiry
from emoprobe.defaults import CACHE, FIGURES, RESULTS
from emoprobe.errors import UserError

from .command import LEFT_OUT, CommandParser, add_formats, add_output, add_setting, settings_of, tell_end
from .running import run_command
from .screen import wrapped

#: Of dimensions: those that a question is asked of by default.
_ALL = "all"


def parser() -> argparse.ArgumentParser:
    """The command's one argument of its own: the name of a question, whose options are :func:`parser_of`'s."""
    command = CommandParser(
        prog="emoprobe ask",
        usage="emoprobe ask [-h] NAME [CACHE ...] [options]",
        description="Ask a question by its name; its table, its figure and its part of the report follow.",
        epilog="\n".join(
            [
                "questions:",
                *map(_listed, INQUIRIES.values()),
                "",
                "examples:",
                "  emoprobe ask ceiling",
                "  emoprobe ask ceiling --help     its options",
            ]
        ),
    )
    command.add_argument("inquiry", metavar="NAME", choices=tuple(INQUIRIES), help="one of the list below")
    return command


def _listed(inquiry: Inquiry) -> str:
    return textwrap.fill(inquiry.question, 100, initial_indent=f"  {inquiry.name:<14} ", subsequent_indent=" " * 17)


def parser_of(inquiry: Inquiry) -> argparse.ArgumentParser:
    """The options of one question."""
    command = CommandParser(
        prog=f"emoprobe ask {inquiry.name}",
        description=f"{inquiry.question} {inquiry.method}",
        epilog=f"examples:\n  emoprobe ask {inquiry.name}\n  emoprobe ask {inquiry.name} hidden_states.h5\n\n"
        "Without CACHE: those that the results were fitted on, else hidden_states.h5. Run again: what stands there with"
        " the same protocol is not computed again.",
    )
    command.add_argument("caches", nargs="*", type=Path, metavar="CACHE", help="read these caches of probe-extract")
    asked = command.add_argument_group("what is asked")
    where = command.add_argument_group("where to")
    where.add_argument(
        "--results",
        type=Path,
        default=Path(RESULTS),
        metavar="FOLDER",
        help=f"read results there, and put {inquiry.name}.csv beside them (default: %(default)s)",
    )
    for name, option in inquiry.options.items():
        choices = (*option.choices, _ALL) if option.name == "dim" else option.choices
        more = {"choices": choices} if choices else {}
        shown = option.shown or (option.name or name).upper()
        help = f"take {', '.join(choices)} ({option.help})" if option.choices else option.help
        add_setting(asked, inquiry.settings, name, help=help, option=option.name or None, metavar=shown, **more)
    where.add_argument(
        "--figures", type=Path, default=Path(FIGURES), metavar="FOLDER", help="draw there (default: %(default)s)"
    )
    add_formats(where)
    where.add_argument("--overwrite", action="store_true", help="compute again what stands there")
    add_output(command, quiet="print the answer alone")
    return command


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    inquiry = INQUIRIES[parser().parse_args(argv[:1]).inquiry]
    given = parser_of(inquiry).parse_args(argv[1:])
    return run_command(partial(_ask, inquiry, given), verbose=given.verbose)


def _ask(inquiry: Inquiry, given: argparse.Namespace) -> int:
    from emoprobe.analysis.figures.answers import draw_answers
    from emoprobe.analysis.measures.asking import ask

    caches = given.caches or _caches_of(given.results)
    everything = {"dimensions": ()} if _ALL in getattr(given, "dimensions", ()) else {}
    answer = ask(
        inquiry.name,
        caches,
        settings_of(given, inquiry.settings, **everything),
        results=given.results,
        overwrite=given.overwrite,
        progress=not given.quiet,
        say=lambda line: print(line, file=sys.stderr),
    )
    drawn = draw_answers({inquiry.name: answer}, given.figures, formats=given.format)
    for path in () if given.quiet else [given.results / f"{inquiry.name}.csv", *drawn]:
        print(path)
    for sentence in inquiry.told(answer):
        print(wrapped(sentence))
    tell_end("", "report", given.results, quiet=given.quiet)
    return LEFT_OUT if len(answer[list(SUBJECT)].drop_duplicates()) < len(caches) else 0


def _caches_of(results: Path) -> list[Path]:
    """The caches that results were fitted on, as far as they are beside them or here."""
    from emoprobe.probe.results import has_results

    if not has_results(results):
        default = Path(CACHE)
        if not default.exists():
            raise UserError(f"there is no cache {default}, and {results} holds no results that name one: give CACHE")
        return [default]
    from emoprobe.analysis.report.study import gather

    study = gather([results])
    there = [model.cache for model in study.models if model.cache is not None]
    absent = [model.cache_file for model in study.models if model.probed and model.cache is None]
    if absent:
        print(f"left out: {', '.join(absent)}, not beside {results} and not here: name where it lies", file=sys.stderr)
    if not there:
        raise UserError(f"none of the caches of {results} is beside it or here: name them")
    return there


if __name__ == "__main__":
    sys.exit(main())
