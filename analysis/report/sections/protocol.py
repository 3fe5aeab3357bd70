"""Corpus and protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emoprobe.probe.units import GROUP, SPEAKER, count_speakers

from ...tables import BASELINE_NAMES, records
from ..content import (
    NOTHING,
    Block,
    Items,
    Missing,
    Table,
    counted,
    listed,
    whole,
)
from ..material import Material
from ..study import Study
from .wording import MOST_LISTED, as_sentence, corpus_about


def protocol_section(material: Material) -> list[Block]:
    """Each corpus with its split, the models, and the settings of each probe."""
    study = material.study
    blocks: list[Block] = []
    for corpus in study.corpora:
        blocks += _corpus(study, corpus)
    blocks.append(_models(study))
    blocks.append(_settings(study))
    return blocks


def _corpus(study: Study, corpus: str) -> list[Block]:
    runs = study.runs(corpus=corpus)
    first = next((run for run in runs if "cache" in run), runs[0])
    about = corpus_about(first)
    entries = [f"{corpus}: {counted(first.get('cache', first).get('utterances', 0), 'utterance')}"]
    if "cache" in first:
        speakers = max(run["cache"]["speakers"] for run in runs if "cache" in run)
        groups = max(run["cache"].get("groups", 0) for run in runs if "cache" in run)
        unknown = max(run["cache"]["unknown_speaker"] for run in runs if "cache" in run)
        entries[0] += f", {counted(speakers, 'speaker')}" if speakers else ", speakers unknown"
        entries[0] += f", {counted(groups, 'group')}" if groups else ""
        entries[0] += f", {counted(unknown, 'utterance')} of unknown speaker" if unknown and speakers else ""
    cached = _described(study, corpus)
    entries[0] += f", {cached['hours']:.2f} hours" if cached else ""
    entries[0] += f"; SHA-256 of its table {about['sha256'][:16]}…" if about.get("sha256") else ""
    if cached and cached["genders"]:
        entries.append(f"By gender: {cached['genders']}.")
    entries += _split(study, corpus, runs)
    entries += [str(note) for note in about.get("notes", [])]
    if cached and cached["left_out"]:
        shown = cached["left_out"][:MOST_LISTED]
        more = len(cached["left_out"]) - len(shown)
        entries += [f"Left out: {line}" for line in shown]
        entries += [f"Left out: {more} more, listed in the cache."] if more else []
    blocks: list[Block] = [Items(tuple(dict.fromkeys(entries)))]
    if cached is None and any(model.probed for model in study.of(corpus)):
        blocks.append(
            Missing(
                "Hours, genders and the files that were left out are in the caches, and none was found.",
                study.report_command("--caches", *study.cache_files),
            )
        )
    return blocks


def _described(study: Study, corpus: str) -> dict | None:
    """What a cache says of its corpus beyond the protocol."""
    from emoprobe.extract.cache import HiddenStateCache

    path = next((model.cache for model in study.of(corpus) if model.cache), None)
    if path is None:
        return None
    with HiddenStateCache(path) as cache:
        table = cache.utterances
    done = table[table["status"] == "done"]
    genders = done.assign(gender=done["gender"].fillna("").replace("", "unknown")).groupby("gender")
    named = [f"{name} {counted(len(part), 'utterance')} of {_speakers(part['speaker'])}" for name, part in genders]
    bad = table[table["status"] != "done"]
    return {
        "hours": table["seconds"].sum() / 3600,
        "genders": listed(named) if (done["gender"].fillna("") != "").any() else "",
        "left_out": [f"{row.id} ({row.path}): {row.reason or row.status}" for row in records(bad)],
    }


def _speakers(speakers: Iterable[str]) -> str:
    """How many speakers these are; what is of none is no speaker."""
    known, unknown = count_speakers(list(speakers))
    if not known:
        return "unknown speakers"
    return counted(known, "speaker") + (f", {whole(unknown)} of them of unknown speakers" if unknown else "")


def _split(study: Study, corpus: str, runs: Sequence[dict]) -> list[str]:
    entries = []
    for run in runs:
        counts = ", ".join(f"{name} {whole(n)}" for name, n in run["split"]["counts"].items())
        kind = "The corpus's own split" if run["split"]["kind"] == "official" else f"Split: {run['split']['kind']}"
        entries.append(f"{kind}; labelled utterances: {counts}.")
        entries += [as_sentence(note) for note in run["split"]["notes"]]
        entries += [as_sentence(line) for line in (run.get("cache") or run).get("left_out", [])]
        for leak in run["split"]["leakage"]:
            for kind in (SPEAKER, GROUP):
                shared = leak.get(f"{kind}s", [])
                names = listed(entry.get(kind, "?") for entry in shared[:MOST_LISTED])
                if shared:
                    entries.append(
                        f"Leakage: {' and '.join(leak['parts'])} share {counted(len(shared), kind)} ({names})."
                    )
    entries.append(f"Scores below are of the part {study.split(corpus)!r}.")
    if study.optimistic(corpus):
        entries.append("Only a part that choices were made on was scored: every score is optimistic.")
    return list(dict.fromkeys(entries))


def _models(study: Study) -> Table:
    rows = []
    for model in study.models:
        about = model.about
        weights = about.get("weights_sha256") or ""
        rows.append(
            (
                model.label,
                model.corpus,
                about.get("name") or NOTHING,
                about.get("revision") or NOTHING,
                f"{weights[:16]}…" if weights else NOTHING,
                f"random, seed {about['random_init']}" if model.random else "trained" if about else NOTHING,
                whole(model.blocks),
                whole(about.get("width")),
                whole(about.get("parameters")),
            )
        )
    columns = ("Model", "Corpus", "Checkpoint", "Revision", "SHA-256 of weights", "Weights", "Blocks", "Width",
               "Parameters")  # fmt: skip
    return Table("Models.", columns, tuple(rows), words=6)


def _settings(study: Study) -> Table:
    """One row for each set of settings, with all probes that share it."""
    shared: dict[str, list[str]] = {}
    for run in study.results.protocol:
        features = f" ({run['features']})" if run["features"] not in ("", run["probe"]) else ""
        probes = shared.setdefault(_settings_in_words(run), [])
        name = f"{BASELINE_NAMES.get(run['probe'], run['probe'])}{features}"
        probes += [name] if name not in probes else []
    rows = tuple((", ".join(probes), said or NOTHING) for said, probes in shared.items())
    text = "Settings of each probe and baseline; the version of every method that they use is in protocol.json."
    return Table(text, ("Probe (features)", "Settings"), rows, words=2)


def _settings_in_words(run: dict) -> str:
    settings = dict(run.get("settings") or run.get("run", {}).get("training", {}))
    for said_elsewhere in ("probe", "features", "dimension", "baseline", "ungrouped", "methods"):
        settings.pop(said_elsewhere, None)
    if run["split"]["kind"] == "official":
        settings.pop("folds_asked", None)
    if penalties := settings.pop("penalties", None):
        settings["penalties"] = f"{len(penalties)} from {penalties[0]:g} to {penalties[-1]:g}"
    if isinstance(settings.get("seeds"), list):
        settings["seeds"] = len(settings["seeds"])
    training = settings.pop("training", {})
    training.pop("memory", None)
    words = {True: "yes", False: "no"}
    return "; ".join(
        f"{name.replace('_', ' ')} {words[value] if isinstance(value, bool) else value}"
        for name, value in {**settings, **training}.items()
        if value is not None
    )
