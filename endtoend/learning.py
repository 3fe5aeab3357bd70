"""The learning curves of a run: what each training logged, as one tidy table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.jsontext import from_json
from emoprobe.ownership import begins_with_columns, refuse_stranger
from emoprobe.storage import replacing

#: Of a run's folder.
FILE = "learning.csv"

#: One row a training and epoch; a column ``ccc_DIMENSION`` for each dimension follows.
COLUMNS = ("training", "epoch", "step", "loss", "learning_rate", "ccc")

_SCORE = "eval_"


def learning_curves(out: str | Path) -> pd.DataFrame:
    """What the trainings of a run logged, epoch by epoch.

    Parameters
    ----------
    out : str or Path
        Folder that ``probe-train`` wrote.

    Returns
    -------
    DataFrame
        `training` (its folder, such as ``seed0-fold-all``), `epoch`, `step`, `loss` (the sum over dimensions of
        1 − CCC in training, its mean over the epoch), `learning_rate` (of the heads, at the end of the epoch), `ccc`
        (on the development part, the mean over dimensions), and ``ccc_DIMENSION``. NaN where nothing was logged.

    Raises
    ------
    UserError
        If the folder holds no training, or a log is damaged.
    """
    logs = sorted(Path(out).glob("runs/*/log.jsonl"))
    if not logs:
        raise UserError(f"{out} holds no training: give the folder that probe-train wrote (--out)")
    rows = [row for log in logs for row in _rows(log)]
    table = pd.DataFrame(rows)
    dimensions = sorted(name for name in map(str, table) if name.startswith("ccc_"))
    return table.reindex(columns=[*COLUMNS, *dimensions])


def _rows(log: Path) -> list[dict]:
    """A row an epoch: the Trainer logs the loss and the scores of one on lines of their own, at the same step."""
    rows: dict[int, dict] = {}
    for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            logged: Any = from_json(line)
            step, epoch = int(logged["step"]), float(logged["epoch"])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{log}, line {number}, is no line of a training's log; train again, to another --out"
            ) from error
        kept = {
            name.removeprefix(_SCORE): value
            for name, value in logged.items()
            if name in ("loss", "learning_rate") or name.startswith(f"{_SCORE}ccc")
        }
        if kept:
            rows.setdefault(step, {"training": log.parent.name, "epoch": epoch, "step": step}).update(kept)
    return list(rows.values())


def write_learning_curves(out: Path) -> Path:
    """Write :data:`FILE` into the folder of a run."""
    path = out / FILE
    refuse_stranger(path, begins_with_columns(COLUMNS), "table of learning curves", option="--out")
    with replacing(path) as temporary:
        learning_curves(out).to_csv(temporary, index=False)
    return path
