"""The main claims under one specification, each tested by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import lazy_loader as _lazy

from .specifications import FACTORS, TWIN, Specification
from .verdicts import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, verdict

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.results import Results
else:
    pd = _lazy.load("pandas")

#: What is claimed, in the order of tables and figures, with what its estimate is.
DEPTH, SLOPE, TWINS, ACOUSTICS = "depth", "slope", "twin", "acoustics"
CLAIMS = {
    SLOPE: "change from the first layer to the last, over the mean (explained variance)",
    DEPTH: "centroid of valence less that of arousal (explained variance)",
    TWINS: "difference in CCC between the chosen layers of the model and of its random twin",
    ACOUSTICS: "difference in CCC between the chosen layer and the best acoustic baseline",
}

SHALLOW, DEEP = "arousal", "valence"

_SHOWN = "r2"

_RISES = {1: "rises", -1: "falls"}


class Tested(Protocol):
    """The settings that say what is fitted and tested."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What is fitted."""

    @property
    def smallest(self) -> float:
        """The smallest difference in CCC that is of interest; 0 where every difference is."""

    @property
    def resamples(self) -> int:
        """Of the bootstrap, where probes are not fitted again without each speaker."""


@dataclass(frozen=True)
class Job:
    """A model under a specification.

    Attributes
    ----------
    cache : HiddenStateCache
    twins : tuple of HiddenStateCache
        Of the same architecture with random weights.
    specification : Specification
    """

    cache: HiddenStateCache
    twins: tuple[HiddenStateCache, ...]
    specification: Specification

    @property
    def twin(self) -> HiddenStateCache | None:
        """The twin that the specification names."""
        return next((twin for twin in self.twins if twin.label == self.specification.name_of(TWIN)), None)

    @property
    def about(self) -> dict[str, str]:
        """The columns of an answer that tell it from others."""
        chosen = {factor: self.specification.name_of(factor) for factor in FACTORS}
        return {"model": self.cache.label, "corpus": self.cache.corpus, **chosen}


def claims_under(job: Job, settings: Tested) -> Iterator[dict[str, Any]]:
    """Fit probes under a specification, and give a row of the answer for each claim.

    Parameters
    ----------
    job : Job
    settings : Tested

    Raises
    ------
    UserError
        If nothing can be fitted under it.
    """
    from contextlib import ExitStack

    from emoprobe.probe.fit import fit_caches
    from emoprobe.probe.settings import FitSettings

    from .varied_cache import VariedCache

    fit = FitSettings.of(
        dimensions=settings.dimensions,
        permutations=0,
        mdl=False,
        resamples=settings.resamples,
        **job.specification.fit,
    )
    with ExitStack() as opened:
        varied = [
            opened.enter_context(VariedCache(cache.path, job.specification))
            for cache in (job.cache, job.twin)
            if cache is not None
        ]
        results = fit_caches(varied, fit)
    if {SHALLOW, DEEP} <= set(results.scores["dimension"]):
        yield from _of_depth(results, job.cache.label, fit.seed, settings)
    for dimension in dict.fromkeys(results.scores["dimension"]):
        yield from _of_scores(results, job, dimension, fit.seed, settings)


def _of_depth(results: Results, label: str, seed: int, settings: Tested) -> Iterator[dict[str, Any]]:
    """Slopes, and what follows from them, each by itself."""
    from .centroid import relevance_centroids
    from .directions import LEVEL, Comparison, difference_of

    table = relevance_centroids(results, resamples=settings.resamples, seed=seed)
    table = table[table["model"] == label]
    shown = table[table["scale"] == _SHOWN].set_index("dimension")
    comparison = Comparison.of(table, SHALLOW, DEEP)
    for dimension, slope in zip((SHALLOW, DEEP), comparison.slopes, strict=True):
        row = _row(shown, dimension)
        known = pd.notna(row["slope_low"])
        decided = _RISES.get(slope.sign, UNDECIDED) if slope.p <= LEVEL else UNDECIDED
        yield {
            **_common(row),
            "claim": SLOPE,
            "dimension": dimension,
            "estimate": row["slope"],
            "low": row["slope_low"],
            "high": row["slope_high"],
            "p": slope.p,
            "verdict": decided if known else NOT_TESTED,
        }
    name, sign = difference_of(table, SHALLOW, DEEP)
    row = _row(shown, name)
    ends = sorted((sign * row["low"], sign * row["high"]))
    said = comparison.statement([bool(p <= LEVEL) for p in comparison.p])
    of_claim = {1: SUPPORTED, -1: CONTRADICTED}.get(0 if said.worded else said.sign, UNDECIDED)
    yield {
        **_common(_row(shown, DEEP)),
        "claim": DEPTH,
        "dimension": "",
        "statement": said.text if said.sign else "neither curve is known to go anywhere",
        "estimate": sign * row["centroid"],
        "low": ends[0],
        "high": ends[1],
        "p": row["p"],
        "verdict": of_claim if pd.notna(row["low"]) else NOT_TESTED,
    }


def _row(table: pd.DataFrame, name: str) -> pd.Series:
    """The one row of a name."""
    return table.loc[[name]].iloc[0]


def _common(row: pd.Series) -> dict[str, Any]:
    return {name: row[name] for name in ("split", "speakers", "unit", "units", "interval")}


def _of_scores(results: Results, job: Job, dimension: str, seed: int, settings: Tested) -> Iterator[dict[str, Any]]:
    """The chosen layer against that of the twin, and against the best of plain acoustics."""
    from .comparison import compare_systems

    systems = compare_systems(results, dimensions=[dimension])
    layers = systems[systems["kind"] == "layer"].set_index("model")
    if job.cache.label not in layers.index:
        return
    layer = _row(layers, job.cache.label)
    one = _key(layer, job.cache.label)
    if job.twin is not None and job.twin.label in layers.index:
        other = _row(layers, job.twin.label)
        rival = f"{job.twin.label}, layer {other['layer']}"
        pair = (one, _key(other, job.twin.label))
        yield {"claim": TWINS, "rival": rival, **_difference(results, pair, layer, dimension, seed, settings)}
    if (baseline := _acoustics(results, systems, layer, job.cache.label)) is not None:
        pair = (one, {**_key(baseline, job.cache.label), "layer": -1})
        yield {
            "claim": ACOUSTICS,
            "rival": baseline["probe"],
            **_difference(results, pair, layer, dimension, seed, settings),
        }


def _key(system: pd.Series, label: str) -> dict[str, Any]:
    columns = ("corpus", "dimension", "probe", "features", "split")
    place = None if pd.isna(system["layer"]) else int(system["layer"])
    return {"model": label, "layer": place, **{column: system[column] for column in columns}}


def _acoustics(results: Results, systems: pd.DataFrame, layer: pd.Series, label: str) -> pd.Series | None:
    """The best of the acoustic baselines, chosen where the layer was."""
    from emoprobe.extract.baselines.registry import as_in_a_cache
    from emoprobe.probe.selecting import best_baseline

    acoustic = [baseline.name for baseline in as_in_a_cache() if baseline.acoustic]
    rivals = systems[(systems["kind"] == "baseline") & systems["probe"].isin(acoustic)]
    if not len(rivals):
        return None
    scored = rivals.groupby("probe")["value"].max()
    choice = best_baseline(results.scores, scored, {**layer, "model": label}, "ccc", chosen_on=str(layer["chosen_on"]))
    return rivals[rivals["probe"] == choice.best].iloc[0]


def _difference(
    results: Results,
    pair: tuple[dict[str, Any], dict[str, Any]],
    layer: pd.Series,
    dimension: str,
    seed: int,
    settings: Tested,
) -> dict[str, Any]:
    from emoprobe.probe.significance import paired_differences

    from .directions import LEVEL

    row = paired_differences(
        results, *pair, resamples=settings.resamples, seed=seed, smallest=settings.smallest or float("nan")
    ).iloc[0]
    return {
        **_common(row),
        "dimension": dimension,
        "n": row["n"],
        "layer": layer["layer"],
        "chosen_on": layer["chosen_on"],
        "score": row["score_one"],
        "score_rival": row["score_other"],
        "estimate": row["difference"],
        "low": row["low"],
        "high": row["high"],
        "p": row["p"],
        "p_equal": row["p_equal"],
        "verdict": verdict(
            row["difference"] if pd.notna(row["low"]) else None,
            decided=bool(row["p"] <= LEVEL),
            equal=bool(row["p_equal"] <= LEVEL),
        ),
    }
