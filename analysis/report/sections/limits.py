"""Limits of what was asked."""

from __future__ import annotations

from emoprobe.probe.choosing import rows_of
from emoprobe.probe.leakage import shared_kinds
from emoprobe.probe.targets import LOOKED_UP
from emoprobe.probe.units import GROUP

from ...tables import BASELINE_NAMES
from ..content import (
    Block,
    Items,
    Paragraph,
    counted,
    listed,
    whole,
)
from ..material import Material
from ..study import Study
from .wording import MOST_LISTED, as_sentence, corpus_about

_FEW_SPEAKERS = 20  # below which an interval over speakers rests on little, however it is widened


def limits_section(material: Material) -> list[Block]:
    """What the numbers cannot say, as far as these results call for it, and the notes of the protocol."""
    study = material.study
    entries = []
    for corpus in study.corpora:
        entries += _limits_of(study, corpus)
    if any(model.random for model in study.models):
        entries.append("A random twin is one draw of untrained weights; its interval is over speakers, not over draws.")
    choices = [
        choice for model in study.models for name in study.targets if (choice := study.choice(model, name)) is not None
    ]
    if any(claim.hindsight for claim in material.claims) or any(choice.hindsight for choice in choices):
        entries.append(
            "A layer that is chosen with hindsight is the best of many on the same rows: its score is too high by what "
            "the choice gains, and no interval here covers that."
        )
    if any(choice.differs for choice in choices):
        entries.append(
            "Development and scored rows disagree about a best layer. The one that was chosen on development is "
            "reported. The highest stands beside it, with hindsight: it is too high by what the choice gains."
        )
    entries += [
        "A probe shows what a small reader finds in a layer, not what the model uses.",
        "A slope or a centroid describes a whole curve in one number: a peak in the middle and a flat curve may have "
        "the same. How far apart two centroids are depends on how strongly each dimension is read, on every scale: "
        "only their directions are claimed.",
    ]
    if any(model.cache for model in study.models) and not study.quick:
        entries.append(
            "Similarity is of pooled states over these utterances: whatever drives both sides, a speaker or a "
            "sentence, makes them alike."
        )
    mixed = _mixed_versions(study)
    entries += [f"Numbers of this report were made with several versions: {mixed}."] if mixed else []
    blocks: list[Block] = [Items(tuple(dict.fromkeys(entries)))]
    if notes := _notes(study):
        blocks += [Paragraph("Notes that the protocol keeps:"), Items(tuple(notes))]
    return blocks


def _notes(study: Study) -> list[str]:
    """What the fits have to say, each thing once, with the places that it was said of."""
    said: dict[str, list[str]] = {}
    for run in study.results.protocol:
        if run["probe"] == "mean":  # that it is constant is what it is for
            continue
        of_model = "" if run["probe"] in BASELINE_NAMES else f", {run['model']}"
        for note in run.get("notes", []):
            where, colon, what = note.partition(": ")
            if not colon or not (where == "baseline" or where.startswith("layer ")):
                where, what = "", note
            place = f"{run['probe']} of {run['dimension']}{of_model}"
            places = said.setdefault(what, [])
            places += [place] if place not in places else []
    return [
        f"{what[:1].upper()}{what[1:]} ({'; '.join(places[:MOST_LISTED])}"
        + (f"; {len(places) - MOST_LISTED} more)." if len(places) > MOST_LISTED else ").")
        for what, places in said.items()
    ]


def _limits_of(study: Study, corpus: str) -> list[str]:
    entries = []
    runs = study.runs(corpus=corpus)
    notes = list(dict.fromkeys(note for run in runs for note in corpus_about(run).get("notes", [])))
    entries += [as_sentence(str(note)) for note in notes]
    said = dict.fromkeys(line for run in runs for line in run.get("cache", {}).get("left_out", []) if LOOKED_UP in line)
    entries += [as_sentence(line) for line in said]
    scores = rows_of(study.results.scores, corpus=corpus, fold="all", split=study.split(corpus))
    speakers = scores["speakers"].dropna()
    groups = scores.loc[scores["unit"] == GROUP, "units"].dropna()
    fewest = groups if len(groups) else speakers
    if len(fewest) and fewest.min() < _FEW_SPEAKERS:
        in_groups = f" in {counted(int(groups.min()), GROUP)}, which are resampled" if len(groups) else ""
        entries.append(
            f"Scores on {corpus} rest on {counted(int(speakers.min()), 'speaker')}{in_groups}: intervals are wide, and "
            "say little of speakers unlike these."
        )
    if shared := shared_kinds(run["split"] for run in runs):
        entries.append(f"The split of {corpus} shares {shared} between its parts: its scores are too high.")
    if study.optimistic(corpus):
        entries.append(f"Of {corpus}, only a part that choices were made on was scored.")
    texts = _sentences(study, corpus)
    if texts:
        entries.append(texts)
    unknown = max((run["cache"]["unknown_speaker"] for run in runs if "cache" in run), default=0)
    if unknown:
        entries.append(
            f"{counted(unknown, 'utterance')} of {corpus} have no known speaker: each counts as one, and intervals are "
            "too narrow if voices recur."
        )
    return entries


def _sentences(study: Study, corpus: str) -> str:
    """Whether the words can show anything: in an acted corpus a few sentences are said with every emotion."""
    from emoprobe.extract.cache import HiddenStateCache

    path = next((model.cache for model in study.of(corpus) if model.cache), None)
    if path is None:
        return ""
    with HiddenStateCache(path) as cache:
        texts = cache.utterances.loc[cache.done, "transcript"].fillna("").str.strip()
    spoken = texts[texts != ""]
    if not len(spoken):
        return f"{corpus} has no transcripts: what the words contribute is not measured."
    if spoken.nunique() < len(spoken) / 5:
        return (
            f"{corpus} says {whole(spoken.nunique())} different sentences in {whole(len(spoken))} utterances: what "
            "words contribute can hardly show."
        )
    return ""


def _mixed_versions(study: Study) -> str:
    made: dict[str, set[str]] = {}
    for run in study.results.protocol:
        for name, version in run.get("versions", {}).items():
            made.setdefault(name, set()).add(version)
    return listed(f"{name} {' and '.join(sorted(of))}" for name, of in made.items() if len(of) > 1)
