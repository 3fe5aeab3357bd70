"""Killed at any instant and run again, a training ends with the same bytes as one that was never stopped.

Two instants by default; ``EMOPROBE_KILLS=20 python -m pytest tests/endtoend/test_training_kill.py`` for more.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.testing.checkpoints import WORDS, save_speech_model, save_text_model
from emoprobe.testing.corpora import make_corpus
from tests.killed_training import start
from tests.thorough import kills

KILLS = kills(2)


def content(out: Path) -> dict[str, bytes]:
    """Every file of a run but its logs, which tell the time, and locks."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in ("log.jsonl", ".lock")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(files)}


def steps(out: Path) -> list[str]:
    """The steps that the logs tell of."""
    lines = [line for path in sorted(out.rglob("log.jsonl")) for line in path.read_text().splitlines()]
    return [line.split(",")[0] for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_instants(tmp_path):
    save_speech_model(tmp_path / "audio", "distilhubert")
    save_text_model(tmp_path / "text", "distilbert")
    manifest = make_corpus(tmp_path / "corpus", utterances=24, speakers=6)
    table = pd.read_csv(manifest)
    rng = np.random.default_rng(0)
    table["transcript"] = [" ".join(rng.choice(WORDS, 5)) for _ in range(len(table))]
    table.to_csv(manifest, index=False)
    model = ModelSettings(audio=str(tmp_path / "audio"), text=str(tmp_path / "text"), hidden=16)
    # Three folds of 8 utterances, two batches a step, a checkpoint within each epoch: a write every few milliseconds.
    training = TrainingSettings(
        epochs=3, batch=2, accumulate=2, save_steps=1, folds=3, longest=0.5, resamples=20, device="cpu"
    )

    def run(out: Path, seconds: float | None = None) -> int:
        process = start(str(manifest), model, training, out)
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode

    assert run(tmp_path / "warm") == 0  # the first start pays for the imports
    began = time.monotonic()
    assert run(tmp_path / "whole") == 0
    duration = time.monotonic() - began
    wanted = content(tmp_path / "whole")
    assert {"model/model.safetensors", "model/README.md", "run.json", "results/scores.csv"} <= set(wanted)
    assert not [name for name in wanted if "checkpoint" in name]
    draw = random.Random(0)
    killed = 0
    for trial in range(KILLS):
        out = tmp_path / f"killed{trial}"
        killed += run(out, draw.uniform(0, duration)) != 0
        assert run(out) == 0
        # Learning curves are of what each process logged: after a kill they begin anew at the last checkpoint.
        assert {**content(out), "learning.csv": b""} == {**wanted, "learning.csv": b""}
        assert steps(out) == steps(tmp_path / "whole")
    assert killed > 0
