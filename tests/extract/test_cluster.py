"""An extraction on a Ray cluster of two machines: the same bytes, whoever dies on the way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from emoprobe.cli.extract import main
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.endtoend.training import train
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache, extract
from emoprobe.extract.cluster import EngineSettings, session
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.engines.ray_actors import in_actors
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
        # A machine that is busy for minutes is no machine that has died.
        patch.setenv("RAY_health_check_failure_threshold", "1000")
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
    killed = []

    def kill_one() -> None:
        """The first worker that has come up."""
        for _ in range(1200):
            for process in processes("ray::Worker")[:1]:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
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


@pytest.fixture(scope="module")
def spoilt(place, tmp_path_factory) -> Path:
    """The corpus without its bad files, and with one that only decoding finds bad: the shortest, of the last batch."""
    root = tmp_path_factory.mktemp("spoilt")
    shutil.copytree(place / "corpus", root / "corpus")
    (root / "model").symlink_to(place / "model")
    table = pd.read_csv(root / "corpus/manifest.csv").drop([7, 11])
    table.to_csv(root / "corpus/manifest.csv", index=False)
    paths = [root / "corpus" / path for path in table["path"]]
    shortest = min(paths, key=lambda path: soundfile.info(path).frames)
    sound, rate = soundfile.read(shortest)
    soundfile.write(shortest, np.full_like(sound, np.nan), rate, subtype="FLOAT")
    return root


@pytest.mark.slow
def test_strictly_a_bad_file_stops_every_run_as_on_one_machine(cluster, spoilt, tmp_path, capsys):
    """What was finished before is kept, and the same command without --strict finishes the rest."""
    alone, out = tmp_path / "alone.h5", tmp_path / "states.h5"
    assert main(arguments(spoilt, alone, "--strict")) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"error: \S+\.wav is non-finite: .*; mend it, or leave --strict out .*\n", told)
    assert main(arguments(spoilt, alone)) == 3
    capsys.readouterr()
    with session(EngineSettings(address=cluster.address)):
        assert main(arguments(spoilt, out, *on(cluster), "--strict")) == 2
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", told)
        with HiddenStateCache(out) as cache:
            assert 0 < cache.done.sum() < UTTERANCES - 3
        assert main(arguments(spoilt, out, *on(cluster))) == 3
    with HiddenStateCache(out) as cache, HiddenStateCache(alone) as wanted:
        assert cache.done.sum() == UTTERANCES - 3
        assert cache.utterances.equals(wanted.utterances)
    assert out.read_bytes() == alone.read_bytes()


def counting() -> type:
    """What an actor is made of, in a function so that it travels to workers by its value."""

    class Counting:
        def ready(self) -> None:
            pass

        def answer(self, item):
            if item == "fault":
                raise ZeroDivisionError("a fault of the program")
            if item == "stuck":
                time.sleep(1e6)
            yield from ((item, number) for number in range(3))

    return Counting


def end_well(start) -> None:
    assert sorted(start(range(9))) == [(item, number) for item in range(9) for number in range(3)]


def end_early(start) -> None:
    answers = start(["stuck", *range(9)])
    assert next(answers) == (1, 0)  # 0 waits behind what is stuck
    answers.close()


def end_by_an_error(start) -> None:
    def use() -> None:
        with closing(start(range(9))) as answers:
            for _ in answers:
                raise UserError("strict")

    with pytest.raises(UserError, match="strict"):
        use()


def end_by_a_fault(start) -> None:
    with pytest.raises(ray.exceptions.RayTaskError, match="a fault of the program"):
        list(start([*range(9), "fault"]))


def end_by_the_keyboard(start) -> None:
    def use() -> None:
        with closing(start(["stuck", 1])) as answers:
            assert [next(answers) for _ in range(3)] == [(1, 0), (1, 1), (1, 2)]
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            next(answers)  # for ever

    # A command that a shell starts in the background ignores this signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            use()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_no_actor_and_no_thread_outlives_what_ended(cluster):
    """Ten times in one process, however it ends; what comes next is not touched by it."""
    endings = (end_early, end_well, end_by_an_error, end_by_a_fault, end_by_the_keyboard)
    with session(EngineSettings(address=cluster.address)) as connected:

        def start(items):
            return in_actors(connected, counting(), (), items, what="number", workers=3)  # one finds no place

        before = set(threading.enumerate())
        for ending in 2 * endings:
            ending(start)
            assert set(threading.enumerate()) <= before
        while processes("ray::Counting"):  # for ever, if any is left
            time.sleep(0.05)


def processes(title: str) -> list[int]:
    """Of this cluster, and of no other on the machine."""
    there = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if title in " ".join(process.cmdline()):
                there.append(process.pid)
    return there


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


@pytest.mark.slow
def test_an_address_of_no_cluster_is_refused():
    nowhere = EngineSettings(engine="ray", address="127.0.0.1:1")
    with pytest.raises(UserError, match=r"there is no Ray cluster at 127\.0\.0\.1:1 \("), session(nowhere):
        pytest.fail("there was one")


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


@pytest.mark.slow
def test_devices_that_contradict_each_other_are_refused(cluster, place, tmp_path, capsys):
    assert main([*arguments(place, tmp_path / "states.h5"), "--gpus", "2"]) == 2  # the device is cpu there
    assert "--device cpu and --gpus 2 contradict each other" in capsys.readouterr().err
