"""Training end to end: it learns, it resumes to the same bytes, it leaves nobody out in silence."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import audmetric
import numpy as np
import pandas as pd
import pytest
import torch

from emoprobe.cli.train import main
from emoprobe.endtoend import training as module
from emoprobe.endtoend.data import Collator, Speech, Utterances
from emoprobe.endtoend.jobs import finished
from emoprobe.endtoend.saved import build, load_model
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.endtoend.trainer import train_one
from emoprobe.endtoend.training import train
from emoprobe.errors import UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.scan import scan
from emoprobe.probe.fit import FitSettings, fit_caches
from emoprobe.probe.results import load_results
from emoprobe.testing.caches import write_cache
from emoprobe.testing.checkpoints import WORDS, save_text_model
from tests.killed_training import finish
from tests.training_fixtures import make_encoders_and_corpus

pytestmark = [pytest.mark.usefixtures("undrawn"), pytest.mark.slow]

SHORT = {"epochs": 3, "batch": 4, "resamples": 50}
KILLED = TrainingSettings(epochs=3, batch=3, save_steps=2, longest=0.5, resamples=20)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Tiny encoders and a corpus of 24 utterances by 6 speakers, two of them without words."""
    root = tmp_path_factory.mktemp("place")
    table = make_encoders_and_corpus(root)
    table.loc[[3, 9], "transcript"] = ""
    table.to_csv(root / "corpus" / "manifest.csv", index=False)
    return root


def settings(place: Path, **changes) -> ModelSettings:
    return ModelSettings(**{"audio": str(place / "audio"), "text": str(place / "text"), "hidden": 16, **changes})


def trained(place, out, *, model=None, corpus="corpus/manifest.csv", results=None, **changes):
    return train(
        read_corpus(str(place / corpus)),
        model or settings(place),
        TrainingSettings(**{**SHORT, **changes}),
        out=out,
        results=results,
    )


def test_too_few_speakers_are_told_before_any_audio_is_read(place, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("the audio was read")

    monkeypatch.setattr("emoprobe.endtoend.material.scan", refuse)
    monkeypatch.setattr(module, "build", refuse)
    table = pd.read_csv(place / "corpus/manifest.csv").drop(columns="split")
    table.to_csv(place / "corpus/few.csv", index=False)
    table.drop(columns="speaker").to_csv(place / "corpus/none.csv", index=False)
    with pytest.raises(UserError, match=r"6 speakers cannot fill 7 folds.* at most 6 with --folds"):
        trained(place, tmp_path / "out", corpus="corpus/few.csv", folds=7)
    with pytest.raises(UserError, match=r"names no speaker.*--ungrouped"):
        trained(place, tmp_path / "out", corpus="corpus/none.csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_learns_a_handful_by_heart(place):
    corpus = read_corpus(str(place / "corpus/manifest.csv"))
    table = corpus.utterances
    rows = np.flatnonzero(table["valence"].notna())[:8]
    labels = table[["arousal", "valence", "dominance"]].to_numpy()
    model, text = build(settings(place, freeze=(), dropout=0.0, text_dropout=0.0, audio_dropout=0.0, hidden=64))
    model.learn_labels(labels[rows].mean(0), labels[rows].std(0))
    _, headers = scan(corpus, shortest=400, longest=60.0, progress=False)
    speech = Speech(list(table["path"]), headers, room=1e9)
    items = Utterances(
        rows, speech=speech, prepare=model.audio.backbone.prepare, texts=list(table["transcript"]), labels=labels
    )
    found = train_one(
        model,
        train=items,
        development=items,
        collate=Collator(text.tokenise),
        training=TrainingSettings(epochs=60, patience=60, batch=8, audio_rate=2e-3, text_rate=2e-3, head_rate=1e-2),
        seed=0,
        folder=place / "by-heart",
    )
    assert found.score > 0.95
    with torch.no_grad():
        batch = items.__getitem__, Collator(text.tokenise)
        predicted = model.eval().in_units(model(**batch[1]([batch[0](k) for k in range(8)]))["logits"]).numpy()
    for column in range(3):
        assert audmetric.concordance_cc(labels[rows, column], predicted[:, column]) > 0.9


@pytest.mark.slow
def test_the_table_is_shared_with_the_probes_and_says_what_it_is(place, tmp_path):
    results = tmp_path / "results"
    found, left_out = trained(place, tmp_path / "out", results=results, seeds=2)
    trained(place, tmp_path / "audio", model=settings(place, text=None), results=results)
    assert not len(left_out)
    scores = load_results(results).scores
    assert set(scores["probe"]) == {"end-to-end"}
    assert set(scores["features"]) == {"audio", "audio+text"}
    assert set(scores["split"]) == {"development", "test"}
    assert set(found.scores["seed"]) == {0, 1}
    entry = found.protocol[0]
    assert entry["run"]["audio"]["weights_sha256"]
    assert entry["run"]["training"]["epochs"] == SHORT["epochs"]
    assert "transcripts by corpus; none for 2 of 24" in entry["text"]
    for run in entry["runs"]:  # the words are read where they helped on the development part
        assert set(run["text_helps"]) == {"arousal", "valence", "dominance"}
    kept = load_model(tmp_path / "out" / "model")
    helped = [scores["with"] >= scores["without"] for scores in kept.config["text_helps"].values()]
    assert kept.model.text_helps.tolist() == helped
    # Scores follow from the predictions, by another implementation.
    rows = found.predictions.query("dimension == 'arousal' and split == 'test' and seed == 1")
    stated = found.scores.query("dimension == 'arousal' and split == 'test' and seed == 1 and fold == 'all'")
    score = audmetric.concordance_cc(rows["truth"].to_numpy(), rows["prediction"].to_numpy())
    assert stated["ccc"].item() == pytest.approx(score, abs=1e-9)
    # The same numbers come from the saved model, whose seed the configuration names.
    model = load_model(tmp_path / "out" / "model")
    corpus = read_corpus(str(place / "corpus/manifest.csv"))
    _, headers = scan(corpus, shortest=400, longest=60.0, progress=False)
    speech = Speech(list(corpus.utterances["path"]), headers)
    kept = found.predictions.query(f"dimension == 'arousal' and split == 'test' and seed == {model.config['seed']}")
    for row in kept.itertuples():
        place_of = int(np.flatnonzero(corpus.utterances["id"] == row.id)[0])
        again = model.predict([speech[place_of]], [corpus.utterances["transcript"][place_of]])[0, 0]
        # Alone and in a batch: float32 in another order; labels of size 1.
        assert again == pytest.approx(row.prediction, abs=1e-5)
    # Probes of the same corpus and model name go into the same folder.
    write_cache(tmp_path / "cache.h5", label=model.label)
    fit_caches([tmp_path / "cache.h5"], FitSettings(permutations=0, resamples=20), out=results)
    assert {"ridge", "end-to-end"} <= set(load_results(results).scores["probe"])


def test_folds_without_a_split_keep_speakers_apart(place, tmp_path):
    table = pd.read_csv(place / "corpus/manifest.csv").drop(columns="split")
    table["path"] = [str(place / "corpus" / path) for path in table["path"]]
    table.to_csv(tmp_path / "unsplit.csv", index=False)
    found, _ = trained(place, tmp_path / "out", corpus=tmp_path / "unsplit.csv", epochs=1, folds=3)
    assert len(found.protocol[0]["runs"]) == 3
    assert set(found.scores["split"]) == {"cross-validation"}
    pooled = found.scores.query("fold == 'all' and dimension == 'arousal'")
    assert pooled["n"].item() == 24
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "fold" in card
    assert f"{pooled['ccc'].item():.3f}" in card


def test_a_fold_may_have_any_name_and_its_run_stays_in_its_folder(place, tmp_path):
    table = pd.read_csv(place / "corpus/manifest.csv").drop(columns="split")
    table["path"] = [str(place / "corpus" / path) for path in table["path"]]
    names = ("../../../elsewhere", "a/b", "x" * 300)
    numbers = pd.factorize(table["speaker"])[0] % 3
    table["fold"] = [names[number] for number in numbers]
    table.to_csv(tmp_path / "named.csv", index=False)
    before = {*tmp_path.iterdir()}
    found, _ = trained(place, tmp_path / "out", corpus=tmp_path / "named.csv", epochs=1)
    assert {*tmp_path.iterdir()} - before <= {tmp_path / "out", tmp_path / "out-results"}
    assert sorted(path.name for path in (tmp_path / "out/runs").iterdir()) == [f"seed0-fold-{k}" for k in (1, 2, 3)]
    assert {run["fold"] for run in found.protocol[0]["runs"]} == set(names)
    assert set(found.scores["fold"]) == {*names, "all"}


@pytest.mark.slow
def test_files_that_cannot_be_used_are_listed_and_the_rest_goes_on(place, tmp_path, capsys):
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    (tmp_path / "corpus/u004.wav").write_bytes(b"RIFF")
    (tmp_path / "corpus/u005.wav").unlink()
    arguments = ["--corpus", str(tmp_path / "corpus/manifest.csv"), "--audio", str(place / "audio"), "--text"]
    arguments += [str(place / "text"), "--epochs", "1", "--batch", "4", "--resamples", "20", "--quiet"]
    arguments += ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
    assert main(arguments) == 3
    said = capsys.readouterr().err
    assert "u004.wav: truncated" in said or "u004.wav: unreadable" in said
    assert "u005.wav: missing" in said
    results = load_results(tmp_path / "results")
    assert "u005" in " ".join(results.protocol[0]["left_out"])
    assert not set(results.predictions["id"]) & {"u004", "u005"}
    # The same command again trains nothing, and another is refused.
    before = (tmp_path / "out/model/model.safetensors").stat().st_mtime_ns
    assert main([*arguments, "--longest", "0.01", "--overwrite"]) == 2
    assert "one frame" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 3
    before = (tmp_path / "out/model/model.safetensors").stat().st_mtime_ns
    assert main(arguments) == 3
    assert (tmp_path / "out/model/model.safetensors").stat().st_mtime_ns == before
    assert main([*arguments, "--head-rate", "1e-2"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    # Numbers are kept by place, so a file that is mended makes it another run.
    shutil.copy(place / "corpus/u004.wav", tmp_path / "corpus/u004.wav")
    assert main(arguments) == 2
    assert "usable" in capsys.readouterr().err
    assert main([*arguments, "--head-rate", "1e-2", "--overwrite"]) == 3
    (tmp_path / "out/runs/seed0-fold-all/predictions.npy").write_bytes(b"torn")
    assert main([*arguments, "--head-rate", "1e-2"]) == 3  # trained again
    assert (tmp_path / "out/model/model.safetensors").stat().st_mtime_ns != before


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_never_stopped(place, tmp_path):
    corpus, model = str(place / "corpus/manifest.csv"), settings(place)
    assert finish(corpus, model, KILLED, tmp_path / "whole") == 0
    # 12 utterances in batches of 3: 4 steps an epoch. In an epoch, at its end, and once more after resuming.
    # And while the development part is scored, after which the checkpoint of an epoch is written.
    for where, kills in (
        ("training_step", [1]),
        ("training_step", [6, 3, 2]),
        ("evaluate", [0]),
        ("evaluate", [2]),
        ("_save_rng_state", [1, 1]),
    ):
        out = tmp_path / f"killed-{where}-{'-'.join(map(str, kills))}"
        for after in kills:
            assert finish(corpus, model, KILLED, out, die_after=after, where=where) == -signal.SIGKILL
            assert not (out / "model").exists()
        assert finish(corpus, model, KILLED, out) == 0
        for name in ("model/model.safetensors", "runs/seed0-fold-all/predictions.npy"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (kills, name)
        logs = [
            [json.loads(line)["step"] for line in (folder / "runs/seed0-fold-all/log.jsonl").read_text().splitlines()]
            for folder in (out, tmp_path / "whole")
        ]
        assert logs[0] == logs[1]


@pytest.mark.slow
def test_stopped_between_the_last_step_and_the_end(place, tmp_path, monkeypatch):
    expected, _ = trained(place, tmp_path / "whole", patience=1, epochs=6)
    for place_of_call in ("runs.predict_rows", "runs.save_model", "training.write_card"):
        out = tmp_path / place_of_call
        with monkeypatch.context() as patch:
            patch.setattr(f"emoprobe.endtoend.{place_of_call}", _raise)
            with pytest.raises(KeyboardInterrupt):
                trained(place, out, patience=1, epochs=6)
        with monkeypatch.context() as patch:
            patch.setattr("emoprobe.endtoend.trainer.EmotionTrainer.training_step", _raise)  # nothing is left to do
            found, _ = trained(place, out, patience=1, epochs=6)
        pd.testing.assert_frame_equal(found.scores, expected.scores)


@pytest.mark.parametrize("value", [1e300, -np.inf])
def test_predictions_beyond_all_labels_are_made_again(tmp_path, value):
    predictions = np.zeros((3, 2))
    np.save(tmp_path / "predictions.npy", predictions)
    (tmp_path / "result.json").write_text('{"development_ccc": 0.5}')
    assert finished(tmp_path, (3, 2)) is not None
    predictions[1, 1] = value
    np.save(tmp_path / "predictions.npy", predictions)
    assert finished(tmp_path, (3, 2)) is None


def test_predictions_with_any_byte_of_their_header_changed_are_read_or_made_again(tmp_path):
    np.save(tmp_path / "predictions.npy", np.zeros((3, 2)))
    (tmp_path / "result.json").write_text('{"development_ccc": 0.5}')
    whole = (tmp_path / "predictions.npy").read_bytes()
    answers = set()
    for place in range(len(whole) - 48):
        for byte in (0, ord("("), ord("'"), 0xFF):
            (tmp_path / "predictions.npy").write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            answers.add(finished(tmp_path, (3, 2)) is None)
    assert answers == {True, False}


def _raise(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transcript": ""}, "probe-transcribe"),
        ({"arousal": 3.0, "valence": np.nan, "dominance": 1.0}, "nothing to learn"),
        ({"speaker": "", "split": ""}, "--ungrouped"),
    ],
)
def test_a_corpus_that_cannot_be_learned_from_is_told_why(place, tmp_path, change, message):
    table = pd.read_csv(place / "corpus/manifest.csv").assign(**change)
    table["path"] = [str(place / "corpus" / path) for path in table["path"]]
    table.to_csv(tmp_path / "changed.csv", index=False)
    with pytest.raises(UserError, match=message):
        trained(place, tmp_path / "out", corpus=tmp_path / "changed.csv")


def test_another_text_encoder_under_the_same_name_is_refused(place, tmp_path):
    save_text_model(tmp_path / "other", "bert", seed=7)
    trained(place, tmp_path / "one", results=tmp_path / "results", epochs=1)
    other = settings(place, text=str(tmp_path / "other"))
    with pytest.raises(UserError, match="--label"):
        trained(place, tmp_path / "two", model=other, results=tmp_path / "results", epochs=1)


@pytest.mark.parametrize("lacking", ["run", "text"])
def test_a_run_that_does_not_say_its_model_is_not_taken_for_the_same(place, tmp_path, lacking):
    trained(place, tmp_path / "one", results=tmp_path / "results", epochs=1)
    path = tmp_path / "results" / "protocol.json"
    entries = json.loads(path.read_text())
    for entry in entries:
        del (entry if lacking == "run" else entry["run"])[lacking]
    path.write_text(json.dumps(entries))
    told = "model, audio, text" if lacking == "run" else "text"
    with pytest.raises(UserError, match=rf"holds another .*it does not say its {told}\).* with --label"):
        trained(place, tmp_path / "two", results=tmp_path / "results", epochs=1)


def test_text_alone_needs_no_audio(place, tmp_path):
    (tmp_path / "emobank.csv").write_text(
        "id,split,V,A,D,text\n"
        + "".join(
            f"s{k},{('train', 'train', 'dev', 'test')[k % 4]},{1 + k % 5},{1 + k % 3},{2 + k % 2}.5,"
            f'"{WORDS[k % 15]}, {WORDS[(k * 7) % 15]}"\n'
            for k in range(40)
        )
    )
    corpus = read_corpus(f"emobank:{tmp_path}")
    assert corpus.utterances["transcript"][0] == "a, a"
    assert corpus.utterances["valence"].between(1, 5).all()
    found, left_out = train(
        corpus, settings(place, audio=None), TrainingSettings(**SHORT), out=tmp_path / "out", results=tmp_path / "r"
    )
    assert not len(left_out)
    assert set(found.scores["features"]) == {"text"}
    assert found.scores.query("split == 'test' and fold == 'all'")["n"].tolist() == [10, 10, 10]


@pytest.mark.slow
def test_two_processes_train_together(place, tmp_path):
    """As on several GPUs: the gradients of both are averaged, and one of them writes."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", "-m", "emoprobe.cli.train"]
    command += ["--corpus", str(place / "corpus/manifest.csv"), "--audio", str(place / "audio"), "--text"]
    command += [str(place / "text"), "--epochs", "2", "--batch", "4", "--resamples", "20", "--device", "cpu"]
    command += ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
    command += ["--figures", str(tmp_path / "figures")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("valence,") == 2  # one summary, of two splits
    log = (tmp_path / "out/runs/seed0-fold-all/log.jsonl").read_text().splitlines()
    # 12 utterances, 4 in each of two processes: 2 steps an epoch.
    assert [json.loads(line)["step"] for line in log if "eval_ccc" in line] == [2, 4]
    assert len(load_results(tmp_path / "results").scores.query("fold == 'all'")) == 6
