"""What is installed is the package alone, and the commands answer at once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What takes seconds to import; a command that only prints its help must touch none of it.
HEAVY = {
    "importlib.metadata", "torch", "torchaudio", "transformers", "pandas", "numpy", "sklearn", "matplotlib", "seaborn",
    "h5py", "scipy",
}  # fmt: skip

COMMANDS = (
    "emoprobe",
    "probe-extract",
    "probe-fit",
    "probe-plot",
    "probe-report",
    "probe-distill",
    "probe-transcribe",
    "probe-predict",
)

ROOMS = ("analysis", "cli", "demo", "distil", "endtoend", "extract", "probe", "study", "transcribe")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist of this tree, and the wheel that is built from that sdist."""
    tree = tmp_path_factory.mktemp("tree") / "any-name"
    ignored = shutil.ignore_patterns(
        ".git",
        ".venv*",
        "build",
        "dist",
        "*.egg-info",
        "__pycache__",
        "demo_corpus",
        "demo_out",
        "fuzz-findings",
        "*.h5*",
        ".*_cache",
    )
    shutil.copytree(ROOT, tree, ignore=ignored)
    out = tmp_path_factory.mktemp("dist")
    build = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    subprocess.run([sys.executable, "-c", build, "build_sdist", str(out)], cwd=tree, check=True, capture_output=True)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(out / "unpacked", filter="data")
    (unpacked,) = (out / "unpacked").iterdir()
    subprocess.run(
        [sys.executable, "-c", build, "build_wheel", str(out)], cwd=unpacked, check=True, capture_output=True
    )
    return out


@pytest.mark.slow
def test_the_wheel_carries_the_package_alone(distributions):
    (wheel,) = distributions.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"emoprobe"}
    inside = {name.split("/")[1] for name in names if name.startswith("emoprobe/")}
    assert set(ROOMS) <= inside
    assert not inside & {"tests", "notebooks", "benchmarks", "figures"}
    for module in (p for room in ROOMS for p in (ROOT / room).rglob("*.py*") if p.suffix in (".py", ".pyi")):
        assert f"emoprobe/{module.relative_to(ROOT).as_posix()}" in names
    report = ROOT / "analysis" / "report"
    for path in (*(report / "templates").iterdir(), report / "references.bib"):
        assert f"emoprobe/{path.relative_to(ROOT).as_posix()}" in names


@pytest.mark.slow
def test_the_sdist_carries_no_tests_and_no_notebooks(distributions):
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert not inside & {"tests", "notebooks", "benchmarks", "figures", "Makefile"}
    assert {"setup.cfg", "pyproject.toml", "LICENSE", "README.md", *ROOMS, "emoprobe"} <= inside


@pytest.mark.slow
def test_the_wheel_works_where_it_is_unpacked(distributions, tmp_path):
    (wheel,) = distributions.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import emoprobe; "
        "from emoprobe.extract import HiddenStateCache; from emoprobe import fit_layers, load_results, plot_layers; "
        "assert emoprobe.__file__.startswith(sys.argv[1]), emoprobe.__file__"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_nothing_heavy(command):
    (entry,) = [e for e in entry_points(group="console_scripts") if e.name == command]
    code = (
        f"import sys\nfrom {entry.module} import {entry.attr} as main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print('HEAVY', *sorted(set(sys.modules) & set(sys.argv[1:])))"
    )
    done = subprocess.run([sys.executable, "-c", code, *sorted(HEAVY)], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("usage: " + command)
    assert done.stdout.splitlines()[-1].strip() == "HEAVY"


@pytest.mark.slow
def test_the_version_goes_from_the_tree_into_the_wheel(distributions, tmp_path):
    """The tree of this test has no git, so it is the fallback; the wheel is made of the archive, which must keep it."""
    (sdist,), (wheel,) = distributions.glob("*.tar.gz"), distributions.glob("*.whl")
    (fallback,) = re.findall(r'fallback_version = "(.*)"', (ROOT / "pyproject.toml").read_text())
    assert sdist.name == f"emoprobe-{fallback}.tar.gz"
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import emoprobe; print(emoprobe.__version__)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == fallback, done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize(("tag", "commits", "expected"), [("v7.1.0", 0, "7.1.0"), ("v7.1.0", 1, "7.1.1.dev1+g")])
def test_the_version_is_that_of_the_tag(tmp_path, tag, commits, expected):
    for name in ("pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / name, tmp_path)

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    git("tag", "-m", tag, tag)
    for number in range(commits):
        git("commit", "--allow-empty", "-m", f"after {number}")
    told = subprocess.run([sys.executable, "-m", "setuptools_scm"], cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.strip().startswith(expected), told.stderr
    assert commits or told.stdout.strip() == expected


def test_the_version_is_told_by_the_commands(capsys):
    import emoprobe
    from emoprobe.cli.extract import main

    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"emoprobe {emoprobe.__version__}\n"
