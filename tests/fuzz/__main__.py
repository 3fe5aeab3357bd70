"""Give hostile inputs to every command; exit status 1 when one is not answered as promised."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.fuzz.kinds import KINDS, Case, clear, describe, make, order
from tests.fuzz.material import make_inputs, make_material
from tests.fuzz.running import COMMANDS, Ended, in_child, run, warm_up
from tests.fuzz.verdicts import faults_of_answer, faults_of_numbers, faults_of_tree, signature, snapshot


@dataclass(frozen=True)
class Settings:
    """Of a fuzz run.

    Attributes
    ----------
    seed : int
    only : tuple of str
        Kinds; all if empty.
    minutes : float or None
        No input is begun after so long.
    inputs : int or None
        How many, at most.
    seconds : float
        An input that is not answered after so long counts as a hang.
    jobs : int
        Processes at a time.
    findings : Path
        Folder for the inputs that were not answered well.
    """

    seed: int
    only: tuple[str, ...]
    minutes: float | None
    inputs: int | None
    seconds: float
    jobs: int
    findings: Path


def main(argv: list[str] | None = None) -> int:
    settings, number = _arguments(argv)
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "120"}
    warm_up()
    with tempfile.TemporaryDirectory(prefix="emoprobe-fuzz-") as folder:
        place = Path(folder)
        os.environ["EMOPROBE_HOME"] = str(place / "home")
        intact = _intact(place)
        if number is not None:
            worker = _Worker(place / "worker0", intact, settings)
            answer = worker.answer(settings.only[0], number)
            print(worker.told(answer), end="")
            return 1 if answer["faults"] else 0
        begun = time.monotonic()
        answers = list(_all_answers(place, intact, settings))
        return _summary(answers, settings, time.monotonic() - begun)


def _arguments(argv: list[str] | None) -> tuple[Settings, int | None]:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, help="begin no input after so long (default: 15, without --inputs)")
    parser.add_argument("--inputs", type=int, metavar="N", help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=sorted(KINDS), default=(), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--case", type=int, metavar="N", help="this one input of the kind that --only names")
    parser.add_argument("--seconds", type=float, default=90, help="for one input, then it counts as a hang (90)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes at a time (2)")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for findings")
    given = parser.parse_args(argv)
    if given.case is not None and len(given.only) != 1:
        parser.error("--case wants one kind: --only KIND")
    minutes = 15.0 if given.minutes is None and given.inputs is None else given.minutes
    settings = Settings(
        given.seed, tuple(given.only), minutes, given.inputs, given.seconds, given.jobs, given.findings.resolve()
    )
    return settings, given.case


def _intact(place: Path) -> Path:
    """The intact material, made by the commands themselves; each must succeed on it."""
    tree, intact = place / "worker0" / "tree", place / "intact"
    in_child(lambda: make_inputs(tree))

    def run_clean(command: str, arguments: tuple[str, ...]) -> None:
        ended = run(command, arguments, tree, place, seconds=600)
        if ended.status != 0:
            raise SystemExit(f"{command} fails on intact material, with {ended.status}: {ended.err}")

    make_material(tree, run_clean)
    clear(intact, tree)
    return intact


class _Worker:
    """Answers inputs one after another in a folder of its own."""

    def __init__(self, folder: Path, intact: Path, settings: Settings):
        self.tree, self.outputs = folder / "tree", folder / "outputs"
        self.intact, self.settings = intact, settings
        self.outputs.mkdir(parents=True, exist_ok=True)

    def answer(self, kind: str, number: int) -> dict:
        """Make an input, run its command, judge; keep it where it was not answered well."""

        def prepared() -> tuple[Case, dict[str, str]]:
            clear(self.tree, self.intact)
            case = make(self.tree, kind, self.settings.seed, number)
            return case, snapshot(self.tree)

        case, before = in_child(prepared)
        ended = run(case.command, case.arguments, self.tree, self.outputs, seconds=self.settings.seconds)
        faults = faults_of_answer(case, ended)
        faults += faults_of_tree(case, before, snapshot(self.tree))
        if case.compare:
            faults += in_child(lambda: self._faults_of_numbers(case, ended))
        answer = {
            "kind": kind,
            "number": number,
            "command": case.command,
            "line": " ".join([COMMANDS[case.command][2], *map(shlex.quote, case.arguments)])[:600],
            "mutation": case.mutation[:400],
            "status": ended.status,
            "seconds": round(ended.seconds, 2),
            "faults": faults,
        }
        if faults:
            self._keep(case, ended, answer)
        return answer

    def _faults_of_numbers(self, case: Case, ended: Ended) -> list[str]:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a decoder of damaged audio writes there, past Python
        try:
            return faults_of_numbers(case, ended, self.tree, self.intact)
        except Exception as error:
            return [f"what was written cannot be read: {error!r}"]

    def _keep(self, case: Case, ended: Ended, answer: dict) -> None:
        """The input as the command met it, and what it answered."""
        folder = self.settings.findings / f"{answer['kind']}-{self.settings.seed}-{answer['number']}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

        def again() -> None:
            clear(folder / "tree", self.intact)
            make(folder / "tree", answer["kind"], self.settings.seed, answer["number"])

        in_child(again)
        (folder / "stdout.txt").write_text(ended.out)
        (folder / "stderr.txt").write_text(ended.err)
        (folder / "case.json").write_text(describe(case))
        (folder / "README.txt").write_text(self.told(answer), errors="backslashreplace")

    def told(self, answer: dict) -> str:
        what = "\n  ".join(answer["faults"]) or "answered well"
        return (
            f"{answer['kind']} {answer['number']}: {answer['mutation']}\n  {answer['line']}\n"
            f"  exit status {answer['status']} after {answer['seconds']} s: {what}\n"
            f"  again: python -m tests.fuzz --seed {self.settings.seed} --only {answer['kind']}"
            f" --case {answer['number']}\n"
        )


def _all_answers(place: Path, intact: Path, settings: Settings) -> Iterable[dict]:
    """Of all processes; each writes its answers to a file."""
    files, processes = [], []
    begun = time.monotonic()
    for index in range(settings.jobs):
        files.append(place / f"answers{index}.jsonl")
        sys.stdout.flush()
        if pid := os.fork():
            processes.append(pid)
            continue
        status = 1
        try:
            worker = _Worker(place / f"worker{index}", intact, settings)
            with files[-1].open("w", encoding="utf-8") as file:
                for kind, number in islice(order(settings.seed, settings.only), index, settings.inputs, settings.jobs):
                    if settings.minutes is not None and time.monotonic() - begun > 60 * settings.minutes:
                        break
                    answer = worker.answer(kind, number)
                    file.write(json.dumps(answer) + "\n")
                    if answer["faults"]:
                        print(worker.told(answer).encode("utf-8", "backslashreplace").decode(), end="", flush=True)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    failed = [pid for pid in processes if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0]
    if failed:
        raise SystemExit("the fuzz run itself failed; the traceback stands above")
    for file in files:
        yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())


def _summary(answers: list[dict], settings: Settings, seconds: float) -> int:
    """Counts by kind and exit status, then every finding once; the exit status."""
    if not answers:
        raise SystemExit("no input was begun: give more --minutes, or --inputs")
    statuses = Counter((answer["kind"], answer["status"]) for answer in answers)
    columns = sorted({status for _, status in statuses}, key=str)
    print(f"\n{len(answers):,} inputs in {seconds / 60:.1f} minutes, seed {settings.seed}; by exit status:")
    print(f"{'kind':20}" + "".join(f"{'hang' if status is None else status:>7}" for status in columns) + "  findings")
    for kind in sorted({answer["kind"] for answer in answers}):
        counts = "".join(f"{statuses[kind, status]:>7}" for status in columns)
        bad = sum(bool(answer["faults"]) for answer in answers if answer["kind"] == kind)
        print(f"{kind:20}{counts}{bad:>10}")
    commands = Counter(answer["command"] for answer in answers)
    print("by command: " + ", ".join(f"{name} {count}" for name, count in commands.most_common()))
    slowest = max(answers, key=lambda answer: answer["seconds"])
    print(f"slowest: {slowest['seconds']} s, {slowest['kind']} {slowest['number']}")
    groups: dict[tuple[str, str], list[dict]] = {}
    for answer in answers:
        if answer["faults"]:
            groups.setdefault((answer["command"], signature(answer["faults"])), []).append(answer)
    if not groups:
        print("every input was answered by a result, a listed reason or one line")
        return 0
    print(f"\n{sum(map(len, groups.values()))} findings of {len(groups)} kinds, kept in {settings.findings}:")
    for group in sorted(groups.values(), key=len, reverse=True):
        first = group[0]
        print(f"{len(group)} x {'; '.join(first['faults'])}")
        print(f"    {first['kind']} {first['number']}: {first['mutation'][:150]}\n    {first['line'][:200]}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
