"""What can be claimed, each claim with an interval and a verdict by a rule that is stated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.baselines.registry import as_in_a_cache
from emoprobe.probe.permutation import holm
from emoprobe.probe.selecting import SYSTEM, best_baseline, chosen_in_words, headline_metric
from emoprobe.probe.significance import paired_differences
from emoprobe.probe.units import GROUP

from ..measures.centroid import relevance_centroids
from ..measures.comparison import compare_systems
from ..tables import BASELINE_NAMES, END_TO_END, METRICS
from .content import Finding, counted, known, number, probability, with_interval
from .study import EMOTION, Model, Study

ACOUSTIC = tuple(baseline.name for baseline in as_in_a_cache() if baseline.acoustic)


@dataclass(frozen=True)
class _Rivals:
    """Baselines that a layer is held against."""

    subject: str
    in_words: str
    plural: str
    probes: tuple[str, ...]


ACOUSTICS = _Rivals("acoustics", "plain acoustics", "acoustic baselines", ACOUSTIC)
READ = tuple(baseline.name for baseline in as_in_a_cache() if not baseline.acoustic)
WORDS = _Rivals("words", "the words alone", "baselines of words", READ)

RULES = (
    "Supported: the 95 % interval lies wholly on the claimed side of zero. Contradicted: it lies wholly on the other "
    "side. Undecided: it includes zero. Not tested: there is no interval, or nothing to compare."
)


@dataclass(frozen=True)
class Claim:
    """A statement that can fail.

    Parameters
    ----------
    subject : str
        What kind of claim: "depth", "student", "acoustics", "words", "twin" or "text".
    statement : str
    measure : str
        What `value` is, in words.
    value, low, high, p : float
        Positive means that the statement holds. NaN where it was not tested.
    how : str
        What was compared, or why it was not tested.
    p_holm : float
        Corrected for all claims of the report.
    hindsight : bool
        Whether a layer was chosen on the very rows that are compared.
    """

    subject: str
    statement: str
    measure: str
    value: float
    low: float
    high: float
    p: float
    how: str
    p_holm: float = np.nan
    hindsight: bool = False

    @property
    def verdict(self) -> str:
        """By :data:`RULES`."""
        return verdict(self.low, self.high)

    @property
    def fragile(self) -> bool:
        """Whether it is decided by its interval, and would not be by its corrected p value."""
        return self.verdict in ("supported", "contradicted") and known(self.p_holm) and self.p_holm > 0.05

    def finding(self) -> Finding:
        """As the report shows it."""
        if not known(self.value):
            return Finding(self.statement, self.verdict, "", self.how)
        numbers = f"{self.measure}: {with_interval(self.value, self.low, self.high, _digits(self.low, self.high))}"
        if known(self.p):
            numbers += f"; p {_equals(self.p)}, corrected {_equals(self.p_holm)}"
            numbers += ": not decided after correction" if self.fragile else ""
        return Finding(self.statement, self.verdict, numbers, self.how)


def verdict(low: float, high: float) -> str:
    """Verdict of an interval whose claimed side is the positive one.

    Examples
    --------
    >>> from emoprobe.analysis.report.claims import verdict
    >>> verdict(0.01, 0.2), verdict(-0.2, -0.01), verdict(-0.1, 0.1), verdict(float("nan"), 1.0)
    ('supported', 'contradicted', 'undecided', 'not tested')
    """
    if not (known(low) and known(high)):
        return "not tested"
    return "supported" if low > 0 else "contradicted" if high < 0 else "undecided"


def claims(study: Study) -> list[Claim]:
    """All claims that the results allow to put, with p values corrected together."""
    found = [claim for corpus in study.corpora for claim in _of_corpus(study, corpus)]
    tested = [claim.p if known(claim.p) else np.nan for claim in found]
    return [replace(claim, p_holm=float(p)) for claim, p in zip(found, holm(tested), strict=True)]


def _of_corpus(study: Study, corpus: str) -> Iterator[Claim]:
    trained = study.of(corpus, random=False)
    on = f" on {corpus}" if len(study.corpora) > 1 else ""
    if {"arousal", "valence"} <= set(study.dimensions):
        yield from _depth(study, corpus, trained, on)
    systems = _systems(study, corpus)
    if systems is None:
        return
    for model in trained:
        for target in study.targets:
            yield from _against_baselines(study, systems, model, target, on, ACOUSTICS)
            if target == EMOTION:  # no model that is trained end to end tells what words add to categories
                yield from _against_baselines(study, systems, model, target, on, WORDS)
        if twin := study.twin(model):
            for dimension in study.targets:
                yield from _against(study, systems, model, twin, dimension, on)
    deep = max(trained, key=lambda model: model.blocks or 0, default=None)
    for model in trained:
        if model.blocks and deep.blocks and model.blocks < deep.blocks and "valence" in study.dimensions:
            yield from _smaller(study, systems, model, deep, on)
    for label in dict.fromkeys(systems["model"]):
        for dimension in study.dimensions:
            yield from _with_text(study, systems, label, dimension, on)


def _systems(study: Study, corpus: str) -> pd.DataFrame | None:
    tables = []
    for target in study.targets:
        choice = {"corpus": corpus, "dimensions": [target], "split": study.split(corpus)}
        try:
            tables.append(compare_systems(study.results, metric=headline_metric(target), **choice))
        except UserError:  # no score of it that could be compared on this corpus
            continue
    return pd.concat(tables, ignore_index=True) if tables else None


# Claims, one kind after the other -------------------------------------------------------------------------------------


def _depth(study: Study, corpus: str, trained: list[Model], on: str) -> Iterator[Claim]:
    results = study.results
    chosen = [model.label for model in trained]
    predictions = results.predictions
    own = predictions[predictions["model"].isin(chosen) & (predictions["corpus"] == corpus)]
    own = own[
        own["features"].isin([features for model in trained for features in study.layers(model, "valence")["features"]])
    ]
    without = ""
    try:
        table = relevance_centroids(replace(results, predictions=own), split=study.split(corpus))
    except UserError as error:
        table, without = pd.DataFrame(columns=["model", "dimension"]), str(error)
    for model in trained:
        statement = f"In {model.label}, arousal is carried by shallower layers than valence{on}."
        rows = table[table["model"] == model.label].drop_duplicates("dimension").set_index("dimension")
        name, sign = next(((name, sign) for name, sign in _DEPTH_DIFFERENCES if name in rows.index), ("", 0))
        if reason := _why_no_depth(study, model, rows, name, without):
            yield _untested("depth", statement, reason)
            continue
        row = rows.loc[name]
        low, high = sorted((sign * row["low"], sign * row["high"]))
        both = " and ".join(f"{number(rows.loc[d, 'centroid'])} ({d})" for d in ("arousal", "valence"))
        how = (
            f"Relevance centroids {both}: the mean relative depth of the layers, each weighted by its "
            f"{row['weighted_by']}; 0 is the input of the first block, 1 the output of the last. A curve without "
            "slope gives 0.5."
        )
        measure = "centroid of valence less that of arousal"
        yield Claim("depth", statement, measure, sign * row["centroid"], low, high, row["p"], how)


#: What a table of centroids calls the difference, and the sign that makes it valence less arousal.
_DEPTH_DIFFERENCES = (("valence − arousal", 1), ("arousal − valence", -1))


def _why_no_depth(study: Study, model: Model, rows: pd.DataFrame, difference: str, without: str) -> str:
    """Why a model's two centroids cannot be held against each other; "" where they can.

    `rows` are the model's centroids, `difference` is which of them is the difference ("" where none is), and `without`
    says why there are no centroids of any model.
    """
    if unread := [name for name in ("arousal", "valence") if not _is_read(study.layers(model, name))]:
        return f"no layer of {model.label} reads {' or '.join(unread)} better than permuted labels allow"
    if difference:
        row = rows.loc[difference]
        return "" if known(row["low"]) else f"the difference of the centroids has no interval ({row['weighted_by']})"
    if len(rows):
        return "the two dimensions were not scored on the same speakers"
    return without or f"there are no predictions of the layers of {model.label}"


def _is_read(layers: pd.DataFrame) -> bool:
    """Whether any layer scores above its null; what has no null is taken at its interval."""
    if layers["p_holm"].notna().any():
        return bool((layers["p_holm"] <= 0.05).any())
    return bool((layers["ccc_low"] > 0).any())


def _against_baselines(study, systems, model, dimension, on, rival_kind) -> Iterator[Claim]:
    statement = f"The chosen layer of {model.label} reads {_named(dimension)} better than {rival_kind.in_words} do{on}."
    layer = _layer(systems, model.label, dimension)
    rivals = systems[(systems["kind"] == "baseline") & (systems["dimension"] == dimension)]
    rivals = rivals[rivals["probe"].isin(rival_kind.probes)]
    if layer is None or not len(rivals):
        return
    scored = rivals.groupby("probe")["value"].max()
    of_model = {**layer, "model": model.label}
    metric = headline_metric(dimension)
    best = best_baseline(study.results.scores, scored, of_model, metric, chosen_on=layer["chosen_on"]).best
    rival = rivals.loc[rivals.loc[rivals["probe"] == best, "value"].idxmax()]
    other = {**_key(rival), "model": model.label, "layer": -1}
    name = BASELINE_NAMES.get(rival["probe"], rival["probe"])
    others = f", the best of {len(rivals)} {rival_kind.plural}" if len(rivals) > 1 else ""
    about = f"layer {layer['layer']} less {name}{others}"
    yield _paired(study, rival_kind.subject, statement, _key(layer), other, [layer], about)


def _against(study, systems, model, twin, dimension, on) -> Iterator[Claim]:
    statement = f"Training taught {model.label} {_named(dimension)}: it beats the same network with random weights{on}."
    one, other = _layer(systems, model.label, dimension), _layer(systems, twin.label, dimension)
    if one is not None and other is not None:
        about = f"layer {one['layer']} less layer {other['layer']} of {twin.label}"
        yield _paired(study, "twin", statement, _key(one), _key(other), [one, other], about)


def _smaller(study, systems, model, deep, on) -> Iterator[Claim]:
    statement = (
        f"{model.label} ({model.blocks} blocks) carries less valence than {deep.label} ({deep.blocks} blocks){on}."
    )
    one, other = _layer(systems, deep.label, "valence"), _layer(systems, model.label, "valence")
    if one is not None and other is not None:
        about = f"layer {one['layer']} of {deep.label} less layer {other['layer']} of {model.label}"
        yield _paired(study, "student", statement, _key(one), _key(other), [one, other], about)


def _with_text(study, systems, label, dimension, on) -> Iterator[Claim]:
    ends = systems[(systems["model"] == label) & (systems["probe"] == END_TO_END)]
    ends = ends[ends["dimension"] == dimension].drop_duplicates("features").set_index("features", drop=False)
    if not {"audio", "audio+text"} <= set(ends.index):
        return
    statement = f"Trained end to end, {label} with text beats {label} alone on {dimension}{on}."
    one, other = ends.loc["audio+text"], ends.loc["audio"]
    seeds = min(int(one["seeds"]), int(other["seeds"]))
    about = "audio with text less audio alone" + (f", means of {seeds} seeds" if seeds > 1 else ", one seed")
    yield _paired(study, "text", statement, _key(one), _key(other), [one, other], about)


# What they share ------------------------------------------------------------------------------------------------------


def _layer(systems: pd.DataFrame, label: str, dimension: str) -> pd.Series | None:
    """The chosen layer of the linear probe."""
    rows = systems[(systems["kind"] == "layer") & (systems["model"] == label) & (systems["dimension"] == dimension)]
    rows = rows[rows["system"] == "best layer"]
    return rows.iloc[0] if len(rows) else None


def _named(dimension: str) -> str:
    """A target as sentences have it."""
    return "emotion categories" if dimension == EMOTION else dimension


def _key(system: pd.Series) -> dict:
    """What singles a system out among the predictions."""
    values = {name: system[name] for name in SYSTEM}
    return values | {"layer": None if pd.isna(system["layer"]) else int(system["layer"])}


def _paired(
    study: Study, subject: str, statement: str, one: dict, other: dict, chosen: list[pd.Series], about: str
) -> Claim:
    metric = headline_metric(one["dimension"])
    try:
        (found,) = paired_differences(study.results, one, other, metric=metric).itertuples()
    except UserError as error:
        return _untested(subject, statement, str(error))
    if not known(found.low):
        few = f"one {found.unit} alone" if found.units < 2 else "too many resamples have no score"
        return _untested(subject, statement, f"there is no interval, {few}")
    scores = f"{METRICS[metric]} {number(found.score_one)} against {number(found.score_other)}"
    rows = f"{counted(found.n, 'utterance')} of {counted(found.speakers, 'speaker')}{_in_groups(found)}"
    how = f"{scores}: {about}; {rows}, resampled together."
    if found.without:
        how += f" Left out, because too rare for an interval: {found.without}."
    layers = [system for system in chosen if isinstance(system["chosen_on"], str) and system["chosen_on"]]
    if on := chosen_in_words((system["chosen_on"], system["split"]) for system in layers):
        how += f" Chosen on {on}."
    for system in layers:
        if system["layer"] != system["highest_layer"]:
            how += (
                f" On the scored rows layer {system['highest_layer']} of {system['model']} is best "
                f"({number(system['highest'])}), with hindsight."
            )
    return Claim(
        subject, statement, f"difference in {METRICS[metric]}", found.difference, found.low, found.high, found.p, how,
        hindsight=any(system["chosen_on"] == system["split"] for system in layers),
    )  # fmt: skip


def _in_groups(found) -> str:
    """The groups, where they are what is resampled."""
    return f" in {counted(found.units, GROUP)}" if found.unit == GROUP else ""


def _untested(subject: str, statement: str, reason: str) -> Claim:
    return Claim(subject, statement, "", np.nan, np.nan, np.nan, np.nan, f"Not tested: {reason}.")


def _equals(p: float) -> str:
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"


def _digits(low: float, high: float) -> int:
    """Three, and more where a limit would round to a zero that it is not."""
    smallest = min(abs(end) for end in (low, high)) if known(low) and known(high) else 0.0
    return next((digits for digits in (3, 4, 5) if smallest == 0 or round(smallest, digits) > 0), 6)
