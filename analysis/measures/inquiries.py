"""The questions that can be asked by name. A new one is a file beside this, and a line here."""

from __future__ import annotations

from .ceiling import CEILING
from .contribution import CONTRIBUTION
from .erasure import ERASURE
from .inquiry import Inquiry
from .robustness import ROBUSTNESS
from .words_or_voice import WORDS_OR_VOICE

#: By name, in the order of the help and of the report.
INQUIRIES: dict[str, Inquiry] = {
    inquiry.name: inquiry for inquiry in (CEILING, CONTRIBUTION, ERASURE, WORDS_OR_VOICE, ROBUSTNESS)
}
