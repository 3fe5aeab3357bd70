"""The question of what each layer contributes: beyond acoustics, beyond the words, and what it has in common with them.

The explanation that deep layers know valence because they carry the words makes two predictions that can fail: the
words explain more of the states of deeper layers, and what a layer and the words have in common of valence rises with
depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lazy_loader as _lazy

from emoprobe.errors import Note, UserError
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.extract.options import check_counts, check_seed

from .inquiry import NUMBER, SUBJECT, TEXT, WHOLE, Inquiry, Option
from .problems import Bar, Problem
from .relevance_settings import RelevanceSettings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.results import Results
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")

#: Kinds of rows: explained variance, its slope over relative depth, and a part over the whole of it.
R2, SLOPE, SHARE = "r2", "slope", "share"

#: Parts that are no sum of the nested models: what words and acoustics explain of the states themselves.
IN_STATES = {"text": "words in the states", "acoustics": "acoustics in the states"}

#: The parts of which the slope over depth is told, and the one of them that the words should make rise.
SLOPES = ("layer", "shared with text", "beyond text", "unique layer")
SHARED = "shared with text"

#: Change of explained variance over all layers that counts as one. Where a source is left out of the models, no refit
#: takes it up again, and a slope of next to nothing has an interval of next to nothing.
LEAST = 0.01


@dataclass(frozen=True)
class ContributionSettings:
    """How contributions are measured.

    Parameters
    ----------
    dimensions : tuple of str
        By default all that have labels.
    features : str, optional
        Statistics of the layer joined by "+"; by default mean and standard deviation, as far as the cache holds them.
    acoustics : tuple of str
        Baselines that make up the acoustics, side by side; those that the cache lacks are left out and told.
    text : str
        Baseline of the words.
    split : str, optional
        Part to score; by default the first test part, or all folds.
    within_speakers : bool
        Score what varies within each speaker (or group): the mean of each is taken from labels and predictions.
    folds, seed : int
        As of the probes, whose splits these are.
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.
    """

    dimensions: tuple[str, ...] = ()
    features: str | None = None
    acoustics: tuple[str, ...] = ("egemaps", "logmel")
    text: str = "text"
    split: str | None = None
    within_speakers: bool = False
    folds: int = 5
    seed: int = 0
    ungrouped: bool = False

    def __post_init__(self) -> None:
        for name in self.dimensions:
            if name not in DIMENSIONS:
                raise UserError(f"unknown dimension '{name}': there is {', '.join(DIMENSIONS)}")
        check_counts(self, "folds")
        check_seed(self.seed)


def contributions(
    cache: HiddenStateCache, settings: ContributionSettings = ContributionSettings(), *, bar: Bar = iter
) -> pd.DataFrame:
    """What each layer of a cache adds to acoustics and words, and what it has in common with them.

    Parameters
    ----------
    cache : HiddenStateCache
        With the baselines of acoustics and words.
    settings : ContributionSettings
    bar : callable
        Wraps the layers to show progress.

    Returns
    -------
    DataFrame
        :data:`COLUMNS`: for each dimension and layer the parts of :mod:`.partition` (`quantity` "r2"), and what words
        and acoustics explain of the layer's states (`dimension` empty); where a layer surely explains something, the
        share of it that the words explain as well ("share"); over the layers the slopes of some parts against relative
        depth ("slope"). `p` is that of 0; `p_holm` corrects the slopes of :data:`SHARED`, and of the words in the
        states, for their number. Intervals are jackknifes over speakers (or groups), all models fitted again.

    Raises
    ------
    UserError
        If a baseline is missing, or no dimension has labels that vary.
    """
    from emoprobe.probe.targets import TARGETS

    from .problems import problems

    features = settings.features or _as_the_probes(cache)
    asked = RelevanceSettings(
        dimensions=settings.dimensions,
        features=features,
        split=settings.split,
        folds=settings.folds,
        seed=settings.seed,
        ungrouped=settings.ungrouped,
    )
    acoustics = _acoustics(cache, settings)
    steps = problems(cache, asked, among=TARGETS)
    rows: list[dict[str, Any]] = []
    for number, problem in enumerate(steps):
        rows += _of_problem(problem, acoustics, settings, bar, states=number == 0)
    table = pd.DataFrame(rows)
    table["features"], table["acoustics"] = features, "+".join(acoustics)
    return corrected(table)


def _as_the_probes(cache: HiddenStateCache) -> str:
    """The features that probes of single layers read by default."""
    from emoprobe.probe.probes.base import features_by_default

    return features_by_default(cache.statistics)


def _acoustics(cache: HiddenStateCache, settings: ContributionSettings) -> list[str]:
    """Names of the acoustic baselines that are there."""
    import warnings

    known = cache.baselines
    if settings.text not in known:
        raise UserError(
            f"{cache.path} has no baseline '{settings.text}', so what the words explain is not known: make it with "
            f"probe-extract --out {cache.path} --baselines {settings.text} (it needs transcripts)"
        )
    there = [name for name in settings.acoustics if name in known]
    lacking = [name for name in settings.acoustics if name not in known]
    if not there:
        raise UserError(
            f"{cache.path} has none of the acoustic baselines {', '.join(lacking)} (it has {', '.join(known)}): name "
            "others with --acoustics"
        )
    if lacking:
        warnings.warn(
            f"{cache.path} has no {', '.join(lacking)}: acoustics are {', '.join(there)} alone; probe-extract --out "
            f"{cache.path} --baselines {' '.join(lacking)} adds them",
            Note,
            stacklevel=2,
        )
    return there


def _of_problem(
    problem: Problem, acoustics: Sequence[str], settings: ContributionSettings, bar: Bar, *, states: bool
) -> Iterator[dict[str, Any]]:
    from emoprobe.probe.baselines import probe_features

    from .carried import carried_errors
    from .partition import NestedModels

    cache = problem.cache
    bands = {
        name: probe_features(name, cache.baseline(name).astype(np.float64), problem.folds)
        for name in (*acoustics, settings.text)
    }
    heard = np.concatenate([bands[name] for name in acoustics], axis=1)
    models = NestedModels(
        problem.targets,
        problem.folds,
        heard,
        bands[settings.text],
        problem.groups,
        within=settings.within_speakers,
        seed=settings.seed,
    )
    every = np.arange(cache.n_utterances)
    nested, carried = [], []
    for k in bar(range(cache.n_layers)):
        layer = problem.read(k, every)
        nested.append(models.score(layer))
        if states:
            carried.append(
                {
                    name: carried_errors(band, layer, problem.folds, problem.groups, seed=settings.seed)
                    for name, band in (("text", bands[settings.text]), ("acoustics", heard))
                }
            )
    yield from _rows_of(problem, nested, carried)


def _rows_of(problem: Problem, nested: list[Any], carried: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from .partition import PARTS, parts_of

    names = list(PARTS)
    common = {
        "model": problem.cache.label,
        "corpus": problem.cache.corpus,
        "split": problem.split,
        "n": len(problem.scored),
        "units": len(np.unique(problem.groups[problem.scored])),
        "trained": max(len(fold.train) for fold in problem.folds),
    }
    for t, dimension in enumerate(problem.dimensions):
        # (layers, parts), and without each unit (units, layers, parts).
        whole = parts_of(np.stack([one.whole[t] for one in nested]))
        samples = zip(*(one.left_out for one in nested), strict=True)
        left_out = [parts_of(np.stack([sample[:, t] for sample in layers], axis=1)) for layers in samples]
        about = {**common, "dimension": dimension}
        yield from _layered(about, names, whole, left_out)
        yield from _shares(about, whole, left_out, names)
        yield from _slopes(about, list(SLOPES), whole, left_out, names)
    for name, part in IN_STATES.items() if carried else ():
        whole = np.stack([_explained(one[name][0]) for one in carried])[:, None]
        samples = zip(*(one[name][1] for one in carried), strict=True)
        left_out = [np.stack([_explained(sample) for sample in layers], axis=1)[..., None] for layers in samples]
        about = {**common, "dimension": ""}
        yield from _layered(about, [part], whole, left_out)
        yield from _slopes(about, [part], whole, left_out, [part])


def _explained(errors: np.ndarray) -> np.ndarray:
    return 1 - errors[..., 1] / errors[..., 0]


def _layered(
    about: dict[str, Any], names: list[str], whole: np.ndarray, left_out: list[np.ndarray]
) -> Iterator[dict[str, Any]]:
    from emoprobe.probe.jackknife import limits

    layers = len(whole)
    low, high, p = limits(whole, left_out)
    for k in range(layers):
        for j, name in enumerate(names):
            place = {"layer": k, "depth": k / max(layers - 1, 1), "part": name, "quantity": R2}
            yield {**about, **place, "value": whole[k, j], "low": low[k, j], "high": high[k, j], "p": p[k, j]}


def _shares(
    about: dict[str, Any], whole: np.ndarray, left_out: list[np.ndarray], names: list[str]
) -> Iterator[dict[str, Any]]:
    """The part of a layer's own R² that the words explain as well, where it has one that is surely above 0."""
    from emoprobe.probe.jackknife import limits

    shared, own = names.index(SHARED), names.index("layer")
    sure = limits(whole[:, own], [sample[..., own] for sample in left_out])[0] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        value = whole[:, shared] / whole[:, own]
        low, high, _ = limits(value, [sample[..., shared] / sample[..., own] for sample in left_out])
    for k in np.flatnonzero(sure):
        place = {"layer": int(k), "depth": k / max(len(whole) - 1, 1), "part": SHARED, "quantity": SHARE}
        yield {**about, **place, "value": value[k], "low": low[k], "high": high[k]}


def _slopes(
    about: dict[str, Any], wanted: list[str], whole: np.ndarray, left_out: list[np.ndarray], names: list[str]
) -> Iterator[dict[str, Any]]:
    """Slope of the straight line through a part over relative depth: its change from the first layer to the last."""
    from emoprobe.probe.jackknife import limits

    if len(whole) < 2:
        return
    depth = np.linspace(-0.5, 0.5, len(whole))
    line = depth / (depth**2).sum()
    chosen = [names.index(name) for name in wanted]
    value = line @ whole[:, chosen]
    low, high, p = limits(value, [np.einsum("k,ukj->uj", line, sample[..., chosen]) for sample in left_out])
    for j, name in enumerate(wanted):
        row = {**about, "layer": None, "part": name, "quantity": SLOPE}
        yield {**row, "value": value[j], "low": low[j], "high": high[j], "p": p[j]}


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `p_holm` corrected over all slopes in it of which something is claimed, whatever their models."""
    from emoprobe.probe.permutation import holm

    claimed = ((table["quantity"] == SLOPE) & table["part"].isin([SHARED, IN_STATES["text"]])).to_numpy(bool)
    p = np.full(len(table), np.nan)
    p[claimed] = holm(table.loc[claimed, "p"].tolist())
    return table.assign(p_holm=p)


# The question -------------------------------------------------------------------------------------------------------


def ask_contribution(
    caches: Sequence[HiddenStateCache],
    settings: ContributionSettings,
    *,
    results: Results,  # noqa: ARG001 - as every question is asked
    bar: Bar = iter,
) -> pd.DataFrame:
    """:func:`contributions` of one cache."""
    (cache,) = caches
    return contributions(cache, settings, bar=bar)


#: What is claimed, of each model; `verdict` says how it stands.
STATEMENT = "Deep layers carry the words, and it is by them that they know valence"


def verdict(answer: pd.DataFrame) -> str:
    """How :data:`STATEMENT` stands for the one model and corpus of a table, after correction.

    Returns
    -------
    str
        "supported" where both slopes are above 0, of the words in the states and of what a layer has in common with
        them of valence; "contradicted" where either is below 0; "undecided" where either may be 0, or is smaller than
        :data:`LEAST`; "not tested" where valence has no labels, or there is no interval.
    """
    from .directions import LEVEL

    slopes = answer[answer["quantity"] == SLOPE]
    tested = [
        slopes[(slopes["dimension"] == dimension) & (slopes["part"] == part)]
        for dimension, part in (("valence", SHARED), ("", IN_STATES["text"]))
    ]
    if not all(len(one) and one["p_holm"].notna().all() for one in tested):
        return "not tested"
    values = [(float(one["value"].iloc[0]), float(one["p_holm"].iloc[0])) for one in tested]
    if any(value <= -LEAST and p <= LEVEL for value, p in values):
        return "contradicted"
    return "supported" if all(value >= LEAST and p <= LEVEL for value, p in values) else "undecided"


def _told(answer: pd.DataFrame) -> Iterator[str]:
    for (model, corpus), rows in answer.groupby(["model", "corpus"], sort=False):
        slopes = rows[rows["quantity"] == SLOPE]
        said = [
            f"{f'{dimension}, ' if dimension else ''}{part} {value:+.3f} [{low:+.3f}, {high:+.3f}]"
            for dimension, part, value, low, high in slopes[["dimension", "part", "value", "low", "high"]].to_numpy()
            if part in (SHARED, IN_STATES["text"])
        ]
        yield f"{model} on {corpus}, change of R² from the first layer to the last: {'; '.join(said)}."
        yield f"{STATEMENT}: {verdict(rows)}."


COLUMNS = {
    **SUBJECT, "dimension": TEXT, "split": TEXT, "layer": WHOLE, "depth": NUMBER, "part": TEXT, "quantity": TEXT,
    "value": NUMBER, "low": NUMBER, "high": NUMBER, "p": NUMBER, "p_holm": NUMBER, "n": WHOLE, "units": WHOLE,
    "trained": WHOLE, "features": TEXT, "acoustics": TEXT,
}  # fmt: skip

CONTRIBUTION = Inquiry(
    name="contribution",
    title="What a layer adds to acoustics and words",
    question="What does each layer know beyond acoustics and beyond the words, and what do the words explain of it?",
    settings=ContributionSettings,
    options={
        "dimensions": Option("default: all that have labels", name="dim", choices=DIMENSIONS),
        "features": Option("read these statistics of each layer (default: mean+std, as the probes)", shown="SET"),
        "acoustics": Option("take these acoustic baselines, side by side (default: %(default)s)", shown="BASELINE"),
        "text": Option("take this baseline of the words (default: %(default)s)", shown="BASELINE"),
        "split": Option("score this part (default: the first test part)", shown="PART"),
        "within_speakers": Option("score what varies within each speaker: their means take no part"),
        "folds": Option("make K folds that keep speakers and groups whole (default: %(default)s)", shown="K"),
        "seed": Option("draw the folds from this seed (default: %(default)s)", shown="N"),
        "ungrouped": Option("accept folds by utterance in a corpus that names no speaker"),
    },
    columns=COLUMNS,
    ask=ask_contribution,
    told=lambda answer: list(_told(answer)),
    method="Nested banded ridges on layer, acoustics and words give the explained variance of unseen utterances, and "
    "its parts by commonality analysis; each band has a penalty of its own, chosen on training data, and intervals are "
    "jackknifes over speakers with all models fitted again.",
    cites=("nimon2013understanding", "deheer2017hierarchical", "dupre2022feature"),
    methods=("splits", "metrics", "deletion", "jackknife"),
    reads=("id", "speaker", "split", "status", "emotion", *DIMENSIONS),
    uses_baselines=True,
)
