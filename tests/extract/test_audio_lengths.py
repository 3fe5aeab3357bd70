"""What a header tells and what the file holds: equal, or told; the shorter is never taken in silence."""

from __future__ import annotations

import os
import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoprobe.extract.audio import AudioProblem, read_audio, read_header
from emoprobe.extract.mpeg import measure_mpeg, read_frame
from emoprobe.extract.streams import _crc
from emoprobe.testing.corpora import tone
from tests.extract.test_audio_reading import problem, read, write

RATE = 16_000


def encoded(
    folder: Path, container: str, coding: str | None = None, *, seconds=2.0, seed=0, rate=RATE, channels=1, **how
):
    """The bytes of a file of that kind."""
    signal = tone(seconds, seed=seed, rate=rate)
    signal = signal if channels == 1 else np.stack([signal] * channels, axis=1)
    return write(folder / "whole", signal, rate, container, coding, **how).read_bytes()


def stream(folder: Path, *, mode: str = "CONSTANT", **how) -> bytes:
    """MPEG frames alone, as a radio station sends them: no Xing header, no tag."""
    data = encoded(folder, "MP3", "MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.5, **how)
    return data[data.find(data[:2], 4) :]


def put(folder: Path, data: bytes) -> Path:
    path = folder / "a"
    path.write_bytes(data)
    return path


# ----------------------------------------------------------------------------------------------------------------- MP3

ID3 = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)
APE = b"APETAGEX" + struct.pack("<II", 2000, 40) + bytes(16) + b"\xff\xfb\x90\x00" * 10
NOISE = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()


@pytest.mark.parametrize(
    "between",
    [b"", bytes(100), ID3, NOISE[:150], ID3 + bytes(7)],
    ids=["nothing", "zeros", "a tag", "noise", "a tag and zeros"],
)
def test_streams_joined_end_to_end_are_read_to_the_end(tmp_path: Path, between: bytes) -> None:
    """Each part has the length that it has alone, and the sound of the second is at the place where it belongs."""
    first, second = stream(tmp_path), stream(tmp_path, seconds=3.0, seed=1)
    alone = [read_header(put(tmp_path, part)).frames for part in (first, second)]
    sound = read(put(tmp_path, second))
    path = put(tmp_path, first + between + second)
    assert read_header(path).frames == sum(alone) > 5 * RATE
    whole = read(path)
    assert len(whole) == sum(alone)
    # The first frame of a stream leans on one before it, and the decoder has two frames of delay: compared behind that.
    inside = slice(4 * 576, -4 * 576)
    np.testing.assert_allclose(whole[alone[0] :][inside], sound[inside], atol=1e-6)


def test_a_frame_that_is_cut_at_the_joint_costs_itself_alone(tmp_path: Path) -> None:
    first, second = stream(tmp_path), stream(tmp_path, seconds=3.0, seed=1)
    alone = [read_header(put(tmp_path, part)).frames for part in (first, second)]
    joined = read_header(put(tmp_path, first[:-100] + second)).frames
    assert sum(alone) - 2 * 576 <= joined <= sum(alone)
    assert len(read(tmp_path / "a")) == joined


@pytest.mark.parametrize(
    ("make", "said"),
    [
        # The encoder's header tells of the first stream alone, and a decoder stops there.
        (lambda f: encoded(f, "MP3") + encoded(f, "MP3", seconds=3.0), "tells of 2.09 s, and the file holds 5.22 s"),
        (lambda f: encoded(f, "MP3") + stream(f, seconds=3.0), "streams were joined"),
        (lambda f: stream(f) + stream(f, rate=44_100), "16000 Hz x 1 and 44100 Hz x 1"),
        (lambda f: stream(f) + stream(f, channels=2), "16000 Hz x 1 and 16000 Hz x 2"),
        (lambda f: stream(f) + NOISE + stream(f, seconds=3.0), "bytes that are no MPEG audio, and then 3."),
        (lambda f: stream(f, mode="VARIABLE", rate=44_100) * 2, "variable bit rate"),
        (lambda f: stream(f)[150:], "begins with"),
    ],
    ids=["header", "header and bare", "rate", "channels", "noise", "variable", "entered in the middle"],
)
def test_what_a_decoder_would_leave_out_is_refused_with_a_command(tmp_path: Path, make, said: str) -> None:
    found = problem(put(tmp_path, make(tmp_path)))
    assert found.status == "unreadable"
    assert said in found.reason
    assert "ffmpeg -i OLD" in found.reason


def test_tags_hold_no_audio(tmp_path: Path) -> None:
    """Pictures in tags look like frames now and then."""
    bare = stream(tmp_path)
    expected = read_header(put(tmp_path, bare)).frames
    picture = b"ID3\x04\x00\x00\x00\x00\x10\x00" + (b"\xff\xfb\x90\x00" * 512)  # 16 x 128 bytes
    for data in (ID3 + bare, picture + bare, bare + APE, bare + b"TAG" + bytes(125), bare + APE + b"TAG" + bytes(125)):
        assert read_header(put(tmp_path, data)).frames == expected
        assert measure_mpeg(data).skipped == []


# MPEG audio's own tables (ISO/IEC 11172-3 and 13818-3): header, bytes, samples, Hz, channels.
FRAMES = (
    ("fffb9000", 417, 1152, 44100, 2),  # version 1, layer III, 128 kbit/s
    ("fffb92c0", 418, 1152, 44100, 1),  # with padding, mono
    ("fffd a000", 626, 1152, 44100, 2),  # layer II, 192 kbit/s
    ("ffff a400", 320, 384, 48000, 2),  # layer I, 320 kbit/s
    ("fff38000", 208, 576, 22050, 2),  # version 2, layer III, 64 kbit/s
    ("ffe348c0", 288, 576, 8000, 1),  # version 2.5, layer III, 32 kbit/s: 72 ms
)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame[0])
def test_a_frame_is_as_long_as_its_bit_rate_says(frame: tuple) -> None:
    head, length, samples, hertz, channels = frame
    found = read_frame(bytes.fromhex(head))
    assert (found.length, found.samples, found.hertz, found.channels) == (length, samples, hertz, channels)
    for broken in ("0ffb9000", "ffeb9000", "fff99000", "fffbf000", "fffb0000", "fffb9c00", "fffb"):
        assert read_frame(bytes.fromhex(broken)) is None


def test_layer_two_is_counted(tmp_path: Path) -> None:
    """Frames of silence, which every decoder reads; joined with noise that is more than a frame they are refused."""
    frame = bytes.fromhex("fffda000") + bytes(622)
    path = put(tmp_path, frame * 40)
    assert read_header(path).frames == 40 * 1152 == soundfile.info(path).frames
    assert "no MPEG audio" in problem(put(tmp_path, frame * 40 + NOISE + frame * 40)).reason


# ------------------------------------------------------------------------------------------------- containers of PCM


@pytest.mark.parametrize("coding", [("WAV", "PCM_16"), ("WAV", "ULAW"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"),
                                    ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"),
                                    ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")], ids="-".join)  # fmt: skip
def test_a_second_file_behind_the_first_is_told(tmp_path: Path, coding: tuple[str, str]) -> None:
    first, second = encoded(tmp_path, *coding), encoded(tmp_path, *coding, seconds=3.0, seed=1)
    whole = [read(put(tmp_path, part)) for part in (first, second)]
    found = problem(put(tmp_path, first + second))
    assert found.status == "unreadable"
    assert f"from byte {len(first):,} on" in found.reason
    if "head -c" in found.reason:  # the remedy, done by hand
        (at,) = {int(word) for word in found.reason.replace(",", "").split() if word.isdecimal() and int(word) > 1} & {
            len(first)
        }
        data = (tmp_path / "a").read_bytes()
        for part, expected in zip((data[:at], data[at:]), whole, strict=True):
            np.testing.assert_array_equal(read(put(tmp_path, part)), expected)
    else:
        assert "ffmpeg -i OLD NEW.flac" in found.reason


@pytest.mark.parametrize("length", [0, 1000, 40_000])
@pytest.mark.parametrize("behind", [b"", b"LIST" + struct.pack("<I", 4) + b"INFO"])
def test_a_length_that_was_never_filled_in_is_told(tmp_path: Path, length: int, behind: bytes) -> None:
    """64,000 bytes of speech behind a header of fewer; libsndfile reads what the header says."""
    data = bytearray(encoded(tmp_path, "WAV", "PCM_16") + behind)
    data[40:44] = struct.pack("<I", length)
    found = problem(put(tmp_path, bytes(data)))
    assert found.status == "unreadable"
    assert f"tells of {length:,} bytes of audio, and {64_000 - length + len(behind):,} follow" in found.reason
    assert "ffmpeg -ignore_length 1 -i OLD NEW.wav" in found.reason


def test_an_empty_recording_is_empty(tmp_path: Path) -> None:
    """A data chunk of no bytes with nothing behind it, or with chunks of notes alone."""
    header = encoded(tmp_path, "WAV", "PCM_16")[:40] + bytes(4)
    for behind in (b"", b"LIST" + struct.pack("<I", 2000) + bytes(2000)):
        assert problem(put(tmp_path, header + behind)).status == "empty"


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 3000) + NOISE[:3000],
        b"LIST" + struct.pack("<I", 3001) + NOISE[:3001] + b"\0" + b"id3 " + struct.pack("<I", 2000) + NOISE[:2000],
        b"LIST" + struct.pack("<I", 3001) + NOISE[:3001] + b"id3 " + struct.pack("<I", 2000) + NOISE[:2000],
        ID3 + NOISE,  # appended by taggers that know no chunks
        b"TAG" + bytes(125),
        bytes(100_000),
        NOISE[:1000],
    ],
    ids=["notes", "padded", "not padded", "a bare tag", "an old tag", "zeros", "a little"],
)
def test_what_is_no_audio_may_follow_it(tmp_path: Path, behind: bytes) -> None:
    data = encoded(tmp_path, "WAV", "PCM_16")
    expected = read(put(tmp_path, data))
    np.testing.assert_array_equal(read(put(tmp_path, data + behind)), expected)


# -------------------------------------------------------------------------------------------------------- FLAC and Ogg


@pytest.mark.parametrize("rate", [16_000, 44_100, 12_345])
@pytest.mark.parametrize("told", [1, 4096, 20_000])
def test_a_flac_whose_header_tells_of_fewer_samples(tmp_path: Path, told: int, rate: int) -> None:
    """The last frame has a number of its own, whatever the header says."""
    data = bytearray(encoded(tmp_path, "FLAC", "PCM_16", rate=rate))
    data[22:26] = struct.pack(">I", told)
    found = problem(put(tmp_path, bytes(data)))
    assert f"tells of {told:,} samples, and the last frame ends with sample {2 * rate:,}" in found.reason


def test_a_long_flac_counts_in_numbers_of_several_bytes(tmp_path: Path) -> None:
    """Frame numbers above 127 take two bytes, as letters do in UTF-8."""
    frames = 200 * 4096 + 17
    signal = np.tile(tone(1.0), 52)[:frames]
    data = bytearray(write(tmp_path / "long", signal, RATE, "FLAC", "PCM_16").read_bytes())
    assert len(read(put(tmp_path, bytes(data)))) == frames
    data[22:26] = struct.pack(">I", frames - 1)
    assert f"ends with sample {frames:,}" in problem(put(tmp_path, bytes(data))).reason


def test_bytes_behind_a_flac_or_ogg_are_no_audio(tmp_path: Path) -> None:
    for container in ("FLAC", "OGG"):
        data = encoded(tmp_path, container)
        expected = read(put(tmp_path, data))
        for behind in (NOISE[:500], b"TAG" + bytes(125), bytes(3000)):
            np.testing.assert_array_equal(read(put(tmp_path, data + behind)), expected)


def test_the_sums_are_those_that_flac_names() -> None:
    """Check values of CRC-8 (polynomial 0x07) and CRC-16 (0x8005, not reflected, from 0) over "123456789"."""
    assert _crc(b"123456789", 8, 0x07) == 0xF4
    assert _crc(b"123456789", 16, 0x8005) == 0xFEE8


# ------------------------------------------------------------------------------------------------------------- others


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ((b"\xff\xf1\x50\x80\x04\x3f\xfc" + bytes(26)) * 200, "AAC"),
        ((b"\xff\xf9\x50\x80\x04\x3f\xfc" + bytes(26)) * 200, "AAC"),
        (b"ADIF" + bytes(2000), "AAC"),
        (b"\0\0\0\x20ftypM4A " + bytes(2000), "MPEG-4"),
        (b"\x1a\x45\xdf\xa3" + bytes(2000), "WebM"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(2000), "Windows Media"),
        (b"#!AMR\n" + bytes(2000), "AMR"),
    ],
)
def test_what_libsndfile_does_not_decode_is_named_with_the_command(tmp_path: Path, data: bytes, name: str) -> None:
    found = problem(put(tmp_path, data))
    assert found.status == "unreadable"
    assert name in found.reason
    assert "extract the audio with ffmpeg: ffmpeg -i a -vn a.wav" in found.reason


@pytest.mark.parametrize(("there", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_another_form_of_unicode_is_told(tmp_path: Path, there: str, asked: str) -> None:
    write(tmp_path / unicodedata.normalize(there, "José.wav"), tone(), RATE, "WAV", "PCM_16")
    path = tmp_path / unicodedata.normalize(asked, "José.wav")
    if os.path.exists(path):  # noqa: PTH110 - as the file system sees it
        pytest.skip("this file system takes both forms for one name")
    with pytest.raises(AudioProblem) as caught:
        read_header(path)
    assert caught.value.status == "missing"
    assert f"another form of Unicode ({there})" in caught.value.reason


def test_a_file_that_grows_a_second_stream_is_seen_when_it_is_decoded(tmp_path: Path) -> None:
    data = encoded(tmp_path, "FLAC")
    path = put(tmp_path, data)
    header = read_header(path)
    path.write_bytes(data + data)
    with pytest.raises(AudioProblem, match="second FLAC stream"):
        read_audio(path, header)
