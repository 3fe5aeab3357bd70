"""The steps of a study: each a command with its arguments, which can be run alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION
from emoprobe.extract.encoders.architectures import ARCHITECTURES
from emoprobe.probe.probes.weighted import SUMMABLE

from .facts import DEMO, Facts
from .settings import NONE, Programme
from .systems import SYSTEMS
from .tables import TABLES

OVERWRITE = "--overwrite"

#: Commands that have it, and need it: what depends on a changed setting is fitted anew without.
_TAKE_OVERWRITE = ("extract", "transcribe", "train")

#: Of `emoprobe`, in a command line that is printed.
PROGRAM = "emoprobe"


@dataclass(frozen=True)
class Step:
    """One command of a study.

    Attributes
    ----------
    does : str
        What it does, in a few words.
    words : tuple of str
        The subcommand of ``emoprobe`` and its arguments.
    model : str
        Whose states it makes or probes, for an estimate; empty where there is none.
    """

    does: str
    words: tuple[str, ...]
    model: str = ""

    @property
    def command(self) -> str:
        """The name of the subcommand."""
        return self.words[0]

    @property
    def can_be_made_anew(self) -> bool:
        """Whether the command has an option that replaces what it made with other settings."""
        return self.command in _TAKE_OVERWRITE and not {"--baselines", "--count", OVERWRITE} & set(self.words)

    def anew(self) -> Step:
        """The same step, which replaces what it made before."""
        return replace(self, words=(*self.words, OVERWRITE))

    @property
    def line(self) -> str:
        """The command, ready to be pasted into a shell."""
        return shlex.join([PROGRAM, *self.words])


@dataclass(frozen=True)
class Plan:
    """The steps of a study in their order, and what is left out with its reason.

    Attributes
    ----------
    steps : tuple of Step
    notes : tuple of str
    out : Path
    teacher : Path
        The teacher's cache.
    """

    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    out: Path
    teacher: Path

    def with_anew(self, numbers: Iterable[int]) -> Plan:
        """The same plan, some of whose steps replace what they made before.

        Parameters
        ----------
        numbers : iterable of int
            The first step is 1.

        Raises
        ------
        UserError
            If there is no such step, or it has nothing to replace.
        """
        chosen = set(numbers)
        able = [number for number, step in enumerate(self.steps, start=1) if step.can_be_made_anew]
        if wrong := sorted(chosen - set(able)):
            raise UserError(
                f"--again {wrong[0]}: steps that can be made anew are {', '.join(map(str, able))}; --print numbers them"
            )
        steps = [step.anew() if number in chosen else step for number, step in enumerate(self.steps, start=1)]
        return replace(self, steps=tuple(steps))

    @property
    def results(self) -> Path:
        """Folder of the table that all probes and systems share."""
        return self.out / "results"

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / "report" / "report.html"


@dataclass(frozen=True)
class _Model:
    """A model whose layers are probed."""

    role: str
    name: str
    cache: Path
    revision: str | None = None
    seed: int | None = None


@dataclass
class _Planning:
    """What the parts of a plan are made from, and what they leave out."""

    programme: Programme
    facts: Facts
    out: Path
    notes: list[str] = field(default_factory=list)

    @property
    def transcribes(self) -> bool:
        """Whether words are missing, and there is who can fill them in."""
        return self.programme.settings.recogniser != NONE and self.facts.transcripts < self.facts.utterances

    @property
    def reads(self) -> bool:
        """Whether there are words, and there is who reads them."""
        return self.programme.settings.text != NONE and (self.facts.transcripts > 0 or self.transcribes)

    @property
    def transcribed(self) -> Path:
        """The manifest with the words; its name is that of the corpus in the results."""
        return self.out / "transcripts" / f"{_file_name(self.facts.name)}.csv"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(name for name in self.programme.settings.dimensions if name in self.facts.targets)

    def corpus(self, *, splits: bool = True, ratings: bool = False) -> list[str]:
        """The options that name the corpus, and how it is read."""
        how, spec = self.programme.table("reading"), self.programme.settings.corpus
        spec = f"{DEMO}:{self.out / 'demo_corpus'}" if spec == DEMO else spec
        words = ["--corpus", str(self.transcribed) if self.transcribes else spec]
        if how.get("columns") and not self.transcribes:  # a manifest of ours has our names
            words += ["--columns", *how["columns"]]
        if how.get("keep_words"):
            words += ["--keep-words", *how["keep_words"]]
        for name, wanted in (("ratings", ratings), ("splits", splits)):
            if wanted and how.get(name):
                words += [f"--{name}", how[name]]
        return words

    def words(self, table: str, more: Mapping[str, Any] | None = None, *, without: tuple[str, ...] = ()) -> list[str]:
        """The options of a table; `more` where the table does not say otherwise."""
        values = {**(more or {}), **self.programme.table(table)}
        return TABLES[table].words({name: value for name, value in values.items() if name not in without})

    def models(self) -> list[_Model]:
        """Teacher, student and random twins."""
        settings, folder = self.programme.settings, self.out / "caches"
        names = [name for name in (settings.teacher, settings.student) if name != NONE]
        stem = _file_names(names)[settings.teacher]
        revision = settings.teacher_revision
        models = [_Model("teacher", settings.teacher, folder / f"{stem}.h5", revision)]
        if settings.student != NONE:
            cache = folder / f"{_file_names(names)[settings.student]}.h5"
            models.append(_Model("student", settings.student, cache, settings.student_revision))
        models += [
            _Model(f"random twin {seed}", settings.teacher, folder / f"{stem}-random-{seed}.h5", revision, seed)
            for seed in range(settings.twins)
        ]
        if len({model.cache for model in models}) < len(models):
            raise UserError(
                f"teacher and student are both {settings.teacher}: name two different models, or student = {NONE!r}"
            )
        return models


def plan(programme: Programme, facts: Facts, out: Path) -> Plan:
    """The steps of a programme on a corpus.

    Parameters
    ----------
    programme : Programme
    facts : Facts
        Of its corpus.
    out : Path
        Folder of everything that the study makes.

    Returns
    -------
    Plan

    Raises
    ------
    UserError
        If the corpus has no label that is asked for.
    """
    planning = _Planning(programme, facts, out)
    if not planning.dimensions and not _fits_categories(planning):
        asked = ", ".join(programme.settings.dimensions) or "categories"
        raise UserError(
            f"corpus {facts.name} has no label of {asked} (it has {', '.join(facts.targets) or 'none'}): ask for what "
            "it has, or name the column of the labels with --columns arousal=NAME"
        )
    steps = [step for part in PARTS.values() for step in part(planning)]
    return Plan(tuple(steps), tuple(dict.fromkeys(planning.notes)), out, planning.models()[0].cache)


def _speak(planning: _Planning) -> Iterator[Step]:
    if planning.programme.settings.corpus == DEMO:
        yield Step("speak the demo corpus", ("demo-corpus", str(planning.out / "demo_corpus")))


def _transcribe(planning: _Planning) -> Iterator[Step]:
    if not planning.transcribes:
        return
    recogniser = planning.programme.settings.recogniser
    how = planning.programme.table("reading")
    words = ["--corpus", planning.programme.settings.corpus]
    words += ["--columns", *how["columns"]] if how.get("columns") else []
    words += ["--keep-words", *how["keep_words"]] if how.get("keep_words") else []
    words += ["--model", recogniser, *_given("--language", planning.programme.settings.language)]
    words += ["--only-missing", "--out", str(planning.transcribed)]
    missing = planning.facts.utterances - planning.facts.transcripts
    does = f"transcribe the {missing:,} utterances without words by {recogniser}"
    yield Step(does, ("transcribe", *words, *planning.words("transcribe")), recogniser)


def _extract(planning: _Planning) -> Iterator[Step]:
    for model in planning.models():
        words = [*planning.corpus(ratings=True), "--model", model.name, "--out", str(model.cache)]
        # A shape that is known by its name is of no revision.
        pinned = None if model.seed is not None and model.name in ARCHITECTURES else model.revision
        words += _given("--revision", pinned) + _given("--random-init", model.seed)
        does = f"extract the {model.role}, {model.name}"
        yield Step(does, ("extract", *words, *planning.words("extract")), model.name)


def _baselines(planning: _Planning) -> Iterator[Step]:
    settings = planning.programme.settings
    names = [name for name in settings.baselines if name != "text" or planning.reads]
    if "text" in settings.baselines and not planning.reads:
        planning.notes.append(f"no text baseline: {_unread(planning)}")
    names = [f"text={settings.text}" if name == "text" else name for name in names]
    if names:
        cache = planning.models()[0].cache
        does = f"add the baselines {' and '.join(names)}"
        how = TABLES["extract"].words(
            {name: value for name, value in planning.programme.table("extract").items() if name in _OF_BASELINES}
        )
        yield Step(does, ("extract", "--out", str(cache), "--baselines", *names, *how), "baselines")


#: Options of an extraction that baselines take too.
_OF_BASELINES = ("device", "workers")


def _unread(planning: _Planning) -> str:
    if planning.programme.settings.text == NONE:
        return "text is none"
    return f"{planning.facts.name} has no transcripts; recogniser (such as whisper-tiny-en) names who makes them"


def _fits_categories(planning: _Planning) -> bool:
    return planning.programme.settings.categories and EMOTION in planning.facts.targets


def _fit(planning: _Planning) -> Iterator[Step]:
    settings, models = planning.programme.settings, planning.models()
    left_out = [name for name in settings.dimensions if name not in planning.dimensions]
    if left_out:
        planning.notes.append(f"{planning.facts.name} has no label of {', '.join(left_out)}: not fitted")
    fits: list[tuple[str, list[str], str]] = []
    dimensions = ["all"] if planning.dimensions == DIMENSIONS else list(planning.dimensions)
    for probe in settings.probes if dimensions else ():
        # Learned weights of random layers say nothing that their single layers do not.
        probed = [model for model in models if probe != "weighted" or model.seed is None]
        words = [*(str(model.cache) for model in probed), "--dim", *dimensions, "--probe", probe]
        without = ["classes"] if probe == "weighted" else ["classes", "head"]
        asked = planning.programme.table("fit").get("features", ())
        if probe == "weighted" and asked and not set(asked) & set(SUMMABLE):
            planning.notes.append(f"weighted probes read the mean: there is no weighted sum of {', '.join(asked)}")
            without.append("features")
        words += planning.words("fit", without=tuple(without))
        fits.append((f"fit {probe} probes of {', '.join(planning.dimensions)}", words, probe))
    if _fits_categories(planning):
        words = [
            *(str(model.cache) for model in models),
            "--target",
            EMOTION,
            *planning.words("fit", without=("head",)),
        ]
        fits.append(("fit probes of the categories", words, EMOTION))
    for number, (does, words, of) in enumerate(fits, start=1):
        # They share their results, so the last one draws them all.
        draws = ["--figures", str(planning.out / "figures")] if number == len(fits) else ["--no-figures"]
        yield Step(does, ("fit", *words, "--out", str(planning.out / "results"), *draws), of)


def _ask(planning: _Planning) -> Iterator[Step]:
    caches = [str(model.cache) for model in planning.models()]
    where = ["--results", str(planning.out / "results"), "--figures", str(planning.out / "figures")]
    for name in planning.programme.settings.ask:
        yield Step(f"ask {name}", ("ask", name, *caches, *where), name)


def _systems(planning: _Planning) -> Iterator[tuple[str, list[str]]]:
    """The end-to-end systems that can be trained, each with the options that name its encoders."""
    settings = planning.programme.settings
    if not planning.dimensions:
        return
    for name in settings.systems:
        system = SYSTEMS[name]
        audio = getattr(settings, system.audio) if system.audio else NONE
        if system.audio and audio == NONE:
            planning.notes.append(f"no end-to-end system {name}: {system.audio} is none")
        elif system.text and not planning.reads:
            planning.notes.append(f"no end-to-end system {name}: {_unread(planning)}")
        else:
            words = ["--audio", audio, "--text", settings.text if system.text else NONE]
            if system.audio:
                words += _given("--audio-revision", getattr(settings, f"{system.audio}_revision"))
            if system.text:
                words += _given("--text-revision", settings.text_revision)
            yield name, [*words, "--out", str(planning.out / "models" / name.replace("+", "-and-"))]


def _train(planning: _Planning) -> Iterator[Step]:
    systems = list(_systems(planning))
    for name, words in systems:
        more = planning.words("train", SYSTEMS[name].options)
        yield Step(f"count what {name} costs", ("train", *words, *more, "--count"), name)
    dimensions = ["all"] if planning.dimensions == DIMENSIONS else list(planning.dimensions)
    seeds = planning.programme.settings.seeds
    for name, words in systems:
        more = [*planning.words("train", SYSTEMS[name].options), "--dim", *dimensions, "--seeds", str(seeds)]
        more += ["--results", str(planning.out / "results"), "--figures", str(planning.out / "figures")]
        times = "once" if seeds == 1 else f"{seeds} times"
        corpus = planning.corpus(ratings=bool(planning.programme.table("train").get("reliability")))
        yield Step(f"train {name} end to end, {times}", ("train", *corpus, *words, *more), name)


def _report(planning: _Planning) -> Iterator[Step]:
    if planning.programme.settings.write_report:
        words = [str(planning.out / "results"), "--caches", *(str(model.cache) for model in planning.models())]
        words += ["--out", str(planning.out / "report"), *planning.words("report")]
        yield Step("write the report", ("report", *words))


#: The parts of a study in their order. A new one is a function here.
PARTS: dict[str, Callable[[_Planning], Iterator[Step]]] = {
    "speak": _speak,
    "transcribe": _transcribe,
    "extract": _extract,
    "baselines": _baselines,
    "fit": _fit,
    "ask": _ask,
    "train": _train,
    "report": _report,
}


def _given(option: str, value: object) -> list[str]:
    """An option and its value; nothing where it has none."""
    return [] if value is None else [option, str(value)]


def _file_names(names: Sequence[str]) -> dict[str, str]:
    """A name of a file for each model: the last part of its name or path, of two that are alike the one before, too."""
    last = {name: _file_name(name) for name in names}
    if len(set(last.values())) == len(last):
        return last
    return {name: _file_name("-".join(name.rstrip("/").rsplit("/", 2)[-2:])) for name in names}


def _file_name(name: str) -> str:
    """The last part of a name or path, of letters that every file system and shell takes."""
    last = name.rstrip("/").rpartition("/")[2] or name
    return re.sub(r"[^\w.-]+", "-", last).strip(".-") or "model"
