"""Claims on differences of scores: against acoustics and words, random weights, a smaller model, and text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.baselines.registry import as_in_a_cache
from emoprobe.probe.jackknife import FIXED, OF_REFITS
from emoprobe.probe.schema import SYSTEM
from emoprobe.probe.selecting import Choice, best_baseline, chosen_in_words, headline_metric
from emoprobe.probe.significance import paired_differences
from emoprobe.probe.units import GROUP

from ..measures.comparison import compare_systems
from ..measures.directions import LEVEL
from ..measures.settling import Question, Settled
from ..tables import BASELINE_NAMES, END_TO_END, METRICS
from .claim import Claim, Draft, Untested, untested
from .content import counted, known, number
from .study import EMOTION, Model, Study

#: Shares of the level of a claim's two tests: that there is a difference, and that it is smaller than the smallest of
#: interest. Two one-sided tests at half the level read off the same interval as the test of a difference.
SHARES = (1.0, 0.5)

ACOUSTIC = tuple(baseline.name for baseline in as_in_a_cache() if baseline.acoustic)


@dataclass(frozen=True)
class _Rivals:
    """Baselines that a layer is held against."""

    subject: str
    in_words: str
    plural: str
    probes: tuple[str, ...]


_ACOUSTICS = _Rivals("acoustics", "plain acoustics", "acoustic baselines", ACOUSTIC)
_READ = tuple(baseline.name for baseline in as_in_a_cache() if not baseline.acoustic)
WORDS = _Rivals("words", "the words alone", "baselines of words", _READ)


@dataclass(frozen=True)
class _Corpus:
    """What the claims on a corpus are put with.

    Attributes
    ----------
    study : Study
    systems : DataFrame
        Of :func:`..measures.comparison.compare_systems`.
    on : str
        What a statement adds where there are several corpora.
    seed : int
        Of the bootstrap.
    smallest : float
        The smallest difference of interest; 0 where every difference is.
    """

    study: Study
    systems: pd.DataFrame
    on: str
    seed: int
    smallest: float

    def layer(self, label: str, dimension: str) -> pd.Series | None:
        """The chosen layer of the linear probe."""
        rows = self.systems[(self.systems["kind"] == "layer") & (self.systems["system"] == "best layer")]
        rows = rows[(rows["model"] == label) & (rows["dimension"] == dimension)]
        return rows.iloc[0] if len(rows) else None


def paired_claims(
    study: Study, corpus: str, trained: list[Model], on: str, seed: int, smallest: float
) -> Iterator[Draft]:
    """Claims on the scores of one corpus."""
    systems = _systems(study, corpus)
    if systems is None:
        return
    here = _Corpus(study, systems, on, seed, smallest)
    for model in trained:
        for target in study.targets:
            yield from _against_baselines(here, model, target, _ACOUSTICS)
            if target == EMOTION:  # no model that is trained end to end tells what words add to categories
                yield from _against_baselines(here, model, target, WORDS)
        if twin := study.twin(model):
            for dimension in study.targets:
                yield from _against(here, model, twin, dimension)
    if "valence" in study.dimensions:
        yield from _smaller(here, trained)
    for label in dict.fromkeys(systems["model"]):
        for dimension in study.dimensions:
            yield from _with_text(here, label, dimension)


def _systems(study: Study, corpus: str) -> pd.DataFrame | None:
    tables = []
    for target in study.targets:
        try:
            tables.append(
                compare_systems(
                    study.results,
                    metric=headline_metric(target),
                    corpus=corpus,
                    dimensions=[target],
                    split=study.split(corpus),
                )
            )
        except UserError:  # no score of it that could be compared on this corpus
            continue
    return pd.concat(tables, ignore_index=True) if tables else None


# Claims, one kind after the other -------------------------------------------------------------------------------------


def _against_baselines(here: _Corpus, model: Model, dimension: str, kind: _Rivals) -> Iterator[Draft]:
    statement = f"The chosen layer of {model.label} reads {_named(dimension)} better than {kind.in_words} do{here.on}."
    layer, systems = here.layer(model.label, dimension), here.systems
    rivals = systems[(systems["kind"] == "baseline") & (systems["dimension"] == dimension)]
    rivals = rivals[rivals["probe"].isin(kind.probes)]
    if layer is None or not len(rivals):
        return
    scored = rivals.groupby("probe")["value"].max()
    of_model = {**layer, "model": model.label}
    metric = headline_metric(dimension)
    choice = best_baseline(here.study.results.scores, scored, of_model, metric, chosen_on=layer["chosen_on"])
    rival = rivals.loc[rivals.loc[rivals["probe"] == choice.best, "value"].idxmax()]
    other = {**_key(rival), "model": _owner(here.study, rival, model.label), "layer": -1}
    name = BASELINE_NAMES.get(rival["probe"], rival["probe"])
    on = f" on {layer['chosen_on']}" if isinstance(layer["chosen_on"], str) and layer["chosen_on"] else ""
    others = f", the best of {len(scored)} {kind.plural}{on}" if len(scored) > 1 else ""
    about = f"layer {layer['layer']} less {name}{others}"
    words = kind.in_words if kind is WORDS else f"{kind.in_words}, {name}"
    chosen = choice if len(scored) > 1 else None
    pair = _Pair(kind.subject, statement, _key(layer), other, about, words, (layer,), chosen)
    yield _draft(here, pair)


def _owner(study: Study, rival: pd.Series, label: str) -> str:
    """The model under whose name the results hold a baseline: this one's cache, or another one of the corpus."""
    scores = study.results.scores
    same = scores["layer"].eq(-1).fillna(False).to_numpy(bool)
    for column in ("corpus", "dimension", "probe", "features", "split"):
        same &= (scores[column] == rival[column]).to_numpy(bool)
    models = list(dict.fromkeys(scores.loc[same, "model"]))
    return label if label in models or not models else models[0]


def _against(here: _Corpus, model: Model, twin: Model, dimension: str) -> Iterator[Draft]:
    statement = (
        f"Training taught {model.label} {_named(dimension)}: it beats the same network with random weights{here.on}."
    )
    one, other = here.layer(model.label, dimension), here.layer(twin.label, dimension)
    if one is not None and other is not None:
        about = f"layer {one['layer']} less layer {other['layer']} of {twin.label}"
        words = "the same network with random weights"
        yield _draft(here, _Pair("twin", statement, _key(one), _key(other), about, words, (one, other)))


def _smaller(here: _Corpus, trained: list[Model]) -> Iterator[Draft]:
    """Each model with fewer blocks against the one with the most."""
    blocks = {model.label: model.blocks for model in trained if model.blocks}
    deep = max(blocks, key=lambda label: blocks[label], default="")
    for label, few in blocks.items():
        if few >= blocks[deep]:
            continue
        statement = f"{label} ({few} blocks) carries less valence than {deep} ({blocks[deep]} blocks){here.on}."
        one, other = here.layer(deep, "valence"), here.layer(label, "valence")
        if one is not None and other is not None:
            about = f"layer {one['layer']} of {deep} less layer {other['layer']} of {label}"
            yield _draft(here, _Pair("student", statement, _key(one), _key(other), about, label, (one, other)))


def _with_text(here: _Corpus, label: str, dimension: str) -> Iterator[Draft]:
    ends = here.systems[(here.systems["model"] == label) & (here.systems["probe"] == END_TO_END)]
    ends = ends[ends["dimension"] == dimension].drop_duplicates("features")
    by_features = {row["features"]: row for _, row in ends.iterrows()}
    if not {"audio", "audio+text"} <= set(by_features):
        return
    statement = f"Trained end to end, {label} with text beats {label} alone on {dimension}{here.on}."
    one, other = by_features["audio+text"], by_features["audio"]
    seeds = min(int(one["seeds"]), int(other["seeds"]))
    about = "audio with text less audio alone" + (f", means of {seeds} seeds" if seeds > 1 else ", one seed")
    yield _draft(here, _Pair("text", statement, _key(one), _key(other), about, f"{label} alone"))


# What they share ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """Two systems and what is claimed of their difference.

    Attributes
    ----------
    subject, statement : str
    one, other : dict
        What singles them out among the predictions.
    about : str
        The pair, in words.
    words : str
        The other one, in words.
    layers : tuple of Series
        Those that were chosen.
    rival : Choice, optional
        How the other side was chosen, where that was among several baselines.
    """

    subject: str
    statement: str
    one: dict[str, Any]
    other: dict[str, Any]
    about: str
    words: str
    layers: tuple[pd.Series, ...] = ()
    rival: Choice | None = None


@dataclass(frozen=True)
class _Difference:
    """A row of :func:`emoprobe.probe.significance.paired_differences`."""

    row: pd.Series
    equality: bool

    @property
    def p(self) -> tuple[float, ...]:
        return (float(self.row["p"]), float(self.row["p_equal"])) if self.equality else (float(self.row["p"]),)

    @property
    def intervals(self) -> tuple[str, ...]:
        return (str(self.row["interval"]),) * len(self.p)


def _draft(here: _Corpus, pair: _Pair) -> Draft:
    metric = headline_metric(pair.one["dimension"])
    equality = here.smallest > 0
    shares = SHARES if equality else ()

    def ask(resamples: int) -> _Difference | Untested:
        nothing = (float("nan"),) * max(len(shares), 1)
        if lacking := _without_predictions(here.study.results.predictions, pair):
            return Untested(lacking, nothing)
        try:
            table = paired_differences(
                here.study.results, pair.one, pair.other, metric=metric, resamples=resamples, seed=here.seed,
                smallest=here.smallest if equality else float("nan"),
            )  # fmt: skip
        except UserError as error:
            return Untested(str(error), nothing)
        row = table.iloc[0]
        if not known(row["low"]):
            few = f"one {row['unit']} alone" if row["units"] < 2 else "too many resamples have no score"
            return Untested(f"there is no interval, {few}", nothing)
        return _Difference(row, equality)

    def word(settled: Settled[_Difference | Untested]) -> Claim:
        if isinstance(settled.tested, Untested):
            about = {"model": pair.one["model"], "dimension": pair.one["dimension"], "rival": pair.words}
            return untested(pair.subject, pair.statement, settled.tested.reason, **about)
        claim = _claim(pair, settled.tested.row, METRICS[metric], settled)
        return _with_equality(claim, here.smallest, settled) if equality else claim

    return Draft(Question(ask, tests=max(len(shares), 1), shares=shares), word)


def _without_predictions(predictions: pd.DataFrame, pair: _Pair) -> str:
    """Which of two systems has no predictions, where the results hold some at all; empty where both have."""
    one = f"layer {pair.one['layer']} of {pair.one['model']}" if pair.layers else pair.one["model"]
    for key, words in ((pair.one, one), (pair.other, pair.words)):
        same = pd.Series(len(predictions) > 0, index=predictions.index)
        for column, value in key.items():
            same &= predictions[column].isna() if value is None else (predictions[column] == value).fillna(False)
        if len(predictions) and not same.any():
            return f"the results hold no predictions of {words} for {key['dimension']}; fit it again to have them"
    return ""


def _claim(pair: _Pair, row: pd.Series, metric: str, settled: Settled[_Difference | Untested]) -> Claim:
    scores = f"{metric} {number(row['score_one'])} against {number(row['score_other'])}"
    rows = f"{counted(row['n'], 'utterance')} of {counted(row['speakers'], 'speaker')}{_in_groups(row)}"
    together = "left out together, the probes fitted again" if row["interval"] in OF_REFITS else "resampled together"
    how = f"{scores}: {pair.about}; {rows}, {together}."
    rival = number(row["score_other"])
    if row["without"]:
        how += f" Left out, because too rare for an interval: {row['without']}."
        # Of fewer categories, so that it is not compared with the score of all of them.
        rival += f" against {number(row['score_one'])}, both without {row['without']}"
    chosen, hindsight = _chosen(pair)
    if settled.corrected[0] <= LEVEL and not settled.decided[0]:
        how += f" Undecided: p is within the error of {_error_of(row['interval'], settled.resamples)} of the limit."
    return Claim(
        pair.subject,
        pair.statement,
        f"difference in {metric}",
        float(row["difference"]),
        float(row["low"]),
        float(row["high"]),
        float(row["p"]),
        how + chosen,
        p_holm=settled.corrected[0],
        decided=settled.decided[0],
        hindsight=hindsight,
        model=pair.one["model"],
        corpus=pair.one["corpus"],
        dimension=pair.one["dimension"],
        rival=f"{pair.words} ({rival})",
        floor=2 / (settled.resamples + 1) if row["interval"] == FIXED else float("nan"),
    )


def _error_of(interval: str, resamples: int) -> str:
    return f"{resamples:,} resamples" if interval == FIXED else "random blocks of speakers"


def _with_equality(claim: Claim, smallest: float, settled: Settled[Any]) -> Claim:
    """A claim that may end as practically equal."""
    return replace(
        claim,
        smallest=smallest,
        p_equal=settled.tested.p[1],
        p_equal_corrected=settled.corrected[1],
        equal=settled.decided[1],
    )


def _chosen(pair: _Pair) -> tuple[str, bool]:
    """Where layers and rival were chosen, in sentences, and whether any of it was on the scored rows."""
    layers = [layer for layer in pair.layers if isinstance(layer["chosen_on"], str) and layer["chosen_on"]]
    choices = [(layer["chosen_on"], layer["split"]) for layer in layers]
    rival = [] if pair.rival is None else [(pair.rival.chosen_on, pair.rival.split)]
    hindsight = any(chosen_on == split for chosen_on, split in choices + rival)
    said = ""
    if rival and choices and chosen_in_words(rival) != chosen_in_words(choices):
        said = f" The layer was chosen on {chosen_in_words(choices)}; the rival on {chosen_in_words(rival)}."
    elif choices + rival:
        said = f" Chosen on {chosen_in_words(choices + rival)}."
    for layer in layers:
        if layer["layer"] != layer["highest_layer"]:
            said += (
                f" On the scored rows layer {layer['highest_layer']} of {layer['model']} is best "
                f"({number(layer['highest'])}), with hindsight."
            )
    if any(chosen_on == split for chosen_on, split in choices):
        said += (
            " The score of a layer chosen with hindsight is too high by what the choice gains; no interval covers it."
        )
    return said, hindsight


def _named(dimension: str) -> str:
    """A target as sentences have it."""
    return "emotion categories" if dimension == EMOTION else dimension


def _key(system: pd.Series) -> dict[str, Any]:
    """What singles a system out among the predictions."""
    values: dict[str, Any] = {name: system[name] for name in SYSTEM}
    return values | {"layer": None if pd.isna(system["layer"]) else int(system["layer"])}


def _in_groups(row: pd.Series) -> str:
    """The groups, where they are what is resampled."""
    return f" in {counted(row['units'], GROUP)}" if row["unit"] == GROUP else ""
