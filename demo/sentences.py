"""Sentences of known valence: our own grammar, and human ratings of its affect words.

The ratings (mean of ten raters a word, -4 to 4; Hutto and Gilbert, ICWSM 2014) are read from the installed
``vaderSentiment`` at run time and never copied here: the lists below say only which words fit which slot.
"""

import functools
import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from emoprobe.errors import UserError


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_ADJECTIVES = _split("""
awful terrible horrible dreadful nasty ugly cruel evil tragic bitter gloomy grim miserable painful lonely hopeless
worthless useless stupid foolish angry furious hostile bad sad poor guilty sick weak boring dull lazy rude
strange tense nervous scary brutal vicious violent dirty shameful pathetic disgusting
wonderful excellent brilliant beautiful lovely great good happy joyful cheerful glad gentle kind sweet pretty nice fine
friendly warm loving generous honest brave bold clever smart calm peaceful safe strong sunny funny amazing fantastic
perfect superb terrific magnificent delightful charming graceful elegant
""")
_NOUNS = _split("""
murder death war hate hatred violence terror torture disaster tragedy misery grief sorrow pain agony fear panic anger
rage fury shame guilt crime poison poverty danger trouble failure loss defeat despair regret worry doubt
threat damage fraud insult abuse hell
love joy happiness bliss peace laughter delight pleasure hope freedom friendship success triumph glory honor
praise kindness beauty wisdom courage comfort trust wealth luck fun harmony
paradise treasure miracle heaven warmth humor gratitude
""")

_NEUTRAL_NOUNS = _split("""
table window garden river mountain letter market kitchen station bottle pencil paper bridge village corner road
station ladder basket blanket button carpet ceiling chimney curtain drawer engine fence harbor island jacket kettle
lantern meadow napkin office package quarter railway saddle tower uniform valley wagon yard picture
""")
_PEOPLE = _split("""
anna peter martin julia thomas laura robin helen oscar nina edgar clara simon emma hugo the+teacher the+baker
the+driver the+farmer the+doctor the+sailor the+painter the+writer the+cook the+guard the+pilot the+tailor
""")
_VERBS = _split("described mentioned noticed remembered recorded showed sketched followed reported considered")
_LINKS = _split("seemed looked became sounded appeared")
_TIMES = _split("""
on+monday on+tuesday last+winter this+morning after+lunch at+noon in+april before+dinner around+midnight all+week
every+sunday by+october
""")
_PLACES = _split("""
near+the+river by+the+station in+the+kitchen behind+the+school across+the+road under+the+bridge at+the+market
along+the+coast inside+the+tower on+the+island over+the+valley beside+the+harbor
""")
_JOINS = ("and", "while", "then", "as")
# Every clause has two affect words, so that their share of the speech, and with it what a mean over time can hold,
# does not depend on the length of the sentence.
_CLAUSES = (
    "the {A} {n} {l} {A}",
    "{p} {v} the {A} {n} and that {A} {m}",
    "{p} {v} {N} and {N}",
    "there was {N} with the {A} {n}",
    "{p} {v} the {n} as {A} and {A}",
    "this {n} stood for {N} or {N}",
    "that {A} {n} stood for {N}",
    "{p} {v} {N} in the {A} {n}",
)


@dataclass(frozen=True)
class Sentence:
    """A sentence, the affect words in it and their mean rating (-4 to 4)."""

    text: str
    affect: tuple[str, ...]
    rating: float


@functools.cache
def lexicon() -> dict[str, float]:
    """Mean human rating of each word, read from the installed vaderSentiment.

    Raises
    ------
    UserError
        If the package is not installed.
    """
    try:
        import vaderSentiment.vaderSentiment as vader
    except ImportError as error:
        raise UserError("the demo corpus needs vaderSentiment: pip install vaderSentiment") from error
    path = Path(vader.__file__).with_name("vader_lexicon.txt")
    ratings = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = line.split("\t")
        if len(cells) > 1:
            ratings[cells[0]] = float(cells[1])
    return ratings


@functools.cache
def affect_words() -> dict[str, tuple[str, ...]]:
    """The affect vocabulary, ``A`` adjectives and ``N`` nouns: those of our lists that the lexicon rates."""
    rated = lexicon()
    return {"A": tuple(w for w in _ADJECTIVES if w in rated), "N": tuple(w for w in _NOUNS if w in rated)}


@functools.cache
def neutral_words() -> dict[str, tuple[str, ...]]:
    """Words of the other slots; a phrase with a rated word in it is left out, so that only affect words are rated."""
    rated = lexicon()

    def keep(phrases: Iterable[str]) -> tuple[str, ...]:
        spaced = dict.fromkeys(phrase.replace("+", " ") for phrase in phrases)
        return tuple(phrase for phrase in spaced if not any(word in rated for word in phrase.split()))

    return {
        "n": keep(_NEUTRAL_NOUNS),
        "p": keep(_PEOPLE),
        "v": keep(_VERBS),
        "l": keep(_LINKS),
        "t": keep(_TIMES),
        "s": keep(_PLACES),
    }


def _near(rng: random.Random, words: tuple[str, ...], rating: float, taken: set[str], width: float) -> str:
    rated = lexicon()
    free = [word for word in words if word not in taken]
    # 2 ** (-d^2): a bell around the wanted rating; all words of a sentence lean the same way.
    weights = [2.0 ** -(((rated[word] - rating) / width) ** 2) for word in free]
    return rng.choices(free, weights)[0]


def compose(rng: random.Random, *, clauses: int, fillers: int, rating: float, width: float = 0.6) -> Sentence:
    """Make a sentence of so many clauses (two affect words each) whose words are rated near `rating`.

    Parameters
    ----------
    rng : random.Random
        Source of every choice.
    clauses : int
        Number of clauses, at least one.
    fillers : int
        Phrases of time and place, at most two a clause.
    rating : float
        Wanted mean rating, -4 to 4; what came out is in the result.
    width : float
        How far from it a word may lie (where its weight is halved).
    """
    affect, neutral = affect_words(), neutral_words()
    taken: set[str] = set()
    chosen: list[str] = []
    room = [clause for clause in range(clauses) for _ in range(2)]
    filled = set(rng.sample(range(len(room)), min(fillers, len(room))))
    parts = []
    for clause in range(clauses):
        words = []
        for slot in rng.choice(_CLAUSES).split():
            if slot in ("{A}", "{N}"):
                word = _near(rng, affect[slot[1]], rating, taken, width)
                chosen.append(word)
            elif slot.startswith("{"):
                kind = "n" if slot == "{m}" else slot[1]
                word = rng.choice([w for w in neutral[kind] if w not in taken])
            else:
                word = slot
            taken.add(word)
            words.append(word)
        text = " ".join(words)
        if 2 * clause in filled:
            text = f"{rng.choice(neutral['t'])} {text}"
        if 2 * clause + 1 in filled:
            text = f"{text} {rng.choice(neutral['s'])}"
        parts.append(text)
    text = parts[0]
    for part in parts[1:]:
        text = f"{text} {rng.choice(_JOINS)} {part}"
    rated = lexicon()
    return Sentence(text, tuple(chosen), sum(rated[word] for word in chosen) / len(chosen))


def share(text: str) -> str:
    """Which use a sentence is kept for: ``pretraining``, ``train``, ``development`` or ``test``, by its hash.

    So no sentence is in two of them, whoever draws it and in whatever order.
    """
    number = hashlib.sha256(text.encode()).digest()[0] % 16
    return "pretraining" if number < 6 else "train" if number < 11 else "development" if number < 13 else "test"


def loose_words(rng: random.Random, count: int, *, anything: float = 0.5) -> str:
    """A string of words in no order, for pretraining: our vocabulary, and any word of the lexicon."""
    ours = [w for words in (*affect_words().values(), *neutral_words().values()) for w in words]
    other = _plain_words()
    return " ".join(rng.choice(other) if rng.random() < anything else rng.choice(ours) for _ in range(count))


@functools.cache
def _plain_words() -> tuple[str, ...]:
    return tuple(word for word in sorted(lexicon()) if word.isascii() and word.isalpha() and 2 < len(word) < 12)
