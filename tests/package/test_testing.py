"""What the package offers to test with is what it says, and nothing of the package uses it."""

from __future__ import annotations

import doctest
import subprocess
import sys

import h5py
import numpy as np
import pytest
import soundfile

from emoprobe import HiddenStateCache, fit_layers, testing
from emoprobe.endtoend.settings import ModelSettings
from emoprobe.endtoend.training import build
from emoprobe.extract.corpora import read_corpus
from emoprobe.transcribe.recognisers import load_recogniser


@pytest.mark.parametrize("name", ["caches", "checkpoints", "corpora", "recognisers"])
def test_the_examples_of_the_docstrings_hold(name):
    outcome = doctest.testmod(getattr(testing, name))
    assert outcome.failed == 0
    assert outcome.attempted > 0 or name == "recognisers"


@pytest.mark.slow
def test_neither_torch_nor_transformers_is_loaded_until_a_model_is_made():
    code = "import sys, emoprobe.testing as t; dir(t); t.make_corpus, t.write_cache, t.save_ctc, t.save_speech_model"
    show = "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", f"{code}; {show}"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_sound_is_as_long_as_asked_and_its_own():
    for samples in (1, 1234, 7001, 47_999):
        assert len(testing.tone(samples / 16_000)) == samples
    one, again, other = (testing.tone(0.4, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.2
    assert 0.05 < np.abs(one).max() < 1


def test_a_corpus_is_read_back_with_its_sound(tmp_path):
    corpus = read_corpus(str(testing.make_corpus(tmp_path, utterances=11, speakers=3, longest=0.5)))
    table = corpus.utterances
    assert len(table) == 11
    assert table["speaker"].value_counts().to_dict() == {"s0": 4, "s1": 4, "s2": 3}
    assert table["valence"].isna().tolist() == [i % 5 == 0 for i in range(11)]
    lengths = [soundfile.info(path).duration for path in table["path"]]
    assert 0.2 <= min(lengths) < max(lengths) <= 0.5


def test_parts_of_a_corpus_of_another_form(tmp_path):
    path = testing.write_wav(tmp_path / "deep/down/a.snd", 0.25, seed=3)
    signal, rate = soundfile.read(path, dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(signal, testing.tone(0.25, seed=3), atol=2**-15)
    table = testing.write_csv(tmp_path / "new/labels.csv", ["path", "text"], [["a.snd", 'so, "good"'], [1, None]])
    assert table.read_bytes() == b'path,text\na.snd,"so, ""good"""\n1,\n'


@pytest.mark.slow
def test_each_dimension_is_found_in_the_layer_that_it_was_planted_in(tmp_path):
    planted = {"arousal": 0, "valence": 2, "dominance": 1}
    table = testing.write_cache(tmp_path / "planted.h5", n=400, layers=3, width=6, planted=planted, gender="f")
    scores = fit_layers(tmp_path / "planted.h5", resamples=0).scores
    scores = scores[(scores["fold"] == "all") & (scores["probe"] == "ridge")].set_index(["dimension", "layer"])["ccc"]
    for dimension, layer in planted.items():
        by_layer = scores[dimension].dropna()
        assert by_layer.idxmax() == layer
        # The best prediction is what the layer knows, with variance s, of a label with variance s + 0.3².
        known = table[dimension].var() - 0.3**2
        assert by_layer[layer] == pytest.approx(2 * known / (2 * known + 0.3**2), abs=0.02)
        assert by_layer.drop(layer).abs().max() < 0.3
    with HiddenStateCache(tmp_path / "planted.h5") as cache:
        np.testing.assert_array_equal(cache.utterances["valence"], table["valence"])
        assert set(cache.utterances["gender"]) == {"f"}


def test_a_changed_cache_is_damaged_until_its_checksums_are_written(tmp_path):
    path = tmp_path / "planted.h5"
    testing.write_cache(path, n=20)
    with h5py.File(path, "r+") as file:
        file["pooled/mean"][:, 3] += 1
    with HiddenStateCache(path) as cache:
        (change,) = cache.verify()
    assert "u0003" in change
    testing.write_checksums(path)
    with HiddenStateCache(path) as cache:
        assert cache.verify() == []


def test_checkpoints_of_both_sides_make_a_model(tmp_path):
    speech = testing.save_speech_model(tmp_path / "speech", "wavlm-base", hidden_size=24)
    words = testing.save_text_model(tmp_path / "words", "bert")
    model, text = build(ModelSettings(audio=str(speech), text=str(words), hidden=8))
    assert model.audio.width == 24
    assert text.tokenise(["the weather was good"])["input_ids"].shape == (1, 6)


@pytest.mark.parametrize("save", [testing.save_ctc, testing.save_whisper])
def test_recognisers_hear_a_difference(save, tmp_path):
    recogniser = load_recogniser(str(save(tmp_path / "recogniser")))
    one, other = recogniser.transcribe([testing.tone(0.9, seed=1), testing.tone(0.9, seed=2)])
    assert one
    assert other not in ("", one)
