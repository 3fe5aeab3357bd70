"""What a cache says of its making, as far as anything goes by it: in the cache, and again in every protocol."""

from __future__ import annotations

from emoprobe.fields import (
    COUNT,
    COUNT_OR_NONE,
    MOST_LAYERS,
    NAME,
    TABLE,
    TEXT,
    TEXT_OR_NONE,
    TEXTS,
    TEXTS_BY_NAME,
    TRUTH,
    Part,
    number_from,
    or_none,
)

MODEL = Part(
    {"label": NAME, "name": NAME},
    {
        "revision": TEXT_OR_NONE,
        "weights_sha256": TEXT_OR_NONE,
        "model_type": TEXT,
        "blocks": number_from(0, MOST_LAYERS, whole=True),
        "width": COUNT,
        "parameters": COUNT,
        "normalise": TRUTH,
        "random_init": COUNT_OR_NONE,
    },
)
CORPUS = Part({"name": NAME, "sha256": TEXT}, {"notes": TEXTS})
PROVENANCE = Part(
    {"model": MODEL, "corpus": CORPUS, "pooling": TEXTS},
    {
        "precision": TEXT,
        "precision_check": Part({}, {"in_float32": TEXTS}, or_none=True),
        "frames": TRUTH,
        "methods": TABLE,
        "versions": TEXTS_BY_NAME,
        "device": TEXT,
        "batch_seconds": number_from(1e-3, 1e9),
        "longest_seconds": or_none(number_from(0, 1e12)),
    },
)

#: What a run that goes on compares as well.
OF_A_RUN = Part(
    {
        "model": Part({"weights_sha256": TEXT_OR_NONE, "normalise": TRUTH}),
        **{name: PROVENANCE.optional[name] for name in ("precision", "frames", "versions", "device", "batch_seconds")},
        "longest_seconds": PROVENANCE.optional["longest_seconds"],
    }
)

#: What a baseline beside a cache says.
BASELINE = Part({"baseline": TEXT, "corpus": CORPUS, "settings": TABLE, "versions": TABLE, "sha256": TEXT})
