"""The demo corpus: its truth is what it says, and it comes out the same whatever happens while it is made."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pandas as pd
import pytest
from scipy.signal import welch

from emoprobe.demo import corpus, sentences, speech
from emoprobe.errors import UserError

pytest.importorskip("espeakng_loader", reason="the demo corpus needs espeakng-loader")
pytest.importorskip("vaderSentiment", reason="the demo corpus needs vaderSentiment")


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    corpus.make_corpus(root, utterances=24, speakers=6, seed=3)
    return root


@pytest.fixture(scope="module")
def planned():
    return corpus.plan(corpus.CorpusSettings())


@pytest.mark.slow
def test_same_seed_same_bytes_whatever_the_workers(small, tmp_path):
    corpus.make_corpus(tmp_path, utterances=24, speakers=6, seed=3, workers=2)
    assert contents(tmp_path) == contents(small)


def test_other_seed_other_sentences(small, tmp_path):
    corpus.make_corpus(tmp_path, utterances=6, speakers=6, seed=4)
    said = set(pd.read_csv(small / "manifest.csv")["transcript"])
    assert not said & set(pd.read_csv(tmp_path / "manifest.csv")["transcript"])


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken(small, tmp_path):
    """SIGKILL while speaking: whole files are left, no manifest, and the second run ends with the same bytes."""
    command = [sys.executable, "-m", "emoprobe.cli.demo_corpus", str(tmp_path), "--utterances", "24", "--speakers", "6"]
    process = subprocess.Popen([*command, "--seed", "3"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(tmp_path.glob("audio/*.wav"))) < 4:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = [p.name for p in tmp_path.glob("audio/*.wav")]
    assert len(finished) >= 4
    for name in finished:
        assert (tmp_path / "audio" / name).read_bytes() == (small / "audio" / name).read_bytes()
    for partial in tmp_path.rglob("*.part"):
        partial.unlink()
    corpus.make_corpus(tmp_path, utterances=24, speakers=6, seed=3)
    assert contents(tmp_path) == contents(small)


def test_folder_of_other_settings_is_refused(small):
    with pytest.raises(UserError, match="other settings"):
        corpus.make_corpus(small, utterances=25, speakers=6, seed=3)


@pytest.mark.parametrize(("utterances", "speakers"), [(10, 2), (5, 6)])
def test_impossible_sizes_are_refused(tmp_path, utterances, speakers):
    with pytest.raises(UserError):
        corpus.make_corpus(tmp_path, utterances=utterances, speakers=speakers)


def test_audio_is_16_khz_mono_and_neither_clipped_nor_silent(small):
    for path in sorted((small / "audio").glob("*.wav")):
        with wave.open(str(path), "rb") as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert 1_000 < np.abs(samples.astype(int)).max() < 32_767, path


def test_read_gives_the_corpus(small):
    found = corpus.read(small)
    assert len(found.utterances) == 24
    assert set(found.utterances["split"]) == {"train", "development", "test"}


def test_no_speaker_voice_or_sentence_on_both_sides(planned):
    table = pd.DataFrame(
        [
            {"split": r.speaker.split, "speaker": r.speaker.name, "variant": r.speaker.variant, "text": r.text}
            for r in planned
        ]
    )
    for column in ("speaker", "variant", "text"):
        assert (table.groupby(column)["split"].nunique() == 1).all(), column
    assert table["text"].is_unique
    vocabulary = {r.speaker.split: set() for r in planned}
    for row in planned:
        vocabulary[row.speaker.split] |= set(row.affect)
    assert len(vocabulary["test"] & vocabulary["train"]) > 0.8 * len(vocabulary["test"])


def test_many_test_speakers_say_half_as_much_as_others_and_no_two_sound_alike(planned):
    said = pd.Series([row.speaker for row in planned]).value_counts()
    counts = {
        split: [n for speaker, n in said.items() if speaker.split == split]
        for split in ("train", "development", "test")
    }
    assert counts == {"train": [30] * 22, "development": [30] * 6, "test": [15] * 24}
    assert len({(speaker.variant, speaker.formants) for speaker in said.index}) == len(said)
    women = [speaker for speaker in said.index if speaker.split == "test" and speaker.gender == "female"]
    assert len(women) == 12


def test_everybody_speaks_before_anybody_speaks_twice_too_often():
    for count in (3, 6, 7, 52):
        speakers = corpus.make_speakers(corpus.CorpusSettings(speakers=count))
        said = list(itertools.islice(corpus.turns(speakers), count))
        assert {speaker.name for speaker in said} == {speaker.name for speaker in speakers}


def test_the_seed_of_the_test_part_moves_nothing_else():
    one = corpus.plan(corpus.CorpusSettings(utterances=80))
    other = corpus.plan(corpus.CorpusSettings(utterances=80, test_seed=corpus.CorpusSettings.test_seed + 1))
    assert len({row.speaker.split for row in one}) == 3
    for row, moved in zip(one, other, strict=True):
        assert row.speaker.split == moved.speaker.split
        if row.speaker.split == "test":
            assert row.text != moved.text
            assert row.speaker.formants != moved.speaker.formants
        else:
            assert row == moved


def test_valence_is_the_mean_rating_of_the_affect_words(planned):
    ratings = sentences.lexicon()
    for row in planned:
        rated = [ratings[word] for word in row.text.split() if word in ratings]
        assert row.valence == pytest.approx(4 + 0.75 * np.mean(rated), abs=2e-4)


def test_valence_does_not_depend_on_voice_length_or_manner(planned):
    """1,200 independent draws: a correlation beyond 0.1 has a probability under 0.001 when there is none."""
    valence = [row.valence for row in planned]
    for name in ("rate", "pitch", "pitch_range", "volume", "clauses", "fillers", "arousal"):
        assert abs(np.corrcoef(valence, [getattr(row, name) for row in planned])[0, 1]) < 0.1, name
    letters = [len(row.text) for row in planned]
    assert abs(np.corrcoef(valence, letters)[0, 1]) < 0.1
    female = np.array([row.speaker.gender == "female" for row in planned])
    assert abs(np.mean(np.array(valence)[female]) - np.mean(np.array(valence)[~female])) < 0.3


def test_arousal_and_dominance_are_what_the_settings_state(planned):
    """Least squares on the three controls leaves the stated noise (0.25 of 1 + 0.25^2: R2 0.94), loudness adds none."""
    settings = corpus.CorpusSettings()
    rate = np.log2(np.array([r.rate for r in planned]) / 170) / 0.55
    own = np.array([speech.base_pitch(r.speaker.variant) * r.speaker.formants for r in planned])
    heard = own * np.exp(speech.PITCH_STEP * np.array([r.pitch - 50 for r in planned])) / 140
    controls = np.column_stack([rate, 2 * np.log2(heard), (np.array([r.pitch_range for r in planned]) - 50) / 45])
    loudness = np.array([r.volume for r in planned], float)
    for name, weights in (("arousal", settings.arousal_weights), ("dominance", settings.dominance_weights)):
        y = np.array([getattr(r, name) for r in planned])
        fit, *_ = np.linalg.lstsq(np.column_stack([controls, np.ones(len(y))]), y, rcond=None)
        direction = fit[:3] / np.linalg.norm(fit[:3])
        assert direction @ np.array(weights) / np.linalg.norm(weights) > 0.995
        rest = y - np.column_stack([controls, np.ones(len(y))]) @ fit
        assert 0.88 < 1 - rest.var() / y.var() < 0.97
        assert abs(np.corrcoef(rest, loudness)[0, 1]) < 0.1


def test_sentences_of_one_share_only():
    import random

    texts = [sentences.compose(random.Random(i), clauses=2, fillers=1, rating=1.0).text for i in range(200)]
    shares = [sentences.share(text) for text in texts]
    assert set(shares) == {"pretraining", "train", "development", "test"}
    assert shares == [sentences.share(text) for text in texts]


def test_neutral_words_are_not_rated():
    rated = sentences.lexicon()
    fixed = " ".join(sentences._CLAUSES + sentences._JOINS).replace("{", " ").replace("}", " ").split()
    words = [w for phrases in sentences.neutral_words().values() for phrase in phrases for w in phrase.split()]
    assert not [word for word in (*words, *fixed) if word in rated and len(word) > 1]


class TestSpeech:
    def test_what_is_spoken_does_not_depend_on_what_was_spoken_before(self):
        first = speech.speak("the yellow window", speech.Manner(variant="f2"))
        speech.speak("something else", speech.Manner(variant="m1", rate=220))
        again = speech.speak("the yellow window", speech.Manner(variant="f2"))
        assert np.array_equal(first.samples, again.samples)
        assert first.phones == again.phones

    def test_events_are_where_the_sound_is(self):
        """A stated /s/ is heard above 4 kHz, a stated vowel below: the events are aligned."""
        spoken = speech.speak("so see sue sat", speech.Manner(variant="m2", rate=140))
        high = {"s": [], "vowel": []}
        for start, end, name in spoken.phones:
            plain = name.strip("',%=_:;|")
            kind = "s" if plain == "s" else "vowel" if plain[:1] in ("o", "i", "u", "a") else None
            if kind is None or end - start < 0.04:
                continue
            middle = (start + end) / 2
            piece = spoken.samples[int((middle - 0.012) * 16_000) : int((middle + 0.012) * 16_000)].astype(float)
            power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))) ** 2
            frequency = np.fft.rfftfreq(len(piece), 1 / 16_000)
            high[kind].append(power[frequency > 4000].sum() / power.sum())
        assert len(high["s"]) == 4
        assert min(high["s"]) > 0.5 > max(high["vowel"])

    def test_formants_move_and_neither_rate_nor_words_do(self):
        """The long-term spectrum, against the logarithm of frequency, is moved by what is stated and no more."""
        text, higher = "the yellow window was open near the old bridge", 1.12
        plain = speech.speak(text, speech.Manner(variant="m2", rate=160))
        moved = speech.speak(text, speech.Manner(variant="m2", rate=160, formants=higher))
        assert moved.seconds == pytest.approx(plain.seconds, rel=0.03)
        assert [word for _, _, word in moved.words] == [word for _, _, word in plain.words]
        assert moved.words[-1][0] == pytest.approx(plain.words[-1][0], rel=0.03)

        def shape(spoken):
            frequency, power = welch(spoken.samples.astype(float), 16_000, nperseg=1024)
            at = np.geomspace(200, 5_000, 600)
            level = np.interp(at, frequency[1:], np.log(power[1:]))
            return level - np.convolve(np.pad(level, 100, mode="edge"), np.ones(201) / 201, mode="valid")

        one, two = shape(plain), shape(moved)
        lags = np.arange(-60, 61)
        likeness = [np.corrcoef(one[60:-60], two[60 + lag : len(two) - 60 + lag])[0, 1] for lag in lags]
        step = np.log(5_000 / 200) / 599
        assert np.exp(lags[int(np.argmax(likeness))] * step) == pytest.approx(higher, rel=0.03)

    def test_words_are_those_of_the_text(self):
        spoken = speech.speak("near the old bridge", speech.Manner())
        assert [word for _, _, word in spoken.words] == ["near", "the", "old", "bridge"]

    def test_every_listed_voice_loads(self):
        for pool in ("train", "development", "test"):
            table = speech.TRAIN_VOICES if pool == "train" else speech.HELD_OUT_VOICES[pool]
            assert speech.voices(pool) == table

    def test_unknown_voice_is_refused(self):
        assert not speech.loads("nobody-of-this-name")
        with pytest.raises(UserError, match="no voice"):
            speech.speak("one", speech.Manner(language="zz-unknown"))
