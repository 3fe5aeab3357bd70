"""Convert a made-up wheel's model in a process of its own, which may be killed on its way."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from emoprobe.extract.encoders.packaged import WheelModel


def write_model(files: Mapping[str, bytes], folder: Path) -> None:
    """Two files; a line in the log for every conversion that was begun."""
    with Path(os.environ["CONVERSION_LOG"]).open("a") as log:
        log.write("begun\n")
    (folder / "config.json").write_text("{}")
    time.sleep(0.2)
    (folder / "model.safetensors").write_bytes(files["model.bin"])


def model(sha256: str, convert=write_model, version: int = 1) -> WheelModel:
    """The model of the package `made_up_wheel`, which lies on the path of imports."""
    return WheelModel(
        name="made-up",
        wheel="made-up-wheel",
        module="made_up_wheel",
        inside="model",
        sha256={"model.bin": sha256},
        convert=convert,
        version=version,
    )


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _half(files: Mapping[str, bytes], folder: Path) -> None:
    write_model(files, folder)
    (folder / "model.safetensors").write_bytes(files["model.bin"][:3])
    _die()


if __name__ == "__main__":
    sha256, when = sys.argv[1:]
    if when == "before it takes its place":
        Path.rename = lambda *arguments: _die()
    print(model(sha256, _half if when == "half-way" else write_model)())
