"""The line below each figure: what was probed, on what, and what the band means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .style import printable
from .tables import Curve, Subject

PROBE_NAMES = {
    "ridge": "ridge probes",
    "logistic": "logistic probes",
    "mlp": "MLP probes",
    "weighted": "weighted sum",
}


def subject_name(subject: Subject) -> str:
    """Model and corpus as titles and captions have them."""
    model = printable(subject.model) or "unnamed model"
    return f"{model} on {printable(subject.corpus)}" if subject.corpus else model


def series_names(found: Sequence[Subject]) -> list[str]:
    """Shortest names that tell `found` apart: the models alone where they have one corpus in common."""
    if len({subject.corpus for subject in found}) <= 1:
        return [printable(subject.model) or "unnamed model" for subject in found]
    return [subject_name(subject) for subject in found]


def curve_caption(curves: Sequence[Curve], protocol: Sequence[dict], *, band: str) -> str:
    """Caption of a figure of scores.

    Parameters
    ----------
    curves : sequence of Curve
        All that the figure draws.
    protocol : sequence of dict
        Runs of the results; where none fits, what only they know (speakers) is left out.
    band : str
        What shows the interval, e.g. ``"Bands"``; empty where nothing does.
    """
    found = _unique(curve.subject for curve in curves)
    if len({subject.corpus for subject in found}) == 1 and found[0].corpus:
        models = _listed([printable(subject.model) for subject in found])
        subject = f"{models} on {printable(found[0].corpus)}"
    else:
        subject = "; ".join(subject_name(subject) for subject in found)
    probes = _unique(_probe_name(curve) for curve in curves)
    splits = _unique(printable(curve.split) for curve in curves)
    sentences = [f"{subject}: {', '.join(probes)}, scored on {_split_name(splits)}{_counts(curves, protocol)}."]
    n_folds = max(curve.n_folds for curve in curves)
    n_seeds = max(curve.n_seeds for curve in curves)
    if n_folds:
        sentences.append(f"Means of {n_folds} folds.")
    if n_seeds > 1:
        sentences.append(f"Means of {n_seeds} seeds.")
    if band and any(curve.has_interval for curve in curves):
        mean = ", limits averaged over seeds" if n_seeds > 1 else ""
        sentences.append(f"{band}: 95 % bootstrap intervals over speakers{mean}.")
    return " ".join([*sentences, *_notes(found, protocol)])


def weights_caption(subject: Subject, features: Sequence[str], n_seeds: int, protocol: Sequence[dict]) -> str:
    """Caption of a figure of learned weights."""
    spread = f"Means of {n_seeds} fits; bands: lowest to highest." if n_seeds > 1 else "One fit."
    pooled = ", ".join(printable(name) for name in features if name)
    of = f" of {pooled} states" if pooled else ""
    text = (
        f"{subject_name(subject)}: softmax weights of the learned weighted sum{of}, as learned and norm-corrected "
        f"(times the layer's mean state norm, renormalised). {spread} Dotted: equal weights."
    )
    return " ".join([text, *_notes([subject], protocol)])


def _probe_name(curve: Curve) -> str:
    name = PROBE_NAMES.get(curve.probe, printable(curve.probe))
    return f"{name} on {printable(curve.features)}" if curve.features else name


def _split_name(splits: Sequence[str]) -> str:
    named = [
        "held-out folds" if split == "cross-validation" else f"{split or 'the held-out'} split" for split in splits
    ]
    return _listed(named)


def _counts(curves: Sequence[Curve], protocol: Sequence[dict]) -> str:
    counted = [curve.n for curve in curves if curve.n]
    parts = []
    if counted:
        parts.append(_range(min(low for low, _ in counted), max(high for _, high in counted), "utterance"))
    speakers = [number for curve in curves if (number := _speakers(curve, protocol)) is not None]
    if speakers:
        parts.append(_range(min(speakers), max(speakers), "speaker"))
    return f" ({', '.join(parts)})" if parts else ""


def _range(low: int, high: int, noun: str) -> str:
    plural = noun if low == high == 1 else f"{noun}s"
    return f"{low} {plural}" if low == high else f"{low} to {high} {plural}"


def _speakers(curve: Curve, protocol: Sequence[dict]) -> int | None:
    """Speakers that the scored utterances have, where the protocol says so."""
    for run in protocol:
        if _is_about(run, curve.subject) and run.get("dimension") == curve.dimension:
            number = run.get("counts", {}).get("speakers")
            if isinstance(number, int):
                return number
    return None


def _is_about(run: Any, subject: Subject) -> bool:
    return isinstance(run, dict) and run.get("model") == subject.model and run.get("corpus") == subject.corpus


def _notes(found: Sequence[Subject], protocol: Sequence[dict]) -> list[str]:
    """What the corpus itself wants said of any figure drawn from it."""
    return []


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _unique(items: Iterable) -> list:
    return list(dict.fromkeys(items))
