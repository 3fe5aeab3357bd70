"""Limits that several commands share; apart, so that their help needs nothing heavy."""

from __future__ import annotations

#: Seconds; longer files are left out by default: attention over a minute of speech takes gigabytes.
LONGEST_SECONDS = 60.0
