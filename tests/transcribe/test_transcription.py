"""Transcripts do not depend on the batch, nor on kills; the manifest reads back as the corpus it was made from."""

from __future__ import annotations

import csv
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import transformers
from safetensors.torch import load_file, save_file

from emoprobe.cli.transcribe import main
from emoprobe.errors import UserError
from emoprobe.extract.audio import AudioProblem
from emoprobe.extract.batchwise import Problem, Utterances, run_batches
from emoprobe.extract.corpora import read_manifest
from emoprobe.extract.journal import Journal, open_journal, write_beside
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus, tone
from emoprobe.testing.recognisers import CTC_VARIANTS, save_ctc, save_whisper
from emoprobe.transcribe import recognisers
from emoprobe.transcribe.recognisers import load_recogniser
from emoprobe.transcribe.transcription import TranscriptionSettings, transcribe
from tests.killed_journal import finish

pytestmark = pytest.mark.slow

SECONDS = (0.3, 1.0, 0.7, 2.1, 0.0251, 1.0)


@pytest.fixture(scope="module")
def sounds() -> list[np.ndarray]:
    return [tone(seconds, seed=seed) for seed, seconds in enumerate(SECONDS)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recognisers")
    for variant in CTC_VARIANTS:
        save_ctc(folder / variant, variant, normalise=variant != "wavlm-base")
    save_whisper(folder / "whisper")
    save_whisper(folder / "whisper-english", languages=("en",))
    return folder


def pipeline_texts(checkpoint: Path, sounds: list[np.ndarray], **more) -> list[str]:
    """What transformers' own pipeline hears in each utterance alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)  # not every version finds WavLM's by itself
    recognise = transformers.pipeline(
        "automatic-speech-recognition", model=str(checkpoint), tokenizer=tokenizer, device="cpu"
    )
    texts = []
    for sound in sounds:
        text = recognise({"raw": sound, "sampling_rate": 16_000}, **more)["text"]
        for token in ("<s>", "</s>", "<unk>"):
            text = text.replace(token, "")
        texts.append(" ".join(text.split()))
    return texts


# Recognisers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", CTC_VARIANTS)
def test_ctc_equals_the_pipeline_whatever_the_batch(variant, checkpoints, sounds):
    recogniser = load_recogniser(str(checkpoints / variant))
    together = recogniser.transcribe(sounds)
    assert together == [recogniser.transcribe([sound])[0] for sound in sounds]
    assert together == pipeline_texts(checkpoints / variant, sounds)
    assert len(set(together)) > 2  # it does listen


@pytest.mark.parametrize("language", [None, "de"])
def test_whisper_equals_the_pipeline_whatever_the_batch(language, checkpoints, sounds):
    recogniser = load_recogniser(str(checkpoints / "whisper"), language=language)
    together = recogniser.transcribe(sounds)
    assert together == [recogniser.transcribe([sound])[0] for sound in sounds]
    how = {"task": "transcribe", "language": language, "do_sample": False, "num_beams": 1}
    assert together == pipeline_texts(checkpoints / "whisper", sounds, generate_kwargs=how)
    assert len(set(together)) > 2


def test_the_language_reaches_whisper(checkpoints, sounds):
    german, english = (load_recogniser(str(checkpoints / "whisper"), language=code) for code in ("de", "en"))
    assert german.transcribe(sounds) != english.transcribe(sounds)


def test_whisper_hears_all_of_what_is_longer_than_its_window(checkpoints, sounds):
    """As transformers' own long-form decoding of that utterance, whatever stands beside it."""
    long = tone(33.0, seed=40)
    recogniser = load_recogniser(str(checkpoints / "whisper-english"))
    beside, found = recogniser.transcribe([sounds[0], long])
    assert beside == recogniser.transcribe([sounds[0]])[0]
    features = transformers.WhisperFeatureExtractor.from_pretrained(checkpoints / "whisper-english")
    model = transformers.WhisperForConditionalGeneration.from_pretrained(checkpoints / "whisper-english").eval()
    heard = features(
        long, sampling_rate=16_000, return_tensors="pt", truncation=False, padding="longest", return_attention_mask=True
    )
    assert heard.input_features.shape[-1] == 3_300
    (tokens,) = model.generate(**heard, return_timestamps=True, do_sample=False, num_beams=1)
    tokenizer = transformers.WhisperTokenizer.from_pretrained(checkpoints / "whisper-english")
    assert found == " ".join(tokenizer.decode(tokens, skip_special_tokens=True).replace("\0", " ").split())
    assert found != recogniser.transcribe([long[: 30 * 16_000]])[0]


def refused(checkpoint: Path, **options) -> str:
    with pytest.raises(UserError) as raised:
        load_recogniser(str(checkpoint), **options)
    return str(raised.value)


def test_what_is_no_recogniser_is_refused(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "cannot transcribe" in refused(_with_config(tmp_path, {"model_type": "bert"}))
    for encoder in (_without_head(tmp_path), _without_decoder(tmp_path)):
        told = refused(encoder)
        assert f"{encoder} is an encoder without a recogniser" in told
        assert "probe-extract takes it; to transcribe, give a Whisper, or a HuBERT" in told
    incomplete = save_ctc(tmp_path / "incomplete")
    weights = load_file(incomplete / "model.safetensors")
    del weights["wav2vec2.encoder.layer_norm.weight"], weights["lm_head.weight"]
    save_file(weights, incomplete / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 2 weights" in refused(incomplete)
    assert "leave it out" in refused(checkpoints / "hubert-base", language="en")
    assert "knows de, en" in refused(checkpoints / "whisper", language="fr")
    assert "English alone" in refused(checkpoints / "whisper-english", language="de")
    assert "no config.json" in refused(tmp_path)
    assert "neither a folder" in refused(Path("nobody/nothing"))
    pickled = shutil.copytree(checkpoints / "hubert-base", tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "damaged" in refused(pickled)
    mute = shutil.copytree(checkpoints / "hubert-base", tmp_path / "mute")
    for name in ("vocab.json", "tokenizer_config.json", "tokens.json"):
        (mute / name).unlink(missing_ok=True)
    assert str(mute) in refused(mute)


def _with_config(folder: Path, config: dict) -> Path:
    folder = folder / "other"
    folder.mkdir()
    transformers.BertConfig(**config).save_pretrained(folder)
    return folder


def _without_head(folder: Path) -> Path:
    """An encoder as it is pretrained: whatever it would say is random."""
    return save_speech_model(folder / "encoder", "hubert-base", vocab_size=32)


def _without_decoder(folder: Path) -> Path:
    folder = save_whisper(folder / "listener")
    weights = load_file(folder / "model.safetensors")
    heard = {name: value for name, value in weights.items() if name.startswith("model.encoder.")}
    save_file(heard, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("save", "files"), [(save_ctc, ["vocab.json"]), (save_whisper, ["tokenizer.json", "vocab.json"])]
)
def test_a_recogniser_without_its_vocabulary_is_told_which_file_to_copy(save, files, tmp_path):
    whole, bare = save(tmp_path / "whole"), save(tmp_path / "bare")
    for file in files:
        (bare / file).unlink()
    assert f"{bare} has no {' or '.join(files)}" in refused(bare)
    shutil.copy(whole / files[0], bare)
    speech = [tone(0.5, seed=1)]
    assert load_recogniser(str(bare)).transcribe(speech) == load_recogniser(str(whole)).transcribe(speech)


# The journal ---------------------------------------------------------------------------------------------------------


def test_a_torn_line_costs_its_batch_alone(tmp_path):
    out = tmp_path / "out.csv"
    with open_journal(out, made_by={"a": 1}, settings={"s": 2}, overwrite=False) as journal:
        journal.append({"one": (["x"], 1.5)})
        journal.append({"two": (["x"], "é")})
    whole = journal.path.read_bytes()
    for end in range(len(whole)):
        journal.path.write_bytes(whole[:end])
        header = whole.index(b"\n") + 1
        if end < header:
            with (
                pytest.raises(UserError, match=r"damaged.*give another place"),
                open_journal(out, made_by={"a": 1}, settings={}, overwrite=False),
            ):
                pass
            continue
        with open_journal(out, made_by={"a": 1}, settings={"s": 3}, overwrite=False) as found:
            assert found.settings == {"s": 2}
            assert len(found) == whole[:end].count(b"\n") - 1
            found.append({"three": (["x"], 3)})
        with open_journal(out, made_by={"a": 1}, settings={}, overwrite=False) as again:
            assert ("three", ["x"]) in again
            assert ("three", ["y"]) not in again


def test_a_damaged_line_costs_its_batch_alone(tmp_path):
    """Whatever bit is wrong: no result is lost but those of that line, and none comes out changed."""
    out = tmp_path / "out.csv"
    with open_journal(out, made_by={}, settings={}, overwrite=False) as journal:
        for number in range(3):
            journal.append({f"u{number}": ([number], f"text {number}")})
    whole = journal.path.read_bytes()
    header = whole.index(b"\n") + 1
    rng = np.random.default_rng(0)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        journal.path.write_bytes(damaged)
        if place < header:
            with (
                pytest.raises(UserError, match=r"damaged.*give another place"),
                open_journal(out, made_by={}, settings={}, overwrite=False),
            ):
                pass
            continue
        with open_journal(out, made_by={}, settings={}, overwrite=False) as found:
            there = [number for number in range(3) if (f"u{number}", [number]) in found]
            hit = whole[header:place].count(b"\n")
            # A line end that is lost takes the next line with it.
            assert {0, 1, 2} - set(there) <= {hit, hit + 1}
            assert hit not in there
            assert all(found[f"u{number}"] == f"text {number}" for number in there)


def test_a_journal_of_something_else_is_refused(tmp_path):
    out = tmp_path / "out.csv"
    with (
        open_journal(out, made_by={"the model": "one"}, settings={}, overwrite=False),
        pytest.raises(UserError, match="another process"),
        open_journal(out, made_by={"the model": "one"}, settings={}, overwrite=False),
    ):
        pass
    with (
        pytest.raises(UserError, match=r"the model \(there one, now two\)"),
        open_journal(out, made_by={"the model": "two"}, settings={}, overwrite=False),
    ):
        pass
    with open_journal(out, made_by={"the model": "two"}, settings={}, overwrite=True) as journal:
        assert len(journal) == 0
    (tmp_path / "mine.csv").write_text("mine")
    with (
        pytest.raises(UserError, match=r"no result by this program.*give another place with --out, or move it away"),
        open_journal(tmp_path / "mine.csv", made_by={}, settings={}, overwrite=True),
    ):
        pass
    assert (tmp_path / "mine.csv").read_text() == "mine"


def test_a_result_that_was_corrected_by_hand_stays(tmp_path):
    out = tmp_path / "out.csv"

    def run(*, overwrite=False):
        with open_journal(out, made_by={}, settings={}, overwrite=overwrite) as journal:
            if not len(journal):
                journal.append({"one": (["x"], 1), "out sha256": (["x"], 2)})
            assert ("one", ["x"]) in journal
            assert journal["out sha256"] == 2  # as an utterance may be called
            write_beside(out, b"written")

    for _ in range(3):
        run()
    out.write_bytes(b"corrected")
    with pytest.raises(UserError, match=r"has been changed.*--overwrite"):
        run()
    assert out.read_bytes() == b"corrected"
    run(overwrite=True)
    assert out.read_bytes() == b"written"
    out.unlink()
    run()
    # Killed when the next result is written and its hash is not: it is taken for what it is.
    with suppress(KeyboardInterrupt), open_journal(out, made_by={}, settings={}, overwrite=False):
        write_beside(out, b"written next")
        raise KeyboardInterrupt
    assert out.read_bytes() == b"written next"
    run()


def batches_of(journal: Journal, n: int, *, bad=(), memory=lambda rows: False) -> tuple[list, list[list[int]]]:
    """Run `n` made-up utterances; also the batches that were computed."""
    seen: list[list[int]] = []

    def load(row: int) -> int:
        if row in bad:
            raise AudioProblem("truncated", "cut off")
        return row

    def compute(rows: list[int], loaded: list) -> list:
        assert rows == loaded
        if memory(rows):
            raise MemoryError
        seen.append(rows)
        return [10 * row for row in rows]

    keys = [f"u{row}" for row in range(n)]
    sizes = np.arange(n)  # the first is left out
    utterances = Utterances(keys, [[1]] * n, sizes)
    results = run_batches(utterances, journal=journal, load=load, compute=compute, budget=20, progress=False, workers=2)
    return results, seen


def test_batches_are_halved_where_memory_runs_out_and_tried_again(tmp_path):
    with open_journal(tmp_path / "o", made_by={}, settings={}, overwrite=False) as journal:
        results, seen = batches_of(journal, 10, bad={3}, memory=lambda rows: len(rows) > 1 or rows == [9])
        assert results[0] is None
        assert results[3] == Problem("truncated", "cut off")
        assert results[9].status == "memory"
        assert all(results[row] == 10 * row for row in (1, 2, 4, 5, 6, 7, 8))
        assert all(len(rows) == 1 for rows in seen)
        results, seen = batches_of(journal, 10, bad={3})
        assert seen == [[9]]
        assert results[9] == 90
        assert results[3] == Problem("truncated", "cut off")
        _, seen = batches_of(journal, 12)
        assert sorted(row for rows in seen for row in rows) == [10, 11]


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    manifest = make_corpus(tmp_path_factory.mktemp("corpus"), utterances=24)
    (manifest.parent / "u007.wav").write_bytes(b"not sound")
    half = (manifest.parent / "u003.wav").read_bytes()
    soundfile.write(manifest.parent / "u003.flac", soundfile.read(manifest.parent / "u003.wav")[0], 16_000)
    half = (manifest.parent / "u003.flac").read_bytes()
    (manifest.parent / "u003.wav").write_bytes(half[: len(half) // 2])  # its header is whole: found when decoded
    (manifest.parent / "u003.flac").unlink()
    table = pd.read_csv(manifest)
    table.loc[table.index % 2 == 0, "transcript"] = ""
    table.to_csv(manifest, index=False)
    return manifest


def command(corpus: Path, model: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--corpus", str(corpus), "--model", str(model), "--out", str(out)),
        *("--quiet", "--device", "cpu", "--workers", "2", "--batch-seconds", "3", *more),
    ]


def rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_manifest_reads_back_as_the_same_corpus(corpus, checkpoints, tmp_path, capsys):
    out = corpus.parent / "transcribed.csv"
    assert main(command(corpus, checkpoints / "hubert-base", out)) == 3
    told = capsys.readouterr().err
    assert f"left out: {corpus.parent / 'u003.wav'}: truncated" in told
    assert f"left out: {corpus.parent / 'u007.wav'}: unreadable" in told
    assert told.count("left out") == 2
    elsewhere = tmp_path / "elsewhere.csv"
    assert main(command(corpus, checkpoints / "hubert-base", elsewhere)) == 3
    given = read_manifest(corpus).utterances
    recogniser = load_recogniser(str(checkpoints / "hubert-base"))
    for manifest, relative in ((out, True), (elsewhere, False)):
        read = read_manifest(manifest)
        pd.testing.assert_frame_equal(read.utterances.drop(columns="transcript"), given.drop(columns="transcript"))
        assert not any("not used" in note for note in read.notes)
        assert any(note.startswith("transcripts by") and recogniser.label in note for note in read.notes)
        assert all(Path(row["path"]).is_absolute() != relative for row in rows(manifest))
        for row, cells in zip(read.utterances.itertuples(), rows(manifest), strict=True):
            if row.id in ("u003", "u007"):
                assert (row.transcript, cells["transcript_source"]) == ("", "")
                continue
            sound, _ = soundfile.read(row.path, dtype="float32")
            assert row.transcript == recogniser.transcribe([sound])[0]
            assert cells["transcript_source"] == recogniser.label
    # Every command reads it; here the one that comes first.
    from emoprobe.cli.extract import main as extract

    model = save_speech_model(tmp_path / "model")
    states = ["--model", str(model), "--out", str(tmp_path / "states.h5"), "--quiet", "--device", "cpu"]
    assert extract(["--corpus", str(elsewhere), *states]) == 3


def test_only_missing_keeps_what_there_is_and_where_it_comes_from(corpus, checkpoints, tmp_path):
    first = tmp_path / "first.csv"
    assert main(command(corpus, checkpoints / "hubert-base", first, "--only-missing")) == 0  # both bad files have one
    hubert = load_recogniser(str(checkpoints / "hubert-base")).label
    given = read_manifest(corpus).utterances
    for row, cells in zip(given.itertuples(), rows(first), strict=True):
        if row.transcript:
            assert (cells["transcript"], cells["transcript_source"]) == (row.transcript, "corpus")
        else:
            assert cells["transcript_source"] == hubert
    # A second recogniser fills what was emptied since, and the others keep their own source.
    table = pd.read_csv(first, dtype=str, keep_default_na=False)
    table.loc[5, ["transcript", "transcript_source"]] = ""
    table.to_csv(tmp_path / "emptied.csv", index=False)
    second = tmp_path / "second.csv"
    assert main(command(tmp_path / "emptied.csv", checkpoints / "whisper", second, "--only-missing")) == 0
    sources = [cells["transcript_source"] for cells in rows(second)]
    heard = [cells["transcript"] for cells in rows(second)]
    assert sources[5] == load_recogniser(str(checkpoints / "whisper")).label
    for row, cells in enumerate(rows(first)):
        if row != 5 and cells["transcript"]:
            assert (heard[row], sources[row]) == (cells["transcript"], cells["transcript_source"])


def test_another_recogniser_or_language_is_refused(corpus, checkpoints, tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert main(command(corpus, checkpoints / "whisper", out, "--language", "en")) == 3
    before = out.read_bytes()
    capsys.readouterr()
    assert main(command(corpus, checkpoints / "whisper", out, "--language", "de")) == 2
    assert "the language (there en, now de)" in capsys.readouterr().err
    assert main(command(corpus, checkpoints / "hubert-base", out)) == 2
    error = capsys.readouterr().err
    assert "the recogniser" in error
    assert "--overwrite" in error
    assert out.read_bytes() == before
    assert main(command(corpus, checkpoints / "hubert-base", out, "--overwrite")) == 3
    assert out.read_bytes() != before
    assert main(command(corpus, checkpoints / "hubert-base", corpus, "--overwrite")) == 2
    assert "is what this command reads" in capsys.readouterr().err
    for option in ("--batch-seconds", "--longest", "--workers"):
        assert main(command(corpus, checkpoints / "hubert-base", out, option, "0")) == 2


def test_transcripts_of_another_version_of_the_method_are_refused(corpus, checkpoints, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.csv"
    assert main(command(corpus, checkpoints / "hubert-base", out, "--only-missing")) == 0
    monkeypatch.setattr(recognisers, "VERSION", 99)
    assert main(command(corpus, checkpoints / "hubert-base", out, "--only-missing")) == 2
    assert "the method (there 1, now 99); give another place" in capsys.readouterr().err


def test_a_file_that_changed_is_heard_again(corpus, checkpoints, tmp_path):
    folder = tmp_path / "corpus"
    shutil.copytree(corpus.parent, folder)
    out = folder / "out.csv"
    assert main(command(folder / "manifest.csv", checkpoints / "hubert-base", out)) == 3
    before = rows(out)
    soundfile.write(folder / "u007.wav", tone(0.8, seed=70), 16_000)  # mended
    soundfile.write(folder / "u010.wav", tone(1.1, seed=71), 16_000)  # exchanged
    assert main(command(folder / "manifest.csv", checkpoints / "hubert-base", out)) == 3
    after = rows(out)
    assert [i for i in range(24) if before[i] != after[i]] == [7, 10]
    assert after[7]["transcript"]


def test_nothing_is_computed_twice(corpus, checkpoints, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    recogniser = load_recogniser(str(checkpoints / "hubert-base"))
    settings = TranscriptionSettings(device="cpu")
    lines: list[str] = []
    table = transcribe(corpus, recogniser, out, settings=settings, progress=False, report=lines.append)
    before = out.read_bytes()
    out.unlink()
    monkeypatch.setattr(recogniser, "transcribe", lambda waveforms: pytest.fail("heard again"))
    again = transcribe(corpus, recogniser, out, settings=settings, progress=False, report=lines.append)
    assert out.read_bytes() == before
    pd.testing.assert_frame_equal(table, again)
    assert "going on with" in lines[-1]
    heard = table["status"] == "done"
    assert set(table.loc[heard, "transcript_source"]) == {recogniser.label}
    # A corpus that was read already keeps the source that it tells.
    corpus = read_manifest(out)
    assert corpus.text_source == recogniser.label
    kept = TranscriptionSettings(only_missing=True, device="cpu")
    again = transcribe(corpus, load_recogniser(str(checkpoints / "whisper")), tmp_path / "2", settings=kept)
    texts = heard & table["transcript"].ne("")
    assert set(again.loc[texts, "transcript_source"]) == {recogniser.label}
    assert set(again.loc[texts, "status"]) == {"kept"}


# Kills ---------------------------------------------------------------------------------------------------------------

TRANSCRIBE = "emoprobe.cli.transcribe"


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(corpus, checkpoints, tmp_path):
    reference, out = tmp_path / "unbroken" / "out.csv", tmp_path / "killed" / "out.csv"
    assert finish(TRANSCRIBE, command(corpus, checkpoints / "hubert-base", reference)) == 3
    kills = 0
    while (
        status := finish(TRANSCRIBE, command(corpus, checkpoints / "hubert-base", out), die_at=3)
    ) == -signal.SIGKILL:
        kills += 1
        assert not out.exists()
        assert kills < 20
    assert status == 3
    assert kills >= 2
    assert out.read_bytes() == reference.read_bytes()
    assert out.with_name("out.csv.journal").read_bytes() == reference.with_name("out.csv.journal").read_bytes()


@pytest.mark.slow
def test_killed_at_random_instants(corpus, checkpoints, tmp_path):
    reference = tmp_path / "unbroken" / "out.csv"
    finish(TRANSCRIBE, command(corpus, checkpoints / "hubert-base", tmp_path / "warm.csv"))
    begin = time.monotonic()
    assert finish(TRANSCRIBE, command(corpus, checkpoints / "hubert-base", reference)) == 3
    duration = time.monotonic() - begin
    rng = random.Random(0)
    for trial in range(10):
        out = tmp_path / str(trial) / "out.csv"
        finish(TRANSCRIBE, command(corpus, checkpoints / "hubert-base", out), after=rng.uniform(0, duration))
        assert finish(TRANSCRIBE, command(corpus, checkpoints / "hubert-base", out)) == 3
        assert out.read_bytes() == reference.read_bytes()
