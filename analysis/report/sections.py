"""The sections of a report, each from the tables to a few blocks; what a section lacks, it says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from emoprobe.errors import UserError

from ..comparison import compare_systems, plot_comparison
from ..fairness import FEWEST_UTTERANCES, fairness_table, plot_fairness
from ..figures import file_stems
from ..plots import plot_layers, plot_teacher_student, plot_weights
from ..relevance import agreement, starts
from ..relevance_plots import OPINION_NAMES, plot_relevance
from ..similarity_plots import plot_feature_similarity, plot_similarity
from ..tables import (
    BASELINE_NAMES,
    END_TO_END,
    METRICS,
    Subject,
    layer_weights,
    ordered_baselines,
    ordered_dimensions,
)
from .bibliography import bibtex
from .claims import ACOUSTIC, RULES, Claim
from .computed import Computed
from .content import (
    NOTHING,
    Block,
    Code,
    Figure,
    Findings,
    Gallery,
    Items,
    Missing,
    Paragraph,
    Section,
    Table,
    counted,
    known,
    listed,
    number,
    probability,
    whole,
    with_interval,
)
from .methods import methods, version_of
from .pictures import picture
from .study import EMOTION, Model, Study

_FEW_SPEAKERS = 20  # below which an interval over speakers rests on little, however it is widened
_MOST_LISTED = 20


def sections(study: Study, found: list[Claim], computed: Computed) -> tuple[Section, ...]:
    """All sections, in the order of the report."""
    return (
        Section("answer", "What was asked, and the answer", tuple(_answer(study, found))),
        Section("protocol", "Corpus and protocol", tuple(_protocol(study))),
        Section("curves", "Curves over layers, with controls", tuple(_curves(study))),
        Section("relevance", "Learned weights and second opinions", tuple(_relevance(study, computed))),
        Section("similarity", "Similarity", tuple(_similarity(study, computed))),
        Section("systems", "Models trained end to end, beside all others", tuple(_systems(study))),
        Section("fairness", "Fairness across speakers", tuple(_fairness(study))),
        Section("limits", "Limits", tuple(_limits(study, found))),
        Section("methods", "Methods and references, ready to paste", tuple(_methods(study, computed))),
    )


# 1. The answer --------------------------------------------------------------------------------------------------------


def _answer(study: Study, found: list[Claim]) -> list[Block]:
    trained = [model.label for corpus in study.corpora for model in study.of(corpus, random=False)]
    ends = dict.fromkeys(run["model"] for run in study.runs(probe=END_TO_END))
    wanted = [*study.dimensions, *(["emotion categories"] if study.has_emotion else [])]
    asked = f"Which layers of {listed(dict.fromkeys(trained))}" if trained else f"What {listed(ends)} learned"
    asked += f" carry {listed(wanted)}" if trained else f" of {listed(wanted)}"
    asked += f" on {listed(study.corpora)}; whether plain acoustics, untrained weights or chance explain as much"
    blocks: list[Block] = [Paragraph(f"{asked}{'; and what training end to end adds' if ends and trained else ''}.")]
    if not found:
        return [*blocks, Missing("These results allow no claim to be tested.", study.fit_command("--dim all"))]
    blocks += [Paragraph(_tally(found)), Findings(tuple(claim.finding() for claim in found))]
    return [*blocks, Paragraph(f"{RULES} {_family(found)}")]


def _tally(found: list[Claim]) -> str:
    by_verdict: dict[str, list[Claim]] = {}
    for claim in found:
        by_verdict.setdefault(claim.verdict, []).append(claim)
    counts = [
        f"{len(by_verdict[name])} {name}"
        for name in ("supported", "contradicted", "undecided", "not tested")
        if name in by_verdict
    ]
    text = f"Of {counted(len(found), 'claim')}, {listed(counts)}."
    fragile = [claim for claim in found if claim.fragile]
    if fragile:
        text += (
            f" {len(fragile)} of the decided ones would be undecided if p had to be at most 0.05 after correction for "
            "all claims."
        )
    return text


def _family(found: list[Claim]) -> str:
    tested = sum(known(claim.p) for claim in found)
    return (
        f"Intervals are of each claim alone: of {tested} such intervals, {number(tested / 20, 1)} miss the truth on "
        f"average. Corrected p values are Holm's over these {tested} tests."
    )


# 2. Corpus and protocol -----------------------------------------------------------------------------------------------


def _protocol(study: Study) -> list[Block]:
    blocks: list[Block] = []
    for corpus in study.corpora:
        blocks += _corpus(study, corpus)
    blocks.append(_models(study))
    blocks.append(_settings(study))
    return blocks


def _corpus(study: Study, corpus: str) -> list[Block]:
    runs = study.runs(corpus=corpus)
    first = next((run for run in runs if "cache" in run), runs[0])
    about = _corpus_about(first)
    entries = [f"{corpus}: {counted(first.get('cache', first).get('utterances', 0), 'utterance')}"]
    if "cache" in first:
        speakers = max(run["cache"]["speakers"] for run in runs if "cache" in run)
        unknown = max(run["cache"]["unknown_speaker"] for run in runs if "cache" in run)
        entries[0] += f", {counted(speakers, 'speaker')}" if speakers else ", speakers unknown"
        entries[0] += f", {counted(unknown, 'utterance')} of unknown speaker" if unknown and speakers else ""
    cached = _described(study, corpus)
    entries[0] += f", {cached['hours']:.2f} hours" if cached else ""
    entries[0] += f"; SHA-256 of its table {about['sha256'][:16]}…" if about.get("sha256") else ""
    if cached and cached["genders"]:
        entries.append(f"By gender: {cached['genders']}.")
    entries += _split(study, corpus, runs)
    entries += [str(note) for note in about.get("notes", [])]
    if cached and cached["left_out"]:
        shown = cached["left_out"][:_MOST_LISTED]
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


def _corpus_about(run: dict) -> dict:
    return run["cache"]["provenance"]["corpus"] if "cache" in run else run.get("run", {}).get("corpus", {})


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
    named = [
        f"{name} {counted(len(part), 'utterance')} of {counted(part['speaker'].nunique(), 'speaker')}"
        for name, part in genders
    ]
    bad = table[table["status"] != "done"]
    return {
        "hours": table["seconds"].sum() / 3600,
        "genders": listed(named) if (done["gender"].fillna("") != "").any() else "",
        "left_out": [f"{row.id} ({row.path}): {row.reason or row.status}" for row in bad.itertuples()],
    }


def _split(study: Study, corpus: str, runs: Sequence[dict]) -> list[str]:
    entries = []
    for run in runs:
        counts = ", ".join(f"{name} {whole(n)}" for name, n in run["split"]["counts"].items())
        kind = "The corpus's own split" if run["split"]["kind"] == "official" else f"Split: {run['split']['kind']}"
        entries.append(f"{kind}; labelled utterances: {counts}.")
        entries += [_sentence(note) for note in run["split"]["notes"]]
        entries += [_sentence(line) for line in (run.get("cache") or run).get("left_out", [])]
        for leak in run["split"]["leakage"]:
            shared = listed(entry.get("speaker", "?") for entry in leak["speakers"][:_MOST_LISTED])
            entries.append(f"Leakage: {' and '.join(leak['parts'])} share {len(leak['speakers'])} speakers ({shared}).")
    entries.append(f"Scores below are of the part {study.split(corpus)!r}.")
    if study.optimistic(corpus):
        entries.append("Only a part that choices were made on was scored: every score is optimistic.")
    return list(dict.fromkeys(entries))


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


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
        name = f"{run['probe']}{features}"
        probes += [name] if name not in probes else []
    rows = tuple((", ".join(probes), said or NOTHING) for said, probes in shared.items())
    return Table("Settings of each probe and baseline.", ("Probe (features)", "Settings"), rows, words=2)


def _settings_in_words(run: dict) -> str:
    settings = dict(run.get("settings") or run.get("run", {}).get("training", {}))
    for said_elsewhere in ("probe", "features", "dimension", "baseline", "ungrouped"):
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


# 3. Curves ------------------------------------------------------------------------------------------------------------


def _curves(study: Study) -> list[Block]:
    blocks: list[Block] = []
    wanted = [*study.dimensions, *([EMOTION] if study.has_emotion else [])]
    for corpus in study.corpora:
        trained, everyone = study.of(corpus, random=False), study.of(corpus)
        figures = [figure for model in trained or everyone for figure in _layer_figures(study, model)]
        figures += _depth_figure(study, corpus, everyone)
        if figures:
            blocks.append(Gallery(tuple(figures)))
        layers = [
            (model, dimension, rows)
            for model in everyone
            for dimension in wanted
            if len(rows := study.layers(model, dimension))
        ]
        if layers:
            blocks += [_best_table(study, corpus, layers), *_rivals_table(study, corpus, layers)]
    if not blocks:
        return [Missing("No layer was probed.", study.fit_command())]
    blocks += _lacking_controls(study)
    return blocks


def _layer_figures(study: Study, model: Model) -> list[Figure]:
    figures = []
    for dimensions, metric, name in ((study.dimensions, "ccc", "layers"), ([EMOTION], "uar", "emotion")):
        drawn = [dimension for dimension in dimensions if len(study.layers(model, dimension))]
        if not drawn or (dimensions == [EMOTION] and not study.has_emotion):
            continue
        draw = partial(
            plot_layers, study.tables, model=model.label, corpus=model.corpus, metric=metric, dimensions=drawn,
            split=study.split(model.corpus),
        )  # fmt: skip
        said = "; ".join(_curve_in_words(study.layers(model, dimension), dimension, metric) for dimension in drawn)
        alt = f"{metric.upper()} of each layer of {model.label} on {model.corpus}: {said}."
        figures.append(picture((name, model.label, model.corpus), draw, alt=alt))
    return figures


def _curve_in_words(rows: pd.DataFrame, dimension: str, metric: str) -> str:
    values = rows.set_index("layer")[metric].astype(float).dropna()
    if not len(values):
        return f"{dimension} has no score"
    first, last, best = values.index[0], values.index[-1], values.idxmax()
    return (
        f"{dimension} {number(values[first], 2)} at layer {first}, highest {number(values[best], 2)} at layer {best}, "
        f"{number(values[last], 2)} at layer {last}"
    )


def _depth_figure(study: Study, corpus: str, models: Sequence[Model]) -> list[Figure]:
    drawn = [model for model in models if any(len(study.layers(model, dimension)) for dimension in study.dimensions)]
    if len(drawn) < 2:
        return []
    names = [model.label for model in drawn]
    draw = partial(
        plot_teacher_student, study.tables, model=names, corpus=corpus, dimensions=study.dimensions,
        split=study.split(corpus),
    )  # fmt: skip
    alt = f"CCC on relative depth of {listed(names)}, one panel a dimension: {listed(study.dimensions)}."
    return [picture(("depth", corpus), draw, alt=alt)]


def _best_table(study: Study, corpus: str, layers: Sequence[tuple[Model, str, pd.DataFrame]]) -> Table:
    rows = []
    for model, dimension, table in layers:
        score = "uar" if dimension == EMOTION else "ccc"
        if not table[score].notna().any():
            continue
        best = table.loc[table[score].idxmax()]
        rows.append(
            (
                model.label,
                dimension,
                f"{best['layer']} of {table['layer'].max()}",
                with_interval(best[score], best[f"{score}_low"], best[f"{score}_high"]),
                number(best["pearson"]),
                number(best["null_high"]),
                probability(best["p_holm"]),
                number(best["selectivity"]),
                number(best["compression"]),
            )
        )
    score = "CCC (UAR of categories)" if study.has_emotion else "CCC"
    columns = ("Model", "Dimension", "Best layer", f"{score}, 95 % interval", "Pearson r", "Null, 95th percentile",
               "p, corrected", "Selectivity", "Compression")  # fmt: skip
    text = (
        f"Best layer of each model on {corpus}, {study.split(corpus)}. It is chosen on the rows that are scored, which "
        "its interval does not cover; the claims above choose otherwise where they can, and say so. p is corrected "
        "over layers. Compression above 1: the layer shortens the code of the labels."
    )
    return Table(text, columns, tuple(rows), words=2)


def _rivals_table(study: Study, corpus: str, layers: Sequence[tuple[Model, str, pd.DataFrame]]) -> list[Table]:
    scores = study.results.select(corpus=corpus, fold="all", split=study.split(corpus))
    baselines = scores[scores["layer"].eq(-1).fillna(False).to_numpy(bool)]
    rows = []
    for model, dimension, table in layers:
        score = "uar" if dimension == EMOTION else "ccc"
        if model.random or not table[score].notna().any():
            continue
        own = baselines[(baselines["model"] == model.label) & (baselines["dimension"] == dimension)]
        acoustic = own[own["probe"].isin(ACOUSTIC) & (own["probe"] != "duration") & own[score].notna()]
        best = acoustic.loc[acoustic[score].idxmax()] if len(acoustic) else None
        twin = study.twin(model)
        untrained = study.layers(twin, dimension) if twin else table.iloc[:0]
        cells = [model.label, dimension, number(table[score].max())]
        cells.append(NOTHING if best is None else f"{BASELINE_NAMES[best['probe']]} {number(best[score])}")
        for name in ("duration", "text"):
            cells.append(number(next(iter(own.loc[own["probe"] == name, score]), None)))
        cells.append(number(untrained[score].max()) if len(untrained) else NOTHING)
        rows.append(tuple(cells))
    if not rows:
        return []
    columns = ("Model", "Dimension", "Best layer", "Best acoustics", "Duration", "Words", "Random twin, best layer")
    text = (
        f"Rival explanations on {corpus}: what is reached without the model, or without its training. All are the best "
        "on the scored rows."
    )
    return [Table(text, columns, tuple(rows), words=2)]


def _lacking_controls(study: Study) -> list[Block]:
    scores = study.results.scores
    lacking: list[Block] = []
    if study.dimensions and not scores["null_high"].notna().any():
        lacking.append(Missing("There is no null of permuted labels.", study.fit_command()))
    if study.dimensions and not scores["compression"].notna().any():
        lacking.append(Missing("There is no description length.", study.fit_command()))
    for model in study.models:
        if model.probed and not model.random and study.twin(model) is None:
            (file,) = file_stems([(model.label, "random")])
            text = (
                f"{model.label} has no random twin on {model.corpus}: how much its architecture reads untrained is not "
                "known. Extract one on the same corpus, and fit it beside the others."
            )
            lacking.append(Missing(text, study.twin_command(model, f"{file}.h5")))
    for name, told in (("egemaps", "eGeMAPS"), ("text", "the words alone")):
        if any(model.probed for model in study.models) and not (scores["probe"] == name).any():
            model = next(model for model in study.models if model.probed)
            command = f"probe-extract --out {quoted(str(model.cache or model.cache_file))} --baselines {name}"
            lacking.append(Missing(f"There is no baseline of {told}.", command))
    return lacking


def quoted(text: str) -> str:
    """`text` as one word of a shell."""
    import shlex

    return shlex.quote(text)


# 4. Relevance ---------------------------------------------------------------------------------------------------------


def _relevance(study: Study, computed: Computed) -> list[Block]:
    blocks: list[Block] = []
    weighed = [
        model
        for model in study.models
        if ((study.tables.weights["model"] == model.label) & (study.tables.weights["corpus"] == model.corpus)).any()
    ] if len(study.tables.weights) else []  # fmt: skip
    figures = []
    for model in weighed:
        draw = partial(plot_weights, study.tables, model=model.label, corpus=model.corpus)
        figures.append(picture(("weights", model.label, model.corpus), draw, alt=_weights_in_words(study, model)))
    blocks += [Gallery(tuple(figures))] if figures else []
    if study.dimensions and not weighed:
        blocks.append(Missing("No weighted sum of layers was learned.", study.fit_command("--probe weighted")))
    for model in study.models:
        rows = computed.relevance
        rows = rows[(rows["model"] == model.label) & (rows["corpus"] == model.corpus)]
        if len(rows):
            blocks += _opinions(model, rows)
    return [*blocks, *computed.lacking["relevance"]]


def _opinions(model: Model, rows: pd.DataFrame) -> list[Block]:
    compared = agreement(rows)
    names = [name for name in OPINION_NAMES if name in set(rows["opinion"])]
    cells, said = [], []
    for dimension in ordered_dimensions(rows["dimension"]):
        of = rows[(rows["dimension"] == dimension) & ~starts(rows)]
        best = of.loc[of.groupby("opinion")["relevance"].idxmax()].set_index("opinion")
        layers = []
        for name in names:
            row = best.loc[name]
            sure = not known(row["low"]) or row["low"] > 0
            layers.append(f"{row['layer']}{'' if sure else ' ?'}")
        tau = compared.loc[compared["dimension"] == dimension, "kendall"].mean()
        cells.append((dimension, *layers, number(tau, 2)))
        said.append(f"{dimension}: Kendall's tau {number(tau, 2)} on average")
    features = listed(dict.fromkeys(rows["features"]))
    text = (
        f"Most relevant layer of {model.label} by each opinion, on pooled states ({features}); a question mark: its "
        "interval includes zero. Agreement: Kendall's tau between two opinions over the layers, the mean over pairs. "
        "1 for the same order, 0 for unrelated ones; the lower, the less a single opinion counts. Where a cumulative "
        "opinion starts, it compares with nothing, and that layer is left out."
    )
    columns = ("Dimension", *(OPINION_NAMES[name].capitalize() for name in names), "Agreement")
    alt = f"What {len(names)} opinions say of each layer of {model.label}; {'; '.join(said)}."
    draw = partial(plot_relevance, rows, model=model.label, corpus=model.corpus)
    return [picture(("relevance", model.label, model.corpus), draw, alt=alt), Table(text, columns, tuple(cells))]


def _weights_in_words(study: Study, model: Model) -> str:
    said = []
    for dimension in study.dimensions:
        found = layer_weights(study.tables.weights, Subject(model.label, model.corpus), dimension=dimension)
        if found is not None:
            raw, normed = found.raw.mean(0), found.normed.mean(0)
            said.append(
                f"{dimension} most on layer {raw.argmax()} ({number(raw.max(), 2)}), norm-corrected on layer "
                f"{normed.argmax()} ({number(normed.max(), 2)})"
            )
    return f"Learned weights of the layers of {model.label} on {model.corpus}: {'; '.join(said)}."


# 5. Similarity --------------------------------------------------------------------------------------------------------


def _similarity(study: Study, computed: Computed) -> list[Block]:
    blocks: list[Block] = []
    for corpus in study.corpora:
        table = computed.similarity
        table = table[table["corpus"] == corpus]
        if len(table):
            blocks += _similarity_of(study, corpus, table)
    return [*blocks, *computed.lacking["similarity"]]


def _similarity_of(study: Study, corpus: str, table: pd.DataFrame) -> list[Block]:
    trained = [model.label for model in study.of(corpus, random=False)]
    layered = table[table["other_layer"].notna() & (table["measure"] == "cka")]
    figures, drawn = [], set()
    for model, other in layered[["model", "other"]].drop_duplicates().itertuples(index=False):
        if frozenset((model, other)) in drawn or model not in trained:
            continue
        drawn.add(frozenset((model, other)))
        rows = layered[(layered["model"] == model) & (layered["other"] == other)]
        pair = (model,) if model == other else (model, other)
        low, high = rows["value"].min(), rows["value"].max()
        alt = f"Linear CKA between layers of {listed(pair)} on {corpus}: {number(low, 2)} to {number(high, 2)}."
        draw = partial(plot_similarity, table, model=model, other=other, corpus=corpus)
        figures.append(picture(("similarity", *pair, corpus), draw, alt=alt))
    blocks: list[Block] = [Gallery(tuple(figures))] if figures else []
    featured = table[table["other_layer"].isna()]
    if len(featured):
        models = list(dict.fromkeys(featured["model"]))
        alt = f"What each layer of {listed(models)} shares with features; the table below has the highest of each."
        draw = partial(plot_feature_similarity, table, corpus=corpus)
        blocks += [picture(("features", corpus), draw, alt=alt), *_shared_words(featured, trained)]
        blocks.append(_shared_table(corpus, featured))
    return blocks + _counterparts(study, corpus, table)


def _shared_words(featured: pd.DataFrame, trained: Sequence[str]) -> list[Block]:
    """What the layers share with the words, from the first to the last: the paper's explanation of valence."""
    rows = featured[(featured["measure"] == "cka") & (featured["other"] == "text") & featured["value"].notna()]
    said = []
    for model in trained:
        part = rows[rows["model"] == model].sort_values("layer")
        if len(part):
            first, last = part.iloc[0], part.iloc[-1]
            said.append(
                f"What {model} shares with the words goes from {number(first['value'], 2)} at layer 0 to "
                f"{number(last['value'], 2)} at layer {last['layer']} (linear CKA)."
            )
    return [Paragraph(" ".join(said))] if said else []


def _shared_table(corpus: str, featured: pd.DataFrame) -> Table:
    names = ordered_baselines(featured["other"])
    rows = []
    for model in dict.fromkeys(featured["model"]):
        for name in names:
            cells = [model, BASELINE_NAMES.get(name, name)]
            for measure in ("cka", "pwcca"):
                part = featured[(featured["model"] == model) & (featured["other"] == name)]
                part = part[(part["measure"] == measure) & part["value"].notna()].sort_values("layer")
                if not len(part):
                    cells += [NOTHING] * 3
                    continue
                ends, best = part.iloc[[0, -1]]["value"], part.loc[part["value"].idxmax()]
                chance = f", chance {number(best['chance'], 2)}" if measure == "pwcca" else ""
                cells += [number(value, 2) for value in ends]
                cells.append(f"{number(best['value'], 2)} at layer {best['layer']}{chance}")
            rows.append(tuple(cells))
    columns = ("Model", "Shares with", "CKA, layer 0", "CKA, last layer", "CKA, highest", "PWCCA, layer 0",
               "PWCCA, last layer", "PWCCA, highest")  # fmt: skip
    text = (
        f"What the layers share with features of {corpus}. CKA of unrelated rows is 0; PWCCA is as high as its chance."
    )
    return Table(text, columns, tuple(rows), words=2)


def _counterparts(study: Study, corpus: str, table: pd.DataFrame) -> list[Block]:
    """For each layer of the smaller model of a pair, the layer of the larger that is most alike."""
    trained = {model.label: model.blocks or 0 for model in study.of(corpus, random=False)}
    layered = table[table["other_layer"].notna() & (table["model"] != table["other"])]
    tables: list[Block] = []
    for model, other in layered[["model", "other"]].drop_duplicates().itertuples(index=False):
        if model not in trained or other not in trained or not trained[model] < trained[other]:
            continue
        rows = []
        pair = layered[(layered["model"] == model) & (layered["other"] == other) & layered["value"].notna()]
        for layer, part in pair.groupby("layer"):
            cells = [f"layer {layer}"]
            for measure in ("cka", "pwcca"):
                values = part[part["measure"] == measure]
                if not len(values):
                    cells += [NOTHING, NOTHING]
                    continue
                best = values.loc[values["value"].idxmax()]
                cells += [f"layer {best['other_layer']}", number(best["value"], 2)]
            rows.append(tuple(cells))
        columns = (model, f"Most alike in {other}, CKA", "CKA", f"Most alike in {other}, PWCCA", "PWCCA")
        tables.append(Table(f"Which layer of {other} each layer of {model} is most like.", columns, tuple(rows)))
    return tables


# 6. Systems -----------------------------------------------------------------------------------------------------------


def _systems(study: Study) -> list[Block]:
    blocks: list[Block] = []
    if not study.end_to_end:
        corpus = study.corpus_option(study.corpora[0])
        command = f"probe-train {corpus} --results {quoted(str(study.folders[0]))}"
        blocks.append(Missing("The results hold no model trained end to end.", command))
    for corpus in study.corpora:
        for metric, wanted in (("ccc", study.dimensions), ("uar", [EMOTION] if study.has_emotion else [])):
            choice = {"corpus": corpus, "metric": metric, "dimensions": wanted, "split": study.split(corpus)}
            try:
                found = compare_systems(study.tables, **choice)
            except UserError:  # none of these dimensions on this corpus
                continue
            if (found["probe"] != "mean").any():
                alt = f"{METRICS[metric]} with interval of every system on {corpus}; the table below has the numbers."
                name = ("comparison", corpus, *([metric] if metric != "ccc" else []))
                blocks.append(picture(name, partial(plot_comparison, study.tables, **choice), alt=alt))
            blocks.append(_systems_table(study, corpus, metric, found))
    return blocks


def _systems_table(study: Study, corpus: str, metric: str, found: pd.DataFrame) -> Table:
    dimensions = list(dict.fromkeys(found["dimension"]))
    rows = []
    for (model, system), part in found.groupby(["model", "system"], sort=False):
        by_dimension = part.drop_duplicates("dimension").set_index("dimension")
        cells = [model or "no model", system, whole(part["seeds"].max())]
        for dimension in dimensions:
            if dimension not in by_dimension.index:
                cells.append(NOTHING)
                continue
            row = by_dimension.loc[dimension]
            layer = f" (layer {int(row['layer'])})" if pd.notna(row["layer"]) else ""
            cells.append(with_interval(row["value"], row["low"], row["high"]) + layer)
        rows.append(tuple(cells))
    on = [name for name in dict.fromkeys(found["chosen_on"].dropna()) if name]
    chosen = f" Layers chosen on {listed(on)}{', with hindsight' if on == [study.split(corpus)] else ''}." if on else ""
    text = f"{METRICS[metric]} of every system on {corpus}, {study.split(corpus)}, with 95 % intervals.{chosen}"
    return Table(text, ("Model", "System", "Seeds", *dimensions), tuple(rows), words=2)


# 7. Fairness ----------------------------------------------------------------------------------------------------------


def _fairness(study: Study) -> list[Block]:
    blocks: list[Block] = []
    for corpus in study.corpora:
        trained = [model for model in study.of(corpus, random=False) if study.dimensions]
        cached = next((model.cache for model in study.of(corpus) if model.cache), None)
        if not trained:
            continue
        if cached is None:
            command = study.report_command("--caches", *study.cache_files)
            blocks.append(Missing(f"The genders of {corpus} are in its caches, and none was found.", command))
            continue
        model = max(trained, key=lambda model: model.blocks or 0)
        try:
            table = fairness_table(
                study.results, cached, model=model.label, dimensions=study.dimensions, split=study.split(corpus)
            )
        except UserError as error:
            blocks.append(Missing(_sentence(str(error))))
            continue
        blocks += _fairness_blocks(study, corpus, model, table)
    return blocks or [Missing("No layer was probed for a dimension.", study.fit_command("--dim all"))]


def _fairness_blocks(study: Study, corpus: str, model: Model, table: pd.DataFrame) -> list[Block]:
    differences = table[table["group_by"] == "gender difference"]
    blocks: list[Block] = []
    alt = f"CCC of {model.label} on {corpus} for all, by gender and by speaker, one panel a dimension."
    blocks.append(picture(("fairness", model.label, corpus), partial(plot_fairness, table), alt=alt))
    groups = table[table["group_by"].isin(["all", "gender", "gender difference"])]
    rows = tuple(
        (
            row.dimension,
            row.group,
            whole(row.speakers),
            whole(row.n),
            with_interval(row.ccc, row.ccc_low, row.ccc_high),
            number(row.rmse),
            with_interval(row.bias, row.bias_low, row.bias_high),
            number(row.truth_std),
        )
        for row in groups.itertuples()
    )
    columns = ("Dimension", "Group", "Speakers", "Utterances", "CCC, 95 % interval", "RMSE", "Bias, 95 % interval",
               "Spread of labels")  # fmt: skip
    on = listed(name for name in dict.fromkeys(table["chosen_on"]) if name) or "the scored rows"
    text = (
        f"The layer of {model.label} that is best on {on}, by gender, on {corpus}. A group whose labels spread less "
        "scores a lower CCC at the same error."
    )
    blocks.append(Table(text, columns, rows, words=2))
    speakers = table[(table["group_by"] == "speaker") & table["ccc"].notna()]
    said = []
    for dimension, part in speakers.groupby("dimension", sort=False):
        low, high = part.loc[part["ccc"].idxmin()], part.loc[part["ccc"].idxmax()]
        said.append(
            f"{dimension.capitalize()} ranges over {counted(len(part), 'speaker')} from {number(low['ccc'])} "
            f"({low['group']}) to {number(high['ccc'])} ({high['group']})."
        )
    if said:
        blocks.append(Items(tuple(said)))
    else:
        blocks.append(
            Missing(f"No speaker has the {FEWEST_UTTERANCES} utterances that a score of one speaker asks for.")
        )
    if not len(differences):
        blocks.append(Missing("The corpus names no two genders among the speakers that were scored."))
    return blocks


# 8. Limits ------------------------------------------------------------------------------------------------------------


def _limits(study: Study, found: list[Claim]) -> list[Block]:
    entries = []
    for corpus in study.corpora:
        entries += _limits_of(study, corpus)
    if any(model.random for model in study.models):
        entries.append("A random twin is one draw of untrained weights; its interval is over speakers, not over draws.")
    if any("hindsight" in claim.how for claim in found) or study.dimensions:
        entries.append(
            "A best layer is the best of many on the same rows: its score is too high by what the choice gains, and no "
            "interval here covers that."
        )
    entries += [
        "A probe shows what a small reader finds in a layer, not what the model uses.",
        "The relevance centroid describes a whole curve in one number: a peak in the middle and a flat curve may have "
        "the same. It moves only as far as the curve is steep, so a small difference may be a true one.",
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
        f"{what[:1].upper()}{what[1:]} ({'; '.join(places[:_MOST_LISTED])}"
        + (f"; {len(places) - _MOST_LISTED} more)." if len(places) > _MOST_LISTED else ").")
        for what, places in said.items()
    ]


def _limits_of(study: Study, corpus: str) -> list[str]:
    entries = []
    runs = study.runs(corpus=corpus)
    notes = list(dict.fromkeys(note for run in runs for note in _corpus_about(run).get("notes", [])))
    entries += [_sentence(str(note)) for note in notes]
    scores = study.results.select(corpus=corpus, fold="all", split=study.split(corpus))
    speakers = scores["speakers"].dropna()
    if len(speakers) and speakers.min() < _FEW_SPEAKERS:
        entries.append(
            f"Scores on {corpus} rest on {counted(int(speakers.min()), 'speaker')}: intervals are wide, and say little "
            "of speakers unlike these."
        )
    if any(run["split"]["leakage"] for run in runs):
        entries.append(f"The split of {corpus} shares speakers between its parts: its scores are too high.")
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
    found: dict[str, set[str]] = {}
    for run in study.results.protocol:
        for name, version in run.get("versions", {}).items():
            found.setdefault(name, set()).add(version)
    return listed(f"{name} {' and '.join(sorted(of))}" for name, of in found.items() if len(of) > 1)


# 9. Methods -----------------------------------------------------------------------------------------------------------


def _methods(study: Study, computed: Computed) -> list[Block]:
    account = methods(study, opinions=computed.opinions, measures=computed.measures)
    text = "\n\n".join(account.paragraphs)
    return [Code(text, "Methods"), Code(bibtex(account.cited, version_of(study)), "BibTeX")]
