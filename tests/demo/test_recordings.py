"""Speech of Debian packages, from small packages of their own form."""

from __future__ import annotations

import json
import struct
import zipfile
from io import BytesIO

import numpy as np
import pytest
import soundfile

from emoprobe.demo import carrying, recordings
from emoprobe.distil.store import open_store, write_store
from emoprobe.errors import UserError


def tone(seconds, rate, hertz=220.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def ogg(seconds, rate=16_000):
    file = BytesIO()
    soundfile.write(file, tone(seconds, rate), rate, format="OGG", subtype="VORBIS")
    return file.getvalue()


@pytest.fixture
def packages(tmp_path):
    """Each source with two recordings of one second, one too short, and what is no speech."""
    queen = tmp_path / "flight-of-the-amazon-queen" / "queen.1c"
    entries = {"020001P2.SB": ogg(1), "020006J1.SB": ogg(1), "030001P.SB": ogg(0.2), "DOOR.SB": ogg(1)}
    head = b"QTBLCEM10\0\0\0\1" + struct.pack(">H", len(entries))
    at = len(head) + 21 * len(entries)
    table = b""
    for name, data in entries.items():
        table += struct.pack(">12sBII", name.encode(), 1, at, len(data))
        at += len(data)
    queen.parent.mkdir()
    queen.write_bytes(head + table + b"".join(entries.values()))
    spoken = tmp_path / "drascula" / "en"
    spoken.mkdir(parents=True)
    samples = (128 + 127 * tone(1, 11_025)).astype(np.uint8).tobytes()
    for name in ("D1.ALS", "T2.ALS"):
        spoken.joinpath(name).write_bytes(b"h" * 32 + samples + b"t" * 32)
    spoken.joinpath("S1.ALS").write_bytes(b"h" * 32 + samples[:2_000] + b"t" * 32)
    stamps = tmp_path / "tuxpaint-stamps-default"
    stamps.mkdir()
    for i in range(12):
        soundfile.write(stamps / f"a{i:02d}_desc_es.ogg", tone(1, 22_050), 22_050)
    soundfile.write(stamps / "a.ogg", tone(1, 22_050), 22_050)
    with zipfile.ZipFile(tmp_path / "base.wz", "w") as archive:
        archive.writestr("audio/taunts/taunt1/one.ogg", ogg(1))
        archive.writestr("audio/memressp/power/two.ogg", ogg(1))
        archive.writestr("audio/sfx/weapons/three.ogg", ogg(1))
    (tmp_path / "warzone2100-data").mkdir()
    (tmp_path / "base.wz").rename(tmp_path / "warzone2100-data" / "base.wz")
    return tmp_path


def test_every_package_gives_its_speech_alone(packages, tmp_path):
    told: list[str] = []
    folder = recordings.make_recordings(tmp_path / "store", packages, say=told.append)
    store = open_store(folder)
    sources = json.loads((folder / "sources.json").read_text())
    assert {source["package"]: source["recordings"] for source in sources} == {
        "tuxpaint-stamps-default": 2,
        "flight-of-the-amazon-queen": 2,
        "drascula": 2,
        "warzone2100-data": 2,
    }
    assert len(store) == 8
    for index in range(len(store)):
        wave = store.wave(index).astype(float)
        assert len(wave) == pytest.approx(16_000, abs=400)
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        assert spectrum.argmax() * 16_000 / len(wave) == pytest.approx(220, abs=3)
    assert "asterisk-core-sounds-en-g722 is missing" in told
    assert "flight-of-the-amazon-queen: 1 recordings left out (too short or silent)" in told


def test_long_recordings_are_cut_and_noises_left_out(tmp_path):
    source = recordings.Source(
        "a",
        "",
        "",
        lambda folder: iter([("speech", tone(5, 16_000), 16_000), ("beep", tone(5, 16_000), 16_000)]),
    )
    told: list[str] = []
    waves = list(recordings.speech_of(source, tmp_path, longest=2.0, say=told.append))
    assert [len(wave) for wave in waves] == [32_000, 32_000, 16_000]
    assert told == ["a: 1 recordings left out (no speech by name)"]


def test_no_package_is_told_with_a_remedy(tmp_path):
    with pytest.raises(UserError, match="apt-get download"):
        recordings.make_recordings(tmp_path / "store", tmp_path)
    assert all(source.licence and source.credit for source in recordings.SOURCES)


def test_carried_speech_is_the_same_speech(tmp_path, monkeypatch):
    """Lengths exactly, and the sound within what Opus keeps of it."""
    monkeypatch.setattr(carrying, "_PART", 4)
    rng = np.random.default_rng(0)
    waves = [
        (8_000 * np.sin(2 * np.pi * hertz * np.arange(length) / 16_000)).astype(np.int16)
        for hertz, length in zip(rng.uniform(150, 900, 7), rng.integers(12_000, 40_000, 7), strict=True)
    ]
    store = open_store(write_store(tmp_path / "store", waves))
    size = carrying.carry(store, tmp_path / "carried")
    assert size == sum(path.stat().st_size for path in (tmp_path / "carried").glob("*.opus"))
    assert len(list((tmp_path / "carried").glob("*.opus"))) > 1
    again = open_store(carrying.unpack(tmp_path / "carried", tmp_path / "again"))
    assert np.array_equal(again.offsets, store.offsets)
    for index, wave in enumerate(waves):
        middle = slice(4_000, -4_000)
        assert np.corrcoef(wave[middle], again.wave(index)[middle])[0, 1] > 0.98
    next((tmp_path / "carried").glob("*.opus")).unlink()
    with pytest.raises(UserError, match="is missing"):
        carrying.unpack(tmp_path / "carried", tmp_path / "third")
