"""How it was done, in words that a paper can take over: from the protocol, number by number."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from emoprobe.extract.baselines.registry import as_in_a_cache
from emoprobe.probe.halves import CONFIRMATION, HALVES
from emoprobe.probe.leakage import shared_kinds
from emoprobe.probe.units import SPEAKER

from ..measures.alignment import MEASURES
from ..measures.inquiries import INQUIRIES
from ..measures.opinions import OPINIONS
from ..tables import END_TO_END
from .bibliography import ARCHITECTURES, CORPORA, PAPER, REFERENCES
from .content import counted, listed, number, whole
from .study import EMOTION, Model, Study

_STATISTICS = {
    "mean": "the mean over its frames",
    "std": "the standard deviation over its frames",
    "mean_ln": "the mean over its layer-normalised frames",
}


class Account:
    """Paragraphs, and what they cite."""

    def __init__(self) -> None:
        self.paragraphs: list[str] = []
        self.cited: set[str] = {PAPER}

    def cite(self, *keys: str) -> str:
        """Parentheses with authors and years; what is cited is remembered."""
        self.cited.update(keys)
        return f"({'; '.join(REFERENCES[key].short for key in keys)})"


def methods(
    study: Study, *, opinions: Iterable[str] = (), measures: Iterable[str] = (), smallest: float | None = None
) -> Account:
    """The methods text of a report.

    Parameters
    ----------
    study : Study
    opinions : iterable of str
        Second opinions on relevance that the report shows.
    measures : iterable of str
        Measures of similarity that it shows.
    smallest : float, optional
        The smallest difference of interest, where a claim has one.

    Returns
    -------
    Account
    """
    account = Account()
    for corpus in study.corpora:
        account.paragraphs.append(_data(study, corpus, account))
    probed = [model for model in study.models if model.probed]
    if probed:
        account.paragraphs += [_states(study, probed, account), _probes(study, account)]
    for paragraph in (
        _controls(study, account),
        _uncertainty(study, account, smallest),
        _opinions(set(opinions), account),
        _similarity(set(measures), account),
        _trained(study),
        *_asked(study, account),
    ):
        account.paragraphs += [paragraph] if paragraph else []
    account.paragraphs.append(_versions(study))
    return account


def _data(study: Study, corpus: str, account: Account) -> str:
    runs = study.runs(corpus=corpus)
    if corpus in CORPORA:
        account.cite(CORPORA[corpus])
    cached = next((run["cache"] for run in runs if "cache" in run), None)
    utterances = cached["utterances"] if cached else next((run["utterances"] for run in runs if "utterances" in run), 0)
    speakers = max((run["cache"]["speakers"] for run in runs if "cache" in run), default=0)
    text = f"{corpus} has {counted(utterances, 'utterance')}"
    groups = max((run["cache"].get("groups", 0) for run in runs if "cache" in run), default=0)
    text += f" of {counted(speakers, 'speaker')}" if speakers else ""
    text += f" in {counted(groups, 'group')}. " if groups else ". "
    parts = []
    for dimension in dict.fromkeys(run["dimension"] for run in runs):
        run = next(run for run in runs if run["dimension"] == dimension)
        counts = run["split"]["counts"]
        if run["split"]["kind"] == "official":
            said = listed(f"{whole(n)} {name}" for name, n in counts.items())
            parts.append((dimension, f"the corpus's own split ({said} utterances)"))
        elif run["split"]["kind"] == HALVES:
            folds = f"{run['split']['folds']} folds of a confirmation half of the speakers"
            drawn = f"({whole(counts[CONFIRMATION])} utterances, drawn by seed {run['settings']['seed']})"
            parts.append((dimension, f"{folds} {drawn}"))
        else:
            folds = run["split"]["folds"]
            parts.append((dimension, f"{folds} {run['split']['kind']} over {whole(sum(counts.values()))} utterances"))
    same = dict.fromkeys(how for _, how in parts)
    if len(same) == 1:
        text += f"Probes were scored on {next(iter(same))}."
    else:
        text += "Probes were scored on " + listed(f"{how} for {dimension}" for dimension, how in parts) + "."
    text += _explored(runs)
    if shared := shared_kinds(run["split"] for run in runs):
        text += f" That split shares {shared} between its parts."
    return text


def _explored(runs: Sequence[dict]) -> str:
    """On what choices were made, where that is rows apart from the scored ones."""
    explored = [run["split"]["exploration"] for run in runs if "exploration" in run["split"]]
    if not explored:
        return ""
    return (
        f" Layers and rivals were chosen on other speakers ({whole(sum(explored[0]['counts'].values()))} utterances in "
        f"{explored[0]['folds']} folds)."
    )


def _states(study: Study, probed: Sequence[Model], account: Account) -> str:
    for model in probed:
        kind = model.about.get("model_type", "")
        if kind in ARCHITECTURES:
            account.cite(ARCHITECTURES[kind])
        if "distilhubert" in f"{model.label} {model.about.get('name')}".lower():
            account.cite(ARCHITECTURES["distilhubert"])
    trained = []
    for model in probed:
        blocks = f"{model.about['blocks']} blocks" if model.about.get("blocks") else ""
        weights = model.about.get("weights_sha256")
        revision = model.about.get("revision")
        details = [
            blocks,
            f"width {model.about['width']}" if model.about.get("width") else "",
            f"random weights, seed {model.about['random_init']}" if model.random else "",
            f"revision {revision}" if revision else "",
            f"weights SHA-256 {weights[:12]}…" if weights else "",
        ]
        trained.append(f"{model.label} ({', '.join(filter(None, details))})")
    caches = [run["cache"]["provenance"] for run in study.results.protocol if "cache" in run]
    precision = listed(dict.fromkeys(map(_precision, caches)))
    return (
        f"Hidden states of {listed(trained)} were extracted at 16 kHz in {precision}. Layer 0 is the input of the "
        "first transformer block, layer k the output of block k before any final layer norm. Each state is that of the "
        "utterance alone: padding in a batch does not change it."
    )


def _precision(provenance: dict) -> str:
    precision = provenance.get("precision", "float32")
    apart = (provenance.get("precision_check") or {}).get("in_float32")
    return f"{precision} (grouped convolutions in float32)" if apart else precision


def _probes(study: Study, account: Account) -> str:
    sentences = []
    ridge = [run for run in study.results.protocol if run["probe"] == "ridge"]
    if ridge:
        features = listed(dict.fromkeys(_pooled(run["features"]) for run in ridge))
        settings, split = ridge[0]["settings"], ridge[0]["split"]
        penalties = settings["penalties"]
        grid = f"{len(penalties)} penalties from {penalties[0]:g} to {penalties[-1]:g}"
        kept = split.get("kept_whole", SPEAKER)
        apart = f" that keep every {kept} on one side" if kept and not settings.get("ungrouped") else ""
        inner = split.get("inner_folds", 0)
        part = "exploration half" if split["kind"] == HALVES else "training part"
        chosen = f"{inner} inner folds of the {part}{apart}" if inner > 1 else "the development part"
        sentences.append(
            f"Each layer was read by a ridge regression on {features}; its penalty was chosen from {grid} on {chosen}, "
            "for each dimension by itself."
        )
        if settings.get("rescale"):
            sentences.append("Predictions were given the mean and spread of the labels, fitted on training data.")
    if any(run["probe"] == "logistic" for run in study.results.protocol):
        sentences.append(
            "Emotion categories were read by multinomial logistic regression in which each category weighs the same, "
            "its penalty chosen by UAR in the same way; they are scored by UAR, macro F1, and the recall of each."
        )
    if any(run["probe"] == "mlp" for run in study.results.protocol):
        sentences.append("Networks with one hidden layer read each layer, too.")
    weighted = [run for run in study.results.protocol if run["probe"] == "weighted"]
    if weighted:
        seeds = len(weighted[0]["settings"].get("seeds", [0]))
        sentences.append(
            f"A softmax-weighted sum of all layers {account.cite('yang2021superb')} was learned with "
            f"{counted(seeds, 'seed')}; weights are shown as learned, and times the root mean square of the "
            "layer's centred states, renormalised."
        )
    if any(run["dimension"] != EMOTION for run in study.results.protocol):
        sentences.append(
            "Scores are concordance correlation coefficients in their population form "
            f"{account.cite('lin1989concordance')}."
        )
    return " ".join(sentences)


def _pooled(features: str) -> str:
    return " and ".join(_STATISTICS.get(name, name) for name in features.split("+"))


def _controls(study: Study, account: Account) -> str:
    sentences = []
    fitted = {run["probe"] for run in study.results.protocol}
    baselines = [baseline for baseline in as_in_a_cache() if baseline.name in fitted]
    if baselines:
        described = listed(baseline.described for baseline in baselines)
        sentences.append(f"The same regression on {described} is the baseline.")
        account.cite(*(key for baseline in baselines for key in baseline.cites))
    scores = study.results.scores
    permutations = scores["permutations"].dropna()
    if len(permutations) and permutations.max() > 0:
        among = {run.get("settings", {}).get("permuted") for run in study.results.protocol} - {None}
        place = f" {among.pop()}" if len(among) == 1 else ""
        sentences.append(
            f"The null of every layer and dimension comes from {whole(permutations.max())} permutations of the labels"
            f"{place}, at the penalties of the true ones; p values count the true "
            f"labels among them {account.cite('phipson2010permutation')} and are corrected over layers "
            f"{account.cite('holm1979simple')}. Selectivity is the score less the mean of its null "
            f"{account.cite('hewitt2019designing')}."
        )
        if any(run.get("settings", {}).get("null_of") for run in study.results.protocol):
            sentences.append(
                "Categories are tested with the nearest class mean under the penalised covariance of the features, for "
                "the true labels and for the permuted ones, not with the logistic regression that is reported."
            )
    if scores["compression"].notna().any():
        sentences.append(
            "Description length is that of the online code, its labels Gaussian "
            f"{account.cite('voita2020information')}; compression is the length of the labels' own code over it."
        )
    if any(model.random for model in study.models):
        sentences.append("The same architecture with random weights is the control of training.")
    return " ".join(sentences)


def _uncertainty(study: Study, account: Account, smallest: float | None) -> str:
    said = dict.fromkeys(run["interval"] for run in study.results.protocol if run.get("interval"))
    resamples = [
        run["settings"]["resamples"] for run in study.results.protocol if "resamples" in run.get("settings", {})
    ]
    text = f"Intervals are {listed(said)}" if said else ""
    text += f" ({whole(max(resamples))} resamples)" if text and resamples else ""
    keys = ["efron1993introduction"]
    if any("Student" in one for one in said):
        keys += ["efron1981jackknife", "hesterberg2015teachers"]
    text += f" {account.cite(*keys)}." if text else ""
    return text + (
        " Differences are taken without the same speakers, or on the same resamples of them. The relevance centroid of "
        "a dimension is the mean relative depth of the layers, weighted by CCC above its null, by explained variance "
        "r², or by its odds r²/(1 − r²), the latter two less what noise adds by the jackknife. A dimension rises or "
        "falls with depth where the slope of a straight line through its curve differs from 0 on both r² and its odds, "
        "and one is called shallower than another where its curve falls and the other's rises, since a score keeps the "
        "order of layers and little else. All claims of the report are corrected together by "
        + (_equality(account, smallest) if smallest else "Holm's method.")
    )


def _equality(account: Account, smallest: float) -> str:
    sources = account.cite("schuirmann1987comparison", "lakens2017equivalence")
    return (
        f"a step-down procedure {account.cite('holm1979simple', 'shaffer1986modified')} that controls the chance of "
        "any wrong verdict at 5 %. Two scores are called practically equal where two one-sided tests, each at half the "
        f"level, show that they differ by less than {smallest:g} {sources}; since a difference cannot both be 0 and be "
        "as large as that, both tests of a claim count as one in the first step."
    )


def _opinions(shown: Collection[str], account: Account) -> str:
    asked = [_with_sources(one.in_words, one.cites, account) for name, one in OPINIONS.items() if name in shown]
    return f"Relevance was asked in {len(shown)} ways: {listed(asked)}." if asked else ""


def _similarity(shown: Collection[str], account: Account) -> str:
    used = [_with_sources(one.method, one.cites, account) for name, one in MEASURES.items() if name in shown]
    return f"The similarity of pooled states was measured by {listed(used)}." if used else ""


def _asked(study: Study, account: Account) -> list[str]:
    return [
        _with_sources(inquiry.method.removesuffix("."), inquiry.cites, account) + "."
        for name, inquiry in INQUIRIES.items()
        if name in study.answers and len(study.answers[name])
    ]


def _with_sources(text: str, keys: Sequence[str], account: Account) -> str:
    return f"{text} {account.cite(*keys)}" if keys else text


def _trained(study: Study) -> str:
    runs = study.runs(probe=END_TO_END)
    if not runs:
        return ""
    sentences = []
    for label, features in dict.fromkeys((run["model"], run["features"]) for run in runs):
        run = next(run for run in runs if (run["model"], run["features"]) == (label, features))
        seeds = len({ended["seed"] for ended in run.get("runs", [])})
        frozen = listed(run["run"]["model"].get("freeze") or ["nothing"])
        sentences.append(
            f"{label} was trained end to end on {features.replace('+', ' and ')} with {counted(seeds, 'seed')}, "
            f"frozen: {frozen}; {_read_by(run)}"
        )
    return " ".join(sentences) + " The loss is one less the CCC, summed over the dimensions."


def _read_by(run: dict) -> str:
    text = run.get("text") or "none"
    return "it reads no text." if text == "none" else f"{text}."


def _versions(study: Study) -> str:
    of: dict[str, dict[str, None]] = {}
    for run in study.results.protocol:
        for name, version in run.get("versions", {}).items():
            of.setdefault(name, {})[version] = None
    return "Software: " + ", ".join(f"{name} {' and '.join(versions)}" for name, versions in of.items()) + "."


def version_of(study: Study) -> str:
    """Version of this program that made the numbers; of several, the last."""
    from emoprobe.extract.versions import versions

    made = [run["versions"]["emoprobe"] for run in study.results.protocol if "emoprobe" in run.get("versions", {})]
    return made[-1] if made else versions().get("emoprobe", number(None))
