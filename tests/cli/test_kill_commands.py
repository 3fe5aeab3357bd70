"""Killed at any instant and run again, every command that writes ends as one that was never stopped.

One instant a command by default; ``EMOPROBE_KILLS=20 python -m pytest tests/cli/test_kill_commands.py`` for more. Each
kill is a SIGKILL to the command and to all processes that it has started.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from emoprobe.testing.checkpoints import save_speech_model, save_text_model
from emoprobe.testing.corpora import make_corpus
from emoprobe.testing.recognisers import save_ctc
from tests.killed_commands import Commands
from tests.thorough import THOROUGH, kills

KILLS = kills(1)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Case:
    """A command that writes.

    Attributes
    ----------
    name : str
    line : str
        The command; ``{material}`` is the folder of what it reads.
    takes_long : bool
        Left out unless ``EMOPROBE_KILLS`` is set.
    """

    name: str
    line: str
    takes_long: bool = False


TRAIN = (
    "probe-train --corpus {material}/corpus/manifest.csv --audio {material}/hubert --text {material}/text --hidden 16 "
    "--dim arousal --epochs 2 --batch 2 --accumulate 2 --save-steps 2 --folds 3 --longest 0.5 --resamples 20 "
    "--device cpu --quiet"
)
EXTRACT = (
    "probe-extract --corpus {material}/corpus/manifest.csv --model {material}/hubert --device cpu --workers 2 "
    "--batch-seconds 3 --quiet"
)
FIT = (
    "probe-fit {material}/made/states.h5 --dim arousal --no-mdl --folds 3 --seeds 2 --resamples 20 --permutations 20 "
    "--device cpu --quiet"
)

#: What the commands below read, in this order.
MADE = (
    f"{EXTRACT} --out states.h5 --baselines text={{material}}/text",
    FIT,
    f"{TRAIN} --out trained",
    *(f"{EXTRACT} --shard {number}/2 --out shard-{number}.h5" for number in (1, 2)),
)

CASES = (
    Case("extract", f"{EXTRACT} --frames"),
    Case("shard", f"{EXTRACT} --shard 2/2"),
    Case("join", "probe-extract join {material}/made/shard-1.h5 {material}/made/shard-2.h5 --out joined.h5 --quiet"),
    Case("baselines", f"{EXTRACT} --baselines egemaps text={{material}}/text"),
    Case("fit", f"{FIT} --probe all"),
    Case("train", TRAIN),
    Case("export", "probe-train export {material}/made/trained/model --corpus {material}/corpus/manifest.csv --int8 "
         "--limit 4 --out onnx", takes_long=True),
    Case("predict", "probe-predict {material}/made/trained/model --corpus {material}/corpus/manifest.csv "
         "--out predictions.csv --batch-seconds 2 --quiet"),
    Case("transcribe", "probe-transcribe --corpus {material}/corpus/manifest.csv --model {material}/recogniser "
         "--out words.csv --batch-seconds 2 --device cpu --quiet"),
    Case("distill", "probe-distill --teacher {material}/hubert --corpus {material}/corpus/manifest.csv --blocks 1 "
         "--layers 2 3 --steps 12 --save-steps 3 --log-steps 3 --batch-seconds 2 --threads 1"),
    Case("report", "probe-report {material}/made/results --caches {material}/made/states.h5 --quiet"),
    Case("plot", "probe-plot {material}/made/results"),
)  # fmt: skip


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with Commands() as running:
        yield running


@pytest.fixture(scope="module")
def material(tmp_path_factory, commands) -> Path:
    """A corpus, models, and what the earlier commands make of them."""
    root = tmp_path_factory.mktemp("material")
    make_corpus(root / "corpus", utterances=24, speakers=6)
    save_speech_model(root / "hubert")
    save_text_model(root / "text")
    save_ctc(root / "recogniser")
    for line in MADE:
        ended = commands.run(line.format(material=root), root / "made")
        assert ended.status == 0, ended.output
    return root


def content(folder: Path) -> dict[str, object]:
    """All that lies below a folder; of a file that holds a time, what does not depend on it."""
    return {
        path.relative_to(folder).as_posix(): _timeless(path) if path.is_file() else "a folder"
        for path in sorted(folder.rglob("*"))
    }


def _timeless(path: Path) -> object:
    data = path.read_bytes()
    if path.name == "log.jsonl":
        lines = [json.loads(line) for line in data.splitlines()]
        return [{name: value for name, value in line.items() if not _is_time(name)} for line in lines]
    if path.suffix == ".journal":  # a kill leaves lines that are valid no more; the last of a key holds
        lines = [json.loads(line.partition(b" ")[2]) for line in data.splitlines()]
        return {key: value for line in lines for key, value in line.items()}
    return data


def _is_time(name: str) -> bool:
    return name == "seconds" or name.endswith(("runtime", "per_second"))


def differing(one: dict[str, object], other: dict[str, object]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_killed_at_random_instants(case, commands, material, tmp_path):
    if case.takes_long and not (THOROUGH or "EMOPROBE_KILLS" in os.environ):
        pytest.skip("torch's exporter takes many seconds each time; make test-thorough, or set EMOPROBE_KILLS")
    line = case.line.format(material=material)
    began = time.monotonic()
    whole = commands.run(line, tmp_path / "whole" / "folder")
    duration = time.monotonic() - began
    assert whole.status == 0, whole.output
    wanted = content(tmp_path / "whole" / "folder")
    draw = random.Random(zlib.crc32(case.name.encode()))
    hit = 0
    for trial in range(KILLS):
        folder = tmp_path / f"killed{trial}" / "folder"
        after = duration * draw.random()
        hit += commands.run(line, folder, after=after).status == -signal.SIGKILL
        again = commands.run(line, folder)
        assert again.status == 0, f"killed after {after:.3f} s: {again.output}"
        assert differing(content(folder), wanted) == [], f"killed after {after:.3f} s"
    print(f"{case.name}: {hit} of {KILLS} kills hit a command that takes {duration:.2f} s")


@pytest.mark.parametrize("name", ["train", "distill"])
def test_a_disk_that_is_full_is_told_and_the_command_goes_on_later(name, commands, material, tmp_path):
    """Whatever writes the checkpoints, in Python, Rust or C++; other files have tests of their own."""
    line = next(case.line for case in CASES if case.name == name).format(material=material)
    assert commands.run(line, tmp_path / "whole" / "folder").status == 0
    full = commands.run(line, tmp_path / "full" / "folder", file_bytes=20_000)
    assert full.status == 2, full.output
    assert "Traceback" not in full.output
    last = full.output.splitlines()[-1]
    assert last.startswith("error: ")
    assert "free some" in last
    assert "run the same command again" in last
    assert commands.run(line, tmp_path / "full" / "folder").status == 0
    assert differing(content(tmp_path / "full" / "folder"), content(tmp_path / "whole" / "folder")) == []
