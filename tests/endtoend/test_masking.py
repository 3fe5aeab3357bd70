"""What training hides of the input, and how fast it plays it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoprobe.endtoend.data import Utterances, at_speed
from emoprobe.endtoend.masking import FRAMES, Masking
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings, refuse_in_vain
from emoprobe.errors import UserError
from emoprobe.testing.checkpoints import VARIANTS, make_backbone
from emoprobe.testing.corpora import tone

WAVEFORMS = [tone(seconds, seed=k) for k, seconds in enumerate((1.1, 0.6))]


def hidden(*, time: float = 0.0, features: float = 0.0, shape=(400, 60, 64)) -> np.ndarray:
    """Which of the states are hidden."""
    torch.manual_seed(0)
    return (Masking(time=time, features=features)(torch.ones(shape)) == 0).numpy()


def test_each_frame_is_hidden_with_the_probability_asked_for():
    masked = hidden(time=0.3, shape=(2000, 60, 8)).all(2)
    # Five standard deviations, of 2,000 draws for one frame, and of six or so in a row for all.
    assert masked.mean() == pytest.approx(0.3, abs=5 * math.sqrt(0.3 * 0.7 / 12_000))
    np.testing.assert_allclose(masked.mean(0), 0.3, atol=5 * math.sqrt(0.3 * 0.7 / 2000))


def test_each_channel_is_hidden_with_the_probability_asked_for():
    masked = hidden(features=0.2, shape=(2000, 3, 96)).all(1)
    assert masked.mean() == pytest.approx(0.2, abs=5 * math.sqrt(0.2 * 0.8 / 12_000))
    np.testing.assert_allclose(masked.mean(0), 0.2, atol=5 * math.sqrt(0.2 * 0.8 / 2000))


def test_frames_are_hidden_whole_and_in_spans():
    masked = hidden(time=0.1)
    assert (masked.all(2) == masked.any(2)).all()
    for row in masked.any(2)[:100]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        for begin, end in edges.reshape(-1, 2):
            assert end - begin >= FRAMES or end == len(row) or begin == 0


def test_nothing_is_hidden_where_nothing_is_asked_for():
    assert not hidden().any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_family_is_masked_in_training_alone(variant):
    backbone = make_backbone(variant)
    whole, frames = backbone.hidden_states(WAVEFORMS)
    Masking(time=0.9, features=0.0).attach(backbone)
    again, _ = backbone.hidden_states(WAVEFORMS)
    torch.testing.assert_close(again, whole, rtol=0, atol=0)
    backbone.blocks.train()
    torch.manual_seed(1)
    masked, _ = backbone.hidden_states(WAVEFORMS)
    backbone.blocks.eval()
    # Layer 0 is what the first block is given.
    gone = (masked[0, 0, : frames[0]] == 0).all(-1)
    assert gone.any()
    torch.testing.assert_close(masked[0, 0, : frames[0]][~gone], whole[0, 0, : frames[0]][~gone], rtol=1e-4, atol=1e-5)


# Speed ---------------------------------------------------------------------------------------------------------------


@given(st.integers(50, 200), st.integers(400, 5000))
def test_a_waveform_played_faster_is_shorter(hundredths, samples):
    played = at_speed(np.ones(samples, np.float32), hundredths / 100)
    assert len(played) == math.ceil(samples * 100 / hundredths)


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_a_tone_played_faster_is_higher(speed):
    seconds = np.arange(16_000) / 16_000
    played = at_speed(np.sin(2 * np.pi * 400 * seconds).astype(np.float32), speed)
    expected = np.sin(2 * np.pi * 400 * speed * np.arange(len(played)) / 16_000)
    # Away from the ends, where the filter sees silence. A windowed sinc lets through what it should within a hundredth.
    np.testing.assert_allclose(played[500:-500], expected[500:-500], atol=0.02)


def test_as_it_was_recorded_is_as_it_was():
    waveform = tone(0.2)
    assert at_speed(waveform, 1.0) is waveform


class Recording:
    """One file of so many samples, as `endtoend.data.Speech` holds it."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __getitem__(self, row: int) -> np.ndarray:
        return np.ones(self.samples, np.float32)


@pytest.mark.parametrize(
    ("samples", "longest", "lengths"),
    [
        (1000, 0, {1112, 1000, 910}),  # every speed
        (460, 0, {512, 460}),  # faster, it were shorter than a frame
        (1150, 0, {1150, 1046}),  # slower, it were longer than the window
        (1150, 1100, {1100, 1046}),  # and is cut to less
        (420, 0, {420, 467}),
        (300, 0, {300}),  # none: as it was recorded
    ],
)
def test_no_speed_is_drawn_at_which_the_model_cannot_hear_it(samples, longest, lengths):
    items = Utterances(
        np.array([0]), speech=Recording(samples), prepare=None, texts=["a"], labels=np.zeros((1, 1)),
        longest=longest, speeds=(0.9, 1.0, 1.1), shortest=420, window=1200,
    )  # fmt: skip
    found = {len(items[epoch]["waveform"]) for epoch in range(40)}
    assert found == lengths
    again = [len(items[epoch]["waveform"]) for epoch in range(5)]
    assert again == [len(items[epoch]["waveform"]) for epoch in range(5)]


# Refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mask_time": 1.0}, r"--mask-time 1 must be from 0 to below 1"),
        ({"mask_features": -0.1}, r"--mask-features -0\.1 must be"),
        ({"average": 1.0}, r"--average 1 must be from 0 to below 1"),
        ({"speeds": (0.9, 3.0)}, r"--speeds 3: give speeds from 0\.5 to 2"),
        ({"speeds": (0.333,)}, r"--speeds 0\.333: .* in hundredths"),
        ({"speeds": (float("nan"),)}, r"--speeds nan"),
        ({"speeds": ()}, r"--speeds: give a speed"),
        ({"lora": 0}, r"--lora 0"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        TrainingSettings(**given)


def test_what_would_change_nothing_is_refused():
    for training in (TrainingSettings(mask_time=0.1), TrainingSettings(speeds=(0.9, 1.0))):
        with pytest.raises(UserError, match="is of speech, and --audio is none"):
            refuse_in_vain(ModelSettings(audio=None), training)
    with pytest.raises(UserError, match="--mask-features hides input from an encoder that learns"):
        refuse_in_vain(ModelSettings(freeze=("audio",)), TrainingSettings(mask_features=0.1))
    refuse_in_vain(ModelSettings(freeze=("audio",)), TrainingSettings(speeds=(0.9, 1.0)))
    assert TrainingSettings(speeds=(1.0, 1.0)).speeds == (1.0,)
