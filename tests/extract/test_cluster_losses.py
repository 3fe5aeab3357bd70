"""Machines and workers of a Ray cluster that are lost, or taken, under a run: it goes on, or says why not."""

from __future__ import annotations

import os
import re
import signal
import warnings
from contextlib import closing
from pathlib import Path

import pytest
import torch

from emoprobe.cli.extract import main
from emoprobe.errors import Note, UserError
from emoprobe.extract import waiting
from emoprobe.extract.cluster import EngineSettings, in_tasks, session
from emoprobe.extract.engines import ray_engine
from emoprobe.extract.engines.ray_actors import in_actors
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus

ray = pytest.importorskip("ray")

_SMALL = {"object_store_memory": 100_000_000}


@pytest.fixture(scope="module")
def cluster():
    """A head on which nothing is computed; tests give it machines and take them away."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        # A machine that refuses to be asked is dead after ten seconds; one that is busy has a thousand.
        patch.setenv("RAY_health_check_period_ms", "100")
        patch.setenv("RAY_health_check_timeout_ms", "10000")
        patch.setenv("RAY_health_check_failure_threshold", "100")
        try:
            machines = Cluster(
                initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **_SMALL}
            )
        except (RuntimeError, OSError) as error:
            pytest.skip(f"Ray starts no cluster here: {error}")
        yield machines
        machines.shutdown()


@pytest.fixture
def machines(cluster):
    """Two of one processor, for one test alone."""
    there = [cluster.add_node(num_cpus=1, **_SMALL) for _ in range(2)]
    yield there
    for machine in there:
        if machine in cluster.list_all_nodes():
            cluster.remove_node(machine)


def answering() -> type:
    """What an actor is made of, in a function so that it travels to workers by its value."""

    def die(deaths: Path) -> None:
        with deaths.open("a") as file:
            file.write("died\n")
        os.kill(os.getpid(), signal.SIGKILL)

    class Answering:
        def __init__(self, deaths: Path | None = None) -> None:
            self.deaths = deaths

        def ready(self) -> None:
            if self.deaths:
                die(self.deaths)

        def answer(self, item):
            import numpy as np

            if isinstance(item, Path):
                die(item)
            machine = ray.get_runtime_context().get_node_id()
            # More than may be ahead, and too large to come with the message that it is there.
            yield from ((item, number, machine, np.ones(40_000)) for number in range(9))

    return Answering


def of_node(machines: list, name: str):
    return next(machine for machine in machines if machine.node_id == name)


@pytest.mark.slow
def test_a_machine_that_is_lost_in_the_middle_costs_what_it_was_at(cluster, machines):
    """It does not say that it goes, so that it is called unavailable until Ray takes it for dead."""
    with session(EngineSettings(address=cluster.address)) as connected:
        came, lost = set(), None
        with closing(in_actors(connected, answering(), (), range(8), what="number", workers=2)) as answers:
            for item, number, machine, _ in answers:
                came.add((item, number))
                if lost is None:  # it holds the rest of this item back
                    lost = machine
                    cluster.remove_node(of_node(machines, machine), allow_graceful=False)
    assert came == {(item, number) for item in range(8) for number in range(9)}


@pytest.mark.slow
def test_an_extraction_from_which_a_machine_is_lost_has_the_bytes_of_one_machine(
    cluster, machines, tmp_path, monkeypatch
):
    save_speech_model(tmp_path / "model", "hubert-base")
    corpus = make_corpus(tmp_path / "corpus", utterances=40, speakers=4)
    given = ["--corpus", str(corpus), "--model", str(tmp_path / "model"), "--device", "cpu", "--batch-seconds", "2"]
    given += ["--workers", "1", "--quiet", "--out"]
    whole, out = tmp_path / "whole.h5", tmp_path / "states.h5"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main([*given, str(whole)]) == 0
    finally:
        torch.set_num_threads(before)
    refuse = ray_engine._refuse_unseen

    def lose_one(*of_an_answer) -> None:
        monkeypatch.setattr(ray_engine, "_refuse_unseen", refuse)
        cluster.remove_node(machines[0], allow_graceful=False)
        refuse(*of_an_answer)

    monkeypatch.setattr(ray_engine, "_refuse_unseen", lose_one)
    assert main([*given, str(out), "--engine", "ray", "--address", cluster.address]) == 0
    assert ray_engine._refuse_unseen is refuse
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["an item", "coming up"])
def test_what_kills_six_workers_kills_no_seventh(cluster, machines, tmp_path, by):
    deaths = tmp_path / "deaths"
    given, items = ((), [deaths, 1, 2]) if by == "an item" else ((deaths,), [1, 2])
    told = pytest.raises(UserError, match=r"the cluster gave up .*a worker died 6 times over the same number")
    with session(EngineSettings(address=cluster.address)) as connected, told:
        list(in_actors(connected, answering(), given, items, what="number", workers=1))
    assert deaths.read_text().count("died") == 6


@pytest.mark.slow
def test_a_run_whose_machines_have_all_left_ends(cluster, machines, monkeypatch):
    monkeypatch.setattr(waiting, "_LOOK_AGAIN", 0.2)
    told = pytest.raises(UserError, match=r"no place for a worker is left: none of .* has 1 processor; start others")
    with warnings.catch_warnings(), session(EngineSettings(address=cluster.address)) as connected:
        warnings.simplefilter("ignore", Note)  # of the time in which workers start
        with told, closing(in_actors(connected, answering(), (), range(8), what="number", workers=2)) as answers:
            next(answers)
            for machine in machines:
                cluster.remove_node(machine)
            for _ in answers:
                pass
        with told:
            list(in_tasks(connected, abs, [1], what="number"))


@pytest.mark.slow
def test_a_cluster_that_others_have_taken_is_said_once_and_waited_for(cluster, machines, monkeypatch):
    monkeypatch.setattr(waiting, "_LOOK_AGAIN", 0.2)
    told: list[str] = []
    others: list[object] = []

    def leave(message: Warning | str, category: type[Warning] | None = None, **_: object) -> None:
        """The others do, once it is said that they are waited for."""
        if category is Note:
            told.append(str(message))
            while others:
                connected.kill(others.pop())

    monkeypatch.setattr(warnings, "warn", leave)
    with session(EngineSettings(address=cluster.address)) as connected:
        for start in (
            lambda: in_actors(connected, answering(), (), [1], what="number", workers=1),
            lambda: in_tasks(connected, abs, [-1], what="number"),
        ):
            told.clear()
            others += [connected.remote(num_cpus=1)(answering()).remote() for _ in machines]
            connected.get([one.ready.remote() for one in others])
            assert len(list(start())) in {1, 9}
            (line,) = told
            assert re.match(r"no worker is up yet: .* 1 processor to be free on 3 machines \(", line)
