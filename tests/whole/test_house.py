"""The rooms and what each may import: the table of docs/architecture.md, read from the code's own imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Room to the rooms that it may import, besides `emoprobe` (errors, versions, files) and itself.
MAY_IMPORT = {
    "emoprobe": set(),
    "extract": set(),
    "probe": {"extract"},
    "transcribe": {"extract"},
    "distil": {"extract"},
    "endtoend": {"extract", "probe"},
    "analysis": {"extract", "probe"},
    "demo": {"extract", "distil"},
    "study": {"extract", "probe", "transcribe", "distil", "endtoend", "analysis", "demo"},
    "cli": {"extract", "probe", "transcribe", "distil", "endtoend", "analysis", "demo", "study"},
    "testing": {"extract", "probe"},
}

#: Rooms that are no folder of the root.
INSIDE_EMOPROBE = {"testing"}

FILES = sorted(path for room in set(MAY_IMPORT) - INSIDE_EMOPROBE for path in (ROOT / room).rglob("*.py"))

#: Files that are longer than 400 lines, with the reason.
LONG: dict[str, str] = {}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "emoprobe" else parts
    return ".".join(("emoprobe", *parts)).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Module and name that a file imports from the package, and whether it is for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    typed = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "emoprobe":
                    yield alias.name, "", node in typed
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            if target.split(".")[0] != "emoprobe":
                continue
            for alias in node.names:
                inner = f"{target}.{alias.name}"
                yield (inner, "", node in typed) if inner in MODULES else (target, alias.name, node in typed)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else "emoprobe"


def test_every_folder_with_code_is_a_room() -> None:
    beside = {"tests", "benchmarks", "build", "notebooks", "docs"}
    folders = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    assert folders - beside == set(MAY_IMPORT) - INSIDE_EMOPROBE
    assert {path.parent.name for path in (ROOT / "emoprobe").glob("*/*.py")} == INSIDE_EMOPROBE
    assert not list(ROOT.glob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_stands_before_it(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {target}"
        for path in FILES
        if room_of(module_of(path)) == room
        for target, _, _ in imports(path)
        if room_of(target) not in MAY_IMPORT[room] | {room, "emoprobe"}
    ]
    assert wrong == []


def test_no_private_name_is_taken_from_another_file() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} takes {target}.{name}"
        for path in FILES
        for target, name, _ in imports(path)
        if (name.startswith("_") and name != "__version__") or target.rpartition(".")[2].startswith("_")
    ]
    assert wrong == []


def test_no_import_goes_in_a_circle() -> None:
    """Imports within functions count; those for types alone do not, since nothing runs them."""
    graph = {
        module: {target for target, _, typed in imports(path) if not typed and target in MODULES and target != module}
        for module, path in MODULES.items()
    }
    graph = {module: targets for module, targets in graph.items() if MODULES[module].name != "__init__.py"}
    while True:
        ends = {module for module, targets in graph.items() if not targets & set(graph)}
        if not ends:
            break
        graph = {module: targets for module, targets in graph.items() if module not in ends}
    assert sorted(graph) == []


def test_no_file_is_long_without_a_reason() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name for name, lines in lengths.items() if lines > 400} == set(LONG)


def test_no_room_below_the_commands_reads_arguments_or_prints() -> None:
    wrong = []
    for path in FILES:
        if room_of(module_of(path)) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            imported = isinstance(node, ast.Import) and any(alias.name == "argparse" for alias in node.names)
            if called or imported:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []
