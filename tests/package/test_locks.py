"""One writer at a time, and readers that need no lock, with a file system that has locks and with one that has none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from emoprobe import UserError, locks
from emoprobe.analysis.measures.stored import update_table
from emoprobe.extract import HiddenStateCache
from emoprobe.extract.layout import is_cache, open_hdf5
from emoprobe.extract.sealing import USER_BLOCK
from emoprobe.extract.writer import lock_cache
from emoprobe.locks import LockHeld, hold_lock
from emoprobe.probe.fit import fit_layers
from emoprobe.probe.results import Results, load_results, update_results
from emoprobe.processes import here
from emoprobe.testing.caches import write_cache

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
FIT = {"dimensions": "arousal", "folds": 3, "permutations": 0, "resamples": 20, "mdl": False}


@pytest.fixture(params=[None, *NO_LOCKS], ids=lambda number: errno.errorcode.get(number, "locks"))
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """The system's own locks, and what network file systems say that have none."""
    if request.param is not None:
        refuse_locks(monkeypatch, request.param)
    return request.param


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_one_holder_at_a_time(system, tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with hold_lock(path):
        for _ in range(2):
            with pytest.raises(LockHeld), hold_lock(path):
                raise AssertionError("two hold one lock")
    with hold_lock(path):
        pass
    assert not list(tmp_path.iterdir())


COUNT = (
    "import sys\nfrom pathlib import Path\nfrom emoprobe.locks import hold_lock\n"
    "place = Path(sys.argv[1])\n"
    "for _ in range(150):\n"
    "    with hold_lock(place / 'a.lock', wait=60):\n"
    "        number = int((place / 'count').read_text())\n"
    "        (place / 'count').write_text(str(number + 1))\n"
)


def test_the_file_is_removed_and_still_lets_in_one_at_a_time(tmp_path: Path) -> None:
    """Whoever opened it before it was removed must not hold it beside one who made it anew."""
    (tmp_path / "count").write_text("0")
    many = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(4)]
    assert [one.wait(60) for one in many] == [0] * 4
    assert (tmp_path / "count").read_text() == "600"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_who_waits_comes_next(system, tmp_path: Path) -> None:
    path, order = tmp_path / "a.lock", []

    def wait() -> None:
        with hold_lock(path, wait=60):
            order.append("second")

    thread = threading.Thread(target=wait)
    with hold_lock(path):
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_a_refusal_that_is_something_else_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"), hold_lock(tmp_path / "a.lock"):
        pass


def test_the_mark_of_a_dead_process_is_taken_over_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.ENOLCK)
    owner = tmp_path / "a.lock.owner"
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    owner.write_text(f"{child.pid} {here()}\n")
    with hold_lock(tmp_path / "a.lock"):
        assert owner.read_text().startswith(f"{os.getpid()} ")
    assert not list(tmp_path.iterdir())
    for mark in (f"{child.pid} elsewhere pid:[1]\n", f"{os.getppid()} {here()}\n", "", "noise"):
        owner.write_text(mark)
        with pytest.raises(LockHeld) as told, hold_lock(tmp_path / "a.lock"):
            pass
        assert str(owner) in str(told.value)
        assert owner.read_text() == mark
    assert socket.gethostname() in here()


def test_a_killed_writer_leaves_the_way_free(tmp_path: Path) -> None:
    """Killed outright, where nothing can be tidied up."""
    code = (
        "import errno, fcntl, os, signal, sys\nfrom pathlib import Path\nfrom emoprobe.locks import hold_lock\n"
        "def refuse(*_):\n    raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = refuse if sys.argv[2] == 'none' else fcntl.flock\n"
        "with hold_lock(Path(sys.argv[1])):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for kind in ("none", "own"):
        path = tmp_path / f"{kind}.lock"
        done = subprocess.run([sys.executable, "-c", code, str(path), kind], check=False)
        assert done.returncode < 0
        assert path.with_name(f"{path.name}.owner").exists() == (kind == "none")
        with hold_lock(path):
            pass


def test_a_mark_counts_where_the_system_has_locks_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One machine mounts the folder with locks, the other without."""
    with monkeypatch.context() as patch:
        refuse_locks(patch, errno.EOPNOTSUPP)
        with hold_lock(tmp_path / "a.lock"):
            patch.undo()
            with pytest.raises(LockHeld), hold_lock(tmp_path / "a.lock"):
                pass


@pytest.mark.slow
def test_every_writer_and_reader_works_without_locks(system, tmp_path: Path) -> None:
    path = tmp_path / "states.h5"
    write_cache(path, n=60, speakers=6)
    with lock_cache(path), HiddenStateCache(path) as cache:
        assert np.isfinite(cache.states("mean")).all()
        with pytest.raises(UserError, match="is being written by") as told, lock_cache(path):
            pass
        assert "damaged" not in str(told.value)
        assert "overwrite" not in str(told.value)
    fitted = fit_layers(path, out=tmp_path / "results", **FIT)
    assert len(load_results(tmp_path / "results").scores) == len(fitted.scores)
    table = fitted.weights.assign(made_from="x")[["made_from"]]
    update_table(tmp_path / "table.csv", table, key=["made_from"])
    assert not list(tmp_path.rglob("*.owner*"))
    assert not list(tmp_path.rglob("*.lock"))


def test_who_waits_for_the_dead_of_another_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.ENOLCK)
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    table = pd.DataFrame({"made_from": ["x"]})
    for change, lock in (
        (lambda: update_table(tmp_path / "table.csv", table, key=["made_from"]), ".table.csv.lock"),
        (lambda: update_results(tmp_path / "results", Results.empty()), "results/.lock"),
    ):
        owner = tmp_path / f"{lock}.owner"
        owner.parent.mkdir(exist_ok=True)
        owner.write_text("12 elsewhere pid:[1]\n")
        with pytest.raises(UserError, match="process 12 on elsewhere") as told:
            change()
        assert f"{owner} says so" in str(told.value)
        owner.unlink()
        change()


OPEN = "import sys\nfrom emoprobe.extract.cache import HiddenStateCache\nHiddenStateCache(sys.argv[1])\n"


@pytest.mark.slow
def test_a_cache_that_is_locked_by_another_program_is_read_and_is_not_called_damaged(tmp_path: Path) -> None:
    """HDF5 locks what it opens, from C; here another program holds that lock, as one without locks refuses it."""
    path = tmp_path / "blocks.h5"  # a name that holds the word
    write_cache(path, n=30, speakers=6)
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        said = {}
        for setting in (None, "TRUE"):
            environment = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
            environment |= {} if setting is None else {"HDF5_USE_FILE_LOCKING": setting}
            done = subprocess.run(
                [sys.executable, "-c", OPEN, str(path)], env=environment, capture_output=True, text=True, check=False
            )
            said[setting] = (done.returncode, done.stderr)
    finally:
        os.close(descriptor)
    assert said[None] == (0, "")
    # Only where the user asks HDF5 for locks can they be refused; then the remedy is told, and no damage.
    status, text = said["TRUE"]
    assert status != 0
    assert "HDF5_USE_FILE_LOCKING=FALSE" in text
    assert "damaged" not in text


def test_a_cache_may_be_open_by_h5py_alone_in_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / "states.h5"
    write_cache(path, n=30, speakers=6)
    for options in ({}, {"locking": False}):
        with h5py.File(path, "r", **options), HiddenStateCache(path) as cache:
            assert cache.n_utterances == 30
    with HiddenStateCache(path), h5py.File(path, "r") as file:
        assert len(file["utterances/id"]) == 30


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_what_the_system_refuses_is_not_called_damaged(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "states.h5"
    write_cache(path, n=30, speakers=6)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, f"[Errno {number}] Unable to open file")

    monkeypatch.setattr("emoprobe.extract.layout.h5py.File", refuse)
    with pytest.raises(UserError) as told:
        HiddenStateCache(path)
    assert os.strerror(number) in str(told.value)
    assert "damaged" not in str(told.value)


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 4000])
def test_a_damaged_cache_is_still_known_as_one(n: int, tmp_path: Path) -> None:
    """In the larger one the name of the format is more than 1 MiB from either end."""
    path = tmp_path / "states.h5"
    write_cache(path, n=n, layers=2, width=32, speakers=6)
    assert is_cache(path)
    with path.open("r+b") as file:
        file.seek(USER_BLOCK + 8)
        file.write(b"\xff" * 88)  # all of the superblock but the signature
    with pytest.raises(OSError, match="open file"):
        open_hdf5(path)
    assert is_cache(path)
    path.write_bytes(path.read_bytes()[USER_BLOCK:])  # as of version 0.1, without a seal
    assert is_cache(path)
    path.write_bytes(path.read_bytes().replace(b"emoprobe hidden states", b"a file of someone else"))
    assert not is_cache(path)
    path.write_bytes(b"no file of HDF5, emoprobe hidden states 1")
    assert not is_cache(path)


def test_no_message_on_damage_advises_what_destroys(tmp_path: Path) -> None:
    path = tmp_path / "states.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    with pytest.raises(UserError, match="damaged") as told:
        HiddenStateCache(path)
    assert "overwrite" not in str(told.value)
    assert "move it away" in str(told.value)
    (tmp_path / "protocol.json").write_text(json.dumps("no list"))
    with pytest.raises(UserError, match="move the folder away"):
        load_results(tmp_path)


@pytest.mark.slow
def test_a_cache_with_any_byte_changed_is_still_known_as_one(tmp_path: Path) -> None:
    """Reading the attribute that says so raises nearly anything then."""
    path = tmp_path / "states.h5"
    write_cache(path, n=20, layers=2, width=4, speakers=4)
    whole = path.read_bytes()
    name = whole.index(b"emoprobe hidden states")
    rng = np.random.default_rng(0)
    for place in rng.choice([at for at in range(8, len(whole)) if not name <= at < name + 22], 1_500, replace=False):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert is_cache(path), f"byte {place}"
