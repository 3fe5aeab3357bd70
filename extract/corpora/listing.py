"""The readers of corpora that are installed: what each reads, and what it expects, as its own documentation says.

That is read and not run: a broken reader is listed as such, and hurts no other.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

from .registry import corpus_readers

_ROOT = re.compile(r"^root : .*\n((?:    .*(?:\n|$))+)", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?\.?([^`]*)`")


@dataclass(frozen=True)
class ListedReader:
    """A reader of corpora.

    Attributes
    ----------
    names : tuple of str
        What stands before the colon in ``--corpus NAME:ROOT``; several where one reader has several names.
    about : str
        What the corpus is.
    expects : str
        What its root is.
    package : str
        The package that brings it.
    """

    names: tuple[str, ...]
    about: str
    expects: str
    package: str


def listed_readers() -> list[ListedReader]:
    """All readers, by name."""
    readers: dict[str, list[EntryPoint]] = {}
    for _, entry in sorted(corpus_readers().items()):
        readers.setdefault(entry.value, []).append(entry)
    return [_listed(entries) for entries in readers.values()]


def _listed(entries: list[EntryPoint]) -> ListedReader:
    entry = entries[0]
    names = tuple(each.name for each in entries)
    package = "?" if entry.dist is None else entry.dist.name
    try:
        spec = find_spec(entry.module)
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8")) if spec and spec.origin else ast.Module([], [])
    except (ImportError, OSError, ValueError, SyntaxError) as error:
        return ListedReader(names, f"cannot be read: {error}", "", package)
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry.attr), None)
    about = _plain((ast.get_docstring(tree) or "").split("\n\n")[0])
    return ListedReader(names, about, " ".join(_expected(function)), package)


def _expected(function: ast.FunctionDef | None) -> Iterator[str]:
    """The first line of a reader's documentation, and what it says of its root."""
    doc = "" if function is None else ast.get_docstring(function) or ""
    first = doc.split("\n\n")[0]
    if first and "Entry point" not in first:
        yield _plain(first)
    if root := _ROOT.search(doc):
        yield _plain(root[1])


def _plain(text: str) -> str:
    return _ROLE.sub(lambda role: role[1].rpartition(".")[2], " ".join(text.split())).replace("``", "")
