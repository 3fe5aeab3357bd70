"""Manifests, corpora, transcripts and the journals of runs over them."""

from __future__ import annotations

import csv
import io
import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from emoprobe.extract.corpora.table import COLUMNS as TABLE_COLUMNS
from tests.fuzz.cases import Case, kind, made
from tests.fuzz.material import CLEAN
from tests.fuzz.mutations import mutate_bytes, mutate_csv, mutate_file, mutate_parquet, mutated_json, pick


@kind(3)
def manifest(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged manifest, CSV or Parquet, and what reads one."""
    path = tree / "corpus" / "manifest.csv"
    if rng.random() < 0.25:
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

    lines = path.read_bytes().splitlines()
    place = int(rng.integers(len(lines)))
    text, what = mutated_json(lines[place].partition(b" ")[2].decode(), rng)
    data = text.encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    lines[place] = b"%08x %s" % (zlib.crc32(data), data)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return f"line {place + 1}: {what}"
