"""The notebook runs from the first cell to the last, on real caches, with public names only."""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path

import pytest

import emoprobe

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "explore.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> list[Path]:
    """A teacher and a student on the same few utterances."""
    from emoprobe.extract.extraction import extract
    from tests.speech import make_corpus
    from tests.tiny_models import save_model

    folder = tmp_path_factory.mktemp("notebook")
    manifest = make_corpus(folder / "corpus", utterances=36, speakers=6, longest=0.6)
    made = []
    for variant in ("hubert-base", "distilhubert"):
        model = save_model(folder / variant, variant)
        made.append(folder / f"{variant}.h5")
        extract(manifest, str(model), made[-1], progress=False, device="cpu").close()
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
    assert figures == 5
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


def test_notebook_is_stored_without_outputs_and_valid(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


def test_notebook_uses_public_names_only(notebook):
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "emoprobe":
                assert node.attr in emoprobe.__all__
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_")
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("emoprobe")


def test_notebook_shows_each_plot_that_is_public(notebook):
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for name in emoprobe.__all__:
        if name.startswith("plot_"):
            assert f"emoprobe.{name}(" in source
