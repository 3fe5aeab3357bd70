"""Words that several sections use."""

from __future__ import annotations

MOST_LISTED = 20


def corpus_about(run: dict) -> dict:
    """What a run of the protocol says of its corpus; empty where it says nothing."""
    return run["cache"]["provenance"]["corpus"] if "cache" in run else run.get("run", {}).get("corpus", {})


def as_sentence(text: str) -> str:
    """`text` with a capital at its beginning and a full stop at its end."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def quoted(text: str) -> str:
    """`text` as one word of a shell."""
    import shlex

    return shlex.quote(text)
