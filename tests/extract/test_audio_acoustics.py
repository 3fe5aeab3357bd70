"""Log-mel and MFCC statistics beside torchaudio's own transforms and a direct computation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.extract import acoustics
from emoprobe.extract.acoustics import ACOUSTIC_WIDTHS, acoustic_statistics, batch_statistics
from emoprobe.testing.corpora import tone

# Logarithms up to about 25 in 80 bands make cepstral sums up to 206, of which float32 holds some 1e-5 a rounding, in an
# order that is the processor's; 9e-5 was seen where they cancel. An error of the definition is a thousand times larger.
CLOSE = {"rtol": 1e-4, "atol": 5e-4}


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """(windows, 80) in double precision by numpy alone, but for the filters."""
    windows = 1 + (len(waveform) - 400) // 160
    frames = np.stack([waveform[160 * k : 160 * k + 400] for k in range(windows)]).astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(frames * hann, n=512, axis=1)) ** 2
    filters = torchaudio.functional.melscale_fbanks(257, 0.0, 8000.0, 80, 16_000).double().numpy()
    return np.log(np.maximum(power @ filters, 1e-10))


def expected(waveform: np.ndarray) -> dict[str, np.ndarray]:
    bands = log_mel(waveform)
    cepstrum = scipy.fft.dct(bands, type=2, norm="ortho", axis=1)[:, :40]
    deltas = torchaudio.functional.compute_deltas(torch.from_numpy(cepstrum.T.copy())).numpy().T
    statistics = lambda *series: np.concatenate([f(s, axis=0) for s in series for f in (np.mean, np.std)])  # noqa: E731
    return {"logmel": statistics(bands), "mfcc": statistics(cepstrum, deltas)}


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(400, 20_000), seed=st.integers(0, 99))
def test_beside_the_definition(samples: int, seed: int) -> None:
    waveform = tone(2.0, seed=seed)[:samples]
    found = acoustic_statistics(waveform)
    for name, values in expected(waveform).items():
        assert found[name].shape == (ACOUSTIC_WIDTHS[name],)
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, **CLOSE)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 9_000), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_a_batch_is_each_of_its_utterances_alone(lengths: list[int], seed: int) -> None:
    """Rounded sums in double precision come out as the same float32, or the next one."""
    waveforms = [tone(1.0, seed=seed + row)[:samples] for row, samples in enumerate(lengths)]
    together = batch_statistics(waveforms)
    for row, waveform in enumerate(waveforms):
        for name, values in acoustic_statistics(waveform).items():
            np.testing.assert_allclose(together[name][row].numpy(), values, rtol=1e-5, atol=1e-5)


def test_a_batch_beside_the_definition() -> None:
    waveforms = [tone(2.0, seed=row)[:samples] for row, samples in enumerate((31_000, 700, 16_001))]
    together = batch_statistics(waveforms)
    for row, waveform in enumerate(waveforms):
        for name, values in expected(waveform).items():
            np.testing.assert_allclose(together[name][row].numpy(), values, **CLOSE)


def test_a_batch_is_whole_float32_under_autocast() -> None:
    waveforms = [tone(0.5), tone(0.3)]
    plain = batch_statistics(waveforms)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = batch_statistics(waveforms)
    for name, values in plain.items():
        assert under[name].dtype == torch.float32
        torch.testing.assert_close(under[name], values, rtol=0, atol=0)


def test_beside_torchaudios_transforms() -> None:
    waveform = tone(1.0)
    mel = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=512, win_length=400, hop_length=160, n_mels=80, center=False
    )
    # Its window stands in the middle of 512 samples: with 56 zeros before and behind it sees what ours sees.
    bands = mel(torch.nn.functional.pad(torch.from_numpy(waveform), (56, 56))).clamp_min(1e-10).log()
    found = acoustic_statistics(waveform)["logmel"]
    np.testing.assert_allclose(found[:80], bands.mean(dim=1).numpy(), **CLOSE)
    np.testing.assert_allclose(found[80:], bands.std(dim=1, correction=0).numpy(), **CLOSE)


def test_no_filter_is_empty() -> None:
    _, mel, _ = acoustics._transforms(torch.device("cpu"))
    assert (mel.fb.sum(dim=0) > 0.5).all()


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 401, 559])
def test_a_single_window(samples: int) -> None:
    """Zeros fill the first window; over one window nothing deviates."""
    waveform = tone(1.0)[:samples]
    found = acoustic_statistics(waveform)
    filled = expected(np.pad(waveform, (0, max(0, 400 - samples))))
    for name, values in found.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values, filled[name], **CLOSE)
    assert not found["logmel"][80:].any()
    assert not found["mfcc"][40:].any()


def test_silence_meets_the_floor() -> None:
    found = acoustic_statistics(np.zeros(1_600, dtype=np.float32))["logmel"]
    np.testing.assert_allclose(found[:80], np.log(1e-10), rtol=1e-6)
    # The mean of equal numbers may differ from them by one rounding.
    np.testing.assert_allclose(found[80:], 0, atol=1e-12)


def test_loudness_is_kept() -> None:
    """Twice the amplitude is log 4 more in each band, and nothing else."""
    quiet, loud = (acoustic_statistics(gain * tone(1.0)) for gain in (1.0, 2.0))
    np.testing.assert_allclose(loud["logmel"][:80] - quiet["logmel"][:80], np.log(4), atol=1e-4)
    np.testing.assert_allclose(loud["logmel"][80:], quiet["logmel"][80:], atol=1e-4)
    np.testing.assert_allclose(loud["mfcc"][1:], quiet["mfcc"][1:], atol=1e-4)


def test_the_same_bytes_again() -> None:
    waveform = tone(1.3)
    first, second = acoustic_statistics(waveform), acoustic_statistics(waveform.copy())
    for name in ACOUSTIC_WIDTHS:
        assert first[name].tobytes() == second[name].tobytes()


def test_one_channel_only() -> None:
    with pytest.raises(ValueError, match="one dimension"):
        acoustic_statistics(np.zeros((2, 800), dtype=np.float32))
