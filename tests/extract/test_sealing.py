"""Damage outside of the arrays is told before HDF5 reads the file, and damage within them is not the seal's to tell."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.cli.extract import main
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache
from emoprobe.extract.layout import placed
from emoprobe.extract.sealing import MAGIC, USER_BLOCK, check_seal, seal
from emoprobe.testing.caches import write_cache


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "states.h5"
    write_cache(path, n=40, layers=3, width=8, speakers=8, transcript=[f"these are words {i}" for i in range(40)])
    return path


def within_arrays(path: Path) -> np.ndarray:
    """Boolean (bytes,): what an extraction fills in, as h5py tells it."""
    inside = np.zeros(path.stat().st_size, dtype=bool)
    with h5py.File(path) as file:
        for array in (file[name] for name in placed(file)):
            start = array.id.get_offset()
            inside[start : start + array.id.get_storage_size()] = True
    return inside


def refuse_to_open(*_: object, **__: object) -> None:
    raise AssertionError("HDF5 was given a file that had changed")


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_byte_outside_the_arrays_is_told_before_hdf5_reads_it(data, whole: Path, tmp_path_factory) -> None:
    inside = within_arrays(whole)
    outside = np.flatnonzero(~inside)
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = int(outside[data.draw(st.integers(0, len(outside) - 1))])
        content[place] = data.draw(st.integers(0, 255).filter(lambda byte, now=content[place]: byte != now))
    path = tmp_path_factory.mktemp("changed") / "states.h5"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h5py, "File", refuse_to_open)
        with pytest.raises(UserError, match="is damaged or is no cache"):
            HiddenStateCache(path)


def test_what_lies_in_the_arrays_is_told_by_its_own_checksum(whole: Path, tmp_path: Path) -> None:
    content = bytearray(whole.read_bytes())
    with h5py.File(whole) as file:
        content[file["pooled/std"].id.get_offset() + 5] ^= 1
    path = tmp_path / "states.h5"
    path.write_bytes(content)
    with HiddenStateCache(path) as cache:
        assert [what.split(" have ")[0] for what in cache.verify()] == ["the states of u0000"]


@pytest.mark.parametrize("size", [10, USER_BLOCK - 1, USER_BLOCK, USER_BLOCK + 100, -1])
def test_a_file_that_was_cut_is_told_before_hdf5_reads_it(size: int, whole: Path, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "states.h5"
    path.write_bytes(whole.read_bytes()[:size])
    if size > len(MAGIC):  # of less, nobody can tell what it was
        monkeypatch.setattr(h5py, "File", refuse_to_open)
    with pytest.raises(UserError, match="is damaged or is no cache"):
        HiddenStateCache(path)


def test_texts_that_hdf5_would_search_without_an_end(whole: Path, tmp_path: Path, capsys) -> None:
    """The heap of texts is what HDF5 walks through by lengths that it reads there."""
    content = bytearray(whole.read_bytes())
    heap = content.find(b"GCOL")
    content[heap + 16 : heap + 4000] = bytes(4000 - 16)
    path = tmp_path / "states.h5"
    path.write_bytes(content)
    assert main(["--verify", "--out", str(path)]) == 2
    said = capsys.readouterr().err
    assert "bytes have changed that are written once" in said
    assert "bring it back from a copy" in said


def test_a_cache_without_a_seal_is_read_as_before(whole: Path, tmp_path: Path) -> None:
    """Caches of version 0.1 are plain HDF5 files."""
    path = tmp_path / "states.h5"
    path.write_bytes(whole.read_bytes()[USER_BLOCK:])
    with HiddenStateCache(path) as old, HiddenStateCache(whole) as new:
        np.testing.assert_array_equal(old.states("mean"), new.states("mean"))
        assert old.utterances.equals(new.utterances)
        assert old.verify() == []


def test_places_that_overlap_or_are_too_many_are_refused(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "states.h5"
    path.write_bytes(whole.read_bytes())
    with pytest.raises(ValueError, match="damaged"):
        seal(path, [(USER_BLOCK, 100), (USER_BLOCK + 50, 100)])
    with pytest.raises(ValueError, match="room for"):
        seal(path, [(USER_BLOCK + i, 1) for i in range(100)])
    seal(path, [(USER_BLOCK + 8, 8)])
    with path.open("rb") as file:
        check_seal(file)
