"""Speech to pretrain on, as packed stores: synthetic with what was said when, or recorded.

Parts are written by worker processes and joined, each part atomically, so that a killed run goes on with the next
missing part.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from emoprobe.claims import alone
from emoprobe.distil.store import Spoken, open_store, write_store
from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE

from . import sentences, speech
from .processes import processes

_LANGUAGES = ("en-us",) * 6 + ("en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-029")


def phone_name(mnemonic: str) -> str:
    """An eSpeak mnemonic without stress and variant marks, so that one sound has one name; '' for a pause."""
    plain = mnemonic.strip("',%=_:;|").rstrip("23#") if mnemonic.strip("_:;|") else ""
    return plain + (":" if mnemonic.endswith(":") and plain else "")


def synthetic_utterance(
    seed: int, number: int, *, pool: str = "train", share: str = "pretraining"
) -> tuple[str, speech.Speech, speech.Manner]:
    """Speak one utterance of the pretraining speech: text, voice and manner drawn from (seed, number).

    Returns
    -------
    text : str
    spoken : emoprobe.demo.speech.Speech
    manner : emoprobe.demo.speech.Manner
    """
    rng = random.Random(f"{seed}/{pool}/{number}")
    by_gender = speech.voices(pool)
    variant = rng.choice(by_gender[rng.choice(sorted(by_gender))])
    if rng.random() < 0.8:
        while True:
            text = sentences.compose(
                rng, clauses=rng.randint(1, 2), fillers=rng.randint(0, 2), rating=rng.uniform(-3, 3)
            ).text
            if sentences.share(text) == share:
                break
    else:
        text = sentences.loose_words(rng, rng.randint(4, 10))
    manner = speech.Manner(
        language=rng.choice(_LANGUAGES),
        variant=variant,
        rate=rng.randint(120, 250),
        pitch=rng.randint(10, 90),
        pitch_range=rng.randint(5, 99),
        volume=rng.randint(20, 50),
        word_gap=rng.choice((0, 0, 0, 1, 3)),
    )
    return text, speech.speak(text, manner), manner


def _synthetic_part(task: tuple[str, int, int, int]) -> str:
    folder, seed, first, count = task
    target = Path(folder) / f"part-{first:07d}"
    if not (target / "index.npz").is_file():
        waves: list[np.ndarray] = []
        events: list[Spoken] = []
        for number in range(first, first + count):
            _, spoken, _ = synthetic_utterance(seed, number)
            waves.append(spoken.samples)
            events.append(
                {
                    "phones": [(s, e, phone_name(name)) for s, e, name in spoken.phones],
                    "words": spoken.words,
                }
            )
        write_store(target, waves, events)
    return str(target)


def make_synthetic(folder: Path, *, hours: float, seed: int = 0, workers: int = 1, part: int = 400) -> Path:
    """Speak at least so many hours of pretraining speech into a store; a killed run goes on.

    Parameters
    ----------
    folder : Path
        Where the store and its parts go.
    hours : float
        Least amount of speech.
    seed : int
        Seed of texts, voices and manners.
    workers : int
        Processes.
    part : int
        Utterances a part; what a kill can lose.
    """
    folder = Path(folder)
    if (folder / "index.npz").is_file():
        return folder
    with alone(folder, option="--out"):  # it may have been made in the meantime
        return folder if (folder / "index.npz").is_file() else _speak(folder, hours, seed, workers, part)


def _speak(folder: Path, hours: float, seed: int, workers: int, part: int) -> Path:
    """:func:`make_synthetic`, once the folder is its own."""
    done, first = 0.0, 0
    parts: list[Path] = []
    with processes(workers) as pool:
        while done < hours:
            tasks = [(str(folder), seed, first + i * part, part) for i in range(workers)]
            first += workers * part
            for path in pool.map(_synthetic_part, tasks):
                parts.append(Path(path))
                done += open_store(Path(path)).hours
    stores = [open_store(path) for path in parts]

    def events() -> Iterator[Spoken]:
        for store in stores:
            for i in range(len(store)):
                one: dict[str, list[tuple[float, float, str]]] = {}
                for kind, (starts, ends, names, firsts) in store.events.items():
                    span = slice(firsts[i], firsts[i + 1])
                    one[kind] = [
                        (s, e, store.names[kind][n])
                        for s, e, n in zip(starts[span], ends[span], names[span], strict=True)
                    ]
                yield one

    return write_store(folder, (s.wave(i) for s in stores for i in range(len(s))), list(events()))


def make_recorded(
    folder: Path,
    audio: Path,
    *,
    longest: float = 15.0,
    shortest: float = 0.6,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Pack every audio file under a folder that libsndfile decodes (first channel mix, 16 kHz); the rest are named.

    Utterances shorter than `shortest` are left out, longer ones are cut to `longest` seconds. `say` is told of files
    that cannot be decoded.
    """
    folder = Path(folder)
    if (folder / "index.npz").is_file():
        return folder
    suffixes = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
    paths = sorted(path for path in Path(audio).rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        raise UserError(f"{audio} holds no audio ({', '.join(sorted(suffixes))})")
    with alone(folder, option="--out"):  # it may have been made in the meantime
        return folder if (folder / "index.npz").is_file() else _pack(folder, paths, longest, shortest, say)


def _pack(folder: Path, paths: list[Path], longest: float, shortest: float, say: Callable[[str], None]) -> Path:
    """:func:`make_recorded`, once the folder is its own."""
    import soundfile

    def waves() -> Iterator[np.ndarray]:
        for path in paths:
            try:
                wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                say(f"left out {path}: {error}")
                continue
            mono = np.clip(np.rint(wave.mean(1) * 32767), -32768, 32767).astype(np.int16)
            mono = speech.resample(mono, rate) if len(mono) else mono
            if len(mono) < shortest * SAMPLE_RATE or np.abs(mono).max() < 100:
                continue
            step = int(longest * SAMPLE_RATE)
            for start in range(0, len(mono), step):
                if len(mono) - start >= shortest * SAMPLE_RATE:
                    yield mono[start : start + step]

    return write_store(folder, waves())
