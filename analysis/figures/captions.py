"""What stands below each figure: what was probed, on what, and what the band means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from emoprobe.probe.jackknife import FIXED, IN_BLOCKS, REFITTED
from emoprobe.probe.leakage import shared_kinds
from emoprobe.probe.recalls import TOO_RARE
from emoprobe.probe.units import GROUP

from ..curves import Curve
from ..tables import Subject
from .style import printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PROBE_NAMES = {
    "ridge": "ridge probes",
    "logistic": "logistic probes",
    "mlp": "MLP probes",
    "weighted": "weighted sum",
}


def caption_of(figure: Figure) -> str:
    """The caption of a figure that one of the plotting functions filled, whether it is written below the axes or not.

    Parameters
    ----------
    figure : matplotlib Figure

    Returns
    -------
    str
        In one line; empty of a figure that has none.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> figure = Figure()
    >>> keep_caption(figure, "CCC of each layer.")
    >>> caption_of(figure)
    'CCC of each layer.'
    """
    return str(figure.get_label() or "")


def keep_caption(figure: Figure, text: str) -> None:
    """Give a figure its caption, for :func:`caption_of`, without drawing it."""
    figure.set_label(printable(text))


def subject_name(subject: Subject) -> str:
    """Model and corpus as titles and captions have them."""
    model = printable(subject.model) or "unnamed model"
    return f"{model} on {printable(subject.corpus)}" if subject.corpus else model


def series_names(drawn: Sequence[Subject]) -> list[str]:
    """Shortest names that tell `drawn` apart: the models alone where they have one corpus in common."""
    if len({subject.corpus for subject in drawn}) <= 1:
        return [printable(subject.model) or "unnamed model" for subject in drawn]
    return [subject_name(subject) for subject in drawn]


def curve_caption(
    curves: Sequence[Curve], protocol: Sequence[dict], *, band: str, beside: Iterable[tuple[str, str]] = ()
) -> str:
    """Caption of a figure of scores.

    Parameters
    ----------
    curves : sequence of Curve
        All that the figure draws.
    protocol : sequence of dict
        Runs of the results; where none fits, what only they know (speakers) is left out.
    band : str
        What shows the interval, e.g. ``"Bands"``; empty where nothing does.
    beside : iterable of tuple of str
        Of what stands beside the curves, its name and what its interval knows of.
    """
    drawn = _unique(curve.subject for curve in curves)
    if len({subject.corpus for subject in drawn}) == 1 and drawn[0].corpus:
        models = _listed([printable(subject.model) for subject in drawn])
        subject = f"{models} on {printable(drawn[0].corpus)}"
    else:
        subject = "; ".join(subject_name(subject) for subject in drawn)
    probes = _unique(_probe_name(curve) for curve in curves)
    runs = [run for run in protocol if any(_is_about(run, curve) for curve in curves)]
    sentences = [f"{subject}: {', '.join(probes)}, scored on {_where(curves, runs)}{_counts(curves)}."]
    n_folds = max(curve.n_folds for curve in curves)
    n_seeds = max(curve.n_seeds for curve in curves)
    if n_folds:
        sentences.append(f"Means of {n_folds} folds.")
    if n_seeds > 1:
        sentences.append(f"Means of {n_seeds} seeds.")
    if band and any(curve.has_interval for curve in curves):
        mean = ", limits averaged over seeds" if n_seeds > 1 else ""
        kinds = intervals_in_words([*((_probe_noun(curve), curve.interval) for curve in curves), *beside])
        sentences.append(f"{band}: 95 % intervals over {interval_unit(curves)}{mean}{kinds}.")
    return " ".join([*sentences, *corpus_remarks(runs)])


def rare_remark(recalls: pd.DataFrame, curves: Sequence[Curve]) -> str:
    """Which categories are left out of the intervals of UAR, as a sentence; empty where none is."""
    if not len(recalls):
        return ""
    rare = recalls[recalls["reason"] == TOO_RARE]
    names = []
    for curve in curves:
        parts = (curve.subject.model, curve.subject.corpus, curve.dimension, curve.probe, curve.features, curve.split)
        rows = rare
        for column, value in zip(("model", "corpus", "dimension", "probe", "features", "split"), parts, strict=True):
            rows = rows[rows[column] == value]
        names += [f"{printable(name)} ({n})" for name, n in zip(rows["category"], rows["n"], strict=True)]
    return f" Too rare for the intervals, which take their recall as it is: {_listed(_unique(names))}." if names else ""


def interval_unit(curves: Sequence[Curve]) -> str:
    """What the bootstrap drew: groups, speakers, or utterances where no two are known to share a speaker."""
    if any(curve.unit == GROUP for curve in curves):
        return "groups" if all(curve.unit == GROUP for curve in curves) else "groups or speakers"
    return "utterances" if all(curve.speakers and curve.speakers == curve.n for curve in curves) else "speakers"


def n_categories(curve: Curve, protocol: Sequence[dict]) -> int | None:
    """How many categories the probe told apart; None where the protocol does not say."""
    counts = [len(run["categories"]) for run in protocol if run.get("categories") and _is_about(run, curve)]
    return max(counts, default=None)


def weights_caption(
    subject: Subject,
    probe: str,
    features: Sequence[str],
    n_seeds: int,
    protocol: Sequence[dict],
    *,
    older: Sequence[str],
    newer: Sequence[str],
) -> str:
    """Caption of a figure of learned weights.

    `newer` are the dimensions of which some are corrected by the length of centred states, `older` those of which some
    are of a version that took the norm with the mean in it.
    """
    of_centred, of_norm = "root mean square of the layer's centred states", "layer's mean state norm, its mean included"
    by = of_centred if newer else of_norm
    if older and newer:
        by += f"; of some or all seeds of {_listed(older)}, fitted by an earlier version, times the {of_norm}"
    spread = f"Means of {n_seeds} fits; bands: lowest to highest." if n_seeds > 1 else "One fit."
    pooled = ", ".join(printable(name) for name in features if name)
    of = f" of {pooled} states" if pooled else ""
    text = (
        f"{subject_name(subject)}: softmax weights of the learned weighted sum{of}, as learned and norm-corrected "
        f"(times the {by}, renormalised). {spread} Dotted: equal weights."
    )
    runs = [run for run in protocol if run["model"] == subject.model and run["corpus"] == subject.corpus]
    return " ".join([text, *corpus_remarks([run for run in runs if run["probe"] == probe])])


def intervals_in_words(named: Iterable[tuple[str, str]]) -> str:
    """What intervals know of, as the end of a sentence; empty where the table is of a version that does not say it.

    Parameters
    ----------
    named : iterable of tuple of str
        Name of what has an interval, and what it knows of (`probe.jackknife`).
    """
    names: dict[str, list[str]] = {}
    for name, kind in named:
        names.setdefault(kind, []).append(name)
    again = ""
    if IN_BLOCKS in names or REFITTED in names:
        without = "each of them" if IN_BLOCKS not in names else "each of them, or blocks of them"
        again = f", the probes fitted again without {without}"
    if FIXED not in names:
        return again
    return f"{again}; of {_listed(_unique(names[FIXED]))} around the fixed fit" if again else ", around the fixed fits"


def _probe_noun(curve: Curve) -> str:
    return PROBE_NAMES.get(curve.probe, printable(curve.probe))


def _probe_name(curve: Curve) -> str:
    name = _probe_noun(curve)
    return f"{name} on pooled states ({printable(curve.features)})" if curve.features else name


def _where(curves: Sequence[Curve], runs: Sequence[dict]) -> str:
    """The parts that were scored; of a cross-validation also what kept its folds apart."""
    names = []
    for split in _unique(curve.split for curve in curves):
        if split == "cross-validation":
            folds = _unique(f"{run['split']['folds']} {run['split']['kind']}" for run in runs if "split" in run)
            names += folds or ["held-out folds"]
        else:
            names.append(f"the {printable(split)} split" if split else "held-out data")
    return _listed(names)


def _counts(curves: Sequence[Curve]) -> str:
    parts = []
    for noun, ranges in (
        ("utterance", [curve.n for curve in curves if curve.n]),
        ("speaker", [curve.speakers for curve in curves if curve.speakers and interval_unit(curves) != "utterances"]),
        (GROUP, [curve.units for curve in curves if curve.units and curve.unit == GROUP]),
    ):
        if ranges:
            parts.append(_range(min(low for low, _ in ranges), max(high for _, high in ranges), noun))
    return f" ({', '.join(parts)})" if parts else ""


def _range(low: int, high: int, noun: str) -> str:
    plural = noun if low == high == 1 else f"{noun}s"
    return f"{low} {plural}" if low == high else f"{low} to {high} {plural}"


def _is_about(run: dict, curve: Curve) -> bool:
    parts = (curve.subject.model, curve.subject.corpus, curve.dimension, curve.probe, curve.features)
    return tuple(run[name] for name in ("model", "corpus", "dimension", "probe", "features")) == parts


def corpus_remarks(runs: Sequence[dict]) -> list[str]:
    """What a reader must know to trust the numbers: shared speakers, rescaled predictions, speech that nobody spoke."""
    remarks = []
    if shared := shared_kinds(run.get("split", {}) for run in runs):
        remarks.append(f"The corpus's own split shares {shared} between its parts.")
    if any(run.get("settings", {}).get("rescale") for run in runs):
        remarks.append("Predictions rescaled on training data.")
    for run in runs:
        notes = run.get("cache", {}).get("provenance", {}).get("corpus", {}).get("notes", [])
        remarks += [printable(note) for note in notes if "synthetic" in note.lower()]
    return _unique(remarks)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _unique(items: Iterable) -> list:
    return list(dict.fromkeys(items))
