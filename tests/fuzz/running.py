"""Processes forked from one that has imported everything: a command costs what it computes, and may crash or hang."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import Pipe
from pathlib import Path

#: Module and function of each command, and how it is called by hand.
COMMANDS = {
    "extract": ("emoprobe.cli.extract", "main", "probe-extract"),
    "fit": ("emoprobe.cli.fit", "main", "probe-fit"),
    "plot": ("emoprobe.cli.plot", "main", "probe-plot"),
    "report": ("emoprobe.cli.report", "main", "probe-report"),
    "train": ("emoprobe.cli.train", "main", "probe-train"),
    "export": ("emoprobe.cli.export", "main", "probe-train export"),
    "predict": ("emoprobe.cli.predict", "main", "probe-predict"),
    "transcribe": ("emoprobe.cli.transcribe", "main", "probe-transcribe"),
    "distill": ("emoprobe.cli.distill", "main", "probe-distill"),
    "centroid": ("emoprobe.cli.centroid", "main", "emoprobe centroid"),
    "similarity": ("emoprobe.cli.similarity", "main", "emoprobe similarity"),
}

#: What the commands import once they run; here it is imported before they are forked.
_WARM = (
    "emoprobe.extract.extraction",
    "emoprobe.analysis.figures",
    "emoprobe.analysis.report.content",
    "emoprobe.endtoend.training",
    "emoprobe.endtoend.prediction",
    "emoprobe.transcribe.transcription",
    "emoprobe.probe.fit",
    "emoprobe.probe.weighted",
    "transformers.models.hubert.modeling_hubert",
    "transformers.models.wav2vec2.modeling_wav2vec2",
    "transformers.models.distilbert.modeling_distilbert",
    "accelerate",
    "sklearn.linear_model",
)

#: What a command may take beyond what its process holds at the start.
MEMORY = 6 * 2**30
FILE_SIZE = 2**30


def warm_up() -> None:
    """Import everything, compute nothing: no thread runs when this process is forked."""
    import torch

    torch.set_num_threads(1)
    for module in (*_WARM, *(module for module, _, _ in COMMANDS.values())):
        import_module(module)
    gc.freeze()  # or the collector would write to every page, and each process would copy it


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes
    ----------
    status : int or None
        Exit status, minus the signal, or None for one that was stopped at the time limit.
    out, err : str
    seconds : float
    """

    status: int | None
    out: str
    err: str
    seconds: float


def run(command: str, arguments: Sequence[str], folder: Path, outputs: Path, *, seconds: float) -> Ended:
    """Run a command's main function in `folder`; its output goes to files in `outputs`."""
    module, name, _ = COMMANDS[command]
    texts = [outputs / "stdout.txt", outputs / "stderr.txt"]

    def child() -> int:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(texts, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = [name, *arguments]
        return getattr(import_module(module), name)(list(arguments)) or 0

    begun = time.monotonic()
    status = _wait(_fork(child), seconds)
    out, err = (path.read_bytes().decode("utf-8", "replace") if path.exists() else "" for path in texts)
    return Ended(status, out, err, time.monotonic() - begun)


def in_child(function: Callable[[], object]) -> object:
    """What a function returns that runs in a process of its own: libraries that start threads stay out of this one.

    It comes through a pipe that these two processes alone hold. What is tried here can write files; none is unpickled.
    """
    receiving, sending = Pipe(duplex=False)

    def child() -> int:
        sending.send(function())
        return 0

    process = _fork(child)
    sending.close()
    answer = None
    with receiving, suppress(EOFError):  # it died; its status says so below
        if receiving.poll(120.0):
            answer = receiving.recv()
    if (status := _wait(process, 120.0)) != 0:
        raise RuntimeError(f"the fuzz run's own process ended with {status}; its traceback stands above")
    return answer


def _fork(function: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        status = function()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _wait(pid: int, seconds: float) -> int | None:
    """The exit status; None, and the whole group killed, after so many seconds."""
    end, pause = time.monotonic() + seconds, 0.002
    status = None
    while time.monotonic() < end:
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
            break
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # also what it left running
    if status is None:
        os.waitpid(pid, 0)
    return status
