"""From files, arrays and texts to predictions: the model's own numbers, a reason for each bad file, kills included."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import emoprobe
from emoprobe.cli.predict import main
from emoprobe.endtoend import prediction
from emoprobe.endtoend.emotion_model import EmotionModel
from emoprobe.endtoend.inputs import find_audio, read_texts
from emoprobe.endtoend.prediction import predict, predict_files
from emoprobe.endtoend.saved import build, load_model, save_model
from emoprobe.endtoend.settings import ModelSettings
from emoprobe.errors import Note, UserError
from emoprobe.extract.audio import STATUSES, read_audio, read_header
from emoprobe.extract.resampling import resample
from emoprobe.ownership import mark
from emoprobe.testing.checkpoints import WORDS, save_speech_model, save_text_model
from emoprobe.testing.corpora import tone
from tests.cli.test_bad_inputs import AUDIO_KINDS, odd_audio
from tests.corpus_fixtures import mutate
from tests.killed_journal import finish

PREDICT = "emoprobe.cli.predict"
COLUMNS = ["path", "seconds", "text_used", "arousal", "valence", "dominance", "status", "reason", "beyond_training"]
# Float32 sums in another order, in another batch.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Folders of saved models: `audio`, `text`, `both`, and `two`, which knows two dimensions."""
    folder = tmp_path_factory.mktemp("models")
    speech = str(save_speech_model(folder / "speech", "hubert-base"))
    text = str(save_text_model(folder / "words"))
    for name, sides in {
        "audio": {"audio": speech, "text": None},
        "text": {"audio": None, "text": text},
        "both": {"audio": speech, "text": text},
        "two": {"audio": speech, "text": None, "dimensions": ("valence", "arousal")},
    }.items():
        chosen = ModelSettings(**sides, hidden=8, freeze=())
        model, encoder = build(chosen)
        with torch.no_grad():
            model.label_mean.copy_(torch.arange(3.0, 3.0 + len(chosen.dimensions)))
            model.label_spread.fill_(2.0)
            if name == "both":  # what stands for a text that is not there starts at nothing
                model.no_text.fill_(0.5)
        scale = {dimension: [1.0, 7.0] for dimension in chosen.dimensions}
        save_model(folder / name, model, encoder, {"label": name, "scale": scale})
    return folder


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> Path:
    """A folder of 14 files, some below it, four of them bad; and texts of some of them."""
    folder = tmp_path_factory.mktemp("audio")
    (folder / "below" / "deep").mkdir(parents=True)
    for i in range(10):
        place = folder if i % 3 else folder / "below" / "deep"
        soundfile.write(place / f"u{i}.{('wav', 'flac')[i % 2]}", tone(0.3 + 0.1 * i, seed=i), 16_000)
    soundfile.write(folder / "rate.wav", np.stack([tone(0.5, seed=20, rate=44_100)] * 2, axis=1), 44_100)
    (folder / "text.wav").write_bytes(b"no sound at all")
    soundfile.write(folder / "silent.wav", np.zeros(8_000), 16_000)
    soundfile.write(folder / "short.wav", tone(0.01, seed=3), 16_000)
    (folder / "notes.md").write_text("not audio")
    (folder / ".hidden.wav").write_bytes(b"of the system")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(model: Path, *arguments: str | Path, out: Path) -> int:
    return main([str(model), *map(str, arguments), "--out", str(out), "--device", "cpu", "--quiet"])


def expected(model: EmotionModel, path: str, text: str | None = None) -> np.ndarray:
    """The model's own answer to one utterance alone."""
    return model.predict([read_audio(path, read_header(path))], [text])[0]


def assert_row(row: dict[str, str], values: np.ndarray, dimensions: tuple[str, ...]) -> None:
    found = [float(row[dimension]) for dimension in dimensions]
    np.testing.assert_allclose(found, values, rtol=TOLERANCE)  # written to 6 digits


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_folder(models, audio, tmp_path, capsys):
    out = tmp_path / "predictions.csv"
    assert run(models / "audio", audio, out=out) == 3
    table = rows(out)
    assert list(table[0]) == COLUMNS
    assert [row["path"] for row in table] == sorted(row["path"] for row in table)
    model = load_model(models / "audio")
    bad = {"text.wav": "unreadable", "silent.wav": "silent", "short.wav": "too short"}
    told = capsys.readouterr().err
    for row in table:
        name = Path(row["path"]).name
        if name in bad:
            assert row["status"] == bad.pop(name)
            assert row["reason"]
            assert [row[dimension] for dimension in model.dimensions] == ["", "", ""]
            assert f"left out: {row['path']}: {row['status']}: {row['reason']}" in told
        else:
            assert (row["status"], row["reason"], row["text_used"]) == ("done", "", "no")
            assert_row(row, expected(model, row["path"]), model.dimensions)
            assert float(row["seconds"]) == pytest.approx(soundfile.info(row["path"]).duration, rel=1e-5)
    assert not bad
    assert len(table) == 14
    assert len({row["valence"] for row in table}) == 12


def test_files_come_in_the_order_given_each_once(models, audio, tmp_path):
    out = tmp_path / "p.csv"
    given = [audio / "u5.flac", audio / "below", audio / "u1.flac", audio / "absent.wav", f"{audio}/./u5.flac"]
    assert run(models / "audio", *given, out=out) == 3
    inside = [audio / "below" / "deep" / name for name in ("u0.wav", "u3.flac", "u6.wav", "u9.flac")]
    assert [row["path"] for row in rows(out)] == list(
        map(str, [audio / "u5.flac", *inside, audio / "u1.flac", audio / "absent.wav"])
    )
    assert rows(out)[-1]["status"] == "missing"


def test_linked_folders_are_followed_once(audio, tmp_path):
    (tmp_path / "linked").symlink_to(audio / "below")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_audio([tmp_path])
    assert [Path(path).name for path in found] == ["u0.wav", "u3.flac", "u6.wav", "u9.flac"]
    assert all(path.startswith(str(tmp_path / "linked")) for path in found)


def test_a_model_of_two_dimensions_leaves_the_third_empty(models, audio, tmp_path):
    assert run(models / "two", audio / "u1.flac", out=tmp_path / "p.csv") == 0
    (row,) = rows(tmp_path / "p.csv")
    assert_row(row, expected(load_model(models / "two"), row["path"]), ("valence", "arousal"))
    assert row["dominance"] == ""


def test_bad_files_cost_nobody_else(models, tmp_path):
    """Damaged and odd files between good ones: a reason each, and the good ones keep their numbers."""
    folder = tmp_path / "audio"
    folder.mkdir()
    wanted: dict[str, str | None] = dict(odd_audio(folder))
    (folder / "whole.wav").unlink()
    del wanted["absent.wav"], wanted["folder.wav"], wanted["x" * 300 + ".wav"]  # no folder lists them as files
    rng = np.random.default_rng(2305)
    for index in range(5 * len(AUDIO_KINDS)):
        ending, container, coding = AUDIO_KINDS[index % len(AUDIO_KINDS)]
        path = folder / f"mutated{index}.{ending}"
        soundfile.write(path, tone(0.25, seed=index), 16_000, format=container, subtype=coding)
        path.write_bytes(mutate(path.read_bytes(), rng))
        wanted[path.name] = None
    for index in range(6):
        soundfile.write(folder / f"good{index}.wav", tone(0.4 + 0.1 * index, seed=index), 16_000)
    out = tmp_path / "p.csv"
    assert run(models / "audio", folder, "--longest", "5", out=out) == 3
    table = {Path(row["path"]).name: row for row in rows(out)}
    model = load_model(models / "audio")
    left_out = 0
    for name, row in table.items():
        if name.startswith("good"):
            assert_row(row, expected(model, row["path"]), model.dimensions)
        elif row["status"] == "done":  # a flipped bit in the samples is not to be told from the sound
            assert wanted[name] is None
            assert all(np.isfinite(float(row[dimension])) for dimension in model.dimensions)
        else:
            left_out += 1
            assert row["status"] in STATUSES
            assert row["reason"]
            assert wanted[name] in (None, row["status"])
            assert [row[dimension] for dimension in model.dimensions] == ["", "", ""]
    assert set(table) == {*wanted, *(f"good{index}.wav" for index in range(6))}
    assert left_out > 30


# Texts ---------------------------------------------------------------------------------------------------------------


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * 5 + k * (i + 1)) % len(WORDS)] for k in range(2 + i % 4))


@pytest.mark.parametrize("form", ["path", "relative", "id", "folder"])
def test_texts_are_joined_by_path_id_or_stem(form, models, audio, tmp_path):
    paths = [path for path in find_audio([audio]) if Path(path).stem.startswith("u")]
    said = {path: sentence(i) for i, path in enumerate(paths) if i != 4}
    place = tmp_path / "texts.csv"
    if form == "folder":
        place = tmp_path / "texts"
        for i, (path, text) in enumerate(said.items()):
            target = place / str(i % 2) / f"{Path(path).stem}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(f"{text}\n", encoding="utf-8")
    else:
        if form == "relative":
            place = audio / "texts.csv"
        names = {
            "path": lambda path: path,
            "relative": lambda path: str(Path(path).relative_to(audio)),
            "id": lambda path: Path(path).stem,
        }[form]
        with place.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file)
            writer.writerow(["Transcript", "id" if form == "id" else "path", "other"])
            writer.writerows([text, names(path), "x"] for path, text in said.items())
            writer.writerow(["nobody said that", "unknown.wav", ""])
    out = tmp_path / "p.csv"
    try:
        assert run(models / "both", *paths, "--transcripts", place, out=out) == 0
    finally:
        (audio / "texts.csv").unlink(missing_ok=True)
    model = load_model(models / "both")
    for row, path in zip(rows(out), paths, strict=True):
        assert row["text_used"] == ("yes" if path in said else "no")
        assert_row(row, expected(model, path, said.get(path)), model.dimensions)
    with_text, without = (expected(model, paths[0], text) for text in (said[paths[0]], None))
    assert np.abs(with_text - without).max() > 100 * TOLERANCE  # the text counts


def test_a_manifest_brings_its_transcripts(models, audio, tmp_path):
    manifest = tmp_path / "corpus.csv"
    lines = [f"a{i},{audio / 'below' / 'deep' / name}" for i, name in enumerate(("u0.wav", "u9.flac", "u3.flac"))]
    manifest.write_text("id,path,transcript\n" + "\n".join(f"{line},{sentence(i)}" for i, line in enumerate(lines)))
    model = load_model(models / "both")
    assert run(models / "both", "--corpus", manifest, out=tmp_path / "p.csv") == 0
    for i, row in enumerate(rows(tmp_path / "p.csv")):
        assert row["path"] == lines[i].partition(",")[2]
        assert_row(row, expected(model, row["path"], sentence(i)), model.dimensions)
    (tmp_path / "other.csv").write_text("id,transcript\na1,good weather\n")
    assert run(models / "both", "--corpus", manifest, "--transcripts", tmp_path / "other.csv", out=tmp_path / "q") == 0
    table = rows(tmp_path / "q")
    assert [row["text_used"] for row in table] == ["no", "yes", "no"]
    assert_row(table[1], expected(model, table[1]["path"], "good weather"), model.dimensions)


def test_a_model_that_only_hears_says_that_texts_are_not_read(models, audio, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("id,transcript\nu1,so good\n")
    arguments = [str(models / "audio"), str(audio / "u1.flac"), "--transcripts", str(tmp_path / "t.csv")]
    assert main([*arguments, "--out", str(tmp_path / "p.csv"), "--device", "cpu"]) == 0
    told = capsys.readouterr()
    assert "hears alone and does not read them" in told.out
    assert "note: audio learned from a corpus that it does not name, whose labels are arousal 1 to 7, " in told.err
    assert rows(tmp_path / "p.csv")[0]["text_used"] == "no"


def test_what_lies_beyond_the_training_labels_is_flagged(models, audio, tmp_path, capsys):
    """In the table and in a sentence, by the labels that the model learned from; so does a call in Python."""
    folder = tmp_path / "narrow"
    shutil.copytree(models / "audio", folder)
    config = json.loads((folder / "config.json").read_text())
    values = load_model(folder).predict([read_audio(path, read_header(path)) for path in map(str, _two(audio))])
    middle = float(values[:, 0].mean())  # between the two
    config["scale"] = {"arousal": [middle, 100.0], "valence": [-100.0, 100.0]}
    config["run"] = {"corpus": {"name": "spoken", "notes": ["Synthetic speech."]}}
    (folder / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert run(folder, *_two(audio), out=tmp_path / "p.csv") == 0
    below = [row["beyond_training"] for row in rows(tmp_path / "p.csv")]
    assert below == [f"arousal below {middle:g}" if value < middle else "" for value in values[:, 0]]
    assert sum(map(bool, below)) == 1
    assert (
        f"note: 1 of 2 utterances are predicted beyond the range of the training labels: 1 arousal below {middle:g}"
        in (capsys.readouterr().err)
    )
    waveform, rate = soundfile.read(_two(audio)[int(np.argmin(values[:, 0]))])
    with pytest.warns(Note) as notes:
        predict(waveform, sampling_rate=rate, model=folder)
    told = [str(note.message) for note in notes]
    assert told[0].startswith("audio learned from spoken (Synthetic speech), whose labels are arousal ")
    assert told[1].startswith(f"arousal below {middle:g}: beyond every label that audio learned from")


def _two(folder: Path) -> list[Path]:
    return [folder / "u1.flac", folder / "u2.wav"]


def test_a_call_with_what_the_model_does_not_take_tells_the_remedy(models, tmp_path):
    with pytest.raises(UserError, match=r"takes samples, and '.*a.wav' names a file: read it by .*soundfile.read"):
        predict(str(tmp_path / "a.wav"), model=models / "audio")
    with pytest.raises(UserError, match=r"audio hears speech, and does not read: give a waveform.*probe-train --text"):
        predict(text="so good", model=models / "audio")
    with pytest.raises(UserError, match="both hears speech: give a waveform"):
        predict(text="so good", model=models / "both")
    with pytest.warns(Note, match="audio hears alone, and does not read the text"):
        predict(tone(0.5, seed=1), text="so good", model=models / "audio")


def test_a_model_of_text_alone(models, tmp_path, capsys):
    said = [sentence(i) for i in range(9)]
    said[4] = ""
    (tmp_path / "t.csv").write_text("id,transcript\n" + "".join(f"n{i},{text}\n" for i, text in enumerate(said)))
    out = tmp_path / "p.csv"
    assert run(models / "text", "--transcripts", tmp_path / "t.csv", out=out) == 3
    model = load_model(models / "text")
    for i, row in enumerate(rows(out)):
        assert row["path"] == f"n{i}"
        assert row["seconds"] == ""
        if i == 4:
            assert (row["status"], row["text_used"]) == ("no text", "no")
        else:
            assert (row["status"], row["text_used"]) == ("done", "yes")
            assert_row(row, model.predict(None, [said[i]])[0], model.dimensions)
    assert run(models / "text", "x.wav", out=out) == 2
    assert run(models / "text", out=out) == 2
    assert "give --transcripts" in capsys.readouterr().err


@pytest.mark.slow
def test_texts_that_do_not_fit_are_refused(models, audio, tmp_path, capsys):
    def told(data: bytes | None, *paths: Path) -> str:
        place = tmp_path / "t.csv"
        if data is not None:
            place.write_bytes(data)
        assert run(models / "both", *(paths or [audio / "u1.flac"]), "--transcripts", place, out=tmp_path / "o") == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "t.csv" in error
        return error

    assert "no such file" in told(None)
    assert "need the columns" in told(b"path,words\nu1.flac,so\n")
    assert "need the columns" in told(b"")
    assert "only a header" in told(b"path,transcript\n")
    assert "none of its 1 texts" in told(b"id,transcript\nsomebody,so\n")
    assert "2 texts are meant for" in told(b"id,transcript\nu1,so\nu1,no\n")
    assert "UTF-8" in told("id,transcript\nu1,süß\n".encode("latin-1"))
    assert "line 2" in told(b"id,transcript\nu1,so,bad\n")
    (tmp_path / "empty").mkdir()
    assert run(models / "audio", tmp_path / "empty", out=tmp_path / "o") == 2
    assert "holds no audio files" in capsys.readouterr().err
    assert run(models / "both", audio, "--transcripts", tmp_path / "empty", out=tmp_path / "o") == 2
    assert "holds no .txt files" in capsys.readouterr().err
    assert run(models / "audio", audio, "--corpus", "demo", out=tmp_path / "o") == 2
    assert run(models / "audio", out=tmp_path / "o") == 2
    assert run(tmp_path / "empty", audio, out=tmp_path / "o") == 2
    assert str(tmp_path / "empty") in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_file_of_texts_is_read_or_refused(tmp_path, noise, place):
    good = b'path,transcript\na/u1.wav,"so, good"\nu2.wav,no\n'
    target = tmp_path / "t.csv"
    target.write_bytes(good[:place] + noise + good[place:])
    with contextlib.suppress(UserError):
        texts = read_texts(target)
        assert len(texts.names) == len(texts.texts) > 0


def test_the_same_text_twice_is_one_text(tmp_path):
    (tmp_path / "t.csv").write_text("id,transcript\nu1,so\nu1,so\n")
    assert read_texts(tmp_path / "t.csv").of("anywhere/u1.wav") == "so"


@pytest.mark.slow
def test_the_onnx_form(models, audio, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from emoprobe.endtoend.export import TOLERANCE as allowed
    from emoprobe.endtoend.export import export_model

    folder = shutil.copytree(models / "both", tmp_path / "model")
    (tmp_path / "t.csv").write_text("id,transcript\nu1,so good\nu2,oh no\n")
    arguments = [audio / "u1.flac", audio / "u2.wav", audio / "text.wav", "--transcripts", tmp_path / "t.csv"]
    out = tmp_path / "torch.csv"
    assert run(folder, *arguments, out=out) == 3
    assert run(folder, *arguments, "--onnx", out=tmp_path / "onnx.csv") == 2
    assert "probe-train export" in capsys.readouterr().err
    export_model(folder, [tone(0.5, seed=1), tone(0.9, seed=2)], ["so", "no"], int8=True)
    assert run(folder, *arguments, out=out) == 3  # the export is no part of the torch form, whose rows are kept
    assert run(folder, *arguments, "--onnx", out=tmp_path / "onnx.csv") == 3
    assert run(folder, *arguments, "--onnx", "--int8", out=tmp_path / "int8.csv") == 3
    assert run(folder, *arguments, "--onnx", "--int8", out=tmp_path / "onnx.csv") == 2
    assert run(folder, *arguments, "--int8", out=tmp_path / "onnx.csv") == 2
    dimensions = load_model(folder).dimensions
    for one, other, small in zip(rows(out), rows(tmp_path / "onnx.csv"), rows(tmp_path / "int8.csv"), strict=True):
        assert (one["path"], one["status"], one["text_used"]) == (other["path"], other["status"], other["text_used"])
        if one["status"] == "done":
            for dimension in dimensions:  # the export allows that much, in units of the labels' spread
                assert float(other[dimension]) == pytest.approx(float(one[dimension]), rel=0, abs=2.0 * allowed)
            assert small["status"] == "done"
            assert any(small[dimension] != one[dimension] for dimension in dimensions)


# Again, and kills -----------------------------------------------------------------------------------------------------


def command(model: Path, audio: Path, out: Path, *more: str) -> list[str]:
    return [str(model), str(audio), "--out", str(out), "--device", "cpu", "--quiet", *more]


def test_nothing_is_computed_twice(models, audio, tmp_path):
    folder = shutil.copytree(audio, tmp_path / "audio")
    out = tmp_path / "p.csv"
    model = load_model(models / "both")
    asked: list[int] = []
    answer = model.predict

    def count(waveforms, texts, **options):
        asked.append(len(waveforms))
        return answer(waveforms, texts, **options)

    model.predict = count
    paths = find_audio([folder])
    texts = dict.fromkeys(paths, "so good")

    def run_again() -> bytes:
        asked.clear()
        predict_files(model, paths, [texts[path] for path in paths], out, progress=False)
        return out.read_bytes()

    first = run_again()
    assert sum(asked) == 11
    out.unlink()
    assert run_again() == first
    assert sum(asked) == 0
    texts[paths[0]] = "so bad"
    soundfile.write(folder / "text.wav", tone(0.5, seed=60), 16_000)
    soundfile.write(folder / "more.wav", tone(0.7, seed=61), 16_000)
    (folder / "u2.wav").unlink()
    paths = find_audio([folder])
    texts[str(folder / "more.wav")] = ""
    second = run_again()
    assert sum(asked) == 3
    table = {Path(row["path"]).name: row for row in rows(out)}
    assert "u2.wav" not in table
    assert table["more.wav"]["text_used"] == "no"
    assert table["text.wav"]["status"] == "done"
    before = set(first.decode().splitlines())
    assert len(set(second.decode().splitlines()) - before) == 3


@pytest.mark.slow
def test_predictions_of_another_model_are_refused(models, audio, tmp_path, capsys):
    out = tmp_path / "p.csv"
    assert run(models / "audio", audio / "u1.flac", out=out) == 0
    before = out.read_bytes()
    assert run(models / "both", audio / "u1.flac", out=out) == 2
    error = capsys.readouterr().err
    assert "the model" in error
    assert "--overwrite" in error
    assert out.read_bytes() == before
    assert run(models / "both", audio / "u1.flac", "--overwrite", out=out) == 0
    assert out.read_bytes() != before
    assert run(models / "both", audio / "u1.flac", "--batch-seconds", "0", out=out) == 2
    assert run(models / "both", audio / "u1.flac", out=tmp_path) == 2
    # The card is no part of the model, so that writing one does not undo what was predicted.
    moved = shutil.copytree(models / "both", tmp_path / "moved")
    (moved / "README.md").write_text("A card.")
    # Nor is the list of its files, which another release may write otherwise.
    mark(moved, "probe-train", also=["another file"])
    assert (moved / ".emoprobe.json").read_bytes() != (models / "both/.emoprobe.json").read_bytes()
    assert run(moved, audio / "u1.flac", out=out) == 0


def test_predictions_of_another_version_of_the_method_are_refused(models, audio, tmp_path, capsys, monkeypatch):
    out = tmp_path / "p.csv"
    assert run(models / "audio", audio / "u1.flac", out=out) == 0
    monkeypatch.setattr(prediction, "VERSION", 99)
    assert run(models / "audio", audio / "u1.flac", out=out) == 2
    assert "the method (there 1, now 99); give another place" in capsys.readouterr().err
    assert run(models / "audio", audio / "u1.flac", "--overwrite", out=out) == 0


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(models, audio, tmp_path):
    for i in range(60):
        soundfile.write(tmp_path / f"a{i:02d}.wav", tone(3.0 + 0.05 * i, seed=i), 16_000)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    reference, out = tmp_path / "unbroken" / "p.csv", tmp_path / "killed" / "p.csv"
    assert finish(PREDICT, command(models / "audio", tmp_path, reference)) == 3
    kills = 0
    while (status := finish(PREDICT, command(models / "audio", tmp_path, out), die_at=2)) == -signal.SIGKILL:
        kills += 1
        assert not out.exists()
        assert kills < 20
    assert status == 3
    assert kills >= 3
    assert out.read_bytes() == reference.read_bytes()
    assert len(rows(out)) == 61


# Arrays --------------------------------------------------------------------------------------------------------------


def test_an_array_is_what_a_file_is(models, audio, tmp_path):
    sound = tone(1.0, seed=7, rate=44_100)
    soundfile.write(tmp_path / "a.wav", sound, 44_100, subtype="FLOAT")
    run(models / "both", tmp_path / "a.wav", out=tmp_path / "p.csv")
    (row,) = rows(tmp_path / "p.csv")
    found = emoprobe.predict(sound, sampling_rate=44_100, model=models / "both")
    assert list(found) == ["arousal", "valence", "dominance"]
    assert all(isinstance(value, float) for value in found.values())
    assert_row(row, np.array(list(found.values())), tuple(found))
    model = load_model(models / "both")
    said = predict(sound.astype(np.float64), sampling_rate=44_100, text="oh no", model=model)
    np.testing.assert_allclose(
        list(said.values()), model.predict([resample(sound, 44_100)], ["oh no"])[0], rtol=TOLERANCE
    )
    assert said != found
    alone = predict(None, text="oh no", model=models / "text")
    assert list(alone) == ["arousal", "valence", "dominance"]
    assert list(predict(sound, sampling_rate=44_100, model=str(models / "two"))) == ["valence", "arousal"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: np.stack([s, s]), "one channel"),
        (lambda s: s[:, None], "one channel"),
        (lambda s: np.float32(0.5), "one channel"),
        (lambda s: s[:0], "empty"),
        (lambda s: s[:399], "needs 25.0 ms"),
        (lambda s: np.where(np.arange(len(s)) == 5, np.nan, s), "NaN"),
        (lambda s: np.where(np.arange(len(s)) == 5, np.inf, s), "NaN, infinity"),
        (lambda s: 1e30 * s.astype(np.float64), "overflow"),
        (lambda s: 0 * s, "silent"),
        (lambda s: 0 * s + 0.3, "silent"),
        (lambda s: (s * 32_767).astype(np.int16), "/ 32768"),
        (lambda s: s.astype(complex), "floating-point"),
        (lambda s: ["a", "b"], "floating-point"),
        (lambda s: [[1.0], [1.0, 2.0]], "no array"),
        (lambda s: torch.tensor(s, requires_grad=True), "no array"),
        (lambda s: None, "give a waveform"),
    ],
)
def test_an_array_that_is_no_utterance_is_refused(change, message, models):
    with pytest.raises(UserError, match=message):
        predict(change(tone(0.5, seed=0)), model=models / "audio")


@pytest.mark.parametrize("rate", [0, -16_000, 16_000.5, float("nan"), float("inf"), "16000", None, True])
def test_a_rate_that_is_none_is_refused(rate, models):
    with pytest.raises(UserError, match="sampling_rate"):
        predict(tone(0.5, seed=0), sampling_rate=rate, model=models / "audio")


def test_a_model_of_text_alone_wants_text_alone(models):
    with pytest.raises(UserError, match="give None"):
        predict(tone(0.5, seed=0), text="so", model=models / "text")
    for nothing in (None, "", "  "):
        with pytest.raises(UserError, match="give text"):
            predict(None, text=nothing, model=models / "text")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(400, 4_000), st.floats(1e-3, 1e3), st.sampled_from([8_000, 11_025, 16_000, 48_000]), st.integers(0, 9)
)
def test_any_sound_gives_finite_numbers(sounding, samples, level, rate, seed):
    sound = np.random.default_rng(seed).normal(size=samples * rate // 16_000 + 1).astype(np.float32) * level
    assert np.isfinite(list(predict(sound, sampling_rate=rate, model=sounding).values())).all()


@pytest.fixture(scope="module")
def sounding(models) -> EmotionModel:
    return load_model(models / "audio")
