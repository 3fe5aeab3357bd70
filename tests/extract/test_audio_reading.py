"""Audio of every kind to 16 kHz mono, beside independent references, and a reason for what cannot be read."""

from __future__ import annotations

import math
import os
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.extract import audio, resampling
from emoprobe.extract.acoustics import acoustic_statistics
from emoprobe.extract.audio import AudioHeader, AudioProblem, read_audio, read_header, reading
from emoprobe.extract.resampling import resample, resampled_length
from emoprobe.testing.corpora import tone

WAV_KINDS = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
#: name, container, coding, rate: all that the project names, and what comes for nothing.
KINDS = (
    *(("wav", "WAV", coding, 22_050) for coding in WAV_KINDS),
    *(("wav", "WAVEX", coding, 44_100) for coding in ("PCM_16", "PCM_24", "FLOAT")),
    ("wav", "RF64", "PCM_16", 48_000),
    ("flac", "FLAC", "PCM_16", 44_100),
    ("flac", "FLAC", "PCM_24", 16_000),
    ("ogg", "OGG", "VORBIS", 44_100),
    ("ogg", "OGG", "VORBIS", 16_000),
    ("opus", "OGG", "OPUS", 48_000),
    ("opus", "OGG", "OPUS", 16_000),
    ("mp3", "MP3", "MPEG_LAYER_III", 44_100),
    ("mp3", "MP3", "MPEG_LAYER_III", 16_000),
    ("aiff", "AIFF", "PCM_16", 32_000),
    ("w64", "W64", "PCM_16", 24_000),
    ("au", "AU", "PCM_16", 8_000),
    ("caf", "CAF", "PCM_16", 96_000),
)
CHECKED_CONTAINERS = ("WAV", "WAVEX", "RF64", "AIFF", "W64", "AU", "CAF")


def write(path: Path, signal: np.ndarray, rate: int, container: str, coding: str | None = None, **options) -> Path:
    # In short blocks: libsndfile's Vorbis encoder takes its memory for a block from the stack.
    channels = 1 if signal.ndim == 1 else signal.shape[1]
    with soundfile.SoundFile(path, "w", rate, channels, coding, format=container, **options) as file:
        for start in range(0, len(signal), 8192):
            file.write(signal[start : start + 8192])
    return path


def read(path: Path) -> np.ndarray:
    header = read_header(path)
    waveform = read_audio(path, header)
    assert waveform.dtype == np.float32
    assert waveform.shape == (header.samples,)
    assert waveform.flags.c_contiguous
    return waveform


def problem(path: Path) -> AudioProblem:
    with pytest.raises(AudioProblem) as caught:
        read(path)
    assert caught.value.status in audio.STATUSES
    assert caught.value.reason
    assert "\n" not in caught.value.reason
    return caught.value


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind[1:])))
def test_every_kind(tmp_path: Path, kind: tuple[str, str, str, int], channels: int) -> None:
    """Against soundfile's own reading, averaged and resampled by torchaudio's function."""
    ending, container, coding, rate = kind
    if container == "MP3" and channels > 2:
        pytest.skip("MP3 holds two channels at most")
    signal = np.stack([tone(0.4, seed=seed, rate=rate) for seed in range(channels)], axis=1)
    path = write(tmp_path / f"sound.{ending}", signal, rate, container, coding)
    header = read_header(path)
    decoded, decoded_rate = soundfile.read(path, dtype="float64", always_2d=True)
    assert header == AudioHeader(len(decoded), rate, channels, math.ceil(Fraction(16_000 * len(decoded), rate)))
    assert decoded_rate == rate
    if container != "MP3":
        assert header.frames == len(signal)
    expected = torchaudio.functional.resample(torch.from_numpy(decoded.mean(axis=1)), rate, 16_000).numpy()
    # float32 against float64 of samples below 1: 6e-8 each, some dozens of taps.
    np.testing.assert_allclose(read(path), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("coding", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_wav_of_scipy(tmp_path: Path, coding: type) -> None:
    """A writer that shares no code with libsndfile; integers scale to [-1, 1) by a power of two."""
    signal = tone(0.3)
    if np.issubdtype(coding, np.integer):
        bits = np.iinfo(coding).bits
        stored = np.round(signal.astype(np.float64) * 2 ** (bits - 1)).astype(np.int64)
        expected = stored / 2.0 ** (bits - 1)
        stored = (stored + (128 if coding is np.uint8 else 0)).astype(coding)
    else:
        stored = expected = signal.astype(coding)
    scipy.io.wavfile.write(tmp_path / "a.wav", 16_000, stored)
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), expected.astype(np.float32))


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(), 16_000, "WAV", "PCM_16")
    expected = read(path)
    for ending in ("raw", "flac", "mp3", "txt", "vox", "gsm", "RAW", ""):
        shutil.copy(path, tmp_path / f"other.{ending}")
        np.testing.assert_array_equal(read(tmp_path / f"other.{ending}"), expected)


RATES = st.sampled_from(
    [4_000, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_056, 44_100, 48_000, 96_000, 192_000]
) | st.integers(3_000, 60_000)


@settings(max_examples=60, deadline=None)
@given(rate=RATES, frames=st.integers(1, 4_000), channels=st.integers(1, 9), seed=st.integers(0, 99))
def test_any_rate_length_and_channel_count(
    rate: int, frames: int, channels: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against the formula of the windowed sinc, evaluated in double precision one output sample at a time."""
    rng = np.random.default_rng(seed)
    signal = rng.uniform(-1, 1, (frames, channels)).astype(np.float32)
    folder = tmp_path_factory.mktemp("audio")
    path = write(folder / "a.wav", signal, rate, "WAV", "FLOAT")
    mono = signal.mean(axis=1, dtype=np.float64)
    if np.ptp(mono) <= audio.SILENCE:
        assert problem(path).status == "silent"
        return
    waveform = read(path)
    shutil.rmtree(folder)
    assert len(waveform) == math.ceil(Fraction(16_000 * frames, rate))
    for position in rng.integers(0, len(waveform), 20):
        assert waveform[position] == pytest.approx(windowed_sinc(mono, rate, int(position)), abs=2e-6)


def windowed_sinc(signal: np.ndarray, rate: int, position: int) -> float:
    """One sample at 16 kHz (torchaudio's documentation: width 6, roll-off 0.99, Hann window)."""
    if rate == 16_000:
        return float(signal[position])
    cutoff = min(rate, 16_000) * 0.99
    seconds = np.arange(len(signal)) / rate - position / 16_000
    phase = np.clip(seconds * cutoff, -6, 6)
    return float((signal * np.sinc(phase) * np.cos(np.pi * phase / 12) ** 2).sum() * cutoff / rate)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
def test_both_ways_of_resampling_are_torchaudios(rate: int) -> None:
    signal = tone(0.5, rate=rate)
    exact = torchaudio.functional.resample(torch.from_numpy(signal).double(), rate, 16_000).numpy()
    common = math.gcd(rate, 16_000)
    direct = resampling._resample_directly(
        signal, rate // common, 16_000 // common, resampled_length(len(signal), rate)
    )
    np.testing.assert_allclose(resample(signal, rate), exact, atol=1e-6, rtol=0)
    np.testing.assert_allclose(direct, exact, atol=1e-6, rtol=0)


@given(frames=st.integers(1, 2**40), rate=st.integers(1, 2**31 - 1))
def test_the_length_is_exact(frames: int, rate: int) -> None:
    assert resampled_length(frames, rate) == math.ceil(Fraction(16_000 * frames, rate))


def test_a_length_that_single_precision_rounds() -> None:
    """Torchaudio takes the ceiling of a float32: 3,000,001 / 3 is 1,000,000.33, of which it makes 1,000,000.375."""
    frames = next(n for n in range(6_000_001, 6_100_000) if np.float32(n * 160 / 441) != np.float64(n * 160 / 441)
                  and math.ceil(np.float32(n * 160 / 441)) != math.ceil(Fraction(n * 160, 441)))  # fmt: skip
    assert len(resample(np.zeros(frames, dtype=np.float32), 44_100)) == math.ceil(Fraction(frames * 160, 441))


@pytest.mark.parametrize("rate", [1, 7, 999_983, 2**31 - 1])
def test_absurd_rates_take_no_memory(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav", tone(0.05), 16_000, "WAV", "PCM_16")
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    path.write_bytes(data)
    header = read_header(path)
    assert header.samples == math.ceil(Fraction(16_000 * 800, rate))
    if header.samples < 1_000_000:
        assert read(path).shape == (header.samples,)


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = np.stack([tone(1.0, seed=1), tone(1.0, seed=2)], axis=1)
    path = write(tmp_path / "a.flac", signal, 16_000, "FLAC", "PCM_16")
    whole = read(path)
    monkeypatch.setattr(reading, "BLOCK_VALUES", 777)
    np.testing.assert_array_equal(read(path), whole)


@pytest.mark.slow
def test_threads(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{index}.{ending}", tone(0.5, seed=index, rate=rate), rate, container, coding)
        for index, (ending, container, coding, rate) in enumerate(KINDS * 2)
    ]
    alone = [read(path) for path in paths]
    resampling._resampler.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read, paths * 2))
    for one, other in zip(alone * 2, together, strict=True):
        np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind[1:])))
@pytest.mark.parametrize("kept", [0.0, 0.03, 0.4, 0.9])
def test_cut_off(tmp_path: Path, kind: tuple[str, str, str, int], kept: float) -> None:
    ending, container, coding, rate = kind
    data = write(tmp_path / "whole", tone(3.0, rate=rate), rate, container, coding).read_bytes()
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(data[: int(kept * len(data))])
    found = problem(path)
    if kept == 0:
        assert found.status == "empty"
    elif kept >= 0.4 and container != "CAF":
        assert found.status == "truncated"
    else:  # no header is left, or (CAF) libsndfile refuses the file as a whole
        assert found.status in ("truncated", "unreadable", "empty")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[1] in CHECKED_CONTAINERS or kind[1] == "OGG"])
def test_one_byte_is_missed(tmp_path: Path, kind: tuple[str, str, str, int]) -> None:
    """Seen from the header alone, before anything is decoded."""
    _, container, coding, rate = kind
    path = write(tmp_path / "a", tone(0.5, rate=rate)[:-1], rate, container, coding)
    read_header(path)
    data = path.read_bytes()
    # A chunk of odd length is followed by a byte of padding, which nobody needs; a CAF may end with one, too.
    path.write_bytes(data[:-2])
    with pytest.raises(AudioProblem) as caught:
        read_header(path)
    assert caught.value.status == "truncated"


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000])
def test_a_wav_from_a_pipe_is_as_long_as_it_is(tmp_path: Path, length: int) -> None:
    """Programs that cannot go back leave these lengths; libsndfile reads to the end of the file."""
    path = write(tmp_path / "a.wav", tone(0.3), 16_000, "WAV", "PCM_16")
    expected = read(path)
    data = bytearray(path.read_bytes())
    data[40:44] = struct.pack("<I", length)
    path.write_bytes(data)
    np.testing.assert_array_equal(read(path), expected)


def test_damage_inside_a_flac_is_no_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(3.0), 16_000, "FLAC", "PCM_16")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    assert problem(path).status == "unreadable"


def test_flac_of_unknown_length(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(), 16_000, "FLAC", "PCM_16")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    found = problem(path)
    assert found.status == "unreadable"
    assert "does not tell its length" in found.reason


def mp3_without_its_header(path: Path, mode: str) -> bytes:
    signal = np.concatenate([tone(1.0, rate=44_100), 1e-4 * tone(1.0, rate=44_100), tone(1.0, rate=44_100)])
    write(path, signal, 44_100, "MP3", "MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.5)
    data = path.read_bytes()
    return data[data.find(data[:2], 4) :]


def test_mp3_of_constant_rate_without_a_header_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3_without_its_header(path, "CONSTANT"))
    header = read_header(path)
    assert header.frames % 1152 == 0
    assert header.frames == len(soundfile.read(path)[0])
    tagged = tmp_path / "tagged.mp3"
    tagged.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + path.read_bytes() + b"TAG" + bytes(125))
    assert read_header(tagged) == header
    np.testing.assert_array_equal(read(tagged), read(path))


def test_mp3_of_variable_rate_without_a_header_is_refused(tmp_path: Path) -> None:
    """The decoder would go by the first frame's bit rate and return a quarter of the speech."""
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3_without_its_header(path, "VARIABLE"))
    found = problem(path)
    assert found.status == "unreadable"
    assert "variable bit rate" in found.reason


@pytest.mark.parametrize("coding", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2_000, 4_799, slice(None)])
def test_not_finite(tmp_path: Path, coding: str, value: float, place: int | slice) -> None:
    signal = np.stack([tone(0.3), tone(0.3, seed=1)], axis=1)
    signal[place, 1] = value
    assert problem(write(tmp_path / "a.wav", signal, 16_000, "WAV", coding)).status == "non-finite"


@pytest.mark.parametrize("gain", [1e300, 1e37, 1e20])
def test_too_large_to_compute_with(tmp_path: Path, gain: float) -> None:
    """Finite in double precision as stored, infinite in single precision, there or when squared."""
    path = write(tmp_path / "a.wav", gain * tone(0.3).astype(np.float64), 22_050, "WAV", "DOUBLE")
    assert problem(path).status == "non-finite"


def test_floats_in_the_range_of_integers(tmp_path: Path) -> None:
    """A common slip of writers, harmless to a model that normalises its input; nothing overflows."""
    path = write(tmp_path / "a.wav", 2.0**31 * tone(0.3), 16_000, "WAV", "FLOAT")
    np.testing.assert_array_equal(read(path), 2.0**31 * tone(0.3))
    loudest = np.float32(audio.LOUDEST) * np.sign(tone(0.3))
    assert all(np.isfinite(values).all() for values in acoustic_statistics(loudest).values())


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_silence(tmp_path: Path, container: str, rate: int) -> None:
    assert problem(write(tmp_path / "a", np.zeros(rate), rate, container)).status == "silent"


def test_what_counts_as_silence(tmp_path: Path) -> None:
    """One step of 16 bit up and down (dither) is silence, two steps are sound; so is a constant of any size."""
    dither = np.random.default_rng(0).integers(-1, 2, 8_000).astype(np.int16)
    for name, signal, silent in (
        ("dither", dither, True),
        ("twice", 2 * dither, False),
        ("constant", np.full(8_000, 12_345, dtype=np.int16), True),
        ("opposed", np.stack([9_000 * dither, -9_000 * dither], axis=1), True),
        ("one sound channel", np.stack([9_000 * dither, 0 * dither], axis=1), False),
    ):
        path = write(tmp_path / f"{name}.wav", signal, 16_000, "WAV", "PCM_16")
        if silent:
            found = problem(path)
            assert found.status == "silent", name
            assert ("the mean of 2 channels" in found.reason) == (signal.ndim == 2)
        else:
            assert read(path).any(), name


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "broken.wav").symlink_to(tmp_path / "gone.wav")
    for path, status, said in (
        (tmp_path / "nowhere.wav", "missing", "no such file"),
        (tmp_path / "empty.wav" / "a.wav", "missing", "no such file"),
        (tmp_path / "broken.wav", "missing", "symbolic link"),
        (tmp_path, "unreadable", "folder"),
        (tmp_path / "pipe.wav", "unreadable", "pipe"),
        (Path("/dev/zero"), "unreadable", "device"),
        (tmp_path / "empty.wav", "empty", "no bytes"),
        (tmp_path / ("long" * 100), "unreadable", "too long"),
    ):
        found = problem(path)
        assert found.status == status, path
        assert said in found.reason
    with pytest.raises(AudioProblem) as caught:
        read_header("a\0.wav")
    assert caught.value.status == "unreadable"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(), 16_000, "WAV", "PCM_16")
    path.chmod(0)
    assert problem(path).status == "unreadable"


def test_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", tone(), 16_000, "WAV", "PCM_16")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "permission" in problem(path).reason


def test_a_file_that_changes_between_the_two_steps(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(0.3), 16_000, "WAV", "PCM_16")
    header = read_header(path)
    write(path, tone(0.2), 16_000, "WAV", "PCM_16")
    with pytest.raises(AudioProblem) as caught:
        read_audio(path, header)
    assert caught.value.status == "truncated"
    write(path, tone(0.4), 16_000, "WAV", "PCM_16")
    assert len(read_audio(path, header)) == header.samples  # never more than the header said
    write(path, tone(0.3), 8_000, "WAV", "PCM_16")
    with pytest.raises(AudioProblem, match="changed"):
        read_audio(path, header)
    (tmp_path / "other").touch()  # an empty folder would be a disk that is gone
    path.unlink()
    with pytest.raises(AudioProblem, match="no such file"):
        read_audio(path, header)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_random_damage_gives_a_waveform_or_a_reason(
    kind: tuple[str, str, str, int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ending, container, coding, rate = kind
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("damage")
    path = write(folder / f"a.{ending}", tone(0.3, rate=rate), rate, container, coding)
    data = bytearray(path.read_bytes())
    end = len(data) if rng.random() < 0.5 else min(len(data), 80)  # as often in the header alone
    for place in rng.integers(0, end, rng.integers(1, 10)):
        data[place] = rng.integers(256)
    path.write_bytes(data)
    status = None
    try:
        header = read_header(path)
        if header.samples < 10_000_000:
            waveform = read_audio(path, header)
            assert waveform.shape == (header.samples,)
            assert np.isfinite(waveform).all()
    except AudioProblem as found:
        status = found.status
    shutil.rmtree(folder)
    assert status is None or status in audio.STATUSES


def test_real_recordings(shared_data: Path) -> None:
    for path in sorted((shared_data / "emodb" / "audio").glob("*.flac"))[:20]:
        np.testing.assert_array_equal(read(path), soundfile.read(path, dtype="float32")[0])
