"""``emoprobe study``: the whole programme on one corpus, from one file of settings."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from emoprobe.analysis.measures.inquiries import INQUIRIES
from emoprobe.claims import alone, claim
from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.storage import write_file
from emoprobe.study.presets import EVERYTHING, PRESETS
from emoprobe.study.reading import programme_of, read_programme
from emoprobe.study.settings import NONE, PROBES, Programme, StudySettings
from emoprobe.study.steps import Plan
from emoprobe.study.systems import SYSTEMS
from emoprobe.study.tables import TABLES
from emoprobe.study.template import written

from .command import CommandParser, add_beside, add_reading, add_setting
from .running import run_command

if TYPE_CHECKING:
    from emoprobe.study.facts import Facts

_FILE = "study.toml"

#: Begins the settings that a study keeps in its folder.
_HEAD = "The settings of the study in this folder"
_NOT_GIVEN = object()
_PROGRAM = (sys.executable, "-m", "emoprobe.cli.emoprobe")

_EPILOG = f"""\
presets:
{chr(10).join(f"  {name:<8} {preset.about}" for name, preset in PRESETS.items())}

examples:
  emoprobe study demo                        the offline default, into study_out/
  emoprobe study --init paper                write study.toml, to edit, with every setting and what it means
  emoprobe study study.toml --dry-run        hours, disk, memory and time of each step, from a short sample
  emoprobe study study.toml                  run what is not done yet
  emoprobe study study.toml --print          the commands, ready to be pasted
  emoprobe study CORPUS --teacher facebook/hubert-large-ll60k --student ntu-spml/distilhubert --text distilbert
  emoprobe study CORPUS --preset quick --set extract.device=cuda fit.folds=10

Run the same command again after an interruption: each step keeps what it has finished.

exit status: 0 all steps done; 3 some files were left out, each listed with its reason by its step; 2 an error.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe study``."""
    p = CommandParser(
        prog="emoprobe study",
        description="Run every stage on one corpus: hidden states of a teacher, its student and random twins, "
        "baselines, probes, end-to-end systems and the report. Each step is a command that can be run alone.",
        epilog=_EPILOG,
    )
    p.add_argument(
        "what",
        nargs="?",
        metavar="STUDY|CORPUS|PRESET",
        help=f"run a file of settings (.toml), what --corpus of every command takes, or {', '.join(PRESETS)} (default: "
        f"{_FILE} in this folder)",
    )
    p.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="begin with this preset, which the options below change (default: every step)",
    )
    what = p.add_argument_group("what is studied, in place of what the file says")
    add = partial(add_setting, what, StudySettings)
    add("teacher", metavar="NAME", help="probe the layers of this speech model (default: %(default)s)")
    add("student", metavar="NAME|none", help="compare with this distilled model (default: %(default)s)")
    add("text", metavar="NAME|none", help="read by this text encoder (default: %(default)s)")
    add(
        "recogniser",
        metavar="NAME|none",
        help="make missing transcripts by this, such as whisper-tiny-en (default: none)",
    )
    for name in ("teacher", "student", "text"):
        what_it_is = "text encoder" if name == "text" else name
        add(f"{name}_revision", metavar="REV", help=f"take this branch, tag or commit of the {what_it_is} on the hub")
    add("language", metavar="CODE", help="tell a multilingual recogniser the language, such as de")
    add("twins", metavar="N", help="take N random twins of the teacher (default: %(default)s)")
    add("dimensions", choices=(*DIMENSIONS, "all"), metavar="DIM", help="probe these, or all (default: %(default)s)")
    add("categories", help="leave out probes of categories, where the corpus has them")
    add("probes", choices=PROBES, metavar="PROBE", help=f"fit {', '.join(PROBES)} (default: %(default)s)")
    add("baselines", metavar="NAME", help="take these rivals of every layer: egemaps, text (default: %(default)s)")
    add("ask", choices=tuple(INQUIRIES), metavar="QUESTION", help="ask these questions by name: emoprobe ask --help")
    add("systems", choices=(*SYSTEMS, NONE), metavar="SYSTEM", help=f"train end to end {', '.join(SYSTEMS)}, or none "
        "(default: %(default)s)")  # fmt: skip
    add("seeds", metavar="N", help="train each system with N seeds (default: %(default)s)")
    add("write_report", help="leave out the report")
    add_reading(what)
    add_beside(what)
    what.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="TABLE.OPTION=VALUE",
        help=f"set an option of a step: extract.device=cuda fit.penalties=[1,10] (tables: {', '.join(TABLES)})",
    )
    how = p.add_argument_group("how")
    how.add_argument(
        "--out",
        type=Path,
        default=Path("study_out"),
        metavar="FOLDER",
        help="keep everything there (default: study_out)",
    )
    how.add_argument(
        "--again",
        nargs="+",
        type=int,
        default=[],
        metavar="STEP",
        help="make these steps anew, which replaces what they made: by their numbers, as --print shows them",
    )
    output = how.add_mutually_exclusive_group()
    output.add_argument(
        "--quiet", action="store_true", help="print the names of the steps alone, no progress within them"
    )
    output.add_argument("--verbose", action="store_true", help="print the summary of each step too, and keep no logs")
    instead = p.add_argument_group("instead of running it").add_mutually_exclusive_group()
    instead.add_argument("--print", action="store_true", help="print the commands, ready to be pasted")
    instead.add_argument(
        "--dry-run", action="store_true", help="tell hours, disk, memory and time of each step, from a short sample"
    )
    instead.add_argument(
        "--init",
        nargs="?",
        choices=tuple(PRESETS),
        const="paper",
        metavar="PRESET",
        help=f"write {_FILE} (or STUDY) with every setting, and what it means (default: paper)",
    )
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    options = parser().parse_args(argv)
    return run_command(lambda: _study(options, argv))


def _study(options: argparse.Namespace, argv: Sequence[str]) -> int:
    if options.init:
        return _init(options)
    programme = _programme(options, dict(_given(options, argv)))
    _refuse_misspelt(programme.settings)
    from emoprobe.study.facts import facts_of
    from emoprobe.study.steps import plan

    facts = facts_of(programme)
    planned = plan(programme, facts, options.out).with_anew(options.again)
    for note in planned.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.print:
        from emoprobe.study.running import pasted

        print("\n".join(pasted(planned)))
        return 0
    if options.dry_run:
        return _tell_what_it_takes(programme, facts, planned)
    return _run(options, programme, planned, argv)


def _refuse_misspelt(settings: StudySettings) -> None:
    """Answer a misspelt model before the first of many steps."""
    from emoprobe.extract.encoders.architectures import refuse_misspelt_speech, refuse_misspelt_text
    from emoprobe.extract.encoders.names import refuse_misspelt
    from emoprobe.extract.encoders.packaged import packaged_names

    def refuse_misspelt_recogniser(name: str) -> None:
        refuse_misspelt(name, packaged_names(), ())

    for role, refuse in (
        ("teacher", refuse_misspelt_speech),
        ("student", refuse_misspelt_speech),
        ("text", refuse_misspelt_text),
        ("recogniser", refuse_misspelt_recogniser),
    ):
        name = getattr(settings, role)
        if name == NONE:
            continue
        try:
            refuse(name)
        except UserError as error:
            raise UserError(f"{role}: {error}") from error


def _init(options: argparse.Namespace) -> int:
    path = Path(options.what or _FILE)
    if path.suffix != ".toml":
        raise UserError(f"--init writes a file of settings, whose name ends in .toml: {path} does not")
    if path.exists():
        raise UserError(f"{path} is there already, and is left as it is: give another name (emoprobe study NAME.toml)")
    preset = PRESETS[options.init]
    head = f"A study by emoprobe, from the preset {options.init}: {preset.about}. Run it: emoprobe study {path}"
    write_file(path, written(preset.programme, head=head))
    print(f"written: {path}; edit it, then see what it takes: emoprobe study {path} --dry-run")
    return 0


def _programme(options: argparse.Namespace, values: dict[str, Any]) -> Programme:
    """What the file or the preset says, with what the command line gives in its place."""
    what = options.what
    if what in PRESETS:  # a corpus of such a name is given as a path: ./demo
        if options.preset:
            raise UserError(f"{what} is a preset too: leave --preset {options.preset} out, or give a corpus")
        base = PRESETS[what].programme
    elif what is None or what.endswith(".toml"):
        if options.preset:
            raise UserError("--preset goes with a corpus; a file of settings says everything itself")
        base = read_programme(what or _FILE)
    else:
        base = PRESETS[options.preset].programme if options.preset else EVERYTHING
        values = {"corpus": what, **values}
    return programme_of(values, _option, base=base)


def _given(options: argparse.Namespace, argv: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The settings and tables that the command line gives, as a file would have them; a default may be given too."""
    undecided = parser()
    undecided.set_defaults(**dict.fromkeys((field.name for field in fields(StudySettings)), _NOT_GIVEN))
    for name, value in vars(undecided.parse_args(argv)).items():
        if name in {field.name for field in fields(StudySettings)} and value is not _NOT_GIVEN:
            yield name, [] if name == "systems" and NONE in value else value
    tables: dict[str, dict[str, Any]] = {}
    for name in ("columns", "keep_words", "ratings", "splits"):
        if value := getattr(options, name):
            tables.setdefault("reading", {})[name] = str(value) if isinstance(value, Path) else value
    for word in options.set:
        name, equals, value = word.partition("=")
        table, dot, key = name.partition(".")
        if not (equals and dot and table in TABLES):
            raise UserError(f"--set {word}: write TABLE.OPTION=VALUE, with a table of {', '.join(TABLES)}")
        tables.setdefault(table, {})[key] = _value(value)
    yield from tables.items()


def _value(word: str) -> Any:
    """A word as TOML reads it; what is no TOML is a text."""
    try:
        return tomllib.loads(f"value = {word}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return word


def _option(table: str, key: str) -> str:
    """Where a value stands that the command line gives."""
    if table in ("", "reading"):
        return "the command line"
    return f"--set {table}.{key}" if key else "--set"


def _tell_what_it_takes(programme: Programme, facts: Facts, planned: Plan) -> int:
    from emoprobe.study.estimate import estimate, taken_by
    from emoprobe.study.running import told_time

    with TemporaryDirectory(prefix="emoprobe-study-") as folder:
        size, estimates = estimate(
            planned,
            programme,
            facts,
            Path(folder),
            program=_PROGRAM,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    unusable = f"; {size.unusable:,} others cannot be used" if size.unusable else ""
    print(f"corpus {facts.name}: {size.utterances:,} utterances, {size.seconds / 3600:.2f} h{unusable}")
    print(f"{'':<48} {'time':>12} {'disk':>10} {'memory':>10}")
    for number, one in enumerate(estimates, start=1):
        time = "?" if one.seconds is None else told_time(one.seconds)
        disk, memory = ("" if nbytes is None else f"{nbytes / 1e6:,.1f} MB" for nbytes in (one.disk, one.memory))
        print(f"{number:>2} {one.step.does:<45} {time:>12} {disk:>10} {memory:>10}  {one.source}")
    known = [one for one in estimates if one.seconds is not None]
    taken = taken_by(known)
    disk_of_all = sum(one.disk or 0 for one in known)
    free = _free_at(planned.out)
    print(
        f"together: {told_time(taken.seconds)} for the {len(known)} of {len(estimates)} steps that are estimated; "
        f"disk {disk_of_all / 1e6:,.1f} MB ({free / 1e9:,.1f} GB are free); memory {taken.memory / 1e9:.1f} GB at most"
    )
    return 0


def _without_again(argv: Sequence[str]) -> list[str]:
    """The same command line, which makes nothing anew that has been made anew already."""
    kept, dropping = [], False
    for word in argv:
        dropping = word.startswith("--again") or (dropping and word.isdecimal())
        kept += [] if dropping else [word]
    return kept


def _free_at(path: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    return disk_usage(there).free


def _run(options: argparse.Namespace, programme: Programme, planned: Plan, argv: Sequence[str]) -> int:
    from emoprobe.study.running import Shown, again_line, run_steps

    with _folder_of(programme, options.out):
        status = run_steps(
            planned,
            program=_PROGRAM,
            again=again_line(_without_again(argv)),
            shown=Shown.STEPS if options.quiet else Shown.ALL if options.verbose else Shown.PROGRESS,
            say=lambda line: print(line, flush=True),
        )
    from emoprobe.study.outcome import told_result

    if found := told_result(planned.results, planned.teacher, programme.settings.dimensions):
        print(found)
    report = f"the report is {planned.report}, " if programme.settings.write_report else ""
    print(f"{report}the figures are in {planned.out / 'figures'}, their numbers in {planned.results}")
    return status


@contextmanager
def _folder_of(programme: Programme, out: Path) -> Iterator[None]:
    """Hold the folder for this study and no other, and keep its settings there."""
    from emoprobe.study.facts import place_of

    kept = out / _FILE
    with alone(out, option="--out"):
        if kept.is_file() and not kept.read_text(encoding="utf-8", errors="replace").startswith(f"# {_HEAD}"):
            raise UserError(
                f"{kept} was written by somebody else, and a study keeps its own settings under that name: give --out "
                "another folder, such as --out study_out, or rename the file"
            )
        settings = programme.settings
        settings = replace(
            settings,
            corpus=place_of(settings.corpus),
            teacher=place_of(settings.teacher),
            student=place_of(settings.student),
            text=place_of(settings.text),
            recogniser=place_of(settings.recogniser),
        )
        reading = dict(programme.table("reading"))
        reading |= {name: place_of(reading[name]) for name in ("ratings", "splits") if reading.get(name)}
        identity = {name: getattr(settings, name) for name in ("corpus", "teacher", "student", "text")}
        claim(out, identity, record="study.json", own=[], also=[_FILE], option="--out")
        head = f"{_HEAD}, as it ran last. To run it: emoprobe study {_FILE} --out FOLDER"
        write_file(kept, written(Programme(settings, {**programme.tables, "reading": reading}), head=head))
        yield


if __name__ == "__main__":
    sys.exit(main())
