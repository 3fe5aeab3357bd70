"""Fixtures that more than one test file uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test depends on how fast or how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


#: Modules of few and long tests. They begin first: else the suite would wait for one of them at its end.
LONG = (
    "test_cluster.py",
    "test_cluster_losses.py",
    "test_kill_study.py",
    "test_fuzzing.py",
    "test_kill_commands.py",
    "test_calibration_depth.py",
    "test_training_levers.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long modules first; the rest keeps its order."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real recordings (`emodb`, `ravdess`, `emobank`), never part of the project."""
    named = os.environ.get("EMOPROBE_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "emodb" / "metadata.csv").is_file():
        pytest.skip(f"no real recordings at {folder}; set EMOPROBE_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    """What is made once from a checkpoint is kept in a folder of the tests, and not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOPROBE_HOME", str(tmp_path_factory.mktemp("emoprobe-cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def untouched_checkout():
    """The commands write into the current folder by default; no test leaves that at the checkout's own."""

    def written() -> dict[Path, int]:
        root = Path(__file__).resolve().parents[1]
        files = [path for path in (root / "figures").rglob("*") if path.is_file()]
        files += [path for name in ("results", "report", "hidden_states.h5") if (path := root / name).exists()]
        return {path: path.stat().st_mtime_ns for path in files}

    before = written()
    yield
    changed = {path for path, _ in before.items() ^ written().items()}
    assert not changed, f"a test wrote {', '.join(sorted(map(str, changed)))}"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that end with figures leave them out: what is tested is what they are drawn from."""
    for command in ("fit", "train"):
        monkeypatch.setattr(f"emoprobe.cli.{command}.draw", lambda results, figures, **_: None)
