"""Whether an answer is one that was promised."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from tests.fuzz.kinds import Case
from tests.fuzz.running import Ended

#: Of states that were computed from the same sound, in units of the largest: in a batch with others, float32 sums come
#: in another order.
TOLERANCE = 1e-5

#: Samples that an MP3 file may lack of what its header tells: they are filled with zeros, as `read_audio` says.
MPEG_FRAME = 1_152

#: How Python writes a warning, with a file and a line of ours or of a library; and how torch's C++ does.
_WARNING = re.compile(r"\.py:\d+: \w*Warning|^\[W\d{3,}", flags=re.M)
_LINE_LENGTH = 3_000


def snapshot(tree: Path) -> dict[str, str]:
    """What stands at each place below a folder: a file's hash, a link's target, or what else it is."""
    held = {}
    for parent, folders, names in os.walk(tree):
        for name in names + [name for name in folders if (Path(parent) / name).is_symlink()]:
            path = Path(parent) / name
            if path.is_symlink():
                value = f"link {path.readlink()}"
            elif path.is_file():
                value = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                value = "device or pipe"
            held[path.relative_to(tree).as_posix()] = value
    return held


def faults_of_answer(case: Case, ended: Ended) -> list[str]:
    """What is wrong with exit status and text."""
    if ended.status is None:
        return [f"no end after {ended.seconds:.0f} s"]
    if ended.status < 0:
        return [f"ended by signal {-ended.status}"]
    faults, text = [], ended.out + ended.err
    if "Traceback (most recent call last)" in text:
        faults.append(f"a traceback: {_trace(text)}")
    if warning := _WARNING.search(text):
        faults.append(f"a warning: {_around(text, warning.start())}")
    lines = ended.err.splitlines()
    # Letter case: an error of the hub's or of torch's logger is one too.
    errors = [line for line in lines if line.startswith("error: ") or re.match(r"[\w. -]+: error: ", line)]
    if ended.status == 2:
        if len(errors) != 1:
            faults.append(f"{len(errors)} error lines at exit status 2")
        elif len(errors[0]) > _LINE_LENGTH:
            faults.append(f"an error line of {len(errors[0]):,} characters")
        elif not re.sub(r"^[\w. -]*error: ", "", errors[0]).strip():
            faults.append("an error line that says nothing")
        elif not errors[0].isprintable():
            faults.append("an error line with control characters")
    elif ended.status == 3:
        if "left out" not in ended.err:
            faults.append("exit status 3, and nothing is listed as left out")
    elif ended.status == 1:
        if "--verify" not in case.arguments and not faults:
            faults.append("exit status 1")
    elif ended.status != 0:
        faults.append(f"exit status {ended.status}")
    elif errors:
        faults.append("exit status 0 with an error line")
    return faults


def faults_of_tree(case: Case, before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Files that are not the command's, and are not what they were; and what it left lying about."""
    changed = [
        name
        for name, value in before.items()
        if after.get(name) != value and ("foreign" in name or not any(fnmatchcase(name, own) for own in case.own))
    ]
    faults = [f"changed or removed: {', '.join(changed[:4])}"] if changed else []
    if "harmed.txt" in after:
        faults.append("what an input holds was executed")
    left = [
        name
        for name in after.keys() - before.keys()
        if re.search(r"(^|/)\.[^/]*\.(new|old|part|tmp)(/|$)|\.(part|tmp)$", name)
    ]
    if left:
        faults.append(f"left behind: {', '.join(sorted(left)[:4])}")
    return faults


def faults_of_numbers(case: Case, ended: Ended, tree: Path, intact: Path) -> list[str]:
    """Numbers that differ from those of the intact material without a word."""
    if case.compare == "states" and ended.status in (0, 3):
        return _states(tree / "new.h5", intact / "c.h5", tree / "corpus")
    if case.compare == "scores" and ended.status == 0 and (tree / "new" / "scores.csv").exists():
        return _scores(tree / "new" / "scores.csv", intact / "results" / "scores.csv")
    return []


def _states(new: Path, old: Path, audio: Path) -> list[str]:
    """The intact utterances have the states they had; a damaged one that was used has all that a decoder gives."""
    from emoprobe.extract.cache import HiddenStateCache

    faults = []
    with HiddenStateCache(new) as ours, HiddenStateCache(old) as theirs:
        table, reference = ours.utterances.set_index("id"), theirs.utterances.set_index("id")
        rows = [list(table.index).index(name) for name in reference.index]
        lost = [name for name in reference.index if table.loc[name, "status"] != "done"]
        if lost:
            return [f"intact utterances are left out: {', '.join(lost)}"]
        for name in theirs.statistics:
            expected = theirs.states(name)
            worst = np.abs(ours.states(name)[:, rows] - expected).max() / np.abs(expected).max()
            if not worst <= TOLERANCE:
                faults.append(f"{name} of intact utterances differs by {worst:.1e}")
        if "damaged" in table.index and table.loc["damaged", "status"] == "done":
            path = audio / table.loc["damaged", "path"].rpartition("/")[2]
            samples, rate = soundfile.read(path)
            told = float(table.loc["damaged", "seconds"])
            if abs(told - len(samples) / rate) > (MPEG_FRAME if path.suffix == ".mp3" else 2) / rate:
                faults.append(f"{told:.3f} s used, and a decoder gives {len(samples) / rate:.3f} s")
            if not np.isfinite(ours.states("mean")).all():
                faults.append("states are not finite")
    return faults


def _scores(new: Path, old: Path) -> list[str]:
    keys = ["dimension", "probe", "layer", "fold", "seed", "split"]
    ours, theirs = pd.read_csv(new), pd.read_csv(old)
    theirs = theirs[theirs["probe"].isin(set(ours["probe"]))]
    both = ours.merge(theirs, on=keys, suffixes=("", "_intact"), how="outer")
    differs = ~np.isclose(both["ccc"], both["ccc_intact"], rtol=1e-5, atol=1e-7, equal_nan=True)
    if differs.any():
        return [f"{int(differs.sum())} of {len(both)} scores differ from those of the intact cache, with exit status 0"]
    return []


def _trace(text: str) -> str:
    """The last line of ours in a traceback, and the exception."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', text)
    foreign = ("site-packages", "/lib/python", ".pyx", "/tests/fuzz/")
    ours = [frame for frame in frames if not any(part in frame[0] for part in foreign)] or frames[-1:]
    where = f"{Path(ours[-1][0]).name} {ours[-1][2]}" if ours else "?"
    errors = re.findall(r"^([\w.]+(?:Error|Exception|Warning|Exit|Interrupt)\b[^\n]*)", text, flags=re.M)
    return f"{where}: {errors[-1][:160] if errors else text.strip().splitlines()[-1][:160]}"


def _around(text: str, place: int) -> str:
    begin = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    return text[begin : end if end > 0 else None][:200]


def signature(faults: Sequence[str]) -> str:
    """What makes two findings the same: the faults without their numbers and names."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+|\S*/\S*", "…", "; ".join(faults))[:150]
