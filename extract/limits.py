"""What all commands share of audio; apart, so that their help needs nothing heavy."""

from __future__ import annotations

#: Seconds; longer files are left out by default: attention over a minute of speech takes gigabytes.
LONGEST_SECONDS = 60.0

#: Samples a second of every waveform that a model is given.
SAMPLE_RATE = 16_000
