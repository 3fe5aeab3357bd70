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

from .sharding import MOST_SHARDS, whole_corpus

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
#: Of a cache that holds a part of a corpus (:mod:`.sharding`): which, of which corpus, and to how many samples at least
#: the model brings each utterance of a batch.
SHARD = Part(
    {
        "number": number_from(1, MOST_SHARDS, whole=True),
        "count": number_from(1, MOST_SHARDS, whole=True),
        "corpus": Part({**CORPUS.required, "utterances": COUNT}, CORPUS.optional),
        "padded_to": COUNT,
    }
)
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
        "shard": SHARD,
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

#: How :func:`compared` names the corpus.
CORPUS_DIFFERS = "the corpus"

#: Of the release whose caches do not tell.
_METHODS_OF_0_1 = {"pooling": 1, "acoustics": 1}


def compared(one: dict, other: dict) -> list[tuple[str, object, object]]:
    """What the states of one cache depend on, beside the shard: its name, and what each of two provenances says of it.

    Library versions and the device are not among it: they change the last bits of a state alone. Of a shard the corpus
    is the whole one.

    Parameters
    ----------
    one, other : dict
        Of the fields that :data:`OF_A_RUN` requires.
    """
    return [
        ("the model", one["model"]["label"], other["model"]["label"]),
        ("the model's weights", one["model"]["weights_sha256"], other["model"]["weights_sha256"]),
        ("the model's input", one["model"]["normalise"], other["model"]["normalise"]),
        (CORPUS_DIFFERS, whole_corpus(one)["sha256"], whole_corpus(other)["sha256"]),
        ("the pooling", one["pooling"], other["pooling"]),
        ("the precision", one["precision"], other["precision"]),
        ("keeping frames", one["frames"], other["frames"]),
        ("the versions of the methods", one.get("methods", _METHODS_OF_0_1), other.get("methods", _METHODS_OF_0_1)),
        ("the longest file", one["longest_seconds"], other["longest_seconds"]),
    ]


def short(value: object) -> str:
    """A value for a message; of a hash its beginning."""
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else text
