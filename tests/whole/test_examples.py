"""Every example of a docstring runs, and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import warnings

import pytest

import emoprobe
from emoprobe.errors import Note
from tests.whole.test_house import MODULES

#: What an example may leave open: blanks, and what stands for any text.
HOW = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

WITH_EXAMPLES = sorted(name for name, path in MODULES.items() if "\n    >>> " in path.read_text(encoding="utf-8"))

#: Public functions whose examples are figures, in the gallery and the notebooks.
FIGURES = {name for name in emoprobe.__all__ if name.startswith("plot_")}


@pytest.mark.slow
def test_the_examples_of_every_docstring_hold(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    failed = []
    for name in WITH_EXAMPLES:
        module = importlib.import_module(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Note)
            outcome = doctest.testmod(module, optionflags=HOW)
        if outcome.failed:
            failed.append(f"{name}: {capsys.readouterr().out}")
    assert not failed, "\n".join(failed)
    assert len(WITH_EXAMPLES) > 20


def test_what_a_user_imports_first_has_an_example() -> None:
    functions = {name for name in emoprobe.__all__ if callable(getattr(emoprobe, name))} - FIGURES
    without = {name for name in functions if ">>> " not in (getattr(emoprobe, name).__doc__ or "")}
    assert without == {"UserError", "depth_statements", "relevance_centroids"}  # the last two: those of settled_depths
