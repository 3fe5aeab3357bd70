"""Two corpora that ask a probe whether it hears words or voice: one changes the words alone, the other the voice alone.

``probing-words.csv``: many texts of known valence, each spoken by a few voices in one neutral manner. What a probe
says of them differs by the words alone. ``probing-voice.csv``: a few texts without a word of affect, spoken by the
same voices in many manners, rates, pitches, ranges and loudness drawn apart. What a probe says of them differs by the
voice alone; their arousal and dominance are those that the demo corpus gives the manner
(:class:`.corpus.CorpusSettings`), without noise.

The design is that of Triantafyllopoulos et al. (2022), who spoke the texts of a corpus anew.

References
----------
A. Triantafyllopoulos et al., "Probing speech emotion recognition transformers for linguistic knowledge", Interspeech
2022.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.extract.options import check_count, check_counts, check_seed
from emoprobe.jsontext import to_json
from emoprobe.ownership import refuse_strangers
from emoprobe.storage import write_file

from .corpus import CorpusSettings, Row, Speaker, csv_table, each_done, pitch_setting, score_of, speak_row

COLUMNS = ("id", "path", "speaker", "gender", "arousal", "valence", "dominance", "transcript")
MANNER_COLUMNS = ("id", "variant", "rate", "pitch", "pitch_range", "volume")

WORDS, VOICE = "probing-words", "probing-voice"

#: Texts without a word of affect.
NEUTRAL_TEXTS = (
    "the wagon stood near the station at noon",
    "this paper was on the table in the kitchen",
    "the driver followed the road along the river",
    "on monday the letter was in the drawer of the office",
)

#: Pools of eSpeak voices that no voice of a probe trained on the demo is of.
_POOL = "test"

#: Of speech in the one neutral manner: words a minute, and settings of range and volume.
_RATE, _RANGE, _VOLUME = 170, 50, 35


@dataclass(frozen=True)
class ProbingSettings:
    """What is spoken.

    Parameters
    ----------
    texts : int
        Of the corpus of words, where no file of texts is given.
    voices : int
        Half of them female and half male.
    manners : int
        Of each neutral text in each voice, in the corpus of voices.
    seed : int
        Of the texts and manners.
    language : str
        Of eSpeak NG; the neutral texts are English.
    """

    texts: int = 120
    voices: int = 4
    manners: int = 25
    seed: int = 0
    language: str = "en-us"

    def __post_init__(self) -> None:
        check_counts(self, "texts", "manners", least=2)
        check_counts(self, "voices", least=1)
        check_seed(self.seed)


def read_texts(path: Path) -> list[tuple[str, float]]:
    """Texts and their valence, from a CSV file with the columns ``transcript`` and ``valence``.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column, or has fewer than two different texts with a rating.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}): give a table with transcript and valence") from error
    if not rows or not {"transcript", "valence"} <= set(rows[0]):
        raise UserError(f"{path} lacks a column transcript or valence: give both, a text and its rating a row")
    texts: dict[str, float] = {}
    for line, row in enumerate(rows, start=2):
        text = (row["transcript"] or "").strip()
        if not text or not (row["valence"] or "").strip():
            continue
        try:
            texts.setdefault(text, float(row["valence"]))
        except ValueError as error:
            raise UserError(
                f"{path}, line {line}: the valence {row['valence']!r} is no number: mend the cell"
            ) from error
    if len(texts) < 2:
        raise UserError(f"{path} has {len(texts)} texts with a rating: give at least two")
    return list(texts.items())


def _texts(settings: ProbingSettings) -> list[tuple[str, float]]:
    """Sentences of the demo's grammar that nothing of it was trained on, with the rating of their affect words."""
    from . import sentences

    rng = random.Random(f"{settings.seed}/probing")
    texts: dict[str, float] = {}
    while len(texts) < settings.texts:
        sentence = sentences.compose(rng, clauses=2, fillers=1, rating=rng.uniform(-3, 3))
        if sentences.share(sentence.text) == _POOL:
            texts[sentence.text] = round(4 + 0.75 * sentence.rating, 4)
    return list(texts.items())


def _speakers(settings: ProbingSettings) -> list[Speaker]:
    from . import speech

    pools = speech.voices(_POOL)
    speakers = []
    for number in range(settings.voices):
        gender = ("female", "male")[number % 2]
        if number // 2 >= len(pools[gender]):
            raise UserError(f"eSpeak NG has {len(pools[gender])} {gender} voices for this: ask for fewer with --voices")
        speakers.append(Speaker(f"v{number:02d}", gender, "", pools[gender][number // 2], 0.0, 0.0))
    return speakers


def _row(name: str, speaker: Speaker, text: str, manner: tuple[int, int, int, int], **ratings: float) -> Row:
    rate, pitch, pitch_range, volume = manner
    unknown = dict.fromkeys(("arousal", "valence", "dominance"), float("nan"))
    return Row(
        id=name, speaker=speaker, text=text, affect=(), rating=0.0, clauses=0, fillers=0, rate=rate, pitch=pitch,
        pitch_range=pitch_range, volume=volume, **(unknown | ratings),
    )  # fmt: skip


def of_words(settings: ProbingSettings, texts: list[tuple[str, float]]) -> list[Row]:
    """Every text in every voice, in one manner."""
    return [
        _row(
            f"words_{number:05d}_{speaker.name}", speaker, text,
            (_RATE, pitch_setting(speaker, 0.0)[0], _RANGE, _VOLUME), valence=valence,
        )
        for number, (text, valence) in enumerate(texts)
        for speaker in _speakers(settings)
    ]  # fmt: skip


def of_voice(settings: ProbingSettings) -> list[Row]:
    """The neutral texts in every voice, in many manners."""
    weights, rows = CorpusSettings(), []
    for place, text in enumerate(NEUTRAL_TEXTS):
        for speaker in _speakers(settings):
            rng = random.Random(f"{settings.seed}/manner/{place}/{speaker.name}")
            for number in range(settings.manners):
                rate, (pitch, heard), reach = (
                    rng.uniform(-1, 1),
                    pitch_setting(speaker, rng.uniform(-1, 1)),
                    rng.uniform(-1, 1),
                )
                manner = (rate, heard, reach)
                rows.append(
                    _row(
                        f"voice_{place}_{speaker.name}_{number:03d}", speaker, text,
                        (round(_RATE * 2 ** (0.55 * rate)), pitch, round(50 + 45 * reach), rng.randint(20, 50)),
                        arousal=score_of(weights, weights.arousal_weights, manner, 0.0),
                        dominance=score_of(weights, weights.dominance_weights, manner, 0.0),
                    )
                )  # fmt: skip
    return rows


def make_probing_corpora(
    root: Path,
    settings: ProbingSettings = ProbingSettings(),
    *,
    texts: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Path, Path]:
    """Speak both corpora into a folder; a killed run leaves what was finished, and the next goes on.

    Parameters
    ----------
    root : Path
        Gets ``audio/*.wav``, ``probing-words.csv`` and ``probing-voice.csv``, which `probe-extract --corpus` reads,
        ``manners.csv`` (how each was spoken) and ``settings.json``.
    settings : ProbingSettings
    texts : Path, optional
        CSV file of texts with their valence (:func:`read_texts`), in place of sentences of the demo.
    workers : int
        Processes that speak; the bytes are the same for any number.
    progress : callable, optional
        Called with the number done and the number wanted.

    Returns
    -------
    words, voice : Path
        The manifests, written last.

    Raises
    ------
    UserError
        If the folder holds corpora of other settings or texts, or eSpeak NG or the lexicon is not installed.
    """
    check_count("workers", workers, least=1)
    root, spoken = Path(root), _texts(settings) if texts is None else read_texts(texts)
    stated = (to_json({**asdict(settings), "spoken": spoken}, indent=1) + "\n").encode()
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: name a folder for the probing corpora")
    if (root / "settings.json").is_file() and (root / "settings.json").read_bytes() != stated:
        raise UserError(f"{root} holds probing corpora of other settings or texts: delete the folder or name another")
    if not (root / "settings.json").is_file():
        refuse_strangers(root, ["settings.json"], "the probing corpora", option="FOLDER")
    corpora = {WORDS: of_words(settings, spoken), VOICE: of_voice(settings)}
    rows = [row for of_corpus in corpora.values() for row in of_corpus]
    (root / "audio").mkdir(parents=True, exist_ok=True)
    write_file(root / "settings.json", stated)
    missing = [(str(root), row, settings.language) for row in rows if not (root / row.path).is_file()]
    done = len(rows) - len(missing)
    for _ in each_done(speak_row, missing, workers):
        done += 1
        if progress is not None:
            progress(done, len(rows))
    manners = [(r.id, r.speaker.variant, r.rate, r.pitch, r.pitch_range, r.volume) for r in rows]
    write_file(root / "manners.csv", csv_table(MANNER_COLUMNS, manners))
    for name, of_corpus in corpora.items():
        write_file(root / f"{name}.csv", csv_table(COLUMNS, [_cells(row) for row in of_corpus]))
    return root / f"{WORDS}.csv", root / f"{VOICE}.csv"


def _cells(row: Row) -> tuple:
    ratings = ("" if value != value else value for value in (row.arousal, row.valence, row.dominance))  # noqa: PLR0124
    return (row.id, row.path, row.speaker.name, row.speaker.gender, *ratings, row.text)
