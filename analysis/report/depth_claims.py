"""Claims on depth: which dimension of emotion is carried by shallower layers, or what each curve does instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from emoprobe.errors import UserError

from ..measures.centroid import relevance_centroids
from ..measures.directions import LEVEL, difference_of
from ..measures.scales import SCALES
from ..measures.settling import Question, Settled
from ..measures.statements import Depths
from .claim import Claim, Draft, Untested, untested
from .content import interval, known, number, probability
from .study import Model, Study

SHALLOW, DEEP = "arousal", "valence"

#: p of the three tests of a model, where there are none.
NOTHING = (float("nan"),) * 3

#: The scale whose numbers a claim shows first.
_SHOWN = "r2"


def depth_claims(study: Study, corpus: str, trained: list[Model], on: str, seed: int) -> Iterator[Draft]:
    """One claim a trained model: that arousal is carried by shallower layers than valence."""
    features = {name for model in trained for name in study.layers(model, DEEP)["features"]}
    for model in trained:
        predictions = study.results.predictions
        of_model = predictions[
            (predictions["model"] == model.label)
            & (predictions["corpus"] == corpus)
            & predictions["features"].isin(features)
            & predictions["dimension"].isin([SHALLOW, DEEP])
        ]
        yield _draft(study, model, of_model, on, seed)


def _draft(study: Study, model: Model, predictions: pd.DataFrame, on: str, seed: int) -> Draft:
    own = replace(study.results, predictions=predictions)

    def ask(resamples: int) -> Depths | Untested:
        if unread := [name for name in (SHALLOW, DEEP) if not _is_read(study.layers(model, name))]:
            return Untested(
                f"no layer of {model.label} reads {' or '.join(unread)} better than permuted labels allow", NOTHING
            )
        if not len(predictions):
            return Untested(f"there are no predictions of the layers of {model.label}", NOTHING)
        try:
            table = relevance_centroids(own, split=study.split(model.corpus), resamples=resamples, seed=seed)
            name, _ = difference_of(table, SHALLOW, DEEP)
        except UserError as error:
            return Untested(str(error), NOTHING)
        except KeyError:
            return Untested("the two dimensions were not scored on the same speakers", NOTHING)
        depths = Depths.of(table, SHALLOW, DEEP)
        if not (known(depths.row(name, _SHOWN)["low"]) and all(known(p) for p in depths.p[:2])):
            return Untested("a slope, or the difference of the centroids, has no interval", NOTHING)
        return depths

    def word(settled: Settled[Depths | Untested]) -> Claim:
        if isinstance(settled.tested, Untested):
            statement = f"In {model.label}, {SHALLOW} is carried by shallower layers than {DEEP}{on}."
            return untested("depth", statement, settled.tested.reason, model=model.label)
        return _claim(model.label, on, settled.tested, settled)

    return Draft(Question(ask, tests=3), word)


def _is_read(layers: pd.DataFrame) -> bool:
    """Whether any layer scores above its null; what has no null is taken at its interval."""
    if layers["p_holm"].notna().any():
        return bool((layers["p_holm"] <= LEVEL).any())
    return bool((layers["ccc_low"] > 0).any())


def _claim(label: str, on: str, depths: Depths, settled: Settled[Depths | Untested]) -> Claim:
    """The statement that the decided tests allow."""
    comparison = depths.comparison
    said = comparison.statement(settled.decided)
    if said.worded:
        moves = (SHALLOW, DEEP)[said.rests_on[0]]
        row, sign = depths.row(moves, _SHOWN), comparison.slopes[said.rests_on[0]].sign
        value, ends = sign * row["slope"], (sign * row["slope_low"], sign * row["slope_high"])
        measure = f"{'rise' if sign > 0 else 'fall'} of {moves} over the layers (explained variance, over its mean)"
    else:
        name, sign = difference_of(depths.table, SHALLOW, DEEP)
        row = depths.row(name, _SHOWN)
        value, ends = sign * row["centroid"], (sign * row["low"], sign * row["high"])
        measure = f"centroid of {DEEP} less that of {SHALLOW}, by explained variance"
    return Claim(
        "depth",
        f"In {label}, {said.text}{on}.",
        measure,
        float(value),
        float(min(ends)),
        float(max(ends)),
        comparison.largest(said, comparison.p),
        _how(depths, said.worded),
        p_holm=comparison.largest(said, settled.corrected),
        decided=said.sign != 0,
        model=label,
    )


def _how(depths: Depths, worded: bool) -> str:
    """Slopes and centroids on every scale, with what each difference would say alone."""
    slopes, apart = [], []
    difference, sign = difference_of(depths.table, SHALLOW, DEEP)
    for name, scale in SCALES.items():
        each = []
        for dimension in (SHALLOW, DEEP):
            row = depths.row(dimension, name)
            each.append(f"{dimension} {number(row['slope'])} {interval(row['slope_low'], row['slope_high'])}")
        slopes.append(f"{scale.in_words}: {', '.join(each)}")
        row = depths.row(difference, name)
        p, value = float(row["p"]), sign * float(row["centroid"])
        apart.append(f"{scale.in_words} {number(value)} (p {probability(p)}: {_alone(value, p)})")
    text = (
        f"Change from the first layer to the last, over the mean; {'; '.join(slopes)}. Centroid of {DEEP} less that of "
        f"{SHALLOW}, each taken alone: {'; '.join(apart)}."
    )
    if worded:
        text += " Which of the two lies deeper is not claimed: their curves do not go opposite ways."
    return text


def _alone(value: float, p: float) -> str:
    """What a difference of centroids, valence less arousal, would say by itself."""
    if not known(p):
        return "no interval"
    return "open" if p > LEVEL else f"{DEEP if value > 0 else SHALLOW} deeper"
