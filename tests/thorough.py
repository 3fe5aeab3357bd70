"""What `make test-thorough` runs beside the suite: more kills of each command, and simulations at more sizes."""

from __future__ import annotations

import os
from typing import Any

import pytest

THOROUGH = "EMOPROBE_THOROUGH" in os.environ


def kills(usual: int) -> int:
    """How often a command is killed: so often as a rule, and 20 times or ``EMOPROBE_KILLS`` where that is asked for."""
    return int(os.environ.get("EMOPROBE_KILLS", 20 if THOROUGH else usual))


def thoroughly(*values: Any) -> Any:
    """A case of a test that the suite leaves out for its time; other sizes of the same are in it."""
    reason = "other sizes of it are tested; this one by make test-thorough"
    return pytest.param(*values, marks=pytest.mark.skipif(not THOROUGH, reason=reason))
