"""Recordings: damaged, with odd headers, joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from emoprobe.testing.corpora import tone
from tests.fuzz.cases import Case, kind, made
from tests.fuzz.mutations import mutate_bytes, pick

FORMATS = (
    ("wav", "WAV", "PCM_16"), ("wav", "WAV", "FLOAT"), ("wav", "WAVEX", "PCM_24"), ("wav", "WAV", "ULAW"),
    ("wav", "WAV", "IMA_ADPCM"), ("rf64", "RF64", "PCM_16"), ("flac", "FLAC", "PCM_16"), ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III"), ("aiff", "AIFF", "PCM_16"), ("au", "AU", "PCM_16"),
    ("caf", "CAF", "ALAC_16"), ("w64", "W64", "PCM_16"), ("voc", "VOC", "PCM_16"), ("sd2", "NIST", "PCM_16"),
)  # fmt: skip


@kind(4)
def audio(tree: Path, rng: np.random.Generator) -> Case:
    """A damaged recording among intact ones."""
    ending, container, coding = pick(rng, FORMATS)
    path = tree / "corpus" / f"damaged.{ending}"
    rate = int(pick(rng, [8_000, 16_000, 22_050, 48_000]))
    sound = tone(0.3, seed=int(rng.integers(1000)), rate=rate)
    if rng.random() < 0.3:
        sound = np.stack([sound, sound[::-1]], axis=1)
    soundfile.write(path, sound, 48_000 if coding == "OPUS" else rate, format=container, subtype=coding)
    what = f"{container} {coding}"
    if rng.random() < 0.3:  # a number of the header
        data = bytearray(path.read_bytes())
        place = int(rng.integers(4, min(120, len(data) - 4)))
        number = pick(rng, [0, 1, 2**31 - 1, 2**32 - 1, 2**16, len(data), 2 * len(data)])
        data[place : place + 4] = int(number).to_bytes(4, pick(rng, ["little", "big"]))
        path.write_bytes(data)
        what += f", {number} at byte {place}"
    else:
        what += f", {mutate_bytes(path, rng)}"
    match rng.integers(6):
        case 0:
            return made("predict", what, out="new.csv")
        case 1:
            _add_row(tree, path.name)
            return made("transcribe", what, out="new.csv")
    _add_row(tree, path.name)
    return made("extract", what, out="new.h5", compare="states")


def _add_row(tree: Path, name: str) -> None:
    manifest = tree / "corpus" / "manifest.csv"
    first, *rows = manifest.read_text().splitlines()
    cells = dict(zip(first.split(","), rows[0].split(","), strict=True)) | {"id": "damaged", "path": name}
    manifest.write_text("\n".join([first, *rows[:4], ",".join(cells.values()), *rows[4:]]) + "\n")


@kind(1)
def joined(tree: Path, rng: np.random.Generator) -> Case:
    """Two recordings in one file, as concatenation leaves them."""
    ending, container, coding = pick(rng, FORMATS)
    path = tree / "corpus" / f"damaged.{ending}"
    parts = []
    for seed in rng.integers(1000, size=2):
        rate = int(pick(rng, [16_000, 48_000]))
        sound = tone(float(rng.uniform(0.2, 0.6)), seed=int(seed), rate=rate)
        soundfile.write(path, sound, 48_000 if coding == "OPUS" else rate, format=container, subtype=coding)
        parts.append(path.read_bytes())
    between = pick(rng, [b"", b"", bytes(100), rng.bytes(100), b"TAG" + bytes(125), b"ID3\4\0\0\0\0\0\0"])
    path.write_bytes(between.join(parts))
    _add_row(tree, path.name)
    return made("extract", f"{container} {coding}, two joined by {between[:6]!r}", out="new.h5", compare="states")
