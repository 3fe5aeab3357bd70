"""The site builds without a warning, its links lead somewhere, and what it quotes and counts is so."""

from __future__ import annotations

import configparser
import contextlib
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pytest

import emoprobe
from emoprobe import fit_layers
from emoprobe.testing import write_cache
from tests.whole.test_house import MODULES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
ROOMS_WITH_PYTHON = ("extract", "probe", "analysis", "endtoend", "transcribe", "distil")
every_text = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)

FENCE = re.compile(r"^( *)(```+).*?^\1\2$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,4} +(.+?) *$", re.M)


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


@functools.cache
def anchors(path: Path) -> set[str]:
    """Those that a code host gives the headings: small letters, hyphens for blanks, no punctuation."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(prose(path))}


@every_text
def test_a_link_leads_to_a_file_and_a_heading(path):
    astray = []
    for target in LINK.findall(prose(path)):
        place, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (path.parent / place).resolve() if place else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            astray.append(target)
    assert not astray


def test_each_page_stands_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = [line for block in re.findall(r"```{toctree}\n(.*?)```", index, re.S) for line in block.split("\n")]
    assert {path.stem for path in PAGES} - {"index"} == {line for line in listed if re.fullmatch(r"\w+", line)}


@pytest.mark.slow
def test_the_page_on_python_lists_every_public_name():
    listed = set(re.findall(r"^   ([\w.]+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.M))
    rooms = {"": emoprobe} | {f"{name}.": importlib.import_module(f"emoprobe.{name}") for name in ROOMS_WITH_PYTHON}
    public = {(prefix, name): getattr(room, name) for prefix, room in rooms.items() for name in room.__all__}
    things = {name for name, thing in public.items() if not isinstance(thing, ModuleType) and name[1] != "__version__"}
    assert {prefix + name for prefix, name in things if not {prefix + name, name} & listed} == set()


def test_the_start_lists_every_extra():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "start.md").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(settings["options.extras_require"])


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def quoted_messages() -> list[str]:
    """What stays the same of each message: its pieces between the places where a `…` stands for what differs."""
    return re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.M)


@functools.cache
def literals() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in MODULES.values())


@pytest.mark.parametrize("message", quoted_messages())
def test_a_quoted_message_stands_in_the_code(message):
    pieces = [piece for piece in re.split(r"\s*…\s*", message) if piece]
    assert pieces
    assert [piece for piece in pieces if piece not in literals()] == []


def python_of_the_pages() -> list:
    """Blocks of Python that begin with an import of ours; a fragment that defines something is no example."""
    return [
        pytest.param(code, id=f"{path.name}-{number}")
        for path in TEXTS
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S), 1)
        if re.match(r"(import|from) emoprobe\b", code)
    ]


@pytest.fixture(scope="module")
def what_they_name(tmp_path_factory):
    """``hidden_states.h5``, of planted truth, and ``results``."""
    folder = tmp_path_factory.mktemp("pages")
    speaker = np.arange(120) % 12
    split = np.where(speaker < 6, "train", np.where(speaker < 9, "development", "test"))
    emotion = np.random.default_rng(0).choice(["anger", "joy", "sadness"], 120)
    cache = folder / "hidden_states.h5"
    write_cache(cache, n=120, layers=7, label="hubert-base", split=split, emotion=emotion)
    fit_layers(cache, dimensions=["arousal", "valence", "emotion"], permutations=20, out=folder / "results")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("code", python_of_the_pages())
def test_the_python_of_a_page_runs(code, what_they_name):
    with contextlib.chdir(what_they_name), mpl.rc_context({"backend": "agg"}):
        exec(compile(code, "page", "exec"), {})


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_without_a_network(tmp_path):
    for needed in ("sphinx", "furo", "myst_nb", "numpydoc", "sphinx_copybutton"):
        pytest.importorskip(needed)
    subprocess.run([sys.executable, DOCS / "run_notebooks.py", "--as-they-are"], check=True)
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", DOCS, tmp_path / "html"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    made = {path.stem for path in (tmp_path / "html").glob("*.html")}
    assert {path.stem for path in PAGES} <= made
    api = (tmp_path / "html/api/emoprobe.fit_layers.html").read_text(encoding="utf-8")
    assert "Fit probes on every layer of a cache" in api
    assert "RaisesUserError" in re.sub(r"<[^>]+>|[\s:]", "", api)
