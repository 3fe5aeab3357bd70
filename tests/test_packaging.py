"""What is installed is the package alone, and the commands answer at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What takes seconds to import; a command that only prints its help must touch none of it.
HEAVY = {"torch", "torchaudio", "transformers", "pandas", "numpy", "sklearn", "matplotlib", "seaborn", "h5py", "scipy"}

COMMANDS = (
    "probe-extract",
    "probe-fit",
    "probe-plot",
    "probe-report",
    "probe-distill",
    "probe-transcribe",
    "probe-predict",
)

STAGES = ("analysis", "demo", "distilled", "extract", "probe")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist of this tree, and the wheel that is built from that sdist."""
    tree = tmp_path_factory.mktemp("tree") / "any-name"
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", "demo_*", "*.h5*", ".*_cache"
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


def test_the_wheel_carries_the_package_alone(distributions):
    (wheel,) = distributions.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"emoprobe"}
    inside = {name.split("/")[1] for name in names if name.startswith("emoprobe/")}
    assert set(STAGES) <= inside
    assert not inside & {"tests", "notebooks", "benchmarks", "figures"}
    for module in (p for stage in STAGES for p in (ROOT / stage).rglob("*.py")):
        assert f"emoprobe/{module.relative_to(ROOT).as_posix()}" in names
    for template in (ROOT / "analysis" / "report" / "templates").iterdir():
        assert f"emoprobe/{template.relative_to(ROOT).as_posix()}" in names


def test_the_sdist_carries_no_tests_and_no_notebooks(distributions):
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert not inside & {"tests", "notebooks", "benchmarks", "figures", "Makefile"}
    assert {"setup.cfg", "pyproject.toml", "LICENSE", "README.md", *STAGES} <= inside


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
        "import sys\nfrom importlib.metadata import EntryPoint\n"
        f"main = EntryPoint({entry.name!r}, {entry.value!r}, 'console_scripts').load()\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print('HEAVY', *sorted(set(sys.modules) & set(sys.argv[1:])))"
    )
    done = subprocess.run([sys.executable, "-c", code, *sorted(HEAVY)], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("usage: " + command)
    assert done.stdout.splitlines()[-1].strip() == "HEAVY"
