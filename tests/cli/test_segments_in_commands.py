"""Parts of files are heard, transcribed, predicted and trained on as the same samples in files of their own are."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from emoprobe.cli.predict import main as predict_command
from emoprobe.distil.distiller import open_speech
from emoprobe.endtoend.data import Speech
from emoprobe.endtoend.material import prepare
from emoprobe.endtoend.saved import build, save_model
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.extract import extract
from emoprobe.extract.baselines import add_baselines
from emoprobe.extract.corpora import read_corpus, read_manifest
from emoprobe.extract.corpora.places import places
from emoprobe.extract.scan import scan
from emoprobe.testing.checkpoints import save_speech_model, save_text_model
from emoprobe.testing.corpora import write_csv
from emoprobe.testing.recognisers import save_ctc
from emoprobe.transcribe.transcription import TranscriptionSettings, transcribe
from tests.segment_fixtures import Conversation, count_decoded, make_conversation

TURNS = 16


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_ctc(folder / "recogniser", "hubert-base")
    speech, text = str(save_speech_model(folder / "speech")), str(save_text_model(folder / "words"))
    model, encoder = build(ModelSettings(audio=speech, text=text, hidden=8, freeze=()))
    with torch.no_grad():
        model.label_mean.fill_(4.0)
        model.label_spread.fill_(2.0)
    save_model(folder / "both", model, encoder, {"label": "both"})
    return folder


@pytest.fixture
def talk(tmp_path) -> Conversation:
    return make_conversation(tmp_path / "talk", turns=TURNS, seconds=14)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_transcription_hears_the_part_and_its_manifest_names_it(place, talk, tmp_path, monkeypatch):
    settings = TranscriptionSettings(device="cpu", batch_seconds=4)
    recogniser = str(place / "recogniser")
    expected = transcribe(str(talk.turns), recogniser, tmp_path / "files.csv", settings=settings, progress=False)
    assert len(set(expected["transcript"])) > TURNS // 2  # a random model hears something else in each
    counts = count_decoded(monkeypatch)
    heard = transcribe(str(talk.whole), recogniser, tmp_path / "parts.csv", settings=settings, progress=False)
    assert list(heard["transcript"]) == list(expected["transcript"])
    assert sum(counts) == talk.seconds * 16_000
    again = read_manifest(tmp_path / "parts.csv").utterances
    assert places(again) == places(read_manifest(talk.whole).utterances)
    # Other times of one turn: that one is heard again, and no other.
    changed = rows(talk.whole)
    changed[3]["end"] = repr(float(changed[3]["start"]) + 0.09)
    write_csv(talk.whole, changed[0], [row.values() for row in changed])
    corpus = read_corpus(str(talk.whole))
    counts.clear()
    transcribe(corpus, recogniser, tmp_path / "parts.csv", settings=settings, progress=False)
    assert sum(counts) == round(0.09 * 16_000)


@pytest.mark.slow
def test_prediction_is_of_the_part_and_its_row_tells_which(place, talk, tmp_path):
    found = {}
    for name, manifest in (("parts", talk.whole), ("files", talk.turns)):
        out = tmp_path / f"{name}.csv"
        arguments = [str(place / "both"), "--corpus", str(manifest), "--out", str(out), "--device", "cpu", "--quiet"]
        assert predict_command(arguments) == 0
        found[name] = pd.read_csv(out)
        assert predict_command(arguments) == 0  # and its own result is gone on with
    for dimension in ("arousal", "valence", "dominance"):
        np.testing.assert_array_equal(found["parts"][dimension], found["files"][dimension])
    assert found["parts"]["arousal"].nunique() > TURNS // 2
    table = read_manifest(talk.whole).utterances
    np.testing.assert_array_equal(found["parts"][["start", "end"]], table[["start", "end"]])
    assert "channel" not in found["parts"]
    assert not {"start", "end"} & set(found["files"])


def test_words_belong_to_parts_by_their_id(place, talk, tmp_path):
    words = {row["id"]: f"the weather {row['id']}" for row in rows(talk.whole)}
    plain = write_csv(tmp_path / "talk" / "said.csv", ["id", "path", "transcript"],
                      [[name, "conversation.wav", text] for name, text in words.items()])  # fmt: skip
    arguments = [str(place / "both"), "--corpus", str(talk.whole), "--transcripts", str(plain), "--device", "cpu"]
    assert predict_command([*arguments, "--quiet", "--out", str(tmp_path / "p.csv")]) == 0
    assert {row["text_used"] for row in rows(tmp_path / "p.csv")} == {"yes"}


@pytest.mark.slow
def test_egemaps_is_of_the_part(talk, tmp_path):
    pytest.importorskip("opensmile")
    model = str(save_speech_model(tmp_path / "model"))
    features = []
    for manifest in (talk.whole, talk.turns):
        with extract(str(manifest), model, tmp_path / f"{manifest.stem}.h5", device="cpu", progress=False) as cache:
            add_baselines(cache, ["egemaps"], progress=False)
            features.append(cache.baseline("egemaps"))
    np.testing.assert_array_equal(*features)
    assert np.isfinite(features[0]).all(axis=1).sum() > TURNS // 2


def test_training_hears_the_part_in_another_process_as_well(talk):
    corpora = [read_corpus(str(manifest)) for manifest in (talk.whole, talk.turns)]
    scanned = [scan(corpus, shortest=400, longest=60, progress=False)[1] for corpus in corpora]
    parts, files = (
        Speech(list(corpus.utterances["path"]), headers) for corpus, headers in zip(corpora, scanned, strict=True)
    )
    # As a worker that is spawned receives it: bytes of this very line, from no file.
    sent = pickle.loads(pickle.dumps(parts))
    for row in range(TURNS):
        np.testing.assert_array_equal(parts[row], files[row])
        np.testing.assert_array_equal(sent[row], files[row])


def test_training_tells_of_parts_that_it_would_decode_again_and_again(place, tmp_path, monkeypatch):
    talk = make_conversation(tmp_path / "talk", turns=TURNS, seconds=14, kind="OGG", subtype="VORBIS")
    settings = ModelSettings(audio=str(place / "speech"), text=None, dimensions=("arousal",), hidden=8)
    table = rows(talk.whole)
    for number, row in enumerate(table):
        row["split"] = ("train", "development", "test")[number % 3]
    write_csv(talk.whole, table[0], [row.values() for row in table])
    model, _ = build(settings)
    for memory, expected in ((1.0, 0), (0.0, 1)):
        told: list[str] = []
        training = TrainingSettings(memory=memory)
        counts = count_decoded(monkeypatch)
        prepare(read_corpus(str(talk.whole)), settings, training, model, say=told.append)
        assert (
            len([line for line in told if f"{TURNS} utterances do not fit in memory and lie in files" in line])
            == expected
        )
        assert sum(counts) == talk.seconds * 16_000
        monkeypatch.undo()


def test_distillation_hears_the_part(talk):
    told: list[str] = []
    lengths, read = open_speech(str(talk.whole), say=told.append)
    expected, read_file = open_speech(str(talk.turns))
    np.testing.assert_array_equal(lengths, expected)
    for index in range(TURNS):
        np.testing.assert_array_equal(read(index), read_file(index))


def test_a_part_that_cannot_be_heard_is_listed_by_each_command(place, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=32_000) * 0.1, 16_000)
    manifest = write_csv(
        tmp_path / "m.csv", ["id", "path", "start", "end"], [["in", "a.wav", 0, 1], ["out", "a.wav", 1, 9]]
    )
    settings = TranscriptionSettings(device="cpu")
    table = transcribe(str(manifest), str(place / "recogniser"), tmp_path / "t.csv", settings=settings, progress=False)
    assert list(table["status"]) == ["done", "outside"]
    arguments = [str(place / "both"), "--corpus", str(manifest), "--out", str(tmp_path / "p.csv"), "--device", "cpu"]
    assert predict_command([*arguments, "--quiet"]) == 3
    assert [row["status"] for row in rows(tmp_path / "p.csv")] == ["done", "outside"]
    assert "the file has 2 s" in rows(tmp_path / "p.csv")[1]["reason"]
