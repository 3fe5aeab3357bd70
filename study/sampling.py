"""A few utterances of a corpus as a manifest, and what a command takes for them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.errors import UserError

from .running import end_with_parent

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.extract.corpora import Corpus

#: Utterances of a sample: some batches of a small model, and no more than a minute or two of a large one's.
SAMPLED = 24


@dataclass(frozen=True)
class Taken:
    """What a process took.

    Attributes
    ----------
    seconds : float
        By the clock.
    memory : int
        Bytes at its peak, in the machine's memory.
    processor : float
        Seconds of all its threads, which other work on the machine does not prolong.
    """

    seconds: float
    memory: int
    processor: float = 0.0

    def more_than(self, other: Taken, *, on_processor: bool) -> float:
        """Seconds that this took more than another process; at least 0.

        Parameters
        ----------
        other : Taken
        on_processor : bool
            Whether the processor does the work, and not a device beside it: its own time is then counted, over as many
            threads as were busy, which other work on the machine does not prolong.
        """
        if not on_processor:
            return max(0.0, self.seconds - other.seconds)
        threads = max(1.0, self.processor / self.seconds) if self.seconds else 1.0
        return max(0.0, (self.processor - other.processor) / threads)


def write_sample(corpus: Corpus, rows: pd.Index, path: Path, *, words: bool = True) -> None:
    """Write utterances of a corpus as a manifest of their own, with the paths that they have.

    Parameters
    ----------
    corpus : Corpus
    rows : Index
        Of its table.
    path : Path
        A CSV file; its folder is made.
    words : bool
        Their transcripts, too.
    """
    from emoprobe.extract.corpora.table import held_columns

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [name for name in held_columns(corpus.utterances) if name not in ("split", "fold")]
    columns = [name for name in columns if words or name != "transcript"]
    corpus.utterances.loc[rows, columns].to_csv(path, index=False)


def measure(words: Sequence[str], log: Path) -> Taken:
    """Run a command to its end and tell what it took.

    Parameters
    ----------
    words : sequence of str
        The program and its arguments.
    log : Path
        Where it prints.

    Raises
    ------
    UserError
        If it fails, with the last that it said.
    """
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file, preexec_fn=end_with_parent)  # noqa: PLW1509
        _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 3):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise UserError(lines[-1].removeprefix("error: ") if lines else f"exit status {code}")
    return Taken(time.monotonic() - began, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)
