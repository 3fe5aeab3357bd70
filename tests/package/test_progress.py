"""A bar on a terminal; a line a minute elsewhere."""

from __future__ import annotations

import io
from functools import partial

from emoprobe.progress import Lines, progress_bar


class Terminal(io.StringIO):
    """Text that is written to a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, now: float = 30.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_line_is_written_once_a_minute():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, clock)
    for state in range(301):
        clock.now = 30.0 + state
        lines.write(f"\rfitting: {state} of 300 layers\x1b[A")
        lines.write("\n")
    assert stream.getvalue().splitlines() == [f"fitting: {state} of 300 layers" for state in (30, 90, 150, 210, 270)]


def test_many_short_bars_make_a_line_a_minute_together():
    """Each lives for 20 seconds, and none saw a full minute pass by itself."""
    stream, clock = io.StringIO(), Clock(0.0)
    for number in range(15):
        lines = Lines(stream, clock)
        for _ in range(20):
            clock.now += 1.0
            lines.write(f"\rbar {number}")
    assert len(stream.getvalue().splitlines()) == 5


def test_a_file_holds_no_bar_and_a_terminal_does():
    for stream, drawn in ((io.StringIO(), False), (Terminal(), True)):
        assert list(progress_bar(range(3), desc="probes", unit="layer", stream=stream)) == [0, 1, 2]
        assert ("3/3" in stream.getvalue() and "\r" in stream.getvalue()) is drawn
        assert drawn or stream.getvalue() == ""


def test_what_a_file_is_told_has_no_room_for_a_bar(monkeypatch):
    stream, clock = io.StringIO(), Clock()
    monkeypatch.setattr("emoprobe.progress.Lines", partial(Lines, clock=clock))
    form = "extracting {percentage:3.0f}%|{bar}| {n:.0f} h"
    with progress_bar(total=4, unit="h", bar_format=form, stream=stream) as bar:
        clock.now += 60
        bar.update(1)
        bar.refresh()
    assert stream.getvalue() == "extracting 25% 1 h\n"


def test_nothing_is_shown_where_it_is_not_asked_for():
    stream = Terminal()
    assert list(progress_bar(iter("ab"), show=False, stream=stream)) == ["a", "b"]
    assert stream.getvalue() == ""
