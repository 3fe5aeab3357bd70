"""A file is there whole or as it was, whatever ends the writing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from emoprobe import storage
from emoprobe.storage import beside, finished_name, replacing, write_file


def test_the_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    write_file(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    write_file(path, b"\0")
    assert path.read_bytes() == b"\0"
    assert [name.name for name in tmp_path.iterdir()] == ["scores.csv"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    write_file(path, "old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [name.name for name in tmp_path.iterdir()] == ["scores.csv"]


def _die_half_way(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_leaves_the_old_file_and_the_next_writer_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    write_file(path, "old")
    process = multiprocessing.get_context("fork").Process(target=_die_half_way, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_text() == "old"
    (left,) = {entry.name for entry in tmp_path.iterdir()} - {path.name}
    assert finished_name(left) == path.name
    (tmp_path / ".scores.csv.new").write_text("left by an earlier version")
    others = {
        ".scores.csv.theirs.new",
        f".weights.csv{left.removeprefix('.scores.csv')}",
        ".scores.csv",
        "scores.csv.new",
    }
    for name in others:
        (tmp_path / name).write_text("theirs")
    write_file(path, "new")
    assert path.read_text() == "new"
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, *others}


def test_of_two_writers_each_has_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with replacing(path) as first:
        first.write_text("first, half")
        write_file(path, "second")  # as another process does in the meantime
        assert path.read_text() == "second"
        first.write_text("first, whole")
    assert path.read_text() == "first, whole"
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.csv"]


def test_what_a_living_process_or_another_machine_writes_is_let_be(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    mine = beside(path)
    elsewhere = path.with_name(mine.name.replace(storage._place(), "0" * 8).replace(f"{os.getpid():08x}", "7fffffff"))
    gone = path.with_name(mine.name.replace(f"{os.getpid():08x}", "7fffffff"))
    for left in (mine, elsewhere, gone):
        left.write_text("half")
    write_file(path, "new")
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, mine.name, elsewhere.name}


def test_a_link_stays_one_and_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    path, target = tmp_path / "scores.csv", tmp_path / "big" / "scores.csv"
    target.write_text("old")
    path.symlink_to(Path("big") / "scores.csv")
    for mode in (0o600, 0o640, 0o444):
        target.chmod(mode)
        with replacing(path) as temporary:
            assert temporary.parent == target.parent
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
            temporary.write_text(f"{mode:o}")
        assert path.is_symlink()
        assert (path.read_text(), stat.S_IMODE(target.stat().st_mode)) == (f"{mode:o}", mode)
    assert [entry.name for entry in (tmp_path / "big").iterdir()] == ["scores.csv"]
