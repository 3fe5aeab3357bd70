"""The corpora that ask for words or voice: each changes in one of them alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from emoprobe import UserError
from emoprobe.demo.corpus import CorpusSettings
from emoprobe.demo.probing import (
    NEUTRAL_TEXTS,
    VOICE,
    WORDS,
    ProbingSettings,
    make_probing_corpora,
    of_voice,
    of_words,
    read_texts,
)
from emoprobe.demo.sentences import affect_words
from emoprobe.extract.corpora import read_corpus

SMALL = ProbingSettings(texts=3, voices=2, manners=2)


def manner(row) -> tuple:
    return (row.rate, row.pitch, row.pitch_range, row.volume)


def test_texts_change_and_nothing_of_the_voice_does():
    texts = [("a good day", 6.0), ("a bad day", 2.0), ("a day", 4.0)]
    rows = of_words(ProbingSettings(voices=4), texts)
    assert len(rows) == 12
    for speaker in {row.speaker.name for row in rows}:
        own = [row for row in rows if row.speaker.name == speaker]
        assert [(row.text, row.valence) for row in own] == texts
        assert len({manner(row) for row in own}) == 1
    assert [row.speaker.gender for row in rows[:4]] == ["female", "male", "female", "male"]


def test_manners_change_and_no_text_does():
    rows = of_voice(ProbingSettings(voices=2, manners=30))
    assert len(rows) == len(NEUTRAL_TEXTS) * 2 * 30
    first = [row for row in rows if (row.text, row.speaker.name) == (NEUTRAL_TEXTS[0], "v00")]
    assert len({manner(row) for row in first}) == 30
    # Faster, higher and wider speech has the more arousal: that of the demo, without noise.
    weights = CorpusSettings().arousal_weights
    assert all(weight > 0 for weight in weights)
    fast = [row.arousal for row in first if row.rate > 200]
    slow = [row.arousal for row in first if row.rate < 145]
    assert sum(fast) / len(fast) > sum(slow) / len(slow)
    said = {word for text in NEUTRAL_TEXTS for word in text.split()}
    assert not said & {word for words in affect_words().values() for word in words}


def test_corpora_are_spoken_once_and_read_as_such(tmp_path):
    words, voice = make_probing_corpora(tmp_path / "p", SMALL)
    assert (words.name, voice.name) == (f"{WORDS}.csv", f"{VOICE}.csv")
    corpus = read_corpus(str(words))
    assert corpus.name == WORDS
    assert len(corpus.utterances) == 6
    assert corpus.utterances["valence"].notna().all()
    assert corpus.utterances["arousal"].isna().all()
    assert read_corpus(str(voice)).utterances["arousal"].notna().all()
    heard = {path.name: path.read_bytes() for path in (tmp_path / "p" / "audio").iterdir()}
    assert len(set(heard.values())) == len(heard) == 6 + len(NEUTRAL_TEXTS) * 4
    (tmp_path / "p" / "audio" / next(iter(heard))).unlink()
    done = []
    make_probing_corpora(tmp_path / "p", SMALL, progress=lambda k, _: done.append(k))
    assert done == [len(heard)]
    assert {path.name: path.read_bytes() for path in (tmp_path / "p" / "audio").iterdir()} == heard
    with pytest.raises(UserError, match="other settings or texts"):
        make_probing_corpora(tmp_path / "p", ProbingSettings(texts=4, voices=2, manners=2))


def test_own_texts_are_spoken(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("transcript,valence\na good day,6\na bad day,2\na good day,5\n,3\nsilence,\n")
    assert read_texts(path) == [("a good day", 6.0), ("a bad day", 2.0)]
    words, _ = make_probing_corpora(tmp_path / "p", SMALL, texts=path)
    with words.open() as file:
        assert {row["transcript"] for row in csv.DictReader(file)} == {"a good day", "a bad day"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("transcript\na\n", "lacks a column"),
        ("transcript,valence\na,high\n", "line 2: the valence 'high' is no number"),
        ("transcript,valence\na,1\n", "1 texts with a rating"),
        ("", "lacks a column"),
    ],
)
def test_texts_that_cannot_be_used_are_refused(tmp_path, text, said):
    path = tmp_path / "texts.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_texts(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_texts(Path(tmp_path / "absent.csv"))
