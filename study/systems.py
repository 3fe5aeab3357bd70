"""The end-to-end systems that a study can train. A new one is an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class System:
    """A speech encoder, the words, or both.

    Attributes
    ----------
    audio : str
        Which speech model it hears with: "teacher", "student", or nothing.
    text : bool
        Whether it reads.
    options : mapping
        Fields of the model's settings that suit it, where the study does not say otherwise.
    """

    audio: str
    text: bool
    options: Mapping[str, Any] = field(default_factory=dict)


#: A deep teacher's emotion does not lie in its last layer: it is trained on a learned sum of all, as in SUPERB.
_DEEP = {"layers": "sum"}

SYSTEMS: dict[str, System] = {
    "text": System("", True),
    "student": System("student", False),
    "student+text": System("student", True),
    "teacher": System("teacher", False, _DEEP),
    "teacher+text": System("teacher", True, _DEEP),
}
