"""The answer in sentences: which layers carry each dimension, against which controls, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from emoprobe.probe.choosing import rows_of
from emoprobe.probe.selecting import Choice, headline_metric

from ..measures.directions import LEVEL
from ..tables import METRICS
from .claim import Claim
from .content import counted, known, layers_in_words, listed, number, with_interval
from .study import EMOTION, Model, Study

#: How a model stands against its rivals, by verdict: a verb that the rivals follow.
_STANDS = {
    "supported": "It beats",
    "contradicted": "It is beaten by",
    "practically equal": "It is practically equal to",
    "undecided": "It is not told apart from",
    "not tested": "It was not tested against",
}


def answers(study: Study, claims: Sequence[Claim]) -> tuple[tuple[str, str], ...]:
    """A name and what is said of it: each target, then depth, then training with text.

    Parameters
    ----------
    study : Study
    claims : sequence of Claim
        Of this study.

    Returns
    -------
    tuple of pairs of str
        Scores, layers and verdicts are those of the claims and of the tables below them, by one rule of choice.
    """
    said: list[tuple[str, str]] = []
    for corpus in study.corpora:
        trained = study.of(corpus, random=False)
        if not trained:
            continue
        on = f" on {corpus}" if len(study.corpora) > 1 else ""
        lead = max(trained, key=lambda model: model.blocks or 0)
        for target in study.targets:
            if text := " ".join(_of_target(study, lead, target, claims)):
                name = "Categories" if target == EMOTION else target.capitalize()
                said.append((f"{name}{on}", text))
    for name, subject in (("Depth", "depth"), ("Fewer blocks", "student"), ("Text", "text")):
        if text := " ".join(_as_claimed(claims, subject)):
            said.append((name, text))
    return tuple(said)


def _of_target(study: Study, model: Model, target: str, claims: Sequence[Claim]) -> Iterator[str]:
    choice = study.choice(model, target)
    if choice is None:
        return
    yield _read_in(study.layers(model, target), model, target, choice)
    rivals: dict[str, list[str]] = {}
    own = [
        claim for claim in claims if (claim.model, claim.corpus, claim.dimension) == (model.label, model.corpus, target)
    ]
    for claim in own:
        if claim.subject in ("acoustics", "words", "twin"):
            rivals.setdefault(claim.verdict, []).append(" ".join(filter(None, (claim.rival, claim.beside))))
    for verdict, verb in _STANDS.items():
        if verdict in rivals:
            several = verdict == "undecided" and len(rivals[verdict]) > 1
            yield _neither(rivals[verdict]) if several else f"{verb} {listed(rivals[verdict])}."
    if not model.random and study.twin(model) is None:
        yield "No untrained twin was fitted."
    if not any(claim.subject == "words" for claim in own):
        yield from _words(study, model, target)


def _neither(rivals: Sequence[str]) -> str:
    """One negation for each rival, so that nobody reads the last of several as beaten."""
    return f"It is told apart neither from {', nor from '.join(rivals)}."


def _words(study: Study, model: Model, target: str) -> Iterator[str]:
    """What the words alone reach, where no claim on them says it."""
    rows = rows_of(
        study.results.scores, probe="text", fold="all", dimension=target, corpus=model.corpus,
        split=study.split(model.corpus),
    )  # fmt: skip
    score = rows[headline_metric(target)].dropna()
    if len(score):
        yield f"The words alone reach {number(score.iloc[0])}."


def _read_in(layers: pd.DataFrame, model: Model, target: str, choice: Choice) -> str:
    """Which layers read the target above chance, and which one is reported with what score."""
    metric, it = headline_metric(target), "them" if target == EMOTION else "it"
    best = layers.set_index("layer").loc[choice.best]
    score = with_interval(best[metric], best[f"{metric}_low"], best[f"{metric}_high"])
    how = "with hindsight" if choice.hindsight else f"on {choice.chosen_on}"
    reported = f"Layer {choice.best}, chosen {how}, has {METRICS[metric]} {score}."
    if not layers["p_holm"].notna().any():
        return f"{model.label}: permuted labels were not tried. {reported}"
    read = layers.loc[(layers["p_holm"] <= LEVEL).fillna(False).to_numpy(bool), "layer"].astype(int).tolist()
    if not read:
        return f"No layer of {model.label} reads {it} better than permuted labels allow. {reported}"
    which = f"All {len(layers)} layers" if len(read) == len(layers) else f"{layers_in_words(read)} of {len(layers)}"
    return f"{which} of {model.label} read {it} better than permuted labels allow. {reported}"


def _as_claimed(claims: Sequence[Claim], subject: str) -> Iterator[str]:
    """The statements of a kind, by verdict; what was not tested is counted."""
    of_kind = [claim for claim in claims if claim.subject == subject]
    for claim in of_kind:
        if known(claim.value):
            yield f"{claim.statement.removesuffix('.')}: {claim.verdict}."
    if untested := sum(not known(claim.value) for claim in of_kind):
        yield f"{counted(untested, 'claim')} could not be tested."
