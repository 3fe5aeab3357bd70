"""What the steps of a study will take: hours, disk, memory and time, from a short sample of the corpus.

Audio headers give the hours. Extraction, baselines and transcription are run on a few utterances by the very commands,
then once more with nothing left to do: the difference is what the audio took, the rest is the start. Probes are counted
in multiply-adds, at the speed at which this machine multiplies matrices. What follows from no measurement is said to be
a guess, or is not estimated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.errors import UserError
from emoprobe.probe.probes.base import features_by_default

from .facts import DEMO, Facts, corpus_of
from .sampling import SAMPLED, Taken, measure, write_sample
from .settings import NONE, Programme
from .steps import Plan, Step, plan
from .systems import SYSTEMS

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class Size:
    """How much audio there is.

    Attributes
    ----------
    utterances : int
        Those that can be used.
    seconds : float
        Of their audio.
    unusable : int
        Those whose header says that they cannot be used.
    """

    utterances: int
    seconds: float
    unusable: int = 0

    def of_share(self, share: float) -> Size:
        """The size of a part of it."""
        return replace(self, utterances=round(self.utterances * share), seconds=self.seconds * share)


@dataclass(frozen=True)
class Estimate:
    """What a step will take; None is not known.

    Attributes
    ----------
    step : Step
    seconds : float or None
    disk, memory : int or None
        In bytes; memory is that of the machine, at its peak.
    source : str
        What it is from.
    """

    step: Step
    seconds: float | None = None
    disk: int | None = None
    memory: int | None = None
    source: str = "not estimated"


@dataclass(frozen=True)
class _Speed:
    """What a command took on the sample: to start, and for each second of audio."""

    start: float
    per_second: float
    memory: int
    bytes_per_utterance: float

    def estimate(self, step: Step, size: Size, source: str) -> Estimate:
        disk = round(self.bytes_per_utterance * size.utterances)
        return Estimate(step, self.start + self.per_second * size.seconds, disk, self.memory, source)


def estimate(
    planned: Plan,
    programme: Programme,
    facts: Facts,
    folder: Path,
    *,
    program: Sequence[str],
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Size, list[Estimate]]:
    """What each step of a plan will take.

    Parameters
    ----------
    planned : Plan
    programme : Programme
    facts : Facts
    folder : Path
        An empty one, for the sample and what the commands make of it.
    program : sequence of str
        What runs ``emoprobe``.
    say : callable
        Told what is measured.

    Returns
    -------
    size : Size
    estimates : list of Estimate
        One a step.

    Raises
    ------
    UserError
        If the corpus cannot be read, or none of its audio can be used.
    """
    from emoprobe.extract.devices import choose_device

    estimates: dict[Step, Estimate] = {}
    silent = _are_heard(planned, programme)
    if programme.settings.corpus == DEMO:
        say("speaking a sample of the demo corpus")
        spoken, size, sample, sampled = _spoken(planned, facts, folder, program)
        estimates[spoken.step] = spoken
    else:
        say(f"reading the headers of {facts.utterances:,} utterances")
        size, sample, sampled = _drawn(programme, folder, words=not silent)
    tables = {name: table for name, table in programme.tables.items() if name != "reading"}
    if "limit" in tables.get("extract", {}):
        most = tables["extract"]["limit"]
        tables["extract"] = {name: value for name, value in tables["extract"].items() if name != "limit"}
    else:
        most = size.utterances
    share = min(1.0, most / size.utterances)
    extracted = size.of_share(share)
    settings = replace(programme.settings, corpus=str(sample))
    held = 0 if silent else math.ceil(sampled.utterances * facts.transcripts / facts.utterances)
    facts_of_sample = replace(facts, name=sample.stem, utterances=sampled.utterances, transcripts=held)

    def on_sample(step: Step) -> Step:
        """The same step of a study of the sample; with the words that were heard there, where they were."""
        heard = step.command == "transcribe" or any((folder / "transcripts").glob("*.csv"))
        programme = Programme(settings if heard else replace(settings, recogniser=NONE), tables)
        steps = plan(programme, facts_of_sample, folder).steps
        return _the_same(step, steps)

    speeds: dict[str, _Speed] = {}
    on_processor = choose_device(programme.table("extract").get("device", "auto")).type == "cpu"
    for step in planned.steps:
        if step.command not in ("extract", "transcribe") or step in estimates:
            continue
        known = speeds.get(step.model)
        if known is None:
            reason = _why_not_measured(step, programme)
            if reason:
                estimates[step] = Estimate(step, source=f"not measured: {reason}")
                continue
            say(f"measuring: {step.does}")
            try:
                known = speeds[step.model] = _speed(
                    on_sample(step), sampled, folder, program, on_processor=on_processor
                )
            except UserError as error:
                estimates[step] = Estimate(step, source=f"cannot be measured: {error}")
                continue
        amount = size.of_share(1 - facts.transcripts / facts.utterances) if step.command == "transcribe" else extracted
        estimates[step] = known.estimate(step, amount, _told_speed(known, sampled))
    for step in planned.steps:
        if step.command == "fit":
            estimates[step] = _fitting(step, planned, extracted, programme, folder)
        elif step.command == "train":
            estimates[step] = _training(step, size, programme, speeds)
    return size, [estimates.get(step, Estimate(step)) for step in planned.steps]


def _the_same(step: Step, steps: Sequence[Step]) -> Step:
    same = [one for one in steps if one.command == step.command and one.model == step.model]
    if not same:
        raise UserError("the sample has no words")
    return same[0]


def _are_heard(planned: Plan, programme: Programme) -> bool:
    """Whether words are to be heard, by who is here: the sample then has none, so that hearing them is measured."""
    hearing = [step for step in planned.steps if step.command == "transcribe"]
    return any(not _why_not_measured(step, programme) for step in hearing)


def _drawn(programme: Programme, folder: Path, *, words: bool) -> tuple[Size, Path, Size]:
    """How much audio a corpus has, and a sample of it, drawn by lot and always the same."""
    import numpy as np

    from emoprobe.extract.audio import AudioHeader
    from emoprobe.extract.corpora.places import places
    from emoprobe.extract.scan import read_headers

    corpus = corpus_of(programme)
    table = corpus.utterances
    headers = read_headers(table["path"].tolist(), places(table), progress=True)
    seconds = np.array([h.frames / h.sample_rate if isinstance(h, AudioHeader) else np.nan for h in headers])
    usable = np.flatnonzero(~np.isnan(seconds))
    if not len(usable):
        raise UserError(f"no audio of {corpus.name} can be used; the first, {table['path'][0]}: {headers[0]}")
    rows = np.sort(np.random.default_rng(0).permutation(usable)[:SAMPLED])
    sample = folder / "sample.csv"
    write_sample(corpus, table.index[rows], sample, words=words)
    size = Size(len(usable), float(np.nansum(seconds)), len(table) - len(usable))
    return size, sample, Size(len(rows), float(seconds[rows].sum()))


def _spoken(planned: Plan, facts: Facts, folder: Path, program: Sequence[str]) -> tuple[Estimate, Size, Path, Size]:
    """The same of the demo corpus, of which a sample is spoken."""
    import soundfile

    step = next(step for step in planned.steps if step.command == DEMO_STEP)
    root = folder / "sample"
    words = [*program, DEMO_STEP, str(root), "--utterances", str(SAMPLED), "--speakers", "6"]
    first, again = measure(words, folder / "log.txt"), measure(words, folder / "log.txt")
    files = sorted((root / "audio").iterdir())
    sampled = Size(len(files), sum(soundfile.info(file).duration for file in files))
    times = facts.utterances / len(files)
    size = Size(facts.utterances, sampled.seconds * times)
    nbytes = round(times * sum(file.stat().st_size for file in files))
    seconds = again.seconds + times * (first.more_than(again, on_processor=True) or first.seconds)
    told = Estimate(step, seconds, nbytes, first.memory, f"measured on {len(files)} utterances")
    return told, size, root / "manifest.csv", sampled


#: The command that speaks the demo corpus.
DEMO_STEP = "demo-corpus"


def _speed(step: Step, sampled: Size, folder: Path, program: Sequence[str], *, on_processor: bool) -> _Speed:
    """Run a step on the sample, then again with nothing left to do."""
    words = [*program, *_with_random_weights(step)]
    first, again = (measure(words, folder / "log.txt") for _ in range(2))
    written = Path(step.words[step.words.index("--out") + 1])
    made = [*written.parent.glob(f"{written.name}.baselines/*")] if "--baselines" in step.words else [written]
    size = sum(file.stat().st_size for file in made if file.is_file())
    # Where the audio took less than a start varies, the whole of the first run is the most that it can have taken.
    per_second = (first.more_than(again, on_processor=on_processor) or first.seconds) / sampled.seconds
    start = min(first.seconds, again.seconds)
    return _Speed(start, per_second, max(first.memory, again.memory), size / sampled.utterances)


def _with_random_weights(step: Step) -> list[str]:
    """A published model is measured with random weights: as fast, and not downloaded for an estimate."""
    from emoprobe.extract.encoders.architectures import ARCHITECTURES

    words = list(step.words)
    if "--model" in words and step.command == "extract" and "--random-init" not in words:
        short = {known.hub_name: name for name, known in ARCHITECTURES.items()} | {name: name for name in ARCHITECTURES}
        at = words.index("--model") + 1
        if words[at] in short:
            words[at] = short[words[at]]
            words += ["--random-init", "0"]
    return words


def _why_not_measured(step: Step, programme: Programme) -> str:
    """Empty where everything that a step needs is on this machine."""
    from importlib.util import find_spec

    from emoprobe.extract.encoders.architectures import ARCHITECTURES, MINILM_PACKAGE
    from emoprobe.extract.encoders.packaged import packaged_models

    here = {*packaged_models(), NONE}
    if step.command == "extract" and "--baselines" not in step.words:
        here |= {*ARCHITECTURES, *(known.hub_name for known in ARCHITECTURES.values())}
        needed = step.model
    elif step.command == "extract":
        needed = programme.settings.text if any(word.startswith("text=") for word in step.words) else NONE
        here |= {"minilm"} if find_spec(MINILM_PACKAGE) else set()
    else:
        needed = step.model
    return "" if needed in here or Path(needed).is_dir() else f"{needed} would have to be downloaded"


def _told_speed(speed: _Speed, sampled: Size) -> str:
    audio = f"measured on {sampled.utterances} utterances, {sampled.seconds:.0f} s"
    return f"{audio}: {1 / speed.per_second:.3g} times real time, with nothing else running"


def _fitting(step: Step, planned: Plan, size: Size, programme: Programme, folder: Path) -> Estimate:
    """Ridge probes by their multiply-adds; other probes are trained until they no longer improve."""
    if step.model != "ridge":
        return Estimate(step, source="not estimated: trained until nothing improves")
    import h5py

    how = programme.table("fit")
    permutations, mdl = how.get("permutations", 1000), how.get("mdl", True)
    dimensions, work, largest = len(programme.settings.dimensions), 0.0, 0.0
    for cache in step.words[1 : step.words.index("--dim")]:
        made = folder / Path(cache).relative_to(planned.out)
        twin = made if made.is_file() else folder / planned.teacher.relative_to(planned.out)
        if not twin.is_file():
            return Estimate(step, source="not estimated: a model that was not measured")
        with h5py.File(twin) as file:
            layers, features = features_of(file, how.get("features", ()))
        work += layers * _ridge_work(size.utterances, features, dimensions, permutations, mdl=mdl)
        largest = max(largest, 8.0 * (size.utterances * features + 20 * features**2))
    rate = _multiplying()
    told = f"a guess: {work / 1e12:.2g} tera multiply-adds at {rate / 1e9:.0f} G a second"
    return Estimate(step, _START + work / rate, None, round(_IDLE + largest), told)


def features_of(file: h5py.File, asked: Sequence[str]) -> tuple[int, int]:
    """Layers of a cache, and how many features of each layer its probes read at most."""
    pooled = file["pooled"]
    layers, _, width = next(iter(pooled.values())).shape
    return layers, width * max(name.count("+") + 1 for name in asked or (features_by_default(tuple(pooled)),))


#: A process that has loaded everything: seconds, and bytes.
_START, _IDLE = 5.0, 0.7e9


def _ridge_work(utterances: int, features: int, dimensions: int, permutations: int, *, mdl: bool) -> float:
    """Multiply-adds of the ridge probes of one layer: Gram matrices, their eigenvectors, and all right-hand sides."""
    decompositions = 60 if mdl else 20
    grams = utterances * features**2
    sides = 2 * utterances * features * dimensions * (permutations + 100)
    return grams + decompositions * 10 * features**3 + sides


def _multiplying() -> float:
    """Multiply-adds a second of float64 matrix products on this machine, with nothing else running."""
    import numpy as np

    side = np.random.default_rng(0).normal(size=(768, 768))
    side @ side
    began, busy, rounds = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < 0.3:
        side @ side
        rounds += 1
    taken = Taken(time.perf_counter() - began, 0, time.process_time() - busy)
    return rounds * 768**3 / taken.more_than(Taken(0.0, 0), on_processor=True)


def _training(step: Step, size: Size, programme: Programme, speeds: dict[str, _Speed]) -> Estimate:
    """An encoder in training takes about three forward passes, for every epoch and seed."""
    from emoprobe.endtoend.settings import TrainingSettings

    if "--count" in step.words:
        return Estimate(step, _START, None, round(_IDLE), "a guess: nothing but the start")
    system = SYSTEMS[step.model]
    speed = speeds.get(getattr(programme.settings, system.audio)) if system.audio else None
    if speed is None:
        return Estimate(
            step, source=f"not estimated: its {'speech' if system.audio else 'text'} encoder was not measured"
        )
    epochs = programme.table("train").get("epochs", TrainingSettings.epochs)
    seeds = programme.settings.seeds
    seconds = _START + 3 * speed.per_second * size.seconds * epochs * seeds
    words = " and the words uncounted" if system.text else ""
    told = f"a guess, at most: 3 times the extraction{words}, {epochs} epochs, {seeds} seed{'s' * (seeds > 1)}"
    return Estimate(step, seconds, None, None, told)


def taken_by(estimates: Sequence[Estimate]) -> Taken:
    """The time of all steps that could be estimated, one after another, and the largest memory of any."""
    seconds = sum(one.seconds for one in estimates if one.seconds is not None)
    return Taken(seconds, max((one.memory for one in estimates if one.memory is not None), default=0))
