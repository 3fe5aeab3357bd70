"""Run the steps of a study, one process after another.

Each step is a process of its own: what it took of memory and of a GPU is free again when the next one begins, a crash
in a library is that step's, and what is run is, word for word, what can be pasted into a shell. The price is that torch
is loaded once a step. A step finds by itself what is done already.
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
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from emoprobe.errors import UserError

from .steps import Plan

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
    for number, step in enumerate(plan.steps, start=1):
        say(f"step {number} of {count}: {step.does}")
        words = [*program, *step.words]
        words += ["--quiet"] if shown is Shown.STEPS else []
        log = folder / f"{number:02}-{step.command}.txt"
        with nullcontext() if shown is Shown.ALL else log.open("wb") as file:
            ended = _run(words, file, file if shown is Shown.STEPS else None)
        if ended not in (0, LEFT_OUT):
            how = _signal_name(-ended) if ended < 0 else f"exit status {ended}"
            said = f"the last that it said: {_last_line(log)}" if shown is Shown.STEPS else "what it says stands above"
            anew = f"; to replace what it made with other settings: {again} --again {number}"
            raise UserError(
                f"step {number} of {count} ({step.does}) failed ({how}); {said}. Once that is mended, go on with all "
                f"that is left: {again}{anew if step.can_be_made_anew else ''}; or try this step alone: {step.line}"
            )
        status = max(status, ended)
    kept = "" if shown is Shown.ALL else f"; what each printed is in {folder}"
    say(f"{count} steps in {told_time(time.monotonic() - began)}{kept}")
    return status


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing"


def _run(words: Sequence[str], output: BinaryIO | None, errors: BinaryIO | None) -> int:
    """Run a command to its end, and never beyond our own; its exit status, or minus the signal that ended it."""
    sys.stdout.flush()
    process = subprocess.Popen(words, stdout=output, stderr=errors, preexec_fn=end_with_parent)  # noqa: PLW1509 - no threads
    try:
        return process.wait()
    except BaseException:  # interrupted or terminated: so is the step, which keeps what it has finished
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait()
        raise


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
