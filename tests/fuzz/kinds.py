"""The kinds of input: each changes the intact material in one way, drawn by the seed, and names the command to run.

A new kind is one function with ``@kind(weight)`` over it.
"""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from emoprobe.extract.corpora.table import COLUMNS as TABLE_COLUMNS

from .material import CLEAN
from .mutations import mutate_bytes, mutate_csv, mutate_file, mutate_json, mutate_parquet, pick
from .running import COMMANDS


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes
    ----------
    command : str
        A key of :data:`.running.COMMANDS`.
    arguments : tuple of str
    mutation : str
        What was done to the material, in words.
    own : tuple of str
        Patterns of files that this command may replace or remove.
    compare : str
        ``states``, if the cache made is to hold the intact utterances as they are; ``scores``, if a result is to have
        the numbers of the intact cache; nothing for no comparison.
    """

    command: str
    arguments: tuple[str, ...]
    mutation: str
    own: tuple[str, ...] = ()
    compare: str = ""


#: A kind's function and its weight among the inputs.
KINDS: dict[str, tuple[Callable[[Path, np.random.Generator], Case], float]] = {}


def kind(weight: float):
    def register(function: Callable[[Path, np.random.Generator], Case]):
        KINDS[function.__name__] = (function, weight)
        return function

    return register


def made(name: str, mutation: str, own: tuple[str, ...] = (), *, compare: str = "", **options: str) -> Case:
    """A command on the intact material, with other values of some options (`out="x"` is ``--out x``)."""
    command, arguments = CLEAN[name]
    arguments = list(arguments)
    for option, value in options.items():
        flag = f"--{option.replace('_', '-')}"
        if flag in arguments:
            arguments[arguments.index(flag) + 1] = value
        else:
            arguments += [flag, value]
    return Case(command, tuple(arguments), mutation, own, compare)


# Audio ---------------------------------------------------------------------------------------------------------------

FORMATS = (
    ("wav", "WAV", "PCM_16"), ("wav", "WAV", "FLOAT"), ("wav", "WAVEX", "PCM_24"), ("wav", "WAV", "ULAW"),
    ("wav", "WAV", "IMA_ADPCM"), ("rf64", "RF64", "PCM_16"), ("flac", "FLAC", "PCM_16"), ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III"), ("aiff", "AIFF", "PCM_16"), ("au", "AU", "PCM_16"),
    ("caf", "CAF", "ALAC_16"), ("w64", "W64", "PCM_16"), ("voc", "VOC", "PCM_16"), ("sd2", "NIST", "PCM_16"),
)  # fmt: skip


@kind(4)
def audio(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged recording among intact ones."""
    import soundfile

    from tests.corpus_fixtures import tone

    ending, container, coding = pick(rng, FORMATS)
    path = tree / "corpus" / f"damaged.{ending}"
    rate = int(pick(rng, [8_000, 16_000, 22_050, 48_000]))
    sound = tone(0.3, seed=int(rng.integers(1000)), rate=rate)
    if rng.random() < 0.3:
        sound = np.stack([sound, sound[::-1]], axis=1)
    soundfile.write(path, sound, 48_000 if coding == "OPUS" else rate, format=container, subtype=coding)
    what = f"{container} {coding}"
    if rng.random() < 0.3:  # a number of the header
        data = bytearray(path.read_bytes())
        place = int(rng.integers(4, min(120, len(data) - 4)))
        number = pick(rng, [0, 1, 2**31 - 1, 2**32 - 1, 2**16, len(data), 2 * len(data)])
        data[place : place + 4] = int(number).to_bytes(4, pick(rng, ["little", "big"]))
        path.write_bytes(data)
        what += f", {number} at byte {place}"
    else:
        what += f", {mutate_bytes(path, rng)}"
    match rng.integers(6):
        case 0:
            return made("predict", what, out="new.csv")
        case 1:
            _add_row(tree, path.name)
            return made("transcribe", what, out="new.csv")
    _add_row(tree, path.name)
    return made("extract", what, out="new.h5", compare="states")


def _add_row(tree: Path, name: str) -> None:
    manifest = tree / "corpus" / "manifest.csv"
    first, *rows = manifest.read_text().splitlines()
    cells = dict(zip(first.split(","), rows[0].split(","), strict=True)) | {"id": "damaged", "path": name}
    manifest.write_text("\n".join([first, *rows[:4], ",".join(cells.values()), *rows[4:]]) + "\n")


# Manifests, corpora, transcripts -------------------------------------------------------------------------------------


@kind(3)
def manifest(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged manifest, CSV or Parquet, and what reads one."""
    path = tree / "corpus" / "manifest.csv"
    if rng.random() < 0.25:
        import pandas as pd

        table = pd.read_csv(path)
        path = path.with_suffix(".parquet")
        table.to_parquet(path)
        what = mutate_parquet(path, rng)
    else:
        what = mutate_csv(path, rng)
    return _reads_corpus(str(path.relative_to(tree)), f"{path.name}: {what}", rng)


def _reads_corpus(corpus: str, what: str, rng: np.random.Generator) -> Case:
    match rng.integers(12):
        case 0:
            return made("predict", what, out="new.csv", transcripts=corpus)
        case 1 | 2:
            return made("transcribe", what, out="new.csv", corpus=corpus)
        case 3:
            return made("train", what, out="new", corpus=corpus, own=("results/*", "figures/*"))
        case 4:
            return made("extract", what, corpus=corpus, own=("c.h5*",))
    return made("extract", what, out="new.h5", corpus=corpus)


@kind(2)
def invented_manifest(tree: Path, rng: np.random.Generator) -> Case:
    """Columns and cells that hypothesis makes up, around files that are there."""
    from hypothesis import strategies as st

    names = st.sampled_from(TABLE_COLUMNS)
    cell = st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=12),
        st.floats().map(repr),
        st.integers().map(str),
        st.sampled_from(["u001.wav", "u002.wav", "train", "test", "development", "s1", "None", ""]),
    )
    columns = st.lists(st.one_of(names, names, names, st.text(st.characters(codec="utf-8"), max_size=8)), max_size=10)
    tables = columns.flatmap(
        lambda header: st.tuples(
            st.just(["path", *header]),
            st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), max_size=6),
        )
    )
    header, rows = drawn(tables, rng)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"u{i:03d}.wav", *cells] for i, cells in enumerate(rows))
    (tree / "corpus" / "made.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    return _reads_corpus("corpus/made.csv", f"columns {header}", rng)


def drawn(strategy, rng: np.random.Generator):
    """An example of a hypothesis strategy, the same for the same state of `rng`."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    examples = []

    @seed(int(rng.integers(2**32)))
    @settings(
        max_examples=4,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example):
        examples.append(example)

    collect()
    return examples[-1]  # the first is the simplest there is


@kind(1.5)
def corpus(tree: Path, rng: np.random.Generator) -> Case:
    """A folder of a licensed corpus, of which a file is damaged."""
    reader = pick(rng, ["msp-podcast:msp", "iemocap:iemocap", "emobank:emobank"])
    folder = tree / reader.partition(":")[2]
    texts = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".wav")
    path = pick(rng, texts)
    what = f"{path.relative_to(tree)}: {mutate_csv(path, rng) if path.suffix == '.csv' else mutate_text(path, rng)}"
    if reader.startswith("emobank"):
        return Case("train", (*_without(CLEAN["train"][1], "--audio"), "--audio", "none", "--corpus", reader, "--out",
                              "new", "--ungrouped", "--folds", "2"), what, ("results/*", "figures/*"))  # fmt: skip
    return made("extract", what, out="new.h5", corpus=reader)


def _without(arguments: tuple[str, ...], option: str) -> tuple[str, ...]:
    place = arguments.index(option)
    return arguments[:place] + arguments[place + 2 :]


def mutate_text(path: Path, rng: np.random.Generator) -> str:
    """Numbers and words of a text file, or its bytes."""
    if rng.random() < 0.4:
        return mutate_bytes(path, rng)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return mutate_bytes(path, rng)
    pieces = list(re.finditer(r"[\w.]+", text))
    if not pieces:
        return mutate_bytes(path, rng)
    piece = pick(rng, pieces)
    new = pick(rng, ["", "nan", "-1", "1e400", "9" * 400, "x", "é\u2028", "\0", "]", "; ;", "..", "\n", "x" * 100_000])
    path.write_text(text[: piece.start()] + new + text[piece.end() :], encoding="utf-8")
    return f"{piece.group()!r} = {new[:20]!r}"


@kind(1.5)
def transcripts(tree: Path, rng: np.random.Generator) -> Case:
    """Texts for predictions, as a folder or a table, or the journal of a run that is gone on with."""
    match rng.integers(5):
        case 0:
            path = pick(rng, sorted((tree / "words").iterdir()))
            return made("predict", f"{path.name}: {mutate_text(path, rng)}", out="new.csv", transcripts="words")
        case 1:
            path = tree / "corpus" / "manifest.csv"
            what = mutate_csv(path, rng)
            return made("predict", what, out="new.csv", transcripts="corpus/manifest.csv")
        case 2:
            what = mutate_file(tree / "w.csv", rng)
            return made("transcribe", what, own=("w.csv*",))
    name, command = pick(rng, [("p.csv.journal", "predict"), ("w.csv.journal", "transcribe")])
    path = tree / name
    (tree / name.removesuffix(".journal")).unlink()
    if rng.random() < 0.5:
        what = mutate_bytes(path, rng)
    else:
        what = _mutate_journal(path, rng)
    return made(command, f"{name}: {what}", own=(f"{name.removesuffix('.journal')}*",))


def _mutate_journal(path: Path, rng: np.random.Generator) -> str:
    """A line whose checksum is right, and whose content is not."""
    import zlib

    from .mutations import mutated_json

    lines = path.read_bytes().splitlines()
    place = int(rng.integers(len(lines)))
    text, what = mutated_json(lines[place].partition(b" ")[2].decode(), rng)
    data = text.encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    lines[place] = b"%08x %s" % (zlib.crc32(data), data)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return f"line {place + 1}: {what}"


# What our commands left ----------------------------------------------------------------------------------------------


@kind(4)
def cache(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged cache, and what reads one."""
    from .mutations import mutate_hdf5

    what = f"c.h5: {mutate_hdf5(tree / 'c.h5', rng)}"
    match rng.integers(8):
        case 0:
            return Case("extract", ("--verify", "--out", "c.h5"), what)
        case 1:
            return made("extract", what, own=("c.h5*",))
        case 2:
            return Case("extract", (*CLEAN["extract"][1], "--repair"), what, ("c.h5*",))
        case 3:
            return Case("similarity", ("c.h5", "--out", "new"), what)
        case 4:
            return Case("report", ("results", "--caches", "c.h5", "--out", "new", "--quick", "--quiet"), what)
        case 5:
            return made("fit", what, own=("results/*", "figures/*"))
    return made("fit", what, out="new", figures="new-figures", compare="scores")


@kind(3)
def results(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged results folder, and what reads one."""
    if rng.random() < 0.1:  # what a report keeps of what it has computed from caches
        path = tree / "report" / pick(rng, ["relevance.csv", "similarity.csv"])
        return made("stored", f"report/{mutate_file(path, rng)}", own=("report/*",))
    files = sorted(path for path in (tree / "results").iterdir() if path.name not in ("foreign.txt", ".lock"))
    named = {}
    for path in files:
        named.setdefault(path.stem, []).append(path)
    path = pick(rng, pick(rng, list(named.values())))
    what = f"results/{mutate_file(path, rng)}"
    if rng.random() < 0.4:  # its other form would stand in
        for other in named[path.stem]:
            if other != path:
                other.unlink()
                what += f", {other.name} removed"
    match rng.integers(5):
        case 0:
            return Case("centroid", ("results",), what)
        case 1:
            return made("report", what, out="new")
        case 2:
            return made("fit", what, own=("results/*", "figures/*"))
    return made("plot", what, figures="new", format=pick(rng, ["png", "svg"]))


@kind(3)
def checkpoint(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged or hostile checkpoint of somebody else."""
    name = pick(rng, ["speech", "speech", "text", "ctc"])
    what = _damage_checkpoint(tree / name, rng)
    match name:
        case "speech":
            return made("extract", what, out="new.h5")
        case "ctc":
            return made("transcribe", what, out="new.csv")
    return made("train", what, out="new", own=("results/*", "figures/*"))


@kind(2)
def saved_model(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged model that probe-train saved, its run, or that of probe-distill."""
    choice = rng.random()
    if choice < 0.7:
        what = _damage_checkpoint(tree / "trained" / "model", rng)
        return made("predict", what, out="new.csv")
    if choice < 0.85:
        files = sorted(path for path in tree.glob("student*/**/*") if path.is_file())
        path = pick(rng, files)
        what = f"{path.parent.name}/{mutate_file(path, rng)}"
        return made("distill", what, own=("student/*", "student-run/*"))
    files = sorted(path for path in (tree / "trained").rglob("*") if path.is_file() and "model" not in path.parts)
    what = mutate_file(pick(rng, files), rng)
    return made("train", f"trained/{what}", own=("trained/*", "results/*", "figures/*"))


class _Call:
    """Pickled, a call of a function of the system."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _damage_checkpoint(folder: Path, rng: np.random.Generator) -> str:
    """A file of it changed, or weights that are no weights."""
    weights = folder / "model.safetensors"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    described = [path for path in files if path.suffix == ".json"]
    match rng.integers(10):
        case 0:
            return f"{folder.name}/{mutate_file(pick(rng, files), rng)}"
        case 1 | 2 if weights.exists():
            return f"{folder.name}/{weights.name}: {_mutate_safetensors(weights, rng)}"
        case 3 | 4 if weights.exists():
            return f"{folder.name}/pytorch_model.bin: {_pickled(weights, rng)}"
        case 5:
            path = pick(rng, files)
            path.unlink()
            return f"{folder.name}/{path.name} removed"
    path = pick(rng, [folder / "config.json", *described])
    return f"{folder.name}/{path.name}: {mutate_json(path, rng)}"


def _mutate_safetensors(path: Path, rng: np.random.Generator) -> str:
    import torch
    from safetensors.torch import load_file, save_file

    from .mutations import mutated_json

    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    match rng.integers(4):
        case 0:
            return mutate_bytes(path, rng)
        case 1:
            text, what = mutated_json(data[8 : 8 + length].decode(), rng)
            header = text.encode("utf-8", "surrogatepass")
            path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
            return f"header: {what}"
        case 2:
            path.write_bytes(int(pick(rng, [0, 1, length - 1, 2**40, 2**63])).to_bytes(8, "little") + data[8:])
            return "length of the header"
    tensors = load_file(path)
    name = pick(rng, sorted(tensors))
    old = tensors[name]
    new = pick(
        rng, [torch.full_like(old, torch.nan), old.double(), old.long(), old[:-1] if old.dim() else old, old * 1e30]
    )
    tensors[name] = new.contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    return f"{name} is {new.dtype} {tuple(new.shape)}"


def _pickled(weights: Path, rng: np.random.Generator) -> str:
    import os

    import torch
    from safetensors.torch import load_file

    tensors = load_file(weights)
    path = weights.with_name("pytorch_model.bin")
    weights.unlink()
    harm = _Call(os.system, "echo harmed > harmed.txt")
    match rng.integers(8):
        case 0:
            path.write_bytes(pickle.dumps(harm))
            return "a pickled call"
        case 1:
            torch.save({**tensors, "more": harm}, path)
            return "a pickled call among the weights"
        case 2:
            torch.save(list(tensors.values()), path)
            return "a list"
        case 3:
            torch.save({**tensors, next(iter(tensors)): "text"}, path)
            return "a text among the weights"
        case 4:
            torch.save(torch.nn.Linear(2, 2), path)
            return "a whole module"
        case 5:
            path.write_bytes(rng.bytes(1_000))
            return "noise"
        case 6:
            torch.save(tensors, path, _use_new_zipfile_serialization=False)
            return f"of the old form, {mutate_bytes(path, rng)}"
    torch.save(tensors, path)
    return mutate_bytes(path, rng)


# Arguments -----------------------------------------------------------------------------------------------------------

WORDS = (
    "", " ", "-1", "0", "1", "2", "2.5", "-0.0", "nan", "inf", "1e308", "10000000000000000000000", "x", "é", "\udcff",
    "a\nb", "all", "none", "auto", "cpu", "cuda", "cuda:99", "mps", "meta", "foreign.txt", "foreign", "odd/empty",
    "odd/nothing", "odd/dangling", "odd/loop", "odd/pipe", "odd/null", "odd/full", "odd/zero", "corpus",
    "corpus/u001.wav", "corpus/manifest.csv", "c.h5", "results", "results/scores.csv", "speech", "trained",
    "trained/model", "p.csv", ".", "..", "absent/deep/x", "x" * 300, "y/" * 2_100, "$(touch harmed.txt)",
    "msp-podcast:", "msp-podcast:msp", "iemocap:absent", "nobody:corpus", "manifest:corpus/manifest.csv",
    "http://localhost:1/x", "a/b", "a/b/c", "../../..", "~", "--", "*",
)  # fmt: skip

#: Options of which a large number is more work and no error.
WORK = ("--epochs", "--steps", "--seeds", "--patience", "--limit", "--decay", "--warmup")
#: Options that want another machine or much time.
LEFT_OUT = (
    "--help",
    "--version",
    "--baselines",
    "--random-init",
    "--audio-random",
    "--text-random",
    "--frames",
    "--threads",
)


def options_of(name: str) -> list[str]:
    """The options that a command's help lists."""
    module, function, _ = COMMANDS[CLEAN[name][0]]
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        getattr(import_module(module), function)(["--help"])
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text.getvalue())) - set(LEFT_OUT))


@kind(4)
def arguments(tree: Path, rng: np.random.Generator) -> Case:
    """Options and their values: wrong, odd, contradicting."""
    names = [name for name in CLEAN for _ in range(1 if name in ("train", "distill", "report", "stored") else 3)]
    name = pick(rng, names)
    command, given = CLEAN[name]
    given = list(given)
    if "--out" in given:
        given[given.index("--out") + 1] = "new"
    known = options_of(name)
    for _ in range(pick(rng, [1, 1, 1, 2, 3])):
        if rng.random() < 0.2 or not known:  # an argument without an option
            value = pick(rng, WORDS)
            place = 0 if given and not given[0].startswith("-") else len(given)
            given[place : place + (rng.random() < 0.7)] = [value]
            continue
        option = pick(rng, known)
        value = pick(rng, WORDS)
        if option in WORK and re.fullmatch(r"[\d.e+]+", value) and float(value) > 3:
            value = "2"
        if value == "demo" or (option == "--corpus" and value == "all"):
            value = "corpus"
        if option in given and rng.random() < 0.8:
            given[given.index(option) + 1 : given.index(option) + 2] = [value]
        else:
            given += [option] if rng.random() < 0.3 else [option, value]
    if "--out" in known and "--overwrite" in known and rng.random() < 0.2:
        given.append("--overwrite")
    own = ("c.h5", "c.h5.lock", "p.csv*", "w.csv*", "results/*", "figures/*", "report/*", "trained/*", "odd/empty")
    return Case(command, tuple(given), "arguments", own)


@kind(1)
def joined(tree: Path, rng: np.random.Generator) -> Case:
    """Two recordings in one file, as concatenation leaves them."""
    import soundfile

    from tests.corpus_fixtures import tone

    ending, container, coding = pick(rng, FORMATS)
    path = tree / "corpus" / f"damaged.{ending}"
    parts = []
    for seed in rng.integers(1000, size=2):
        rate = int(pick(rng, [16_000, 48_000]))
        sound = tone(float(rng.uniform(0.2, 0.6)), seed=int(seed), rate=rate)
        soundfile.write(path, sound, 48_000 if coding == "OPUS" else rate, format=container, subtype=coding)
        parts.append(path.read_bytes())
    between = pick(rng, [b"", b"", bytes(100), rng.bytes(100), b"TAG" + bytes(125), b"ID3\4\0\0\0\0\0\0"])
    path.write_bytes(between.join(parts))
    _add_row(tree, path.name)
    return made("extract", f"{container} {coding}, two joined by {between[:6]!r}", out="new.h5", compare="states")


@kind(0.5)
def mixed(tree: Path, rng: np.random.Generator) -> Case:
    """Some file, whatever it is, in the place of another that a command reads."""
    sources = sorted(path for path in tree.rglob("*") if path.is_file() and "foreign" not in path.name)
    source = pick(rng, sources)
    targets = {
        "c.h5": made("fit", "", out="new", figures="new-figures"),
        "results/scores.parquet": made("plot", "", figures="new"),
        "results/protocol.json": made("report", "", out="new"),
        "corpus/manifest.csv": made("extract", "", out="new.h5"),
        "corpus/u003.wav": made("extract", "", out="new.h5"),
        "speech/config.json": made("extract", "", out="new.h5"),
        "speech/model.safetensors": made("extract", "", out="new.h5"),
        "trained/model/config.json": made("predict", "", out="new.csv"),
        "trained/model/model.safetensors": made("predict", "", out="new.csv"),
        "p.csv.journal": made("predict", "", own=("p.csv*",)),
    }
    target = pick(rng, sorted(targets))
    data = source.read_bytes()
    (tree / target).write_bytes(data)
    case = targets[target]
    what = f"{target} is {source.relative_to(tree)}"
    return Case(case.command, case.arguments, what, case.own)


def make(tree: Path, name: str, seed: int, number: int) -> Case:
    """The input of a kind with this number, always the same for one seed."""
    function, _ = KINDS[name]
    return function(tree, np.random.default_rng([seed, sorted(KINDS).index(name), number]))


def clear(tree: Path, intact: Path) -> None:
    """The intact material again."""
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(intact, tree, symlinks=True, copy_function=_copy)


def _copy(source: str, target: str) -> str:
    """A file, a pipe or a device as it is."""
    import os
    import stat

    mode = os.lstat(source)
    if stat.S_ISREG(mode.st_mode):
        return shutil.copy2(source, target)
    os.mknod(target, mode.st_mode, mode.st_rdev)
    return target


def order(seed: int, only: tuple[str, ...] = ()):
    """Kinds and numbers without an end, in proportion to the weights."""
    names = [name for name in sorted(KINDS) if not only or name in only]
    weights = np.array([KINDS[name][1] for name in names])
    rng = np.random.default_rng(seed)
    counts = dict.fromkeys(names, 0)
    while True:
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        yield name, counts[name]
        counts[name] += 1


def describe(case: Case) -> str:
    """As JSON, for the record of a finding."""
    record = {"command": case.command, "arguments": case.arguments, "mutation": case.mutation, "own": case.own}
    return json.dumps(record, indent=1, default=list)
