"""An extraction on a Ray cluster of two machines: the same bytes, whoever dies on the way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from emoprobe.cli.extract import main
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.endtoend.training import train
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache, extract
from emoprobe.extract.audio import AudioProblem
from emoprobe.extract.cluster import EngineSettings, Refusal, answered, differing, in_tasks, places, session
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.engines import ray_engine
from emoprobe.extract.engines.ray_engine import chunks
from emoprobe.extract.pipeline import Extracted, Files
from emoprobe.extract.versions import versions
from emoprobe.probe.fit import fit_caches
from emoprobe.probe.settings import FitSettings
from emoprobe.testing.caches import write_cache
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

UTTERANCES = 60


@pytest.fixture(scope="module")
def cluster():
    """Two machines of one processor each, as far as Ray can tell."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")  # of the workers, as of the run beside which they are held
        small = {"num_cpus": 1, "object_store_memory": 150_000_000}
        try:
            machines = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
            machines.add_node(**small)
        except (RuntimeError, OSError) as error:
            pytest.skip(f"Ray starts no cluster here: {error}")
        yield machines
        machines.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A small model, a corpus of which one file is damaged and one is gone, and the cache that one process makes."""
    root = tmp_path_factory.mktemp("place")
    save_speech_model(root / "model", "hubert-base")
    table = pd.read_csv(make_corpus(root / "corpus", utterances=UTTERANCES, speakers=6))
    (root / "corpus" / table["path"][7]).write_bytes(b"no sound")
    (root / "corpus" / table["path"][11]).unlink()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(arguments(root, root / "alone.h5")) == 3
    finally:
        torch.set_num_threads(before)
    return root


def arguments(place: Path, out: Path, *more: str) -> list[str]:
    given = ["--corpus", str(place / "corpus/manifest.csv"), "--model", str(place / "model"), "--out", str(out)]
    return [*given, "--device", "cpu", "--batch-seconds", "2", "--workers", "1", "--quiet", *more]


def on(cluster, *more: str) -> list[str]:
    return ["--engine", "ray", "--address", cluster.address, *more]


@pytest.mark.slow
@pytest.mark.parametrize("frames", [(), ("--frames",)], ids=["pooled", "frames"])
def test_a_cluster_makes_the_bytes_of_one_machine(cluster, place, tmp_path, frames):
    alone = place / "alone.h5"
    if frames:
        alone = tmp_path / "alone" / "states.h5"  # a cache knows its parts by their names
        assert main(arguments(place, alone, *frames)) == 3
    assert main(arguments(place, tmp_path / "states.h5", *on(cluster), *frames)) == 3
    assert (tmp_path / "states.h5").read_bytes() == alone.read_bytes()
    if frames:
        parts = sorted(alone.with_name("states.h5.frames").iterdir())
        assert len(parts) > 4
        for part in parts:
            assert part.read_bytes() == (tmp_path / "states.h5.frames" / part.name).read_bytes()
    with HiddenStateCache(tmp_path / "states.h5") as cache:
        assert cache.verify() == []
        assert cache.done.sum() == UTTERANCES - 2
    # Nothing to do is said, whoever is asked.
    assert main(arguments(place, tmp_path / "states.h5", *on(cluster), *frames)) == 3


@pytest.mark.slow
def test_a_cluster_makes_the_bytes_of_a_shard_of_one_machine(cluster, place, tmp_path):
    shard = ("--shard", "2/3", "--limit", "30")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = main(arguments(place, tmp_path / "alone.h5", *shard))
    finally:
        torch.set_num_threads(before)
    assert main(arguments(place, tmp_path / "states.h5", *on(cluster), *shard)) == alone
    assert (tmp_path / "states.h5").read_bytes() == (tmp_path / "alone.h5").read_bytes()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_batches(cluster, place, tmp_path):
    import threading

    killed = []

    def kill_one() -> None:
        """The first worker that has come up."""
        for _ in range(1200):
            for process in psutil.Process().children(recursive=True):  # of this cluster, and of no other on the machine
                with suppress(psutil.NoSuchProcess):
                    if "ray::MapWorker" in " ".join(process.cmdline()):
                        process.kill()
                        killed.append(process.pid)
                        return
            time.sleep(0.1)

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert main(arguments(place, tmp_path / "states.h5", *on(cluster))) == 3
    killer.join()
    assert killed
    assert (tmp_path / "states.h5").read_bytes() == (place / "alone.h5").read_bytes()


@pytest.mark.slow
def test_a_machine_that_leaves_and_a_driver_that_is_killed(cluster, place, tmp_path):
    out = tmp_path / "states.h5"
    leaving = cluster.add_node(num_cpus=1)
    manifest = str(place / "corpus/manifest.csv")
    command = [sys.executable, "-m", "tests.cluster_worker", manifest, str(place / "model"), str(out), cluster.address]
    driver = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2])
    try:
        while driver.poll() is None and not (out.exists() and done(out)):
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
    finally:
        driver.kill()
        driver.wait()
    cluster.remove_node(leaving)
    assert main(arguments(place, out, *on(cluster))) == 3
    assert out.read_bytes() == (place / "alone.h5").read_bytes()


def done(out: Path) -> bool:
    try:
        with HiddenStateCache(out) as cache:
            return bool(cache.done.any())
    except UserError:
        return False


@pytest.mark.slow
def test_a_signal_to_end_reaches_the_command(cluster):
    """Ray would end the process by a handler of its own, in which nothing is unwound."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with session(EngineSettings(address=cluster.address)):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)  # handlers run between two instructions
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


@pytest.mark.slow
def test_what_a_cluster_lacks_is_said(cluster, place, tmp_path, capsys):
    assert main(arguments(place, tmp_path / "states.h5", *on(cluster, "--gpus", "2"), "--device", "cuda")) == 2
    assert "Ray sees no GPU on 2 machines" in capsys.readouterr().err
    assert not (tmp_path / "states.h5").exists()


@pytest.mark.slow
def test_other_weights_on_a_worker_are_refused(cluster, place, tmp_path):
    """A folder that was changed since the run began: its name is the same, its weights are not."""
    from emoprobe.extract.encoders.speech import load_backbone

    shutil.copytree(place / "model", tmp_path / "model")
    backbone = load_backbone(str(tmp_path / "model"))
    save_speech_model(tmp_path / "other", "hubert-base", seed=5)
    # In its place, not into it: the weights that are loaded may be the file itself.
    (tmp_path / "other/model.safetensors").replace(tmp_path / "model/model.safetensors")
    corpus = read_corpus(str(place / "corpus/manifest.csv"))
    engine = EngineSettings(engine="ray", address=cluster.address)
    with pytest.raises(UserError, match="has other weights there than where the run was started"):
        extract(corpus, backbone, tmp_path / "states.h5", engine=engine, device="cpu", progress=False)


def test_an_unknown_engine_and_too_few_gpus_are_refused():
    with pytest.raises(UserError, match="no engine 'spark'; there is local, ray"):
        EngineSettings(engine="spark")
    with pytest.raises(UserError, match="--gpus some is neither a number nor all"):
        EngineSettings(gpus="some")
    assert not EngineSettings().on_ray
    assert all(EngineSettings(**{name: value}).on_ray for name, value in {"gpus": "0", "address": "auto"}.items())
    assert EngineSettings(gpus="all").workers_of(3, machines="") == EngineSettings().workers_of(3, machines="") == 3
    assert EngineSettings(gpus="2").workers_of(3, machines="") == 2
    for asked, there in (("4", 3), ("all", 0)):
        with pytest.raises(UserError, match=f"Ray sees {there} GPUs on one"):
            EngineSettings(gpus=asked).workers_of(there, machines="one")


@pytest.mark.slow
def test_an_address_of_no_cluster_is_refused():
    nowhere = EngineSettings(engine="ray", address="127.0.0.1:1")
    with pytest.raises(UserError, match=r"there is no Ray cluster at 127\.0\.0\.1:1 \("), session(nowhere):
        pytest.fail("there was one")


def test_every_batch_is_in_one_chunk_with_its_files():
    todo = [(index, np.array([2 * index, 2 * index + 1])) for index in range(37)]
    files = Files([f"{row}.wav" for row in range(74)], list(range(74)), np.arange(74))
    for workers in (1, 2, 8, 50):
        plan = chunks(todo, files, workers=workers)
        assert [index for chunk in plan for index, _ in chunk.todo] == list(range(37))
        assert len(plan) >= min(37, 4 * workers)
        for chunk in plan:
            rows = {int(row) for _, rows in chunk.todo for row in rows}
            assert set(chunk.files.paths) == set(chunk.files.headers) == set(chunk.files.frames) == rows


def test_audio_that_a_machine_does_not_see_is_no_missing_file(tmp_path):
    """What is missing there and here is listed; what is here alone stops the run."""
    (tmp_path / "here.wav").write_bytes(b"")
    files = Files({0: str(tmp_path / "gone.wav"), 1: str(tmp_path / "here.wav")}, {}, {})
    nothing = np.empty((0, 0, 0, 0)), np.empty((0, 0)), {}

    def delivered(row: int) -> ray_engine.Delivered:
        extracted = Extracted(0, np.array([row]), [], *nothing, {row: ("missing", "no such file")})
        return ray_engine.Delivered(extracted, "node7")

    ray_engine._refuse_unseen(delivered(0), files)
    with pytest.raises(UserError, match=r"here\.wav is here, and node7 does not see it: .*same place"):
        ray_engine._refuse_unseen(delivered(1), files)


def test_work_is_refused_where_the_libraries_differ_and_errors_are_told_with_their_machine():
    assert answered(divmod, versions(), 7, 3) == (2, 1)
    refusal = answered(divmod, {**versions(), "torch": "0.1"}, 7, 3)
    assert isinstance(refusal, Refusal)
    assert re.fullmatch(r"the libraries differ \(torch .* there, 0\.1 here\): install .*", refusal.reason)

    def fail() -> None:
        raise UserError("there is no layer")

    told = answered(fail, versions())
    assert isinstance(told, Refusal)
    assert str(told.error()) == f"{socket.gethostname()}: there is no layer"


@pytest.mark.slow
def test_seeds_and_folds_trained_on_a_cluster_are_those_of_one_machine(cluster, tmp_path):
    """The same scores, predictions and best model; what had ended before is not trained again."""
    save_speech_model(tmp_path / "model")
    corpus = read_corpus(str(make_corpus(tmp_path / "corpus", utterances=16, speakers=8)))
    model = ModelSettings(audio=str(tmp_path / "model"), text=None, hidden=8)
    training = TrainingSettings(epochs=1, batch=4, seeds=1, folds=3, resamples=10, device="cpu", workers=0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone, _ = train(corpus, model, training, out=tmp_path / "alone")
    finally:
        torch.set_num_threads(before)
    told: list[str] = []
    engine = EngineSettings(address=cluster.address)
    one = tmp_path / "shared"
    spread, _ = train(corpus, model, training, out=one, engine=engine, say=told.append)
    pd.testing.assert_frame_equal(spread.scores, alone.scores)
    pd.testing.assert_frame_equal(spread.predictions, alone.predictions)
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (one / "model" / name).read_bytes() == (tmp_path / "alone/model" / name).read_bytes()
    assert not list(one.glob("runs/*/model"))  # the best has its place, the others are gone
    assert any(line.startswith("3 of 3 trainings by 2 workers of 1 processor") for line in told)
    assert sum("development CCC" in line for line in told) == 3
    again: list[str] = []
    train(corpus, model, training, out=one, engine=engine, say=again.append)
    assert not any(re.match(r"training \d|\d+ of \d+ trainings", line) for line in again)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["dimensions", "categories"])
def test_layers_fitted_on_a_cluster_have_the_same_numbers(cluster, tmp_path, target):
    """Two caches, so that they are opened anew by the tasks of each."""
    caches = [tmp_path / name for name in ("one.h5", "other.h5")]
    for seed, path in enumerate(caches):
        write_cache(path, layers=3, width=6, n=90, speakers=9, seed=seed, label=path.stem)
    asked = {"dimensions": ("arousal", "valence")} if target == "dimensions" else {"dimensions": ("emotion",)}
    settings = FitSettings.of(resamples=100, permutations=50, **asked)
    here = fit_caches(caches, settings, out=tmp_path / "here")
    there = fit_caches(caches, settings, out=tmp_path / "there", engine=EngineSettings(address=cluster.address))
    for table in ("scores", "predictions", "recalls", "refits"):
        pd.testing.assert_frame_equal(getattr(here, table), getattr(there, table), rtol=1e-9, atol=1e-12)
    assert [run["hash"] for run in here.protocol] == [run["hash"] for run in there.protocol]
    assert [run["notes"] for run in here.protocol] == [run["notes"] for run in there.protocol]


@pytest.mark.parametrize(
    ("nodes", "of_gpus", "threads", "expected"),
    [
        ([{"CPU": 64}, {"CPU": 2, "GPU": 8}], True, 4, (2, 1)),  # two processors feed no more than two GPUs
        ([{"CPU": 64}, {"CPU": 8, "GPU": 8}], True, 4, (8, 1)),
        ([{"CPU": 64, "GPU": 8}, {"CPU": 32, "GPU": 2}], True, 4, (10, 4)),
        ([{"CPU": 6}, {"CPU": 6}], False, 4, (2, 4)),
        ([{}, {"CPU": 32}, {"CPU": 32}], False, 8, (8, 8)),  # a head without processors, as KubeRay makes it
        ([{"CPU": 1}, {"CPU": 1}], False, 4, (2, 1)),
        ([{"GPU": 8}], True, 4, (0, 1)),
    ],
)
def test_workers_are_as_many_as_fit_on_the_machines(nodes, of_gpus, threads, expected):
    assert places(nodes, of_gpus=of_gpus, threads=threads) == expected


@pytest.mark.slow
def test_devices_that_contradict_each_other_are_refused(cluster, place, tmp_path, capsys):
    assert main([*arguments(place, tmp_path / "states.h5"), "--gpus", "2"]) == 2  # the device is cpu there
    assert "--device cpu and --gpus 2 contradict each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ray.exceptions.RayTaskError("work", "its traceback", ValueError("a fault")), ray.exceptions.RayTaskError),
        (ray.exceptions.WorkerCrashedError(), UserError),
    ],
)
def test_a_fault_of_the_program_is_no_worker_that_died(error, told):
    def get(_reference: object) -> None:
        raise error

    cancelled: list[object] = []
    task = SimpleNamespace(remote=lambda *given: given[-1])
    stub = SimpleNamespace(
        exceptions=ray.exceptions,
        remote=lambda **_: lambda _work: task,
        put=lambda work: work,
        get=get,
        cancel=cancelled.append,
    )
    with pytest.raises(told):
        list(in_tasks(stub, print, [1, 2], what="layer"))
    assert cancelled == [1, 2]


def test_libraries_that_differ_are_named():
    here = {"torch": "2.14.1", "numpy": "2.4", "pandas": "3"}
    assert differing(here, {**here, "pandas": "2"}) == ""
    assert differing(here, {"numpy": "2.3"}) == "torch none there, 2.14.1 here, numpy 2.3 there, 2.4 here"


def test_a_problem_survives_its_way_between_processes():
    """Headers of files that vanished since the cache was laid out travel with the plan."""
    import copy

    problem = copy.copy(AudioProblem("truncated", "half of it"))
    assert (problem.status, problem.reason, str(problem)) == ("truncated", "half of it", "truncated: half of it")
