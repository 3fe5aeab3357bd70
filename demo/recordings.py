"""Recorded speech of Debian packages, as one packed store: what ``hubert-nano`` was taught on.

Voice prompts, spoken picture descriptions and voiced free games.  Each source names its package, the licence under
which its sound may be used and changed, and whom to credit; what of it is no speech (tones, silence, music, effects) is
left out by name.  A package is taken as ``dpkg-deb -x`` leaves it: a folder of its name.  No corpus of emotion is among
them.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np

from emoprobe.claims import alone
from emoprobe.distil.store import write_store
from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.jsontext import to_json
from emoprobe.storage import write_file

from .speech import resample

#: Sound of a recording: its name within the package, samples (any shape, float in -1 to 1), samples a second.
Sound = tuple[str, np.ndarray, int]

#: Games of ScummVM keep speech as unsigned bytes at this rate.
_GAME_RATE = 11_025
_NO_SPEECH = re.compile(r"tone|beep|silence|music|monkey|scream|effect|sound-of|ring|hangup|noise", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One package with recorded speech.

    Attributes
    ----------
    package : str
        Of Debian.
    licence : str
        Of its sound, as the package's copyright file states it.
    credit : str
    sounds : callable
        From the unpacked package to its recordings.
    every : int
        Only every so manieth recording is taken, where the same voices say much of one kind.
    """

    package: str
    licence: str
    credit: str
    sounds: Callable[[Path], Iterator[Sound]]
    every: int = 1


def _decoded(data: Path | BytesIO, form: str | None = None) -> tuple[np.ndarray, int]:
    """Samples (mono) and rate of a file that libsndfile decodes, or else one that FFmpeg does."""
    import soundfile

    if form is None:
        wave, rate = soundfile.read(data, dtype="float32", always_2d=True)
        return wave.mean(1), rate
    try:
        import av
    except ImportError as error:
        raise UserError("G.722 files are decoded by PyAV: pip install av") from error
    with av.open(str(data), format=form) as container:
        frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    return (np.concatenate(frames).astype(np.float32) / 32768 if frames else np.zeros(0, np.float32)), rate


def _files(pattern: str, form: str | None = None) -> Callable[[Path], Iterator[Sound]]:
    """Sounds of the files that match a pattern."""

    def sounds(folder: Path) -> Iterator[Sound]:
        for path in sorted(folder.rglob(pattern)):
            yield path.relative_to(folder).as_posix(), *_decoded(path, form)

    return sounds


def _unsigned(data: bytes) -> np.ndarray:
    """Unsigned bytes as samples."""
    return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128


def _amazon_queen(folder: Path) -> Iterator[Sound]:
    """Speech of *Flight of the Amazon Queen*: MP3 files of one archive; spoken lines have six digits in their names."""
    (path,) = folder.rglob("queen.1c")
    data = path.read_bytes()
    (count,) = struct.unpack_from(">H", data, 13)
    for i in range(count):
        name, _, start, size = struct.unpack_from(">12sBII", data, 15 + 21 * i)
        if re.fullmatch(rb"\d{6}[A-Z]\w?\.SB\0*", name):
            yield name.rstrip(b"\0").decode(), *_decoded(BytesIO(data[start : start + size]))


def _drascula(folder: Path) -> Iterator[Sound]:
    """Speech of *Drascula*: samples between a header of 32 bytes and a trailer of as many."""
    for path in sorted(folder.rglob("en/*.ALS")):
        yield path.name, _unsigned(path.read_bytes()[32:-32]), _GAME_RATE


def _warzone(folder: Path) -> Iterator[Sound]:
    """Spoken messages of *Warzone 2100*."""
    (path,) = folder.rglob("base.wz")
    spoken = re.compile(r"audio/(tutorial|extra|countdown|memressp|vtoltalk|trnsppil|taunts|nexus|coltive)/.*\.ogg")
    with zipfile.ZipFile(path) as archive:
        for name in sorted(filter(spoken.match, archive.namelist())):
            yield name, *_decoded(BytesIO(archive.read(name)))


def _asterisk(language: str, licence: str, credit: str) -> Source:
    return Source(
        f"asterisk-core-sounds-{language}-g722",
        licence,
        credit,
        _files("*.g722", "g722"),
        every=1 if language == "en" else 2,
    )


_BY_SA, _BY, _GAME = "CC BY-SA 3.0", "CC BY 3.0", "own, permissive: free to share and change, not to be sold by itself"
SOURCES = (
    _asterisk("en", _BY_SA, "Allison Smith and Digium"),
    _asterisk("es", _BY_SA, "Allison Smith and Digium"),
    _asterisk("fr", _BY_SA, "June Wallack and Digium"),
    _asterisk("it", _BY, "Carlo Flora"),
    _asterisk("ru", _BY, "Maxim Topal"),
    Source("asterisk-prompt-it-menardi-wav", _BY_SA, "Marco Menardi and Paola Dal Zot", _files("*.wav"), every=2),
    Source("tuxpaint-stamps-default", "GPL-2", "Bill Kendrick and contributors", _files("*_desc*.ogg"), every=6),
    Source("flight-of-the-amazon-queen", _GAME, "John Passfield and Steven Stamatiadis", _amazon_queen),
    Source("drascula", _GAME, "Alcachofa Soft S.L.", _drascula),
    Source("warzone2100-data", "GPL-2+", "Eidos Interactive and the Warzone 2100 Project", _warzone),
)


def speech_of(
    source: Source, folder: Path, *, shortest: float = 0.6, longest: float = 15.0, say: Callable[[str], None]
) -> Iterator[np.ndarray]:
    """Recordings of a source at 16 kHz (int16), cut to `longest` seconds; those shorter than `shortest` are left out.

    Parameters
    ----------
    source : Source
    folder : Path
        The unpacked package.
    shortest, longest : float
        Seconds.
    say : callable
        Told how many recordings were left out, and why.
    """
    left = {"no speech by name": 0, "too short or silent": 0}
    step = int(longest * SAMPLE_RATE)
    for name, wave, rate in islice(source.sounds(folder), 0, None, source.every):
        if _NO_SPEECH.search(name):
            left["no speech by name"] += 1
            continue
        mono = resample(np.clip(np.rint(wave * 32767), -32768, 32767).astype(np.int16), rate) if len(wave) else wave
        if len(mono) < shortest * SAMPLE_RATE or np.abs(mono.astype(np.int32)).max() < 300:
            left["too short or silent"] += 1
            continue
        for start in range(0, len(mono), step):
            if len(mono) - start >= shortest * SAMPLE_RATE:
                yield mono[start : start + step]
    for reason, count in left.items():
        if count:
            say(f"{source.package}: {count} recordings left out ({reason})")


def make_recordings(folder: Path, packages: Path, *, say: Callable[[str], None] = lambda line: None) -> Path:
    """Pack the recordings of all packages into a store, with ``sources.json``: hours, licence and credit of each.

    Parameters
    ----------
    folder : Path
        Where the store goes.
    packages : Path
        Holds each package, unpacked into a folder of its name. Those that are missing are named to `say`.

    Raises
    ------
    UserError
        If none is there.
    """
    folder = Path(folder)
    if (folder / "index.npz").is_file():
        return folder
    there = [source for source in SOURCES if (packages / source.package).is_dir()]
    for source in SOURCES:
        if source not in there:
            say(f"{source.package} is missing")
    if not there:
        raise UserError(
            f"{packages} holds none of the packages: apt-get download {SOURCES[0].package} ..., "
            f"then dpkg-deb -x FILE.deb {packages / SOURCES[0].package}"
        )
    told: list[dict[str, str | float | int]] = []

    def waves() -> Iterator[np.ndarray]:
        for source in there:
            samples = count = 0
            for wave in speech_of(source, packages / source.package, say=say):
                samples, count = samples + len(wave), count + 1
                yield wave
            hours = round(samples / SAMPLE_RATE / 3600, 3)
            say(f"{source.package}: {hours} hours, {count} recordings")
            told.append(
                {"package": source.package, "licence": source.licence, "credit": source.credit}
                | {"hours": hours, "recordings": count}
            )

    with alone(folder, option="--out"):
        if not (folder / "index.npz").is_file():
            write_store(folder, waves())
            write_file(folder / "sources.json", to_json(told, indent=1) + "\n")
    return folder
