"""What all commands share of audio and computing; apart, so that their help needs nothing heavy."""

from __future__ import annotations

#: Seconds; longer files are left out by default: attention over a minute of speech takes gigabytes.
LONGEST_SECONDS = 60.0

#: What a forward pass can be computed in.
PRECISIONS = ("float32", "bfloat16", "float16")

#: What can be pooled: the mean and the standard deviation (population form) over an utterance's frames, and the mean
#: of the frames after a layer norm each (no learned scale; eps 1e-5), as the SUPERB-style weighted sum wants them.
STATISTICS = ("mean", "std", "mean_ln")

#: Samples a second of every waveform that a model is given.
SAMPLE_RATE = 16_000
