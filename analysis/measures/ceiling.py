"""The question of the noise ceiling: what the ratings of a corpus allow, and how near its layers come to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lazy_loader as _lazy

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS, RATERS
from emoprobe.extract.options import check_counts, check_seed

from .inquiry import NUMBER, SUBJECT, TEXT, WHOLE, Inquiry, Option
from .problems import Bar

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.extract.corpora.raters import Ratings
    from emoprobe.probe.results import Results

    from .reliability import NoiseCeiling
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")


@dataclass(frozen=True)
class CeilingSettings:
    """How the noise ceiling is estimated.

    Parameters
    ----------
    dimensions : tuple of str
        By default all that have the spread of several ratings.
    ratings : Path, optional
        Table of single ratings, ``id,rater,arousal,valence,dominance``, in place of the spreads that the cache holds;
        of single ratings the halves are compared too.
    halves : int
        Ways to deal the ratings of each utterance to two halves, over which the split-half reliability is averaged.
    resamples, seed : int
        Of the bootstrap over speakers, or groups of them; the seed deals the halves too.
    """

    dimensions: tuple[str, ...] = ()
    ratings: Path | None = None
    halves: int = 100
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.dimensions:
            if name not in DIMENSIONS:
                raise UserError(f"unknown dimension '{name}': there is {', '.join(DIMENSIONS)}")
        check_counts(self, "halves", least=1)
        check_counts(self, "resamples")
        check_seed(self.seed)


def ask_ceiling(
    caches: Sequence[HiddenStateCache], settings: CeilingSettings, *, results: Results, bar: Bar = iter
) -> pd.DataFrame:
    """Noise ceiling of each dimension and part, and the scores of layers and baselines as a share of it.

    Parameters
    ----------
    caches : sequence of HiddenStateCache
        One.
    settings : CeilingSettings
    results : Results
        Whose scores are taken; there may be none.
    bar : callable

    Returns
    -------
    DataFrame
        :data:`COLUMNS`. Of each dimension and part first a row without a layer, the ceiling itself.

    Raises
    ------
    UserError
        If no utterance has the spread of several ratings.
    """
    (cache,) = caches
    single = None if settings.ratings is None else _read(settings.ratings)
    utterances = _with_ratings(cache, single, settings.ratings)
    rated = [name for name in DIMENSIONS if (utterances[f"{name}_n"] > 1).any()]
    missing = [name for name in settings.dimensions or DIMENSIONS[:1] if name not in rated]
    if not rated or (settings.dimensions and missing):
        raise UserError(
            f"{cache.path}: no utterance of '{cache.corpus}' has the spread of several ratings of {missing[0]}, so its "
            "noise ceiling is not known: name a table of single ratings with --ratings, or take ratings over into the "
            "cache with probe-extract --ratings FILE --refresh-labels"
        )
    rows = []
    for dimension in bar(settings.dimensions or rated):
        scores = _scores(results, cache, dimension)
        for split in list(dict.fromkeys(scores["split"])) or [""]:
            part = _scored_there(utterances, _scored_ids(results, cache, dimension, split), split)
            of_ceiling = _of_part(utterances, dimension, part, settings, single)
            if of_ceiling is None:
                continue
            common = {"model": cache.label, "corpus": cache.corpus, "dimension": dimension, "split": split}
            rows.append({**common, **of_ceiling})
            of_split = scores[scores["split"] == split]
            rows += [{**common, **of_ceiling, **_shared(row, of_ceiling)} for row in of_split.to_dict("records")]
    return pd.DataFrame(rows)


def _read(path: Path) -> Ratings:
    from emoprobe.extract.corpora.raters import read_ratings

    return read_ratings(path)


def _with_ratings(cache: HiddenStateCache, single: Ratings | None, path: Path | None) -> pd.DataFrame:
    """The utterances with mean, spread and number of their ratings: the cache's own, or of a table of single ones."""
    from emoprobe.extract.corpora.raters import rater_columns, summarise

    utterances = cache.utterances
    if single is None:
        return utterances
    summary = summarise(single.ids, single.raters, single.values)
    if not summary.index.isin(utterances["id"]).any():
        raise UserError(
            f"{path}: none of its ids is one of {cache.path} (here {single.ids[0]}; there {utterances['id'].iloc[0]}): "
            "write the ids of the corpus"
        )
    return utterances.assign(**rater_columns(summary, utterances["id"], []))


def _scores(results: Results, cache: HiddenStateCache, dimension: str) -> pd.DataFrame:
    """Pooled CCC of the linear probe on each layer and of each baseline."""
    from emoprobe.probe.selecting import is_pooled

    scores = results.scores
    mine = (scores["model"] == cache.label) & (scores["corpus"] == cache.corpus) & (scores["dimension"] == dimension)
    of_layer = (scores["probe"] == "ridge") & scores["layer"].ge(0)
    of_baseline = scores["layer"].eq(-1) & (scores["probe"] != "mean")
    chosen = scores[mine & is_pooled(scores) & (of_layer | of_baseline).fillna(False) & scores["ccc"].notna()]
    names = {"ccc": "score", "ccc_low": "score_low", "ccc_high": "score_high"}
    columns = ["split", "probe", "features", "layer", "depth", *names]
    return chosen[columns].rename(columns=names)


def _scored_ids(results: Results, cache: HiddenStateCache, dimension: str, split: str) -> set[str]:
    """Of a part, the utterances that have predictions."""
    of = results.predictions
    mine = (of["model"] == cache.label) & (of["corpus"] == cache.corpus)
    return set(of.loc[mine & (of["dimension"] == dimension) & (of["split"] == split), "id"])


def _scored_there(utterances: pd.DataFrame, scored: set[str], split: str) -> np.ndarray:
    """Which utterances the scores of a part are of: by its predictions, or else by the corpus's own split."""
    if scored:
        return utterances["id"].isin(scored).to_numpy()
    named = (utterances["split"] == split).to_numpy()
    return named if named.any() else np.ones(len(utterances), dtype=bool)


def _of_part(
    utterances: pd.DataFrame, dimension: str, part: np.ndarray, settings: CeilingSettings, single: Ratings | None
) -> dict[str, Any] | None:
    """Ceiling of the labels of a part that can be scored, with its interval; None where none of them is rated."""
    from emoprobe.probe.bootstrap import intervals, sum_by_group
    from emoprobe.probe.units import Units

    from .reliability import ceiling_of, noise_ceiling, rating_terms

    units = Units.of(utterances["speaker"].fillna("").tolist(), utterances["group"].fillna("").tolist())
    label = utterances[dimension].to_numpy(float)
    mean, spread, number = (utterances[f"{dimension}_{what}"].to_numpy(float) for what in ("mean", "sd", "n"))
    used = (utterances["status"] == "done").to_numpy() & np.isfinite(label) & part
    rows = np.flatnonzero(used & np.isfinite(mean) & (number > 0))
    if not len(rows) or not (number[rows] > 1).any():
        return None
    terms = rating_terms(mean[rows], spread[rows], number[rows])
    sums = sum_by_group(terms, units.resampled[rows])[:, None]
    low, high = intervals(sums, {"pearson": ceiling_of}, resamples=settings.resamples, seed=settings.seed)["pearson"][
        :, 0
    ]
    found = noise_ceiling(mean[rows], spread[rows], number[rows])
    return {
        "n": len(rows),
        "unit": units.unit,
        "units": len(sums),
        "raters": found.raters,
        "reliability": found.reliability,
        "reliability_low": low**2,
        "reliability_high": high**2,
        "single": found.single,
        "split_half": _halves(utterances["id"].iloc[rows], dimension, settings, single),
        "ceiling": found.ceiling,
        "ceiling_low": low,
        "ceiling_high": high,
        "calibrated": found.calibrated,
        "rmse": found.rmse,
        "reason": _doubts(label[rows], mean[rows], int(used.sum()) - len(rows), found),
    }


def _halves(ids: pd.Series, dimension: str, settings: CeilingSettings, single: Ratings | None) -> float:
    from .reliability import split_half

    if single is None:
        return float("nan")
    number = {name: row for row, name in enumerate(ids)}
    utterance = np.array([number.get(name, -1) for name in single.ids])
    among = utterance >= 0
    values = single.values[among, DIMENSIONS.index(dimension)]
    return split_half(utterance[among], values, halves=settings.halves, seed=settings.seed)


def _doubts(label: np.ndarray, mean: np.ndarray, unrated: int, found: NoiseCeiling) -> str:
    """What keeps the ceiling from being that of the labels."""
    said = [f"{unrated} labelled utterances have no single ratings"] if unrated else []
    alike = np.corrcoef(label, mean)[0, 1] if np.ptp(label) > 0 and np.ptp(mean) > 0 else 1.0
    if alike < 0.99:
        said.append(f"the labels are not the mean of these ratings (r = {alike:.3f}), whose ceiling this is")
    if found.reliability < 0:
        said.append("the spread within utterances is larger than that between them: the labels tell nothing")
    return "; ".join(said)


def _shared(row: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    from .reliability import share_of_ceiling

    score = (row["score"], row["score_low"], row["score_high"])
    value, low, high = share_of_ceiling(score, (of["ceiling"], of["ceiling_low"], of["ceiling_high"]))
    return {**row, "share": value, "share_low": low, "share_high": high}


def _told(answer: pd.DataFrame) -> Iterator[str]:
    """A sentence for each dimension and part."""
    for (model, _, dimension, split), rows in answer.groupby(["model", "corpus", "dimension", "split"], sort=False):
        own, layers = rows[rows["probe"] == ""].iloc[0], rows[rows["layer"].ge(0).fillna(False)]
        shares = layers["share"].dropna()
        reached = f" The layers reach {shares.min():.0%} to {shares.max():.0%} of it." if len(shares) else ""
        yield (
            f"{model}, {dimension}{f' on {split}' if split else ''}: the mean of {own['raters']:.1f} ratings has a "
            f"reliability of {own['reliability']:.3f} [{own['reliability_low']:.3f}, {own['reliability_high']:.3f}], "
            f"so the highest CCC that is to be expected of any model is {own['ceiling']:.3f} "
            f"[{own['ceiling_low']:.3f}, {own['ceiling_high']:.3f}].{reached}"
        )


#: Columns of the answer. `raters` to `rmse` are of the part; `score` (CCC) and `share` of a layer or a baseline.
COLUMNS = {
    **SUBJECT, "dimension": TEXT, "split": TEXT, "probe": TEXT, "features": TEXT, "layer": WHOLE, "depth": NUMBER,
    "n": WHOLE, "unit": TEXT, "units": WHOLE, "raters": NUMBER,
    "reliability": NUMBER, "reliability_low": NUMBER, "reliability_high": NUMBER, "single": NUMBER,
    "split_half": NUMBER, "ceiling": NUMBER, "ceiling_low": NUMBER, "ceiling_high": NUMBER, "calibrated": NUMBER,
    "rmse": NUMBER, "score": NUMBER, "score_low": NUMBER, "score_high": NUMBER,
    "share": NUMBER, "share_low": NUMBER, "share_high": NUMBER, "reason": TEXT,
}  # fmt: skip

CEILING = Inquiry(
    name="ceiling",
    title="Noise ceiling",
    question="How high can any score be, where labels are means of few ratings?",
    settings=CeilingSettings,
    options={
        "dimensions": Option("default: all that have the spread of several ratings", name="dim", choices=DIMENSIONS),
        "ratings": Option(
            "read single ratings from this table, id,rater,arousal,valence,dominance (default: what the cache holds)"
        ),
        "halves": Option("deal the single ratings to two halves in so many ways (default: %(default)s)"),
        "resamples": Option("resample speakers, or groups of them, so many times (default: %(default)s)"),
        "seed": Option("draw the bootstrap and the halves from this seed (default: %(default)s)"),
    },
    columns=COLUMNS,
    ask=ask_ceiling,
    told=lambda answer: list(_told(answer)),
    method="The reliability of a mean rating is the share of its variance that the spread between raters does not "
    "explain; its square root is the highest correlation, and the highest CCC, that any prediction can have.",
    cites=("spearman1910correlation", "donner2012closed"),
    methods=("bootstrap",),
    reads=("id", "speaker", "split", "status", *DIMENSIONS, *RATERS),
    uses_results=True,
)
