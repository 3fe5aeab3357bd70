"""What a shell is told can follow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emoprobe.cli.emoprobe import SUBCOMMANDS

pytest.importorskip("argcomplete")


def completed(line: str, folder: Path, *, module: str = "emoprobe") -> list[str]:
    """What the shell of a user who has typed `line` is offered, as argcomplete's own script asks it."""
    answer = folder / "answer"
    asked = {
        "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line.encode())), "COMP_TYPE": "9",
        "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }  # fmt: skip
    code = f"from emoprobe.cli.{module} import main; main([])"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, cwd=folder, check=False)
    return sorted(word.strip() for word in answer.read_text().split("\n") if word.strip())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("emoprobe mod", ["models"]),
        ("emoprobe fit --dim val", ["valence"]),
        ("emoprobe study --teach", ["--teacher", "--teacher-revision"]),
        ("emoprobe study --preset ", ["demo", "paper", "quick"]),
        ("emoprobe nothing --tea", []),
    ],
)
def test_a_line_is_completed(line, offered, tmp_path):
    assert completed(line, tmp_path) == offered


def test_every_subcommand_is_offered(tmp_path):
    assert set(SUBCOMMANDS) <= set(completed("emoprobe ", tmp_path))


def test_a_command_of_its_own_is_completed(tmp_path):
    assert completed("probe-fit --probe r", tmp_path, module="fit") == ["ridge"]
