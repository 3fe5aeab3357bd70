"""How long files are cut into windows."""

from __future__ import annotations

from dataclasses import dataclass

from emoprobe.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How a file is cut into windows.

    Attributes
    ----------
    hop : float or None
        Seconds from the begin of a window to that of the next; None for whole files.
    window : float
        Seconds of a window. Models learn from utterances of some seconds, and what they say of much longer or shorter
        ones was never measured.
    """

    hop: float | None = None
    window: float = 6.0

    def __post_init__(self) -> None:
        for name in ("hop", "window"):
            value = getattr(self, name)
            if value is not None and not 0.01 <= value < float("inf"):
                raise UserError(f"--{name} {value:g} must be a number of seconds, 0.01 or more")
        if self.hop is not None and self.hop > self.window:
            raise UserError(
                f"--hop {self.hop:g} is longer than --window {self.window:g}: what lies between two windows would be "
                "heard by none; give a longer window, or a shorter hop"
            )
