"""The writer of a cache: every number at its place, and no mark before its data are on disk."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from emoprobe.errors import UserError
from emoprobe.extract import writer as writer_module
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.pipeline import Extracted
from emoprobe.extract.storing import Progress, store
from emoprobe.extract.writer import CacheWriter
from emoprobe.testing import write_cache

LAYERS, WIDTH, ROWS = 3, 5, 8
SIZES = {"logmel": 6, "mfcc": 5}


@pytest.fixture
def path(tmp_path):
    write_cache(tmp_path / "states.h5", n=ROWS, layers=LAYERS, width=WIDTH, pending=ROWS)
    return tmp_path / "states.h5"


def batch(rows: list[int], problems: dict[int, tuple[str, str]] | None = None, seed: int = 1) -> Extracted:
    rng = np.random.default_rng(seed)
    return Extracted(
        index=0,
        batch=np.array(sorted([*rows, *(problems or {})])),
        rows=rows,
        states=rng.standard_normal((3, LAYERS, len(rows), WIDTH)).astype(np.float32),
        norms=rng.standard_normal((LAYERS, len(rows))).astype(np.float32),
        acoustics={name: rng.standard_normal((len(rows), size)).astype(np.float32) for name, size in SIZES.items()},
        problems=problems or {},
    )


def marks(path) -> list[str]:
    with HiddenStateCache(path) as cache:
        return cache.utterances["status"].tolist()


def test_every_number_is_where_a_reader_looks_for_it(path):
    made = batch([6, 0, 3], {5: ("unreadable", "no header")})
    with CacheWriter(path) as writer:
        made.write(writer)
        assert writer.commit() == [6, 0, 3, 5]
    with HiddenStateCache(path) as cache:
        for s, statistic in enumerate(("mean", "std", "mean_ln")):
            np.testing.assert_array_equal(cache.states(statistic)[:, [0, 3, 6]], made.states[s][:, [1, 2, 0]])
        assert cache.verify() == []  # checksums agree
        assert marks(path) == [
            "done",
            "pending",
            "pending",
            "done",
            "pending",
            "unreadable",
            "done",
            "pending",
        ]


def test_nothing_is_marked_before_it_is_on_disk(path, monkeypatch):
    """When the disk is asked, the data are written and no mark is; those of two batches share one answer."""
    asked = []

    def sync(fd: int) -> None:
        asked.append(marks(path))
        os.fsync(fd)

    monkeypatch.setattr(writer_module, "_sync", sync)
    with CacheWriter(path) as writer:
        batch([1, 2]).write(writer)
        batch([4]).write(writer)
        assert not asked
        assert writer.commit() == [1, 2, 4]
        assert asked == [["pending"] * ROWS]
        assert writer.commit() == []  # nothing new: the disk is not asked again
        assert len(asked) == 1
    assert [k for k, mark in enumerate(marks(path)) if mark == "done"] == [1, 2, 4]


def test_a_disk_that_takes_a_part_at_a_time_gets_the_rest(path, monkeypatch):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, place: whole(fd, data[:7], place))
    made = batch([2, 5])
    with CacheWriter(path) as writer:
        made.write(writer)
        writer.commit()
    with HiddenStateCache(path) as cache:
        np.testing.assert_array_equal(cache.states("std")[:, [2, 5]], made.states[1])
        assert cache.verify() == []


def test_a_full_disk_is_told_and_nothing_is_marked(path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with CacheWriter(path) as writer:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(UserError, match=r"states.h5: cannot write \(No space left on device\); free disk space"):
            batch([2]).write(writer)
        monkeypatch.undo()
        assert writer.commit() == []
    assert marks(path) == ["pending"] * ROWS


def test_after_a_disk_that_lost_something_nothing_is_marked(path, monkeypatch):
    """A system tells a loss once, and what was written meanwhile may be lost with it."""

    def sync(fd: int) -> None:
        batch([6], seed=2).write(writer)  # while the disk is asked
        monkeypatch.undo()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with CacheWriter(path) as writer:
        monkeypatch.setattr(writer_module, "_sync", sync)
        batch([2]).write(writer)
        for _ in range(2):
            with pytest.raises(UserError, match=r"states.h5: cannot write \(Input/output error\)"):
                writer.commit()
    assert marks(path) == ["pending"] * ROWS


def test_what_was_written_before_an_error_is_marked(path):
    """The third batch cannot be had: the first two are kept, whatever thread they were in."""

    def lost() -> Extracted:
        raise UserError("the device is gone")

    seconds = np.ones(ROWS)
    todo = [(0, np.array([0, 1])), (1, np.array([2, 3])), (2, np.array([4]))]
    with (
        CacheWriter(path) as writer,
        Progress(seconds, todo, show=False) as bar,
        pytest.raises(UserError, match="the device is gone"),
    ):
        store([lambda: batch([0, 1]), lambda: batch([2, 3]), lost], writer, bar)
    assert marks(path) == ["done"] * 4 + ["pending"] * 4


def test_the_bar_counts_what_is_on_disk(path):
    counted: list[int] = []

    class Bar:
        def advance(self, rows: np.ndarray) -> None:
            assert [marks(path)[row] for row in rows] == ["done"] * len(rows)
            counted.extend(rows.tolist())

    with CacheWriter(path) as writer:
        store([lambda k=k: batch([k]) for k in range(ROWS)], writer, Bar())
    assert sorted(counted) == list(range(ROWS))
