"""Run the steps of a study, one process after another.

Each step is a process of its own: what it took of memory and of a GPU is free again when the next one begins, a crash
in a library is that step's, and what is run is, word for word, what can be pasted into a shell. The price is that torch
is loaded once a step. A step finds by itself what is done already. Baselines are computed by processors, and from the
audio: they run beside the extraction of the other models.
"""

from __future__ import annotations

import contextlib
import ctypes
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from emoprobe.errors import UserError

from .steps import Plan, Step

#: Exit status of a step that left some files out, and went on.
LEFT_OUT = 3

_PR_SET_PDEATHSIG = 1
#: Looked up here, since between fork and exec nothing may be loaded; None where the system has no such call.
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)

#: In the folder of the study: what each step printed.
LOGS = "logs"


class Shown(Enum):
    """What of the steps' own output is seen while they run."""

    STEPS = "their names alone"
    PROGRESS = "progress, notes and errors"
    ALL = "their summaries too"


def run_steps(
    plan: Plan,
    *,
    program: Sequence[str],
    again: str,
    shown: Shown = Shown.PROGRESS,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Run every step; the first that fails is the last.

    Parameters
    ----------
    plan : Plan
    program : sequence of str
        What runs ``emoprobe``.
    again : str
        The command line that goes on with this study, for the message.
    shown : Shown
        What of the steps' own output is seen; the rest stands in the folder `logs` of the study.
    say : callable
        Told each step before it begins, and the time that all took.

    Returns
    -------
    int
        0, or 3 where a step left some files out.

    Raises
    ------
    UserError
        If a step fails: which, and how to go on. Its own message stands above.
    """
    status, began, count = 0, time.monotonic(), len(plan.steps)
    folder = plan.out / LOGS
    folder.mkdir(exist_ok=True)
    beside: list[_Started] = []
    try:
        for number, step in enumerate(plan.steps, start=1):
            while step.waits and beside:
                status = max(status, beside.pop(0).ended(count, again))
            # Two that print all they have to say could not be told apart.
            aside = step.beside and shown is not Shown.ALL and number < count
            say(f"step {number} of {count}: {step.does}" + (", beside the next" if aside else ""))
            quiet = aside or shown is Shown.STEPS
            words = [*program, *step.words, *(["--quiet"] if quiet else [])]
            started = _Started.now(number, step, words, folder, quiet=quiet, logged=shown is not Shown.ALL)
            if aside:
                beside.append(started)
            else:
                status = max(status, started.ended(count, again))
        while beside:
            status = max(status, beside.pop(0).ended(count, again))
    finally:
        for left in beside:  # another one failed, or the study was interrupted
            left.end()
    kept = "" if shown is Shown.ALL else f"; what each printed is in {folder}"
    say(f"{count} steps in {told_time(time.monotonic() - began)}{kept}")
    return status


@dataclass(frozen=True)
class _Started:
    """A step that runs: its number, its process, and where it prints what is not shown."""

    number: int
    step: Step
    log: Path
    quiet: bool
    process: subprocess.Popen[bytes]

    @classmethod
    def now(cls, number: int, step: Step, words: Sequence[str], folder: Path, *, quiet: bool, logged: bool) -> _Started:
        """Start it; it never outlives us."""
        log = folder / f"{number:02}-{step.command}.txt"
        sys.stdout.flush()
        with log.open("wb") if logged else nullcontext() as file:
            process = subprocess.Popen(
                words,
                stdout=file,
                stderr=file if quiet else None,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - no threads
            )
        return cls(number, step, log, quiet, process)

    def ended(self, count: int, again: str) -> int:
        """Wait for its end; its exit status where it has done what it could.

        Raises
        ------
        UserError
            If it has failed.
        """
        try:
            status = self.process.wait()
        except BaseException:  # interrupted or terminated: so is the step, which keeps what it has finished
            self.end()
            raise
        if status in (0, LEFT_OUT):
            return status
        how = _signal_name(-status) if status < 0 else f"exit status {status}"
        said = f"the last that it said: {_last_line(self.log)}" if self.quiet else "what it says stands above"
        anew = f"; to replace what it made with other settings: {again} --again {self.number}"
        raise UserError(
            f"step {self.number} of {count} ({self.step.does}) failed ({how}); {said}. Once that is mended, go on with "
            f"all that is left: {again}{anew if self.step.can_be_made_anew else ''}; or try this step alone: "
            f"{self.step.line}"
        )

    def end(self) -> None:
        """Have it end now; what it has finished it keeps."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing"


def end_with_parent() -> None:
    """Have the system end this process when the study is killed, where it can (Linux): nobody would wait for it."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_name(number: int) -> str:
    told = signal.Signals(number).name
    return f"{told}; the system may be out of memory" if number == signal.SIGKILL else told


def told_time(seconds: float) -> str:
    """Seconds for a person.

    Examples
    --------
    >>> told_time(4), told_time(131), told_time(9_000)
    ('4 s', '2 min 11 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def pasted(plan: Plan) -> list[str]:
    """The commands of a plan, each with what it does as a comment before it, ready to be pasted into a shell."""
    return [line for k, step in enumerate(plan.steps, start=1) for line in (f"# {k}: {step.does}", step.line)]


def again_line(words: Sequence[str]) -> str:
    """The command line that goes on with a study."""
    return shlex.join(["emoprobe", "study", *words])
