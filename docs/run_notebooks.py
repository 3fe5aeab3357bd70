"""Put notebooks/ into docs/notebooks, executed on the offline default, for `make docs` to show.

A notebook is not executed again where neither it nor the version of the package has changed. Caches of `make demo` are
taken where there are any, else they are extracted here (minutes on two cores).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

import emoprobe

_DOCS = Path(__file__).resolve().parent
_NOTEBOOKS = _DOCS.parent / "notebooks"
_SHOWN = _DOCS / "notebooks"
#: The folder that the notebooks run in.
_WORK = _DOCS / "_build" / "offline_default"
#: What they read: the teacher and its random twin, as `make demo` calls them.
_CACHES = {"hidden_states.h5": "hubert-nano.h5", "random.h5": "hubert-nano-random-0.h5"}
_MADE_FROM = "made_from"


def _take_caches(demo: Path) -> None:
    """Copy what `make demo` extracted; an absent one is extracted by the notebook that needs it."""
    for name, there in _CACHES.items():
        made = demo / "caches" / there
        if made.exists() and not (_WORK / name).exists():
            shutil.copy(made, _WORK / name)
            if made.with_name(f"{there}.baselines").exists():
                shutil.copytree(made.with_name(f"{there}.baselines"), _WORK / f"{name}.baselines", dirs_exist_ok=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() + emoprobe.__version__.partition("+")[0].encode()).hexdigest()


def _is_shown(path: Path) -> bool:
    shown = _SHOWN / path.name
    return shown.exists() and nbformat.read(shown, as_version=4).metadata.get(_MADE_FROM) == _digest(path)


def execute(path: Path) -> None:
    """Run a notebook from the first cell to the last and keep it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=3600, kernel_name="python3", resources={"metadata": {"path": _WORK}}).execute()
    notebook.metadata[_MADE_FROM] = _digest(path)
    nbformat.write(notebook, _SHOWN / path.name)


def main(argv: Sequence[str]) -> None:
    """Execute what has changed; with `--as-they-are`, copy all without outputs."""
    _SHOWN.mkdir(exist_ok=True)
    # The one that extracts what is absent comes first.
    notebooks = sorted(_NOTEBOOKS.glob("*.ipynb"))
    if "--as-they-are" in argv:
        for path in notebooks:
            if not (_SHOWN / path.name).exists():
                shutil.copy(path, _SHOWN / path.name)
        return
    _WORK.mkdir(parents=True, exist_ok=True)
    _take_caches(_DOCS.parent / "demo_out")
    os.environ.pop("EMOPROBE_CACHE", None)
    for path in notebooks:
        if _is_shown(path):
            print(f"{path.name} is as it was")
        else:
            print(f"executing {path.name}", flush=True)
            execute(path)


if __name__ == "__main__":
    main(sys.argv[1:])
