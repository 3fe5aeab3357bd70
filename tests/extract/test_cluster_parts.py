"""What an extraction on a cluster is made of, without a cluster."""

from __future__ import annotations

import re
import socket
from types import SimpleNamespace

import numpy as np
import pytest

from emoprobe.errors import Note, UserError
from emoprobe.extract.audio import AudioProblem
from emoprobe.extract.cluster import EngineSettings, Place, Refusal, answered, differing, in_tasks, places, session
from emoprobe.extract.engines import ray_engine
from emoprobe.extract.engines.ray_engine import chunks
from emoprobe.extract.pipeline import Extracted, Files
from emoprobe.extract.settings import ExtractionSettings
from emoprobe.extract.versions import versions
from emoprobe.extract.waiting import Waiting

ray = pytest.importorskip("ray")


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


def test_a_cluster_of_its_own_is_no_other_of_this_machine(monkeypatch):
    """Ray remembers the last one that anybody began, and a run on that would end with it."""
    reached: list[str] = []
    monkeypatch.setattr(ray, "init", lambda *, address, **_: reached.append(address))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    for named in (None, "auto"):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if named:
            monkeypatch.setenv("RAY_ADDRESS", named)
        with session(EngineSettings(engine="ray")):
            pass
    assert reached == ["local", "auto"]


def test_states_do_not_come_through_rays_client():
    engine = EngineSettings(address="ray://node1:10001")
    with pytest.raises(UserError, match=r"ray://node1:10001: .* with --address auto or HOST:PORT"):
        ray_engine.RayEngine(None, ExtractionSettings(), ray, engine)


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


@pytest.mark.parametrize(
    ("gpus", "beside_gpu", "expected"),
    [(0, 5, "2 workers of 3 processors"), (2, 5, "2 workers of a GPU"), (2, None, "2 workers of a GPU")],
)
def test_a_worker_of_a_gpu_may_have_other_processors(gpus, beside_gpu, expected):
    node = {"Alive": True, "NodeManagerHostname": "node1", "Resources": {"CPU": 8, "GPU": gpus}}
    stub = SimpleNamespace(nodes=lambda: [node])
    place = Place.on(stub, EngineSettings(), device="auto", threads=3, beside_gpu=beside_gpu)
    assert str(place) == f"{expected} on 1 machine (node1)"
    assert place.cpus == (4 if gpus and beside_gpu else 3)  # eight processors for two GPUs


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ray.exceptions.RayTaskError("work", "its traceback", ValueError("a fault")), ray.exceptions.RayTaskError),
        (ray.exceptions.WorkerCrashedError(), UserError),
        (ray.exceptions.LocalRayletDiedError(), UserError),
    ],
)
def test_a_fault_of_the_program_is_no_worker_that_died(error, told):
    def get(_reference: object) -> None:
        raise error

    cancelled: list[object] = []
    task = SimpleNamespace(remote=lambda *given: given[-1] if given else 0)
    stub = SimpleNamespace(
        exceptions=ray.exceptions,
        wait=lambda waited, **_: (waited[:1], waited[1:]),
        remote=lambda **_: lambda _work: task,
        put=lambda work: work,
        get=get,
        cancel=cancelled.append,
    )
    with pytest.raises(told):
        list(in_tasks(stub, print, [1, 2], what="layer"))
    assert cancelled == [1, 2]


@pytest.mark.parametrize(
    ("gpus", "left", "told"),
    [
        (0, [{"CPU": 1}, {}], r"no place .* none of 2 machines \(.*\) has 2 processors; start others with `ray start"),
        (1, [{"CPU": 8}, {"GPU": 8}], r"no place .* none of 2 machines \(.*\) has 2 processors and a GPU; start"),
    ],
)
def test_a_wait_is_said_once_and_ends_where_no_machine_that_is_left_has_room(gpus, left, told):
    there = [{"CPU": 2, "GPU": 1}]
    looks: list[float] = []

    def wait(waited: list, *, timeout: float, **_: object) -> tuple[list, list]:
        looks.append(timeout)
        there[:] = [*left, {"CPU": 2, "GPU": 1}] if len(looks) < 3 else left
        return [], waited

    def nodes() -> list[dict]:
        lost = {"Alive": False, "NodeManagerHostname": "lost", "Resources": {"CPU": 2, "GPU": 1}}
        return [lost, *({"Alive": True, "NodeManagerHostname": "node", "Resources": has} for has in there)]

    patience = Waiting(SimpleNamespace(wait=wait, nodes=nodes), cpus=2, gpus=gpus)
    said = pytest.warns(Note, match=r"no worker is up yet: .* 2 processors.* to be free on 3 machines")
    with said as notes, pytest.raises(UserError, match=told):
        patience.first(["a place"], begun=False)
    assert len(notes) == 1
    assert len(looks) == 3
    # Nothing is said of work that lasts.
    with pytest.raises(UserError, match=told):
        Waiting(SimpleNamespace(wait=wait, nodes=nodes), cpus=2, gpus=gpus).first(["work"], begun=True)


def test_libraries_that_differ_are_named():
    here = {"torch": "2.14.1", "numpy": "2.4", "pandas": "3"}
    assert differing(here, {**here, "pandas": "2"}) == ""
    assert differing(here, {"numpy": "2.3"}) == "torch none there, 2.14.1 here, numpy 2.3 there, 2.4 here"


def test_a_problem_survives_its_way_between_processes():
    """Headers of files that vanished since the cache was laid out travel with the plan."""
    import copy

    problem = copy.copy(AudioProblem("truncated", "half of it"))
    assert (problem.status, problem.reason, str(problem)) == ("truncated", "half of it", "truncated: half of it")
