"""What a teacher says, computed once: against its states of each utterance alone, and on the student's frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emoprobe.distil import targets as targets_module
from emoprobe.distil.targets import Grid, averaging, grid_of, make_targets
from emoprobe.errors import UserError
from emoprobe.extract.encoders.speech import load_backbone
from emoprobe.testing import save_speech_model, save_whisper


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return load_backbone(str(save_whisper(tmp_path_factory.mktemp("whisper"))))


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    return load_backbone(str(save_speech_model(tmp_path_factory.mktemp("hubert"))))


def speech(*seconds):
    rng = np.random.default_rng(2)
    waves = [0.1 * rng.standard_normal(round(16_000 * s)).astype(np.float32) for s in seconds]
    return [len(wave) for wave in waves], waves.__getitem__


@pytest.mark.slow
def test_the_grid_of_a_model_is_its_own(whisper, hubert):
    assert grid_of(whisper) == Grid(320, 0.0, 400)
    grid = grid_of(hubert)
    assert grid.hop == int(np.prod(hubert.config.conv_stride))
    for samples in (grid.field, grid.field + grid.hop - 1, grid.field + grid.hop, 16_000, 31_111):
        assert grid.frames(samples) == hubert.frames(samples)


def test_a_frame_is_told_the_teachers_frames_within_half_a_hop():
    """By the definition written out, frame by frame."""
    teacher, student = Grid(320, 0.0, 400), Grid(640, 472.5, 945)
    first, last = averaging(teacher, student, 50, 24)
    for frame, (begin, end) in enumerate(zip(first, last, strict=True)):
        centre = 640 * frame + 472.5
        near = [k for k in range(50) if centre - 320 <= 320 * k < centre + 320]
        assert list(range(begin, end)) == near
    assert (last - first == 2).all()


def test_a_slower_teacher_tells_its_nearest_frame():
    first, last = averaging(Grid(640, 0.0, 400), Grid(160, 0.0, 400), 10, 30)
    assert (last - first == 1).all()
    assert np.abs(640 * first[:36] - 160 * np.arange(30)).max() <= 320


@pytest.mark.slow
def test_targets_are_the_teachers_states_averaged(whisper, tmp_path):
    """One utterance a window: the states that the teacher gives for it alone, its frames averaged in pairs."""
    lengths, read = speech(1.0)
    grid = Grid(640, 472.5, 945)
    targets = make_targets(tmp_path / "targets", whisper, (1, 2), lengths, read, grid)
    states, _ = whisper.hidden_states([read(0)])
    first, last = averaging(Grid(320, 0.0, 400), grid, states.shape[2], grid.frames(lengths[0]))
    wanted = np.stack([states[1:3, 0, begin:end].mean(1).numpy() for begin, end in zip(first, last, strict=True)])
    np.testing.assert_allclose(targets.states, wanted, rtol=2e-3, atol=2e-3)
    told = targets.part(0, 3, 10)
    np.testing.assert_allclose(told, (wanted[3:13] - targets.mean) / targets.deviation, atol=2e-2)
    whole = targets.part(0, 0, grid.frames(lengths[0]))
    np.testing.assert_allclose(whole.mean(0), 0, atol=1e-2)
    np.testing.assert_allclose(whole.std(0), 1, atol=1e-2)


def test_packed_utterances_keep_their_own_frames(hubert, tmp_path):
    """A teacher whose states do not reach over the gap says of each what it says of it alone."""
    lengths, read = speech(0.5, 0.9, 1.3)
    grid = grid_of(hubert)
    targets = make_targets(tmp_path / "targets", hubert, (0,), lengths, read, grid)
    assert np.diff(targets.offsets).tolist() == [grid.frames(n) for n in lengths]
    window = next(targets_module._windows(np.array(lengths), grid, 480_000))
    wave = np.zeros(window[-1][1] + lengths[-1], np.float32)
    for index, start in window:
        assert start % grid.hop == 0
        wave[start : start + lengths[index]] = read(index)
    states, _ = hubert.hidden_states([wave])
    for index, start in window:
        begin = start // grid.hop
        wanted = states[0, 0, begin : begin + grid.frames(lengths[index])].numpy()
        rows = targets.states[targets.offsets[index] : targets.offsets[index + 1], 0]
        np.testing.assert_allclose(rows, wanted, rtol=2e-3, atol=2e-3)


def test_a_killed_teacher_goes_on(hubert, tmp_path, monkeypatch):
    monkeypatch.setattr(targets_module, "_LONGEST", 1.5)
    lengths, read = speech(0.5, 0.9, 1.3, 0.7, 0.8)
    grid = grid_of(hubert)
    whole = make_targets(tmp_path / "whole", hubert, (1, 2), lengths, read, grid)
    asked: list[int] = []

    class Killed(Exception):
        pass

    def dying(index):
        if index == 3 and not asked.count(3):
            asked.append(index)
            raise Killed
        asked.append(index)
        return read(index)

    with pytest.raises(Killed):
        targets_module._ask(
            tmp_path / "part", hubert, (1, 2), np.array(lengths), dying, grid, 24_000, lambda line: None
        )
    asked.clear()
    asked.append(3)
    targets_module._ask(tmp_path / "part", hubert, (1, 2), np.array(lengths), dying, grid, 24_000, lambda line: None)
    assert 0 not in asked
    again = np.fromfile(tmp_path / "part", "<f2").reshape(whole.states.shape)
    assert np.array_equal(again, whole.states)


def test_targets_of_other_speech_are_refused(hubert, tmp_path):
    lengths, read = speech(0.5, 0.9)
    make_targets(tmp_path / "targets", hubert, (1,), lengths, read, grid_of(hubert))
    with pytest.raises(UserError, match="layers"):
        make_targets(tmp_path / "targets", hubert, (2,), lengths, read, grid_of(hubert))


@pytest.mark.slow
def test_what_is_longer_than_the_window_is_cut_and_said(whisper, tmp_path):
    lengths, read = speech(31.0)
    told: list[str] = []
    grid = Grid(640, 472.5, 945)
    targets = make_targets(tmp_path / "targets", whisper, (1,), lengths, read, grid, say=told.append)
    assert told[0] == "1 utterances are cut to the teacher's 30 s"
    assert f"takes {(tmp_path / 'targets' / 'states.f16').stat().st_size / 1e6:.1f} MB" in told[1]
    assert len(targets.states) == grid.frames(480_000)
    assert torch.isfinite(torch.from_numpy(targets.part(0, 0, 100))).all()
