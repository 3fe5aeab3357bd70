"""A corpus whose truth is known, spoken at run time: arousal is in the sound, valence in the words.

Every utterance has a rate, a pitch and a pitch range, drawn independently; arousal and dominance are stated linear
functions of the three with noise.  Its sentence has affect words; valence is their mean human rating, whatever the
voice says.  Loudness is drawn apart from everything.  Such a corpus can show that a pipeline finds what is there, and
where in a network it sits; it cannot show anything about people.

The test part is drawn from a seed of its own, which was fixed after the rest (``docs/demo_corpus.md``).
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import random
import wave
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.options import check_count, check_counts, check_seed
from emoprobe.fields import COUNT, check_fields, read_json
from emoprobe.jsontext import to_json
from emoprobe.ownership import refuse_strangers
from emoprobe.storage import write_file

if TYPE_CHECKING:
    from emoprobe.extract.corpora import Corpus

COLUMNS = (
    "id", "path", "speaker", "gender", "split", "emotion", "arousal", "valence", "dominance", "transcript",
)  # fmt: skip
TRUTH_COLUMNS = (
    "id", "variant", "formants", "rate", "pitch", "pitch_range", "volume", "clauses", "fillers", "rating",
    "affect_words",
)  # fmt: skip


_REFERENCE = 140.0  # Hz; female and male voices both reach it
_FORMANTS = 0.15  # octaves, up and down

NOTE = "Synthetic speech with planted truth: it shows that the probes find what is there, and nothing about people."


@dataclass(frozen=True)
class CorpusSettings:
    """What the corpus is a function of.

    r is the rate (170 words a minute times 2 ** (0.55 r)), p the pitch as it is heard (six semitones times p above
    140 Hz, whoever speaks; a voice that does not reach what was drawn comes as near as it goes, and p is what it
    comes to), g the pitch range (setting 50 + 45 g): each about -1..1 with a variance of about 1/3.  Then

        arousal   = 4 + spread * (sqrt(3) * a . (r, p, g) / |a| + noise * e)
        dominance = 4 + spread * (sqrt(3) * d . (r, p, g) / |d| + noise * e')
        valence   = 4 + 0.75 * (mean rating of the affect words, -4 to 4)

    with e, e' standard normal, all kept within 1 to 7.

    The shares are of the utterances.  A test speaker says half as much as another, so that there are many.
    """

    utterances: int = 1200
    speakers: int = 52
    seed: int = 0
    test_seed: int = 0x4960B4E8
    """Of everything of the test part, beside ``seed``: its voices, sentences, manners and ratings.  It is the beginning
    of the hash of the commit before it, which fixed everything else."""
    language: str = "en-us"
    arousal_weights: tuple[float, float, float] = (0.75, 0.60, 0.25)
    dominance_weights: tuple[float, float, float] = (0.50, -0.75, 0.35)
    noise: float = 0.25
    spread: float = 1.1
    development_share: float = 0.15
    test_share: float = 0.3

    def drawn_from(self, split: str) -> str:
        """Seed of what a part is drawn from."""
        return f"{self.seed}/{self.test_seed}" if split == "test" else f"{self.seed}"


@dataclass(frozen=True)
class Speaker:
    """A voice with its habits."""

    name: str
    gender: str
    split: str
    variant: str
    rate: float
    """Habit, added to what is drawn for an utterance (-1..1 is the whole range)."""
    pitch: float
    formants: float = 1.0
    """How many times as high as the variant's: this makes voices of one variant differ."""


@dataclass(frozen=True)
class Row:
    """One utterance before it is spoken: everything about it is known."""

    id: str
    speaker: Speaker
    text: str
    affect: tuple[str, ...]
    rating: float
    clauses: int
    fillers: int
    rate: int
    pitch: int
    pitch_range: int
    volume: int
    arousal: float
    valence: float
    dominance: float

    @property
    def path(self) -> str:
        """Of its file, from the corpus's folder."""
        return f"audio/{self.id}.wav"

    @property
    def emotion(self) -> str:
        """Quadrant of arousal and valence."""
        high, positive = self.arousal >= 4, self.valence >= 4
        return ("happy" if positive else "angry") if high else ("calm" if positive else "sad")


def _check(settings: CorpusSettings) -> None:
    check_counts(settings, "utterances", "speakers")
    check_seed(settings.seed)
    if settings.speakers < 3:
        raise UserError(f"{settings.speakers} speakers cannot be split in three: give at least 3")
    if settings.utterances < settings.speakers:
        raise UserError(
            f"{settings.utterances} utterances are too few for {settings.speakers} speakers: "
            "give more utterances or fewer speakers"
        )


def make_speakers(settings: CorpusSettings) -> list[Speaker]:
    """The speakers: each split has its own voices, half of them female and half male."""
    from . import speech

    _check(settings)
    # Speakers if one who says half as much counts half.
    whole = settings.speakers / (1 + settings.test_share)
    test = max(1, round(2 * settings.test_share * whole))
    development = max(1, round(settings.development_share * whole))
    splits = ["test"] * test + ["development"] * development
    splits += ["train"] * (settings.speakers - len(splits))
    speakers = []
    count: dict[tuple[str, str], int] = {}
    for number, split in enumerate(splits):
        gender = ("female", "male")[number % 2]
        variants = speech.voices(split)[gender]
        if not variants:
            raise UserError(f"this eSpeak NG has none of the {gender} {split} voices: update espeakng-loader")
        index = count[split, gender] = count.get((split, gender), -1) + 1
        rng = random.Random(f"{settings.drawn_from(split)}/speaker/{split}/{gender}/{index}")
        speakers.append(
            Speaker(
                name=f"s{number:03d}",
                gender=gender,
                split=split,
                variant=variants[index % len(variants)],
                rate=rng.uniform(-0.2, 0.2),
                pitch=rng.uniform(-0.2, 0.2),
                formants=round(2 ** rng.uniform(-_FORMANTS, _FORMANTS), 3),
            )
        )
    return speakers


def pitch_setting(speaker: Speaker, wanted: float) -> tuple[int, float]:
    """Setting that brings the voice to the wanted pitch as near as it goes, and the pitch that it comes to."""
    from . import speech

    away = math.log(_REFERENCE / (speech.base_pitch(speaker.variant) * speaker.formants))
    half_octave = 0.5 * math.log(2)
    setting = round(50 + (away + half_octave * wanted) / speech.PITCH_STEP)
    setting = max(5, min(95, setting))
    return setting, ((setting - 50) * speech.PITCH_STEP - away) / half_octave


def score_of(settings: CorpusSettings, weights: tuple, manner: tuple, error: float) -> float:
    """Rating of a manner (rate, pitch and range, -1 to 1 each) by weights, with an error in standard deviations."""
    length = sum(weight**2 for weight in weights) ** 0.5
    z = 3**0.5 * sum(weight * x for weight, x in zip(weights, manner, strict=True)) / length
    return round(max(1.0, min(7.0, 4 + settings.spread * (z + settings.noise * error))), 4)


def turns(speakers: list[Speaker]) -> Iterator[Speaker]:
    """Who speaks next, without end: everybody in each round, but of the test speakers every second pair."""
    for turn in itertools.count():
        for number, speaker in enumerate(speakers):
            if speaker.split != "test" or number // 2 % 2 == turn % 2:
                yield speaker


def plan(settings: CorpusSettings) -> list[Row]:
    """Every utterance of the corpus, in order, without speaking: a function of the settings alone."""
    from . import sentences

    rows, said = [], set()
    for number, speaker in zip(range(settings.utterances), turns(make_speakers(settings)), strict=False):
        seed = settings.drawn_from(speaker.split)
        rng = random.Random(f"{seed}/utterance/{number}")
        # Words and voice are drawn by generators of their own: neither can leak into the other.
        words = random.Random(f"{seed}/words/{number}")
        while True:
            clauses, fillers = words.randint(1, 3), words.randint(0, 2)
            sentence = sentences.compose(words, clauses=clauses, fillers=fillers, rating=words.uniform(-3, 3))
            if sentences.share(sentence.text) == speaker.split and sentence.text not in said:
                break
        said.add(sentence.text)

        r = max(-1.0, min(1.0, rng.uniform(-1, 1) + speaker.rate))
        pitch, p = pitch_setting(speaker, max(-1.0, min(1.0, rng.uniform(-1, 1) + speaker.pitch)))
        g = rng.uniform(-1, 1)
        rows.append(
            Row(
                id=f"{speaker.name}_{number:05d}",
                speaker=speaker,
                text=sentence.text,
                affect=sentence.affect,
                rating=round(sentence.rating, 4),
                clauses=clauses,
                fillers=fillers,
                rate=round(170 * 2 ** (0.55 * r)),
                pitch=pitch,
                pitch_range=round(50 + 45 * g),
                volume=rng.randint(20, 50),
                arousal=score_of(settings, settings.arousal_weights, (r, p, g), rng.gauss(0, 1)),
                dominance=score_of(settings, settings.dominance_weights, (r, p, g), rng.gauss(0, 1)),
                valence=round(4 + 0.75 * sentence.rating, 4),
            )
        )
    return rows


def csv_table(columns: tuple[str, ...], rows: list[tuple]) -> bytes:
    """A table as the bytes of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def speak_row(task: tuple[str, Row, str]) -> str:
    """Speak one utterance into the folder of its corpus; folder, utterance and language in, its id out."""
    from . import speech

    root, row, language = task
    manner = speech.Manner(
        language=language,
        variant=row.speaker.variant,
        rate=row.rate,
        pitch=row.pitch,
        pitch_range=row.pitch_range,
        volume=row.volume,
        formants=row.speaker.formants,
    )
    spoken = speech.speak(row.text, manner)
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(spoken.samples.astype("<i2").tobytes())
    write_file(Path(root) / row.path, data.getvalue())
    return row.id


def make_corpus(
    root: Path,
    *,
    utterances: int = CorpusSettings.utterances,
    speakers: int = CorpusSettings.speakers,
    seed: int = CorpusSettings.seed,
    progress: Callable[[int, int], object] | None = None,
    workers: int = 1,
) -> Path:
    """Speak the corpus into a folder; a killed run leaves what was finished, and the next goes on.

    Parameters
    ----------
    root : Path
        Gets ``audio/*.wav`` (16 kHz mono int16), ``manifest.csv``, ``truth.csv`` (how each was spoken) and
        ``settings.json``.
    utterances, speakers, seed : int
        See :class:`CorpusSettings`.
    progress : callable, optional
        Called with the number done and the number wanted.
    workers : int
        Processes that speak; the bytes are the same for any number.

    Returns
    -------
    Path
        Of the manifest, written last.

    Raises
    ------
    UserError
        If the folder holds a corpus of other settings, or eSpeak NG or the lexicon is not installed.
    """
    settings = CorpusSettings(utterances=utterances, speakers=speakers, seed=seed)
    _check(settings)
    check_count("workers", workers, least=1)
    root = Path(root)
    stated = (to_json(asdict(settings), indent=1) + "\n").encode()
    if (root / "settings.json").is_file() and (root / "settings.json").read_bytes() != stated:
        raise UserError(f"{root} holds a demo corpus of other settings: delete the folder or name another")
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: name a folder for the demo corpus")
    if not (root / "settings.json").is_file():  # which is written first
        refuse_strangers(root, ["settings.json"], "the demo corpus", option="--corpus demo:FOLDER")
    manifest = root / "manifest.csv"
    rows = plan(settings)
    (root / "audio").mkdir(parents=True, exist_ok=True)
    write_file(root / "settings.json", stated)
    missing = [(str(root), row, settings.language) for row in rows if not (root / row.path).is_file()]
    done = len(rows) - len(missing)
    for _ in each_done(speak_row, missing, workers):
        done += 1
        if progress is not None:
            progress(done, len(rows))
    write_file(
        root / "truth.csv",
        csv_table(
            TRUTH_COLUMNS,
            [
                (r.id, r.speaker.variant, r.speaker.formants, r.rate, r.pitch, r.pitch_range, r.volume, r.clauses,
                 r.fillers, r.rating, " ".join(r.affect))
                for r in rows
            ],
        ),
    )  # fmt: skip
    write_file(
        manifest,
        csv_table(
            COLUMNS,
            [
                (r.id, r.path, r.speaker.name, r.speaker.gender, r.speaker.split, r.emotion, r.arousal, r.valence,
                 r.dominance, r.text)
                for r in rows
            ],
        ),
    )  # fmt: skip
    return manifest


def each_done(function: Callable[[Any], object], tasks: list, workers: int) -> Iterator[object]:
    """What a function makes of each task, one process or several."""
    if workers <= 1 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    from .processes import processes

    with processes(workers) as pool:
        yield from pool.map(function, tasks, chunksize=8)


def read(root: Path | None = None, **settings: Any) -> Corpus:
    """The demo corpus as a corpus; it is spoken first where the folder does not hold it.

    Parameters
    ----------
    root : Path, optional
        Default ``demo_corpus`` in the current folder.
    **settings
        ``utterances``, ``speakers``, ``seed`` and ``progress`` of :func:`make_corpus`; without any, a corpus that the
        folder already holds is taken as it is.

    Returns
    -------
    emoprobe.extract.corpora.Corpus
    """
    from emoprobe.extract.corpora import read_manifest

    root = Path("demo_corpus" if root is None else root)
    manifest = root / "manifest.csv"
    if not manifest.is_file() or settings:
        if not settings and (root / "settings.json").is_file():
            path, again = root / "settings.json", "name another folder, or remove this one to have it spoken anew"
            wanted = {"utterances": COUNT, "speakers": COUNT, "seed": COUNT}
            stated = check_fields(read_json(path, remedy=again), path, wanted, remedy=again)
            settings = {key: stated[key] for key in wanted}
        manifest = make_corpus(root, **settings)
    return replace(read_manifest(manifest), name="demo", notes=(NOTE,))
