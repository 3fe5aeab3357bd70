"""How a training that was stopped goes on: from which checkpoint, and from which line of its log."""

from __future__ import annotations

import math
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .jsontext import dict_from_json
from .storage import write_file


def last_whole_checkpoint(
    folder: Path, *, stops_early: bool = True, clean: bool = True, say: Callable[[str], None] = lambda line: None
) -> Path | None:
    """The newest checkpoint that can be gone on from; what was torn or damaged is removed where `clean`, and said.

    The Trainer writes the state of the training last, so one that a kill left half-written has none. A disk that was
    full or failed can cut any of its files.

    Parameters
    ----------
    folder : Path
        Holds ``checkpoint-STEP`` folders; it may be absent.
    stops_early : bool
        Whether the training stops when it gets no better, and a checkpoint says how often it has not.
    clean : bool
    say : callable
        Given a line for each checkpoint that is passed over.
    """
    numbered = {int(path.name[11:]): path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()}
    passed = {}
    for _, checkpoint in sorted(numbered.items(), reverse=True):
        problem = _problem(checkpoint, stops_early)
        if not problem:
            break
        passed[checkpoint] = problem
        if clean:
            shutil.rmtree(checkpoint, ignore_errors=True)
    else:
        checkpoint = None
    instead = "training begins anew" if checkpoint is None else f"{checkpoint.name} is used"
    for path, problem in passed.items():
        say(f"note: {path} is not whole ({problem}): {instead}")
    return checkpoint


def cut_log(log: Path, *, step: int) -> None:
    """Take out of a log what came after a checkpoint, which will be logged again, and a line that a kill cut short.

    Parameters
    ----------
    log : Path
        JSON lines, each with its "step"; it may be absent.
    step : int
        Of the checkpoint.
    """
    if log.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        write_file(log, "".join(f"{line}\n" for line in lines if _step(line) <= step))


def _step(line: str) -> float:
    try:
        return float(dict_from_json(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _problem(checkpoint: Path, stops_early: bool) -> str:
    """Why a checkpoint cannot be gone on from; "" if it can."""
    try:
        state = dict_from_json((checkpoint / "trainer_state.json").read_text())
        best = state["best_model_checkpoint"]
        if not isinstance(state["global_step"], int) or not isinstance(state["epoch"], int | float):
            raise TypeError("no count of steps")
        if stops_early:
            int(state["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"])
    except (OSError, ValueError, KeyError, TypeError):
        return "trainer_state.json is missing or cut short"
    weights = _weights(checkpoint)
    # One that a later and better epoch replaced is gone, and will be replaced again.
    if best and (checkpoint.parent / Path(best).name / "model.safetensors").exists():
        weights += _weights(checkpoint.parent / Path(best).name)
    for path in weights:
        if problem := problem_of_weights(path):
            return f"{path.relative_to(checkpoint.parent)} {problem}"
    states = sorted(path for path in checkpoint.iterdir() if path.suffix in (".pt", ".pth"))
    lacking = [name for name in ("optimizer.pt", "scheduler.pt", "rng_state") if not _starts_one(states, name)]
    if lacking:
        return f"{', '.join(lacking)} is missing"
    return next((f"{path.name} is damaged" for path in states if not _is_whole_archive(path)), "")


def _weights(checkpoint: Path) -> list[Path]:
    """The model's, and what else it may hold of the kind, such as an average of them."""
    others = set(checkpoint.glob("*.safetensors")) - {checkpoint / "model.safetensors"}
    return [checkpoint / "model.safetensors", *sorted(others)]


def _starts_one(paths: list[Path], name: str) -> bool:
    return any(path.name.startswith(name) for path in paths)


def _is_whole_archive(path: Path) -> bool:
    """Whether a file that torch saved, which is a zip archive, has every byte that it was written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    # Each tells damage, and the archive is then not used: a changed byte may stand in a name or a length, or turn a
    # flag into "encrypted" or "of a later version" (zipfile's NotImplementedError; nothing is missing here).
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError):
        return False


def problem_of_weights(path: Path) -> str:
    """Why a file of weights cannot be read; "" if it can. Its length is known from its head; its bytes are not read."""
    try:
        with safe_open(path, framework="pt"):
            return ""
    except FileNotFoundError:
        return "is missing"
    except (OSError, SafetensorError) as error:
        return f"is damaged ({str(error).strip().splitlines()[0]})"
