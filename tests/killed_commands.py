"""Run commands in forks of one warm process (``command_server.py``), and kill one with all that it has started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

#: Module and function of every command.
COMMANDS = {
    "probe-extract": ("emoprobe.cli.extract", "main"),
    "probe-fit": ("emoprobe.cli.fit", "main"),
    "probe-plot": ("emoprobe.cli.plot", "main"),
    "probe-report": ("emoprobe.cli.report", "main"),
    "probe-train": ("emoprobe.cli.train", "main"),
    "probe-predict": ("emoprobe.cli.predict", "main"),
    "probe-transcribe": ("emoprobe.cli.transcribe", "main"),
    "probe-distill": ("emoprobe.cli.distill", "main"),
}

#: Seconds after which a command is said to hang: many times what any takes here.
PATIENCE = 240.0


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes
    ----------
    status : int
        Its exit status, or minus the signal.
    output : str
        Standard output and standard error together.
    """

    status: int
    output: str


class Commands:
    """The warm process; a context that ends it."""

    def __init__(self) -> None:
        server = Path(__file__).with_name("command_server.py")
        self._server = subprocess.Popen(
            [sys.executable, str(server)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._server.stdout.readline() == "ready\n"

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stdin.close()
        self._server.wait()

    def run(
        self,
        line: str,
        folder: Path,
        *,
        after: float | None = None,
        send: signal.Signals = signal.SIGKILL,
        file_bytes: int | None = None,
        output: Path | None = None,
    ) -> Ended:
        """Run a command in a folder.

        Parameters
        ----------
        line : str
            As a shell takes it, without quotes.
        folder : Path
        after : float, optional
            Seconds after which the signal is sent to the command and to all that it has started.
        send : signal
        file_bytes : int, optional
            Size that no file can pass, as on a disk that is full there.
        output : Path, optional
            Where what it says is kept; beside the folder by default.
        """
        name, *arguments = line.split()
        output = output or folder.with_name(f"{folder.name}.output")
        folder.mkdir(parents=True, exist_ok=True)
        job = {"command": COMMANDS[name], "arguments": arguments, "folder": str(folder), "output": str(output)}
        if file_bytes is not None:
            job["file_bytes"] = file_bytes
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        process = int(self._server.stdout.readline())

        def end(number: signal.Signals) -> None:
            with contextlib.suppress(ProcessLookupError):  # it was quicker
                os.killpg(process, number)

        timers = [threading.Timer(PATIENCE, end, (signal.SIGKILL,))]
        if after is not None:
            timers.append(threading.Timer(after, end, (send,)))
        for timer in timers:
            timer.start()
        status = int(self._server.stdout.readline())
        for timer in timers:
            timer.cancel()
        return Ended(status, output.read_text(errors="replace"))
