"""Reactions to words and to voice, where it is planted what moves an answer."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from emoprobe import HiddenStateCache, UserError
from emoprobe.analysis import WordsOrVoiceSettings, ask_words_or_voice, plot_words_or_voice
from emoprobe.analysis.measures.reactions import Changed, crossed, reaction
from emoprobe.analysis.measures.words_or_voice import WORDS_OR_VOICE
from emoprobe.testing import write_cache
from emoprobe.testing.caches import write_checksums


def changed(cells: int, units: int, each: int, rating: np.ndarray, *, by_cell: bool) -> Changed:
    """Rows of each unit in each cell; of voices every unit is a cell."""
    cell = np.repeat(np.arange(cells), each)
    unit = cell if by_cell else np.tile(np.arange(units), cells)
    return Changed(None, np.arange(len(cell)), cell, (unit,), rating)


def test_correlations_are_those_within_a_voice():
    rng = np.random.default_rng(0)
    rating = np.tile(rng.standard_normal(30), 3)
    words = changed(3, 30, 30, rating, by_cell=False)
    voice = changed(12, 12, 10, np.full(120, np.nan), by_cell=True)
    answers = rating + rng.standard_normal(90) + 10 * words.cells  # how a voice is read at all does not count
    to_voice = rng.standard_normal(120) + 5 * voice.cells
    row = reaction(words, voice, answers, to_voice)
    within = np.concatenate([answers[words.cells == k] - answers[words.cells == k].mean() for k in range(3)])
    assert row["words_r"] == pytest.approx(stats.pearsonr(within, rating).statistic)
    assert row["words_sd"] == pytest.approx(np.sqrt((within**2).sum() / 87))  # a mean of each voice is taken
    assert row["words_low"] < row["words_r"] < row["words_high"]
    assert row["words_p"] < 0.001
    # Nobody rated the manners: there is a spread, and no correlation.
    assert np.isnan(row["voice_r"])
    moved = np.concatenate([to_voice[voice.cells == k] - to_voice[voice.cells == k].mean() for k in range(12)])
    assert row["voice_sd"] == pytest.approx(np.sqrt((moved**2).sum() / 108))
    assert row["share"] == pytest.approx(row["voice_sd"] ** 2 / (row["voice_sd"] ** 2 + row["words_sd"] ** 2))


def test_texts_and_voices_are_left_out_each_on_their_own():
    """Crossed factors: their variances add up. A factor of two units counts as fixed, and two of two as pairs."""
    texts, voices = np.repeat(np.arange(5), 12), np.tile(np.repeat(np.arange(4), 3), 5)
    both = crossed(texts, voices)
    assert [one.max() + 1 for one in both] == [5, 4]
    assert [one.max() + 1 for one in crossed(texts, voices % 2)] == [5]
    assert [one.max() + 1 for one in crossed(texts % 2, voices % 2)] == [4]
    assert crossed(texts % 2, voices * 0) == ()
    rng = np.random.default_rng(2)
    rating = rng.standard_normal(60)
    alone = [Changed(None, np.arange(60), texts * 4 + voices, (one,), rating) for one in both]
    together = Changed(None, np.arange(60), texts * 4 + voices, both, rating)
    answers = rating + rng.standard_normal(60)
    of = [reaction(one, one, answers, answers) for one in (*alone, together)]
    width = [np.arctanh(row["voice_high"]) - np.arctanh(row["voice_low"]) for row in of]
    freedom = [4, 3]
    error = [w / 2 / stats.t.ppf(0.975, f) for w, f in zip(width, freedom, strict=False)]
    total = sum(e**2 for e in error)
    of_both = total**2 / sum(e**4 / f for e, f in zip(error, freedom, strict=True))
    assert width[2] / 2 == pytest.approx(stats.t.ppf(0.975, of_both) * np.sqrt(total))
    assert [row["voice_units"] for row in of] == [5, 4, 4]


@pytest.mark.slow
def test_intervals_of_the_share_hold_the_planted_one():
    """Answers move by 1 with the text, by 2 with the manner: 4/5; and of two that are equal few are told apart."""
    rng = np.random.default_rng(1)
    words = changed(4, 60, 60, np.full(240, np.nan), by_cell=False)
    voice = changed(20, 20, 20, np.full(400, np.nan), by_cell=True)
    held, apart = 0, 0
    for _ in range(200):
        text = np.tile(rng.standard_normal(60), 4) + 0.2 * rng.standard_normal(240)
        row = reaction(words, voice, text, 2 * np.sqrt(1.04) * rng.standard_normal(400))
        held += row["share_low"] < 0.8 < row["share_high"]
        equal = reaction(words, voice, text, np.sqrt(1.04) * rng.standard_normal(400))
        apart += equal["share_p"] <= 0.05
    assert held >= 178  # nominally 190, standard error 3
    assert apart <= 22


LAYERS = 3


def written(path: Path, corpus: str, directions: dict, ratings: dict, layer: dict, **columns) -> Path:
    """A cache whose states of a layer hold a rating along the direction that the training corpus planted."""
    n = len(columns["transcript"])
    known = {name: ratings.get(name, np.full(n, np.nan)) for name in ("arousal", "valence", "dominance")}
    write_cache(path, corpus=corpus, n=n, layers=LAYERS, width=12, seed=5, **columns, **known)
    with h5py.File(path, "r+") as file:
        states = 0.1 * file["pooled/mean"][:]
        for name, values in ratings.items():
            direction = directions[name]
            states[layer[name]] += np.outer(values, direction) / (direction @ direction)
        file["pooled/mean"][:] = states
    write_checksums(path)
    return path


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> list[Path]:
    """Arousal in layer 1 and valence in layer 2, and speech that changes in the words alone or in the manner alone."""
    folder, layer, rng = tmp_path_factory.mktemp("caches"), {"arousal": 1, "valence": 2}, np.random.default_rng(3)
    train = folder / "train.h5"
    write_cache(train, n=240, layers=LAYERS, width=12, planted={**layer, "dominance": 0}, noise=0.1)
    with HiddenStateCache(train) as cache:
        directions = {
            name: LinearRegression().fit(cache.states(layers=place), cache.utterances[name].to_numpy(float)).coef_
            for name, place in layer.items()
        }
    texts, voices = np.repeat(np.arange(30), 4), np.tile(np.arange(4), 30)
    words = written(
        folder / "words.h5", "probing-words", directions, {"valence": rng.standard_normal(30)[texts]}, layer,
        transcript=[f"text {k}" for k in texts], speaker=[f"v{k}" for k in voices],
    )  # fmt: skip
    cells = np.repeat(np.arange(16), 10)
    voice = written(
        folder / "voice.h5", "probing-voice", directions, {"arousal": rng.standard_normal(160)}, layer,
        transcript=[f"text {k // 4}" for k in cells], speaker=[f"v{k % 4}" for k in cells],
    )  # fmt: skip
    return [train, words, voice]


def asked(paths: list[Path], **settings):
    opened = [HiddenStateCache(path) for path in paths]
    try:
        return ask_words_or_voice(opened, WordsOrVoiceSettings(**settings))
    finally:
        for cache in opened:
            cache.close()


def test_what_is_planted_is_told(caches):
    answer = asked(caches)
    assert set(answer.columns) == set(WORDS_OR_VOICE.columns)
    table = answer.set_index(["dimension", "layer"])
    valence, arousal = table.loc[("valence", 2)], table.loc[("arousal", 1)]
    assert valence["words_r"] > 0.9
    assert valence["words_p_holm"] < 0.01
    assert valence["share_high"] < 0.5
    assert arousal["voice_r"] > 0.9
    assert arousal["voice_p_holm"] < 0.01
    assert arousal["share_low"] > 0.5
    others = answer[(answer["layer"] == 0) & (answer["dimension"] != "dominance")]
    assert (others[["words_r", "voice_r"]].abs() < 0.3).all(axis=None)
    assert (answer["trained"] == 240).all()
    said = WORDS_OR_VOICE.told(answer)
    assert "arousal follows" in said[0]
    assert "the arousal of the voice in 1 of 3 layers" in said[0]
    assert "the valence of the words in 1 of 3 layers" in said[1]


def test_the_answer_is_drawn(caches):
    from matplotlib.figure import Figure

    answer = asked(caches)
    axes = plot_words_or_voice(answer, figure=Figure())
    drawn = {line.get_gid(): line for panel in axes for line in panel.get_lines()}
    for column in ("words_r", "voice_r", "share"):
        rows = answer[answer["dimension"] == "valence"]
        np.testing.assert_allclose(drawn[f"{column}-valence"].get_ydata(), rows[column])


@pytest.mark.slow
def test_a_corpus_that_is_missing_or_of_another_model_is_refused(caches, tmp_path):
    with pytest.raises(UserError, match=r"no cache of the corpus 'probing-voice' by planted: speak it with emoprobe"):
        asked(caches[:2])
    with pytest.raises(UserError, match="no cache by planted to train probes on"):
        asked(caches[1:])
    with pytest.raises(UserError, match="no cache of the corpus 'ravdess' by planted"):
        asked(caches, voice="ravdess")
    write_cache(tmp_path / "other.h5", n=40, layers=LAYERS + 1, corpus="probing-voice", transcript="text")
    with pytest.raises(UserError, match="different models that have one name"):
        asked([*caches[:2], tmp_path / "other.h5"])
    write_cache(tmp_path / "mute.h5", n=40, layers=LAYERS, corpus="probing-voice")
    with pytest.raises(UserError, match="there is too little to compare"):
        asked([*caches[:2], tmp_path / "mute.h5"])
