"""Audio packed for pretraining: one file of samples, one of what was said when.

A store is a folder: ``samples.i16`` (all utterances end to end, 16 kHz, raw little-endian int16) and ``index.npz``
(offsets, and for synthetic speech the time-stamped phones and words).  Parts are written by worker processes and
joined, each part atomically, so that a killed run goes on with the next missing part.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError
from emoprobe.jsontext import to_json

from . import sentences, speech
from .processes import processes

SAMPLE_RATE = speech.SAMPLE_RATE
_LANGUAGES = ("en-us",) * 6 + ("en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-029")


@dataclass(frozen=True)
class Store:
    """Packed utterances.

    Attributes
    ----------
    samples : numpy.ndarray of int16, shape (samples,)
        All utterances end to end (memory-mapped).
    offsets : numpy.ndarray of int64, shape (utterances + 1,)
    phones, words : tuple of (starts, ends, names, firsts) or None
        Seconds within the utterance, index into the names, and for each utterance the first event's number.
    names : dict
        ``phones`` and ``words``: the names that the indices stand for.
    """

    samples: np.ndarray
    offsets: np.ndarray
    events: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    names: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def hours(self) -> float:
        return self.offsets[-1] / SAMPLE_RATE / 3600

    def wave(self, index: int) -> np.ndarray:
        return self.samples[self.offsets[index] : self.offsets[index + 1]]

    def label(self, kind: str, index: int, times: np.ndarray) -> np.ndarray:
        """Which phone or word sounds at each time; -1 where none does."""
        starts, ends, names, firsts = (self.events[kind][i] for i in range(4))
        part = slice(firsts[index], firsts[index + 1])
        if part.start == part.stop:
            return np.full(len(times), -1, np.int32)
        at = np.searchsorted(starts[part], times, side="right") - 1
        inside = (at >= 0) & (times < ends[part][np.maximum(at, 0)])
        return np.where(inside, names[part][np.maximum(at, 0)], -1).astype(np.int32)


def open_store(folder: Path) -> Store:
    """Open a store.

    Raises
    ------
    UserError
        If the folder does not hold a finished one.
    """
    index = Path(folder) / "index.npz"
    if not index.is_file():
        raise UserError(f"{folder} holds no finished store (no index.npz): make it again")
    with np.load(index, allow_pickle=False) as table:
        events = {
            kind: tuple(table[f"{kind}_{field}"] for field in ("start", "end", "name", "first"))
            for kind in ("phones", "words")
            if f"{kind}_start" in table
        }
        names = {kind: json.loads(str(table[f"{kind}_names"])) for kind in events}
        offsets = table["offsets"]
    samples = np.memmap(Path(folder) / "samples.i16", dtype="<i2", mode="r")
    if len(samples) != offsets[-1]:
        raise UserError(f"{folder}/samples.i16 is not as long as its index says: delete the folder and make it again")
    return Store(samples, offsets, events, names)


def write_store(folder: Path, waves, events=None) -> Path:
    """Write utterances (int16 arrays) and, for synthetic speech, a list of ``{"phones": ..., "words": ...}``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    offsets = [0]
    with (folder / "samples.part").open("wb") as file:
        for wave in waves:
            file.write(np.ascontiguousarray(wave, "<i2").tobytes())
            offsets.append(offsets[-1] + len(wave))
    table: dict[str, np.ndarray] = {"offsets": np.array(offsets, np.int64)}
    for kind in ("phones", "words") if events is not None else ():
        names = sorted({name for one in events for _, _, name in one[kind]})
        number = {name: i for i, name in enumerate(names)}
        flat = [event for one in events for event in one[kind]]
        table[f"{kind}_start"] = np.array([event[0] for event in flat], np.float32)
        table[f"{kind}_end"] = np.array([event[1] for event in flat], np.float32)
        table[f"{kind}_name"] = np.array([number[event[2]] for event in flat], np.int32)
        table[f"{kind}_first"] = np.cumsum([0] + [len(one[kind]) for one in events])
        table[f"{kind}_names"] = np.array(to_json(names))
    with (folder / "index.part").open("wb") as file:
        np.savez(file, **table)
    (folder / "samples.part").replace(folder / "samples.i16")
    (folder / "index.part").replace(folder / "index.npz")
    return folder


def phone_name(mnemonic: str) -> str:
    """An eSpeak mnemonic without stress and variant marks, so that one sound has one name; '' for a pause."""
    plain = mnemonic.strip("',%=_:;|").rstrip("23#") if mnemonic.strip("_:;|") else ""
    return plain + (":" if mnemonic.endswith(":") and plain else "")


def synthetic_utterance(seed: int, number: int, *, pool: str = "train", share: str = "pretraining"):
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
        waves, events = [], []
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
    folder.mkdir(parents=True, exist_ok=True)
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

    def events():
        for store in stores:
            for i in range(len(store)):
                one = {}
                for kind, (starts, ends, names, firsts) in store.events.items():
                    span = slice(firsts[i], firsts[i + 1])
                    one[kind] = [
                        (s, e, store.names[kind][n])
                        for s, e, n in zip(starts[span], ends[span], names[span], strict=True)
                    ]
                yield one

    return write_store(folder, (s.wave(i) for s in stores for i in range(len(s))), list(events()))


def make_recorded(folder: Path, audio: Path, *, longest: float = 15.0, shortest: float = 0.6) -> Path:
    """Pack every audio file under a folder that libsndfile decodes (first channel mix, 16 kHz); the rest are named.

    Utterances shorter than `shortest` are left out, longer ones are cut to `longest` seconds.
    """
    import soundfile

    folder = Path(folder)
    if (folder / "index.npz").is_file():
        return folder
    suffixes = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
    paths = sorted(path for path in Path(audio).rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        raise UserError(f"{audio} holds no audio ({', '.join(sorted(suffixes))})")

    def waves():
        for path in paths:
            try:
                wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                print(f"left out {path}: {error}")
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
