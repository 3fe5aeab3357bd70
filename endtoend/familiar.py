"""What a model learned from, and which of its predictions lie beyond that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emoprobe.extract.corpora.values import printable

#: Of a table of predictions: what lies beyond the labels that the model learned from; empty where nothing does.
BEYOND = "beyond_training"


def told_training(config: Mapping[str, Any]) -> str:
    """What a model learned from, in one sentence: its corpus, what is noted of it, and the range of its labels.

    Parameters
    ----------
    config : mapping
        `config.json` of a saved model, or of its ONNX form.

    Examples
    --------
    >>> corpus = {"name": "demo", "notes": ["Synthetic speech."]}
    >>> told_training({"label": "small", "scale": {"arousal": [1.0, 7.0]}, "trained_on": corpus})
    'small learned from demo (Synthetic speech), whose labels are arousal 1 to 7; elsewhere measure first'
    """
    corpus = corpus_of(config)
    notes = "; ".join(printable(note).rstrip(".") for note in corpus.get("notes", []))
    name = printable(corpus.get("name", "")) or "a corpus that it does not name"
    scale = config.get("scale", {})
    ranges = ", ".join(f"{dimension} {low:g} to {high:g}" for dimension, (low, high) in scale.items())
    labels = f"whose labels are {ranges}" if ranges else "the range of whose labels it does not tell"
    absent = [f"; no {name}: {reason}" for name, reason in config.get("dimensions_left_out", {}).items()]
    source = f"{name} ({notes})" if notes else name
    return f"{config['label']} learned from {source}, {labels}{''.join(absent)}; elsewhere measure first"


def corpus_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name and notes of the corpus that a model learned from; nothing where its configuration does not tell."""
    corpus = config.get("trained_on") or config.get("run", {}).get("corpus") or {}
    return {name: corpus[name] for name in ("name", "notes") if name in corpus}


def beyond_training(values: Mapping[str, float], scale: Mapping[str, Sequence[float]]) -> list[str]:
    """Which predictions of an utterance lie beyond the range of the labels that the model learned from.

    Parameters
    ----------
    values : mapping of str to float
        Prediction by dimension; NaN is beyond nothing.
    scale : mapping of str to (low, high)
        Lowest and highest training label; a dimension that is not there has no range.

    Returns
    -------
    list of str

    Examples
    --------
    >>> beyond_training({"arousal": 7.4, "valence": 3.0}, {"arousal": (1, 7), "valence": (1, 7)})
    ['arousal above 7']
    """
    told = []
    for dimension, value in values.items():
        low, high = scale.get(dimension, (float("-inf"), float("inf")))
        if value < low or value > high:
            told.append(f"{dimension} {'below' if value < low else 'above'} {low if value < low else high:g}")
    return told


def told_beyond(cells: Iterable[str]) -> str:
    """What a column of a table of predictions says, in one sentence; empty where nothing lies beyond.

    Examples
    --------
    >>> told_beyond(["", "arousal above 7", "arousal above 7, valence below 1"])
    '2 of 3 utterances are predicted beyond the range of the training labels: 2 arousal above 7, 1 valence below 1'
    """
    cells = list(cells)
    flagged = [cell for cell in cells if cell]
    if not flagged:
        return ""
    kinds = Counter(kind for cell in flagged for kind in cell.split(", "))
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{len(flagged)} of {len(cells)} utterances are predicted beyond the range of the training labels: {counts}"
