"""A file is there whole or as it was, whatever ends the writing."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from emoprobe.storage import beside, replacing, write_file


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
    assert {name.name for name in tmp_path.iterdir()} == {path.name, beside(path).name}
    write_file(path, "new")
    assert path.read_text() == "new"
    assert [name.name for name in tmp_path.iterdir()] == ["scores.csv"]
