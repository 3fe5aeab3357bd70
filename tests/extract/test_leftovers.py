"""What is removed is what is proven to be left by a command that is gone, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emoprobe.claims import claim
from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.extract.journal import open_journal
from emoprobe.extract.leftovers import find_leftovers
from emoprobe.locks import hold_lock
from emoprobe.testing import write_cache

LEAVE = """
import os, sys
from pathlib import Path
from emoprobe.storage import beside
beside(Path(sys.argv[1])).write_text("half")
"""


def journal(out: Path, *, written: bool) -> Path:
    with open_journal(out, made_by={"the corpus": "c"}, settings={}, overwrite=False) as kept:
        kept.append({"a": (["stamp"], {"result": 1})})
        if written:
            out.write_text("id,words\n")
    return out.with_name(f"{out.name}.journal")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one leftover of each kind, and what looks like them."""
    root = tmp_path / "study"
    root.mkdir()
    subprocess.run([sys.executable, "-c", LEAVE, str(root / "scores.csv")], check=True)
    write_cache(root / "caches" / "states.h5", n=12, speakers=3)
    (root / "caches" / "states.h5.lock").touch()
    claim(root / "run", {"a": 1}, record="run.json", own=[], option="--out")
    (root / "run" / ".lock").touch()
    journal(root / "words.csv", written=True)
    return root


def strangers(root: Path) -> list[Path]:
    """What nothing proves to be ours, or what is still of use."""
    going_on = journal(root / "going-on.csv", written=False)
    changed = journal(root / "changed.csv", written=True)
    (root / "changed.csv").write_text("by hand")
    kept = [going_on, changed, root / "words.csv", root / "changed.csv"]
    for name, text in (("poetry.lock", ""), ("states.h5.lock", "mine"), (".notes.csv.new", ""), ("a.journal", "dear")):
        (root / name).write_text(text)
        kept.append(root / name)
    alive = root / f".alive.csv.{'0' * 8}{os.getpid():08x}{'0' * 8}.new"
    alive.write_text("of another machine")
    (root / "link.lock").symlink_to(root / "poetry.lock")
    return [*kept, alive, root / "link.lock"]


def test_only_what_is_proven_is_listed_and_removed(folder, capsys):
    kept = {path: path.read_bytes() for path in strangers(folder)}
    leftovers = find_leftovers(folder, journals=True)
    found = {leftover.path.relative_to(folder).as_posix() for leftover in leftovers}
    assert len(list(find_leftovers(folder))) == 3  # without the journal, which an output is gone on with
    (partial,) = (name for name in found if name.startswith(".scores.csv."))
    assert found == {partial, "caches/states.h5.lock", "run/.lock", "words.csv.journal"}
    everything = sorted(folder.rglob("*"))
    assert emoprobe(["clean", str(folder), "--journals"]) == 0
    assert "4 files, " in (said := capsys.readouterr().out)
    assert "nothing has been removed: --yes removes them" in said
    assert sorted(folder.rglob("*")) == everything
    assert emoprobe(["clean", str(folder), "--journals", "--yes"]) == 0
    assert "removed: 4 files" in capsys.readouterr().out
    assert sorted(folder.rglob("*")) == [
        path for path in everything if path.relative_to(folder).as_posix() not in found
    ]
    assert {path: path.read_bytes() for path in kept} == kept
    assert emoprobe(["clean", str(folder), "--journals", "--yes"]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"


def _hold(path: Path, held, done) -> None:
    with hold_lock(path):
        held.set()
        done.wait(60)


@pytest.mark.slow
def test_a_lock_that_is_held_is_let_be(folder):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(folder / "run" / ".lock", held, done))
    process.start()
    assert held.wait(60)
    try:
        found = [leftover.path for leftover in find_leftovers(folder)]
        assert folder / "run" / ".lock" not in found
        assert folder / "caches" / "states.h5.lock" in found
    finally:
        done.set()
        process.join()


def test_a_file_of_a_living_process_is_let_be(tmp_path):
    from emoprobe.storage import beside

    path = beside(tmp_path / "scores.csv")
    path.write_text("half")
    assert not list(find_leftovers(tmp_path))


def test_what_is_no_folder_is_refused(tmp_path, capsys):
    assert emoprobe(["clean", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
