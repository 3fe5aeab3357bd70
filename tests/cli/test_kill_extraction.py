"""Killed at any instant and run again, an extraction ends with the same bytes as one that was never stopped."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from emoprobe.extract import HiddenStateCache
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus
from tests.killed import finish, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    manifest = make_corpus(tmp_path_factory.mktemp("corpus"), utterances=60)
    (manifest.parent / "u007.wav").write_bytes(b"not sound")
    model = save_speech_model(tmp_path_factory.mktemp("models") / "tiny")
    return (
        f"--corpus {manifest} --model {model} --batch-seconds 3 --frames --quiet --device cpu --workers 2 --out"
    ).split()


@pytest.fixture(scope="module")
def unbroken(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that nobody stopped, and the seconds it took."""
    out = tmp_path_factory.mktemp("unbroken") / "states.h5"
    finish([*arguments, str(out.with_name("warm.h5"))])  # the first start pays for the imports
    begin = time.monotonic()
    assert finish([*arguments, str(out)]) == 3  # one file is no sound
    return out, time.monotonic() - begin


def content(cache: Path) -> dict[str, bytes]:
    """Every file of a cache, by its name relative to the cache's."""
    files = [cache, *sorted(cache.with_name(f"{cache.name}.frames").iterdir())]
    return {path.name: path.read_bytes() for path in files}


def done(cache: Path) -> int:
    """Utterances done, 0 where there is no cache yet; opening also shows that what a kill leaves is whole."""
    if not cache.exists():
        return 0
    with HiddenStateCache(cache) as opened:
        assert opened.verify() == []
        return int(opened.done.sum())


@pytest.mark.slow
def test_killed_at_random_instants(arguments, unbroken, tmp_path):
    reference, duration = unbroken
    wanted = content(reference)
    rng = random.Random(0)
    for trial in range(10):
        out = tmp_path / str(trial) / "states.h5"
        process = start([*arguments, str(out)])
        time.sleep(rng.uniform(0, duration))
        process.kill()
        process.join()
        done(out)
        assert finish([*arguments, str(out)]) == 3
        assert content(out) == wanted


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.999])
def test_killed_in_the_middle_of_a_write(share, arguments, unbroken, tmp_path):
    """Half of a number is written, then nothing: whatever number it is."""
    reference, _ = unbroken
    out = tmp_path / "states.h5"
    # 12 pooled layers (3 statistics), 4 norms, 2 acoustics, a checksum, a reason and a mark an utterance.
    total = 59 * (12 + 4 + 2 + 1 + 1 + 1)
    assert finish([*arguments, str(out)], die_at=1 + int(share * total)) == -signal.SIGKILL
    before = done(out)
    assert before < 59
    assert (before > 0) == (share >= 0.2)
    assert finish([*arguments, str(out)]) == 3
    assert content(out) == content(reference)


def test_killed_in_the_last_write(arguments, unbroken, tmp_path):
    """All utterances are done and the layers' norms are not: that is no complete cache."""
    reference, _ = unbroken
    out = tmp_path / "states.h5"
    assert finish([*arguments, str(out)], die_at=writes(arguments, tmp_path)) == -signal.SIGKILL
    with HiddenStateCache(out) as cache:
        assert cache.done.sum() == 59
        assert not cache.complete
    assert finish([*arguments, str(out)]) == 3
    assert content(out) == content(reference)


def writes(arguments, tmp_path) -> int:
    """How many writes a whole run makes."""
    low, high = 1, 1 << 14
    while low < high:  # a run that is to die at a write that never comes ends by itself
        middle = (low + high + 1) // 2
        ended = finish([*arguments, str(tmp_path / f"probe{middle}" / "states.h5")], die_at=middle)
        low, high = (middle, high) if ended == -signal.SIGKILL else (low, middle - 1)
    return low


def test_killed_while_laying_out_leaves_at_most_one_file(arguments, tmp_path):
    out = tmp_path / "states.h5"
    for _ in range(2):
        (tmp_path / ".states.h5.new").write_bytes(b"left by a killed run")
        assert finish([*arguments, str(out), "--overwrite"]) == 3
        assert not (tmp_path / ".states.h5.new").exists()


def test_full_disk_while_starting_anew_keeps_the_frames(arguments, unbroken, tmp_path):
    out = tmp_path / "states.h5"
    assert finish([*arguments, str(out)]) == 3
    before = content(out)
    assert finish([*arguments, str(out), "--overwrite"], file_limit=50_000, errors=tmp_path / "errors") == 2
    assert content(out) == before


def test_killed_again_and_again(arguments, unbroken, tmp_path):
    """Each run gets a little further; the last ends as if there had been one."""
    reference, _ = unbroken
    out = tmp_path / "states.h5"
    reached = [0]
    while finish([*arguments, str(out)], die_at=280) == -signal.SIGKILL:
        reached.append(done(out))
        assert reached[-1] > reached[-2]
    assert len(reached) > 3
    assert content(out) == content(reference)


def test_full_disk_at_the_start_leaves_what_was_there(arguments, unbroken, tmp_path):
    out = tmp_path / "states.h5"
    shutil.copy(unbroken[0], out)  # its own, or it would not be replaced at all
    assert finish([*arguments, str(out), "--overwrite"], file_limit=50_000, errors=tmp_path / "errors") == 2
    error = (tmp_path / "errors").read_text()
    assert "cannot be laid out" in error
    assert "free disk space" in error
    assert out.read_bytes() == unbroken[0].read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".new"] == []


def test_full_disk_in_the_middle_keeps_what_is_finished(arguments, unbroken, tmp_path):
    """The cache itself has its room from the start; the single frames find the disk full."""
    reference, _ = unbroken
    out = tmp_path / "states.h5"
    assert finish([*arguments, str(out)], die_at=400) == -signal.SIGKILL
    before = done(out)
    assert finish([*arguments, str(out)], file_limit=4_000, errors=tmp_path / "errors") == 2
    assert "free disk space" in (tmp_path / "errors").read_text()
    assert done(out) == before > 0
    assert finish([*arguments, str(out)]) == 3
    assert content(out) == content(reference)
