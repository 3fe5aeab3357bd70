"""What a training meets on a real machine: odd labels, dead processes, full memory, damaged files; each is told."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from emoprobe.checkpoints import last_whole_checkpoint
from emoprobe.cli.predict import main as predict
from emoprobe.endtoend import jobs as jobs_module
from emoprobe.endtoend import runs as runs_module
from emoprobe.endtoend import trainer as trainer_module
from emoprobe.endtoend import training as training_module
from emoprobe.endtoend.data import Utterances
from emoprobe.endtoend.jobs import finished
from emoprobe.endtoend.saved import load_model, read_config
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.endtoend.trainer import EmotionTrainer
from emoprobe.endtoend.training import train
from emoprobe.endtoend.workers import fitting_workers, told_of_dead_workers
from emoprobe.errors import UserError
from emoprobe.extract.corpora import read_corpus
from tests.training_fixtures import make_encoders_and_corpus

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Tiny encoders, and 24 utterances by 6 speakers in three parts."""
    root = tmp_path_factory.mktemp("place")
    table = make_encoders_and_corpus(root)
    table["path"] = [str(root / "corpus" / path) for path in table["path"]]
    table.to_csv(root / "corpus.csv", index=False)
    return root


def trained(
    place, out, *, corpus="corpus.csv", model=None, results=None, overwrite=False, say=lambda line: None, **how
):
    """Train on a corpus of the place, by name, or on a table, written beside `out`."""
    if isinstance(corpus, pd.DataFrame):
        corpus.to_csv(out.parent / "changed.csv", index=False)
        corpus = out.parent / "changed.csv"
    settings = {"audio": str(place / "audio"), "text": str(place / "text"), "hidden": 16, **(model or {})}
    how = {"epochs": 1, "batch": 6, "resamples": 20, "device": "cpu", **how}
    return train(
        read_corpus(str(place / corpus)),
        ModelSettings(**settings),
        TrainingSettings(**how),
        out=out,
        results=results,
        say=say,
    )


@pytest.fixture
def table(place) -> pd.DataFrame:
    return pd.read_csv(place / "corpus.csv")


def strict(path: Path):
    """What a JSON file holds; NaN and infinity, which are no JSON, fail."""

    def refuse(name):
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(), parse_constant=refuse)


# Dimensions that cannot be learned ------------------------------------------------------------------------------------


def test_a_dimension_that_cannot_be_learned_is_left_out_everywhere(place, table, tmp_path, capsys):
    train_rows = table["split"] == "train"
    table.loc[train_rows, "valence"] = np.nan  # labelled in the other parts alone
    table.loc[train_rows, "dominance"] = 3.0
    said = []
    results = tmp_path / "results"
    found, _ = trained(place, tmp_path / "out", corpus=table, results=results, say=said.append, weights=(1, 2, 3))
    reasons = {
        "valence": "there is no label in 12 utterances that are trained on",
        "dominance": "it is 3 in all 12 utterances that are trained on",
    }
    for name, reason in reasons.items():
        assert f"note: {name} is left out: {reason}" in said
    # Scores and predictions: arousal alone. Card and JSON: why.
    assert set(found.scores["dimension"]) == set(found.predictions["dimension"]) == {"arousal"}
    config = strict(tmp_path / "out/model/config.json")
    assert config["dimensions"] == ["arousal"]
    assert config["dimensions_left_out"] == reasons
    stated = strict(tmp_path / "out/run.json")["settings"]
    assert stated["dimensions_left_out"] == reasons
    assert stated["training"]["weights"] == [1]
    (entry,) = strict(tmp_path / "results/protocol.json")
    assert [note for note in entry["notes"] + entry["split"]["notes"] if "left out" in note]
    card = (tmp_path / "out/model/README.md").read_text()
    for name, reason in reasons.items():
        assert f"- {name} is left out: {reason}." in card
    assert not re.search(r"\bnan\b", card)
    audio = str(place / "corpus/u001.wav")
    assert predict([str(tmp_path / "out/model"), audio, "--out", str(tmp_path / "out.csv"), "--device", "cpu"]) == 0
    assert f"no valence: {reasons['valence']}" in capsys.readouterr().err
    predicted = pd.read_csv(tmp_path / "out.csv").iloc[0]
    assert predicted[["arousal", "valence", "dominance"]].notna().tolist() == [True, False, False]
    # The same command again: nothing to do, the same answer.
    again, _ = trained(place, tmp_path / "out", corpus=table, weights=(1, 2, 3))
    pd.testing.assert_frame_equal(again.scores, found.scores)


def test_a_dimension_without_a_development_label_is_null_in_json(place, table, tmp_path):
    table.loc[table["split"] == "development", "valence"] = np.nan
    found, _ = trained(place, tmp_path / "out", corpus=table, results=tmp_path / "results")
    assert set(found.scores["dimension"]) == {"arousal", "valence", "dominance"}
    config = strict(tmp_path / "out/model/config.json")
    assert config["text_helps"]["valence"] == {"with": None, "without": None}
    assert config["text_helps"]["arousal"]["with"] is not None
    strict(tmp_path / "out/runs/seed0-fold-all/result.json")
    strict(tmp_path / "results/protocol.json")
    for line in (tmp_path / "out/runs/seed0-fold-all/log.jsonl").read_text().splitlines():
        (tmp_path / "line").write_text(line)
        strict(tmp_path / "line")
    assert not re.search(r"\bnan\b", (tmp_path / "out/model/README.md").read_text())


def test_nothing_to_learn_or_to_stop_by_is_told_before_training(place, table, tmp_path):
    with pytest.raises(UserError, match=r"nothing to learn \(arousal: it is 1 in all 24.*valence: there is no label"):
        trained(place, tmp_path / "a", corpus=table.assign(arousal=1.0, valence=np.nan, dominance=2.0))
    table.loc[table["split"] == "development", ["arousal", "valence", "dominance"]] = 1.0
    with pytest.raises(UserError, match="on which training stops"):
        trained(place, tmp_path / "b", corpus=table)
    with pytest.raises(UserError, match=r"no utterance that can be used: 24 are missing"):
        trained(place, tmp_path / "c", corpus=table.assign(path=[f"none/{k}.wav" for k in range(24)]))


# Processes that decode ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"longest": 0.01}, "--cut 0.01 is shorter than one frame of audio"),
        ({"precision": "float16"}, "--precision float16 is for a GPU"),
    ],
)
def test_what_cannot_be_trained_here_is_refused_before_a_folder_is_claimed(place, tmp_path, how, why):
    with pytest.raises(UserError, match=why):
        trained(place, tmp_path / "run", **how)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("asked", "free", "workers"),
    [
        (4, 1e12, 4),
        (4, float("inf"), 4),
        (4, 64 * 2**20, 0),  # what Docker gives, and batches of 32 x 12 s
        (4, 150 * 2**20, 2),
        (0, 0, 0),
    ],
)
def test_as_many_processes_as_the_shared_memory_has_room_for(asked, free, workers):
    found, note = fitting_workers(asked, batch_bytes=32 * 12 * 16000 * 4, accumulate=1, free=free)
    assert found == workers
    assert (note == "") == (workers == asked)
    if note:
        assert "/dev/shm" in note
        assert "--shm-size" in note


def test_too_little_shared_memory_is_said_and_training_goes_on(place, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "free_shared_memory", lambda: 1000)
    said = []
    trained(place, tmp_path / "out", workers=2, say=said.append)
    assert [line for line in said if "/dev/shm has 0 MiB free" in line and "with none of them" in line]
    assert (tmp_path / "out/model").is_dir()


def in_worker(monkeypatch, act):
    """Have a process that decodes do something at its third utterance; it inherits the patch when it is forked."""
    get, count = Utterances.__getitem__, [0]

    def acting(self, index):
        if torch.utils.data.get_worker_info() is not None:
            count[0] += 1
            if count[0] == 3:
                act(self)
        return get(self, index)

    monkeypatch.setattr(Utterances, "__getitem__", acting)


@pytest.mark.timeout(900)
def test_a_killed_process_is_told_and_the_run_goes_on_later(place, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        in_worker(patch, lambda self: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(UserError, match=r"process that decodes audio has died.*--workers"):
            trained(place, tmp_path / "out", workers=2)
    trained(place, tmp_path / "out", workers=0)


@pytest.mark.timeout(900)
def test_shared_memory_that_fills_up_is_told(place, tmp_path, monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(UserError, match=r"could not hand it over .*No space left.*/dev/shm is full.*--workers"):
        trained(place, tmp_path / "out", workers=1)


@pytest.mark.timeout(900)
def test_what_a_process_says_reaches_the_user_without_its_traceback(place, tmp_path, monkeypatch):
    def gone(self):
        raise UserError("u001.wav is missing: put it back")

    in_worker(monkeypatch, gone)
    with pytest.raises(UserError) as told:
        trained(place, tmp_path / "out", workers=1)
    assert str(told.value) == "u001.wav is missing: put it back"


def test_other_errors_pass_as_they_are():
    with pytest.raises(RuntimeError, match="shapes"), told_of_dead_workers():
        raise RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nshapes do not match")
    with pytest.raises(UserError, match=r"^as it is$"), told_of_dead_workers():
        raise UserError("as it is")


# Damaged files --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(place, tmp_path_factory) -> tuple[Path, Path]:
    """A run that ended, and one that was stopped after its second epoch of three."""
    folder = tmp_path_factory.mktemp("stopped")
    trained(place, folder / "whole", epochs=3, batch=4)
    step, count = EmotionTrainer.training_step, 0

    def step_or_stop(self, *args, **kwargs):
        nonlocal count
        count += 1
        if count > 7:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmotionTrainer, "training_step", step_or_stop)
        with pytest.raises(KeyboardInterrupt):
            trained(place, folder / "cut", epochs=3, batch=4)
    return folder / "whole", folder / "cut"


CHECKPOINTS = "runs/seed0-fold-all/checkpoints"


@pytest.mark.parametrize(
    ("damaged", "kept"),
    [
        ("model.safetensors", 0.5),
        ("optimizer.pt", 0.9),
        ("scheduler.pt", 0),
        ("rng_state.pth", None),
        ("trainer_state.json", 0.5),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_the_run_ends_the_same(place, stopped, tmp_path, damaged, kept):
    whole, cut = stopped
    shutil.copytree(cut, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / CHECKPOINTS).iterdir())
    assert names == ["checkpoint-3", "checkpoint-6"]
    file = tmp_path / "out" / CHECKPOINTS / "checkpoint-6" / damaged
    if kept is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    said = []
    trained(place, tmp_path / "out", epochs=3, batch=4, say=said.append)
    (note,) = [line for line in said if "is not whole" in line]
    assert damaged.split(".")[0] in note
    assert "checkpoint-6" in note
    assert "checkpoint-3 is used" in note
    for name in ("model/model.safetensors", "runs/seed0-fold-all/predictions.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


def test_where_no_checkpoint_is_whole_training_begins_anew(stopped, tmp_path):
    _, cut = stopped
    shutil.copytree(cut / CHECKPOINTS, tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "checkpoint-of-mine").mkdir()
    said = []
    assert last_whole_checkpoint(tmp_path / "checkpoints", say=said.append).name == "checkpoint-6"
    assert not said
    # Of a training that averages its weights, the average is as needed as they are.
    (tmp_path / "checkpoints/checkpoint-6/average.safetensors").write_bytes(b"torn")
    assert last_whole_checkpoint(tmp_path / "checkpoints", clean=False, say=said.append).name == "checkpoint-3"
    assert "average.safetensors is damaged" in said.pop()
    (tmp_path / "checkpoints/checkpoint-6/average.safetensors").unlink()
    for path in (tmp_path / "checkpoints").glob("*/optimizer.pt"):
        path.write_bytes(b"")
    assert last_whole_checkpoint(tmp_path / "checkpoints", clean=False, say=said.append) is None
    assert len(said) == 2
    assert all("training begins anew" in line for line in said)
    assert last_whole_checkpoint(tmp_path / "checkpoints", say=said.append) is None
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-of-mine"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: c.pop("label"), "'label'"),
        (lambda c: c.update(label=7), "'label' must be a text"),
        (lambda c: c.pop("settings"), "'settings'"),
        (lambda c: c["settings"].pop("pooling"), "'pooling'"),
        (lambda c: c["settings"].update(pooling="max"), "--pooling max"),
        (lambda c: c["settings"].update(hidden=-1), "--hidden -1"),
        (lambda c: c["settings"].update(hidden="wide"), "'settings'"),
        (lambda c: c["settings"].update(hidden=10**12), "2000000000000 x 3"),
        (lambda c: c.update(dimensions=["arousal", "joy"]), "'dimensions'"),
        (lambda c: c.update(dimensions=["arousal"]), "'dimensions'"),
        (lambda c: c.update(scale={"arousal": [7, 1]}), "'scale'"),
        (lambda c: c.update(normalise="yes"), "'normalise' must be true or false"),
        (lambda c: c.pop("normalise"), "'normalise'"),
    ],
)
def test_a_field_that_is_missing_or_cannot_be_is_named(stopped, tmp_path, change, field):
    shutil.copytree(stopped[0] / "model", tmp_path / "model")
    path = tmp_path / "model/config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(UserError) as told:
        load_model(tmp_path / "model")
    message = str(told.value)
    assert str(path) in message
    assert field in message
    assert "bring the folder back from a copy, or train again" in message
    assert "\n" not in message


def test_a_model_that_lacks_what_the_card_tells_is_named(stopped, tmp_path):
    shutil.copytree(stopped[0] / "model", tmp_path / "model")
    path = tmp_path / "model/config.json"
    config = json.loads(path.read_text())
    config["development_ccc"] = "high"
    path.write_text(json.dumps(config))
    load_model(tmp_path / "model")  # which needs none of it
    with pytest.raises(UserError, match="'development_ccc' must be a number, and is 'high'"):
        read_config(tmp_path / "model", of_a_run=True)
    for text, message in (("[]", "is no model|cannot be read"), ("{", "cannot be read"), ("\x00", "cannot be read")):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_model(tmp_path / "model")


def test_a_run_folder_with_an_odd_record_is_refused_or_mended(place, stopped, tmp_path):
    whole, _ = stopped
    shutil.copytree(whole, tmp_path / "out")
    stated = json.loads((whole / "run.json").read_text())
    for text in ("[]", "{}", "null", "not json", json.dumps(stated | {"settings": []})):
        (tmp_path / "out/run.json").write_text(text)
        with pytest.raises(UserError, match=r"run\.json is no record of a run.*another folder with --out"):
            trained(place, tmp_path / "out", epochs=3, batch=4)
    shutil.copy(whole / "run.json", tmp_path / "out/run.json")
    result = tmp_path / "out/runs/seed0-fold-all/result.json"
    for text in ("[]", '{"development_ccc": "high"}', "not json"):
        result.write_text(text)
        assert finished(result.parent, (12, 3)) is None
    trained(place, tmp_path / "out", epochs=3, batch=4)  # trained again
    name = "runs/seed0-fold-all/predictions.npy"
    assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
    assert finished(result.parent, (12, 3)) is not None
    assert finished(result.parent, (12, 2)) is None


def test_what_a_kill_left_of_a_model_that_was_being_removed_is_no_candidate(stopped, tmp_path):
    """Of a training on a cluster each model lies in its own folder until the best has its place."""
    whole, _ = stopped
    for name in ("model", "first", "second"):
        shutil.copytree(whole / "model", tmp_path / name)
    config = json.loads((tmp_path / "second/config.json").read_text())
    (tmp_path / "second/config.json").write_text(json.dumps({**config, "development_ccc": 1.0}))
    for name in ("model.safetensors", "config.json"):  # removed in this order
        (tmp_path / "first" / name).unlink()
    candidates = [tmp_path / "first", tmp_path / "second", tmp_path / "none"]
    jobs_module._keep_the_best(tmp_path / "model", candidates)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    assert read_config(tmp_path / "model")["development_ccc"] == 1.0
    with pytest.raises(UserError, match=r"gone is gone: .* or train it anew with --overwrite"):
        jobs_module._keep_the_best(tmp_path / "gone", candidates)


def test_weights_that_are_gone_at_the_end_are_told(place, stopped, tmp_path, monkeypatch):
    """transformers would go on with those of the last step, in silence."""
    shutil.copytree(stopped[1], tmp_path / "out")
    evaluate = EmotionTrainer.evaluate

    def evaluate_and_lose(self, *args, **kwargs):
        for path in (tmp_path / "out" / CHECKPOINTS).glob("*/model.safetensors"):
            path.unlink()
        return evaluate(self, *args, **kwargs)

    monkeypatch.setattr(EmotionTrainer, "evaluate", evaluate_and_lose)
    monkeypatch.setattr(trainer_module, "_development_scores", lambda *args: {"ccc": -1.0})  # never the best
    with pytest.raises(UserError, match=r"model.safetensors is missing: remove .*seed0-fold-all"):
        trained(place, tmp_path / "out", epochs=3, batch=4)


def test_predictions_beyond_any_label_are_told(place, tmp_path, monkeypatch):
    def predict_rows(ready, material, rows, **how):
        return np.full((len(rows), len(ready.dimensions)), 1e31)

    monkeypatch.setattr(runs_module, "predict_rows", predict_rows)
    with pytest.raises(UserError, match=r"seed0-fold-all: the predictions of this training are beyond 1e\+30: lower"):
        trained(place, tmp_path / "out", model={"text": None})


def test_the_model_that_a_run_is_described_by_is_gone_when_training_begins(place, tmp_path, monkeypatch):
    built, alive = [], []

    def build(*args, **kwargs):
        model, text = training_build(*args, **kwargs)
        built.append(weakref.ref(model))
        return model, text

    def run_fold(*args, **kwargs):
        gc.collect()
        alive.append([model() for model in built])
        raise UserError("no training is needed here")

    training_build = training_module.build
    monkeypatch.setattr(training_module, "build", build)
    monkeypatch.setattr(jobs_module, "run_fold", run_fold)
    with pytest.raises(UserError, match="no training is needed here"):
        trained(place, tmp_path / "out", model={"text": None})
    assert alive == [[None]]


def test_weights_of_another_width_are_not_given_memory(stopped, tmp_path):
    shutil.copytree(stopped[0] / "model", tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    weights["head.1.weight"] = torch.zeros(2, 5)
    save_file(weights, tmp_path / "model/model.safetensors")
    with pytest.raises(UserError, match=r"names a head of 32 x 3.*holds one of 5 x 2"):
        load_model(tmp_path / "model")


def test_any_byte_of_a_kept_state_may_have_changed(tmp_path):
    """Wherever a byte is another, the archive is whole or is not; reading it never fails otherwise."""
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "trainer_state.json").write_text('{"best_model_checkpoint": null, "global_step": 1, "epoch": 1.0}')
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    for name in ("scheduler.pt", "rng_state.pth", "optimizer.pt"):
        torch.save({"a": torch.arange(5)}, folder / name)
    whole = (folder / "optimizer.pt").read_bytes()
    passed = 0
    for place in range(len(whole)):
        (folder / "optimizer.pt").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        passed += last_whole_checkpoint(tmp_path, stops_early=False, clean=False) is None
    assert 0 < passed < len(whole)
