"""Intervals hold what they promise: the closed form, the weights of speakers, and coverage of new speakers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from emoprobe.cli.predict import main as predict
from emoprobe.cli.train import main as train
from emoprobe.endtoend.conformal import LEVELS, calibrated, fewest_speakers, half_width, half_widths, held
from emoprobe.endtoend.saved import load_model, read_config
from emoprobe.errors import UserError
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus

NAN = float("nan")


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.sampled_from(LEVELS))
def test_one_utterance_a_speaker_is_split_conformal(errors, level):
    count = len(errors)
    rank = math.ceil(level * (count + 1) - 1e-9)
    expected = sorted(errors)[rank - 1] if rank <= count else math.inf
    assert half_width(np.array(errors), np.arange(count), level) == expected
    assert math.isfinite(expected) is (count >= fewest_speakers(level))


def test_a_speaker_counts_once_however_much_they_say():
    errors = np.concatenate([np.full(1000, 5.0), np.arange(1.0, 20.0)])
    speakers = np.concatenate([np.zeros(1000, int), np.arange(1, 20)])
    assert half_width(errors, speakers, 0.5) == half_width(np.array([5.0, *range(1, 20)]), np.arange(20), 0.5)
    twice = half_width(np.tile(errors, 3), np.tile(speakers, 3), 0.8)
    assert twice == half_width(errors, speakers, 0.8)
    assert half_width(np.append(errors, NAN), np.append(speakers, 99), 0.8) == half_width(errors, speakers, 0.8)


def coverage(width_of, *, speakers: int, each: int, draws: int = 1500, level: float = 0.8) -> float:
    """Share of utterances of new speakers that an interval holds; speakers have an offset of their own."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(draws):
        errors = np.abs(rng.normal(size=(speakers + 1, 1)) * 1.5 + rng.normal(size=(speakers + 1, each)) * 0.5)
        width = width_of(errors[:-1].ravel(), np.repeat(np.arange(speakers), each), level)
        inside.append(errors[-1, 0] <= width)
    return float(np.mean(inside))


def test_new_speakers_are_covered_where_utterances_alone_would_not():
    """Of a true coverage of .9, three standard errors of 1,500 draws are .023; of .8, .031."""

    def of_utterances(errors, _, level):
        return half_width(errors, np.arange(len(errors)), level)

    assert coverage(half_width, speakers=9, each=30, level=0.9) > 0.9 - 0.023
    assert coverage(of_utterances, speakers=9, each=30, level=0.9) < 0.9 - 0.023
    assert coverage(half_width, speakers=40, each=5) == pytest.approx(0.8, abs=0.04)


def test_what_a_model_keeps_is_what_it_says():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(60, 2))
    truth[:5, 0] = NAN
    predicted, speakers = truth + rng.normal(size=(60, 2)), np.arange(60) % 12
    predicted[:5, 0] = 0
    kept = calibrated(truth, predicted, speakers, ("arousal", "valence"))
    assert (kept["speakers"], kept["utterances"]) == (12, 60)
    errors = np.abs(truth - predicted)
    config = {"label": "small", "intervals": kept}
    assert half_widths(config, 0.9)["valence"] == half_width(errors[:, 1], speakers, 0.9)
    shares = held(truth, predicted, kept, ("arousal", "valence"))
    assert shares["arousal"]["0.5"] == np.mean(errors[5:, 0] <= kept["half_widths"]["arousal"]["0.5"])
    assert kept["half_widths"]["valence"]["0.95"] is None  # of 12 speakers, and 19 are needed
    with pytest.raises(UserError, match=r"--interval 0\.95: small was calibrated on 12 speakers.*needs 19"):
        half_widths(config, 0.95)
    with pytest.raises(UserError, match=r"--interval 0\.7: a model knows 0\.5, 0\.8"):
        half_widths(config, 0.7)
    with pytest.raises(UserError, match=r"small knows no intervals.*train it again"):
        half_widths({"label": "small"}, 0.9)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_trained_model_answers_with_intervals(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = pd.read_csv(make_corpus(tmp_path / "corpus", utterances=24, speakers=6, longest=0.8))
    parts = dict(zip(sorted(table["speaker"].unique()), ["train"] * 2 + ["development"] * 3 + ["test"], strict=True))
    table["split"] = table["speaker"].map(parts)
    table.to_csv("corpus/manifest.csv", index=False)
    save_speech_model(tmp_path / "speech")
    words = ["--corpus", "corpus/manifest.csv", "--audio", "speech", "--text", "none", "--hidden", "8", "--quiet"]
    assert train([*words, "--epochs", "1", "--batch", "4", "--resamples", "10", "--device", "cpu"]) == 0
    kept = read_config(tmp_path / "trained/model")["intervals"]
    assert kept["speakers"] == 3
    assert kept["half_widths"]["valence"]["0.9"] is None
    model = load_model(tmp_path / "trained/model")
    rows = table[(table["split"] == "development") & table["valence"].notna()]
    heard = [soundfile.read(tmp_path / "corpus" / path, dtype="float32")[0] for path in rows["path"]]
    errors = np.abs(model.predict(heard)[:, model.dimensions.index("valence")] - rows["valence"].to_numpy())
    expected = half_width(errors, rows["speaker"].to_numpy(), 0.5)
    assert kept["half_widths"]["valence"]["0.5"] == pytest.approx(expected, rel=1e-4)
    assert "calibrated on" in (tmp_path / "trained/model/README.md").read_text()
    files = ["trained/model", f"corpus/{table['path'][0]}", "--out", "out.csv", "--device", "cpu", "--quiet"]
    assert predict([*files, "--interval", "0.5"]) == 0
    (row,) = pd.read_csv("out.csv").to_dict("records")
    width = kept["half_widths"]["valence"]["0.5"]
    assert row["valence_high"] - row["valence"] == pytest.approx(width, rel=1e-3)
    assert row["valence"] - row["valence_low"] == pytest.approx(width, rel=1e-3)
    assert predict([*files, "--interval", "0.9"]) == 2
    assert "was calibrated on 3 speakers" in capsys.readouterr().err
