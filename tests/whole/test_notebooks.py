"""The notebooks run from the first cell to the last, on real caches, with public names only."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

import emoprobe

pytestmark = pytest.mark.slow

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
every_notebook = pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))


def read(name: str):
    return nbformat.read(NOTEBOOKS / name, as_version=4)


@pytest.fixture(scope="module")
def notebook():
    return read("explore.ipynb")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A few utterances with a split of their own, which makes for one fit where folds would be five."""
    from emoprobe.testing.corpora import make_corpus

    manifest = make_corpus(tmp_path_factory.mktemp("notebook") / "corpus", utterances=36, speakers=6, longest=0.6)
    table = pd.read_csv(manifest)
    parts = {"s3": "development", "s4": "test", "s5": "test"}
    table.assign(split=table["speaker"].map(parts).fillna("train")).to_csv(manifest, index=False)
    return manifest


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    from emoprobe.testing.checkpoints import save_speech_model

    folder = tmp_path_factory.mktemp("models")
    return [save_speech_model(folder / variant, variant) for variant in ("hubert-base", "distilhubert")]


@pytest.fixture(scope="module")
def caches(corpus, models) -> list[Path]:
    """A teacher and a student on the same few utterances."""
    from emoprobe.extract.extraction import extract

    made = []
    for model in models:
        made.append(corpus.parent.parent / f"{model.name}.h5")
        extract(corpus, str(model), made[-1], progress=False, device="cpu").close()
    return made


def run(notebook, folder: Path):
    """Execute a copy; returns its text and the number of figures it shows."""
    copy = nbformat.from_dict(notebook)
    client = nbclient.NotebookClient(copy, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute()
    outputs = [output for cell in copy.cells for output in cell.get("outputs", [])]
    texts = [output.get("text", "") + str(output.get("data", {}).get("text/plain", "")) for output in outputs]
    return "\n".join(texts), sum("image/png" in output.get("data", {}) for output in outputs)


def test_notebook_runs_on_caches_from_the_environment(notebook, caches, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOPROBE_CACHE", os.pathsep.join(map(str, caches)))
    text, figures = run(notebook, tmp_path)
    assert figures == 7
    assert "HiddenStateCache" in text
    assert "(36, 16)" in text
    assert "distilhubert" in text
    assert "Error" not in text
    assert not list(tmp_path.iterdir())


def test_notebook_takes_the_cache_of_its_folder_otherwise(notebook, caches, tmp_path, monkeypatch):
    monkeypatch.delenv("EMOPROBE_CACHE", raising=False)
    # Up to the first cell alone: the rest has run above.
    first = nbformat.from_dict(notebook)
    first.cells = first.cells[: 1 + next(i for i, cell in enumerate(first.cells) if cell.cell_type == "code")]
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="probe-extract"):
        run(first, tmp_path)
    shutil.copy(caches[1], tmp_path / "hidden_states.h5")
    text, _ = run(first, tmp_path)
    assert "distilhubert" in text


def test_the_claim_is_tested_on_a_corpus_and_a_model_from_the_environment(corpus, models, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOPROBE_CORPUS", str(corpus))
    monkeypatch.setenv("EMOPROBE_MODEL", str(models[0]))
    claim = read("arousal_shallower_than_valence.ipynb")
    text, figures = run(claim, tmp_path)
    assert figures == 4
    assert "Error" not in text
    # A verdict on the model and on its twin, whichever they are on labels drawn at random.
    wordings = ("no verdict", "undecided", "arousal is shallower than valence", "arousal is deeper than valence")
    for label in ("hubert-base:", "hubert-base (random 0):"):
        (line,) = [line for line in text.splitlines() if line.startswith(label)]
        assert sum(wording in line for wording in wordings) == 1
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["hidden_states.h5", "random.h5"]
    (tmp_path / "other").mkdir()
    # What is there is opened, not extracted again; two corpora do not compare.
    first = nbformat.from_dict(claim)
    first.cells = first.cells[: 1 + next(i for i, cell in enumerate(first.cells) if cell.cell_type == "code")]
    shutil.copy(tmp_path / "hidden_states.h5", tmp_path / "other" / "hidden_states.h5")
    from emoprobe.testing.caches import write_cache

    write_cache(tmp_path / "other" / "random.h5")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="of two corpora, which do not compare"):
        run(first, tmp_path / "other")


@every_notebook
def test_notebooks_are_stored_without_outputs_and_valid(name):
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


@every_notebook
def test_notebooks_use_public_names_only(name):
    for cell in read(name).cells:
        if cell.cell_type != "code":
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_")
                assert node.attr in public_names(node.value)
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("emoprobe")


class _Anything:
    def __contains__(self, name: object) -> bool:
        return True


def public_names(node: ast.expr):
    """What `emoprobe` and its stages offer; anything of another object."""
    if isinstance(node, ast.Name) and node.id == "emoprobe":
        return emoprobe.__all__
    inside = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "emoprobe"
    if inside and node.attr in ("analysis", "extract", "probe", "endtoend", "transcribe"):
        return importlib.import_module(f"emoprobe.{node.attr}").__all__
    return _Anything()


def test_notebook_shows_each_plot_that_is_public(notebook):
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for name in emoprobe.__all__:
        if name.startswith("plot_"):
            assert f"emoprobe.{name}(" in source
