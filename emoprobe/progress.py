"""How far a long computation has come: a bar on a terminal or in a notebook, elsewhere a line a minute."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

#: What a bar writes beside its text: back to the line's begin, a line up.
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")
_BAR = re.compile(r"\|?\{bar[^}]*\}\|?")
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {elapsed} gone, {remaining} to go"


def progress_bar(
    things: Iterable[Any] | None = None,
    *,
    show: bool = True,
    total: float | None = None,
    initial: int = 0,
    desc: str = "",
    unit: str = "step",
    unit_scale: float | bool = False,
    bar_format: str | None = None,
    stream: IO[str] | io.TextIOBase | None = None,
) -> tqdm[Any]:
    """A progress bar on standard error, where it can be drawn over; else a line at each full minute.

    A log of a cluster, and a file, are then not filled with thousands of states of a bar, and what takes less than a
    minute is not told there.

    Parameters
    ----------
    things : iterable, optional
        What to go through; else the caller counts, by ``update(n)``.
    show : bool
        Show anything.
    total, initial, desc, unit, unit_scale, bar_format
        As :class:`tqdm.tqdm` has them.
    stream : file, optional
        In place of standard error.

    Returns
    -------
    tqdm
        It is also a context, at whose end the bar is closed.

    Examples
    --------
    >>> for layer in progress_bar(range(3), desc="probes", unit="layer", show=False):
    ...     print(layer, end=" ")
    0 1 2
    """
    from tqdm import tqdm

    stream = stream or sys.stderr
    if not _can_be_drawn_over(stream):
        stream, unit = Lines(stream), f"{unit}s"
        bar_format = _BAR.sub(" ", bar_format) if bar_format else _LINE
    return tqdm(
        things,
        disable=not show,
        total=total,
        initial=initial,
        desc=desc or None,
        unit=unit,
        unit_scale=unit_scale,
        bar_format=bar_format,
        mininterval=0.5,
        file=stream,
    )


def _can_be_drawn_over(stream: IO[str] | io.TextIOBase) -> bool:
    """A terminal, or the output of a cell in a notebook."""
    return stream.isatty() or type(stream).__module__.startswith("ipykernel")


class Lines(io.TextIOBase):
    """Takes what a bar draws, and writes it as a line when a full minute has begun since it was written last.

    Full minutes of the machine's clock are the same for all bars, so that many short ones make a line a minute, too.

    Parameters
    ----------
    stream : file
    clock : callable
        Seconds, at any offset.
    """

    def __init__(self, stream: IO[str] | io.TextIOBase, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._minute = clock() // 60

    def write(self, text: str) -> int:
        """Write the text of a bar, without what moves the cursor, where it is time to."""
        line = " ".join(_CONTROL.sub("", text).split())
        minute = self._clock() // 60
        if line and minute > self._minute:
            self._minute = minute
            self._stream.write(f"{line}\n")
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Have what was written seen."""
        self._stream.flush()
