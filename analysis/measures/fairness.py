"""Scores by speaker and by gender, and how far apart they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.finished import refuse_shard
from emoprobe.probe.jackknife import FIXED
from emoprobe.probe.schema import ordered_dimensions
from emoprobe.probe.selecting import best_layer, is_pooled, on_reported_split

from ..tables import ordered_features

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.refits import Refit
    from emoprobe.probe.results import Results


#: Utterances below which a CCC within one speaker says next to nothing.
FEWEST_UTTERANCES = 20

COLUMNS = (
    "model", "corpus", "dimension", "probe", "features", "layer", "split", "group_by", "group", "gender", "speakers",
    "n", "ccc", "ccc_low", "ccc_high", "pearson", "rmse", "bias", "bias_low", "bias_high", "truth_std", "reason",
    "chosen_on", "highest_layer", "unit", "units", "interval",
)  # fmt: skip
_RUN = ["model", "corpus", "dimension", "probe", "features"]


def fairness_table(  # noqa: PLR0913 (options of the user's, each given by its name)
    results: Results | str | Path,
    corpus_table: HiddenStateCache | pd.DataFrame | str | Path,
    *,
    model: str | None = None,
    dimensions: Sequence[str] | None = None,
    probe: str = "ridge",
    features: str | None = None,
    layer: int | None = None,
    split: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
    fewest: int = FEWEST_UTTERANCES,
) -> pd.DataFrame:
    """Score a probe for all, each gender and each speaker, and the differences between genders.

    The interval of all and of a gender is a bootstrap over its speakers, that of a speaker over their utterances. The
    genders have no speaker in common, so their difference draws the speakers of each independently. In a corpus of
    groups (:mod:`emoprobe.probe.units`), in which men and women talk to each other, the groups are drawn instead, and
    the same ones for both genders. Where a run has several seeds, scores are means over them. These intervals are of
    the fixed probe; that of all is of probes fitted again without each speaker, where the results have refits.

    CCC falls with the spread of the labels: of two groups with the same errors, the one that was rated within a
    narrower range scores lower. Read it beside `rmse` and `truth_std`.

    Parameters
    ----------
    results : Results or path
        With predictions.
    corpus_table : HiddenStateCache, path of one, or DataFrame
        What knows the gender of each utterance: a cache of the corpus, or a table with the columns `id` and `gender`.
        Of a cache, the results of its corpus alone are taken.
    model : str, optional
        All, by default.
    dimensions : sequence of str, optional
        All but categories, by default.
    probe : str
        ``ridge``, ``mlp``, ``weighted``, ``end-to-end`` or the name of a baseline.
    features : str, optional
        By default the first that a model has.
    layer : int, optional
        By default each run's best, by mean CCC over its seeds: on the development part where that has a score of each
        layer; else on the rows that are scored, with hindsight that the intervals do not know of.
    split : str, optional
        By default the first held-out part of the corpus.
    resamples, seed : int
        Of the bootstrap.
    fewest : int
        Speakers with fewer utterances get no CCC, and the reason.

    Returns
    -------
    DataFrame
        `model, corpus, dimension, probe, features, layer, split`; `group_by` (``all``, ``gender``, ``speaker`` or
        ``gender difference``), `group` (as in ``female − male``), `gender` (of a speaker); `speakers, n`; `ccc` with
        95 % interval `ccc_low, ccc_high`; `pearson, rmse`; `bias` (mean prediction less mean truth) with
        `bias_low, bias_high`; `truth_std`; `reason` (why a CCC or its interval is missing);
        `chosen_on`, the split that the layer was chosen on, empty where there was nothing to choose;
        `highest_layer`, that of highest CCC on the scored rows, with hindsight; `unit` ("speaker", "group", or
        "utterance" for a speaker), what is resampled, with how many `units` there are; `interval`, what the limits know
        of (`probe.jackknife`).

    Raises
    ------
    UserError
        If the results hold no such predictions, or the table does not know their utterances.
    """
    import pandas as pd

    from emoprobe.probe.refits import Refits
    from emoprobe.probe.results import Results, load_results

    results = results if isinstance(results, Results) else load_results(results)
    genders, corpus = _genders(corpus_table)
    predictions = results.predictions
    chosen = predictions[(predictions["probe"] == probe) & (predictions["dimension"] != "emotion")]
    for column, value in (("model", model), ("corpus", corpus), ("features", features), ("layer", layer)):
        if value is not None:
            chosen = chosen[chosen[column] == value]
    if dimensions is not None:
        chosen = chosen[chosen["dimension"].isin(list(dimensions))]
    chosen = on_reported_split(chosen) if split is None else chosen[chosen["split"] == split]
    if not len(chosen):
        raise UserError(
            f"the results hold no predictions of probe={probe!r}"
            + "".join(
                f", {name}={value!r}"
                for name, value in (("model", model), ("corpus", corpus), ("features", features), ("layer", layer))
                if value is not None
            )
            + ": fit it with probe-fit, or choose another"
        )
    rows, refits = [], Refits(results.refits)
    for (name, of_corpus), part in chosen.groupby(["model", "corpus"], sort=False):
        for dimension in ordered_dimensions(part["dimension"]):
            run = part[part["dimension"] == dimension]
            run = run[run["features"] == ordered_features(run["features"])[0]]
            run, choice = _at_best_layer(run, results.scores) if layer is None else (run, {})
            about = dict(zip(_RUN, (name, of_corpus, dimension, probe, run["features"].iloc[0]), strict=True))
            about |= {"layer": run["layer"].iloc[0], "split": run["split"].iloc[0], "chosen_on": "", **choice}
            refit = refits.of(about) if resamples else None
            rows += [about | row for row in _groups(run, genders, refit, resamples, seed, fewest)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"layer": "Int64", "highest_layer": "Int64"})


def _genders(source: Any) -> tuple[pd.Series, str | None]:
    """Gender by the id of the utterance, and the corpus that it is of."""
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache

    corpus = None
    if isinstance(source, (str, Path)):
        with HiddenStateCache(source) as cache:
            return _genders(cache)
    if isinstance(source, HiddenStateCache):
        refuse_shard(source)
        source, corpus = source.utterances, source.corpus
    if not isinstance(source, pd.DataFrame) or not {"id", "gender"} <= set(source.columns):
        raise UserError("give a cache, or a table with the columns id and gender")
    genders = source["gender"].astype(object).where(source["gender"].notna(), "").map(lambda name: str(name).strip())
    return pd.Series(genders.to_numpy(), index=source["id"].astype(str).to_numpy()), corpus


def _at_best_layer(run: pd.DataFrame, scores: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """Predictions of the best layer, and what was chosen on which split; all of them where there are no layers."""
    if run["layer"].nunique() < 2:
        return run, {}
    same = is_pooled(scores) & scores["ccc"].notna() & scores["layer"].isin(run["layer"].unique())
    for column in (*_RUN, "split"):
        same &= scores[column] == run[column].iloc[0]
    scored = scores[same]
    if not len(scored):
        raise UserError("the scores of the layers are missing, so the best is not known: name one with layer=")
    choice = best_layer(scores, scored, "ccc")
    told = {"chosen_on": choice.chosen_on, "highest_layer": choice.highest}
    return run[run["layer"] == choice.best], told


def _groups(
    run: pd.DataFrame, genders: pd.Series, refit: Refit | None, resamples: int, seed: int, fewest: int
) -> Iterator[dict]:
    """Rows of one run: all, each gender, their differences, each speaker."""
    from emoprobe.probe.bootstrap import moments_by_speaker
    from emoprobe.probe.units import is_unknown, speaker_groups, unit_names, unit_of, with_groups

    wide = run.pivot(index=["id", "speaker"], columns="seed", values="prediction")
    ids = wide.index.get_level_values("id")
    unknown = [name for name in ids if name not in genders.index]
    if unknown:
        raise UserError(
            f"the corpus table does not know {len(unknown)} of the {len(ids)} utterances that were scored, the first "
            f"{unknown[0]}: give the cache or table of the same corpus"
        )
    about = with_groups(run).drop_duplicates("id").set_index("id").reindex(ids)
    truth, predicted = about["truth"].to_numpy(), wide.to_numpy().T
    names = list(wide.index.get_level_values("speaker"))
    gender = genders[~genders.index.duplicated()].reindex(ids).to_numpy(dtype=object)
    speaker = speaker_groups(names)
    groups = about["group"].tolist()
    unit, grouped = unit_of(groups), any(groups)
    # Speakers are numbered as they come, so that a corpus without groups keeps its draws.
    drawn = np.unique(np.array(unit_names(list(ids), names, groups)), return_inverse=True)[1] if grouped else speaker

    def scored(rows: np.ndarray, units: np.ndarray, position: int = 0) -> _Scores:
        # Each group draws for itself: the genders' speakers have nothing to do with one another.
        return _Scores.of(truth[rows], predicted[:, rows], units[rows], resamples, seed + position)

    def row(scores: _Scores, rows: np.ndarray) -> dict:
        return scores.row(speaker[rows]) | {"unit": unit, "units": len(np.unique(drawn[rows]))}

    everyone = np.arange(len(truth))
    of_all = row(scored(everyone, drawn), everyone)
    if refit is not None and refit.utterances == len(truth) and len(predicted) == 1:
        of_all |= _refitted(refit, moments_by_speaker(truth, predicted, drawn)[:, 0])
    yield {"group_by": "all", "group": "all", "gender": ""} | of_all
    by_gender = {}
    for position, name in enumerate(sorted({name for name in gender if name})):
        rows = np.flatnonzero(gender == name)
        by_gender[name] = (rows, scored(rows, drawn, 1 + position))
        yield {"group_by": "gender", "group": name, "gender": name} | row(by_gender[name][1], rows)
    for k, (one, (rows, scores)) in enumerate(by_gender.items()):
        for other, (other_rows, other_scores) in list(by_gender.items())[k + 1 :]:
            both = np.concatenate([rows, other_rows])
            sides = [scores, other_scores]
            if grouped:
                # Who talks to each other is drawn together: the same groups of both, also those that one is not in.
                sides = [
                    _Scores.of(truth[part], predicted[:, part], drawn[part], resamples, seed, among=drawn[both])
                    for part in (rows, other_rows)
                ]
            difference = row(sides[0].less(sides[1]), both) | {"truth_std": np.nan}
            yield {"group_by": "gender difference", "group": f"{one} − {other}", "gender": ""} | difference
    for name in sorted({str(name) for name in names if not is_unknown(name)}):
        rows = np.flatnonzero(np.array(names, dtype=object) == name)
        its_row = row(scored(rows, everyone), rows) | {"unit": "utterance", "units": len(rows)}
        if len(rows) < fewest:
            its_row |= dict.fromkeys(("ccc", "ccc_low", "ccc_high", "pearson"), np.nan)
            its_row["reason"] = f"fewer than {fewest} utterances"
        its = set(gender[rows])
        yield {"group_by": "speaker", "group": name, "gender": its.pop() if len(its) == 1 else ""} | its_row


def _refitted(refit: Refit, sums: np.ndarray) -> dict:
    """Limits from what the scores would be without each unit; nothing where one has none."""
    from emoprobe.probe.jackknife import limits
    from emoprobe.probe.metrics import ccc_from_moments

    ends: dict = {}
    for name, measure in (("ccc", ccc_from_moments), ("bias", _bias)):
        samples = [values[:, None] for values in refit.samples(measure, sums)]
        low, high, _ = limits(measure(sums.sum(0, keepdims=True)), samples, scale=name)
        ends |= {f"{name}_low": low[0], f"{name}_high": high[0]}
    return ends | {"interval": refit.interval} if np.isfinite(list(ends.values())).all() else {}


@dataclass(frozen=True)
class _Scores:
    """Scores of a group: on the group itself first, then on each resample of its units, stretched for few of them."""

    measures: dict[str, np.ndarray]
    n: int
    truth_std: float

    @classmethod
    def of(
        cls,
        truth: np.ndarray,
        predicted: np.ndarray,
        units: np.ndarray,
        resamples: int,
        seed: int,
        *,
        among: np.ndarray | None = None,
    ) -> _Scores:
        """Score `predicted` (seeds, rows) against `truth`, `units` being what is resampled, `among` all of these."""
        from emoprobe.probe.bootstrap import leave_one_out, moments_by_speaker, resampled, stretched
        from emoprobe.probe.metrics import ccc_from_moments, pearson_from_moments, rmse_from_moments

        sums = moments_by_speaker(truth, predicted, units)  # (units, seeds, 6)
        if among is not None:
            every = np.unique(among)
            there = np.zeros((len(every), *sums.shape[1:]))
            there[np.searchsorted(every, np.unique(units))] = sums
            sums = there
        single = {
            "ccc": ccc_from_moments,
            "pearson": pearson_from_moments,
            "rmse": rmse_from_moments,
            "bias": _bias,
        }
        measures = {name: partial(_over_seeds, measure) for name, measure in single.items()}
        scores = {name: measure(sums.sum(0)) for name, measure in measures.items()}
        if len(sums) > 1 and resamples:  # one unit drawn again and again is no interval
            drawn, left_out = resampled(sums, measures, resamples=resamples, seed=seed), leave_one_out(sums)
            for name, measure in measures.items():
                wide = stretched(drawn[name], measure(left_out), scale=name)
                scores[name] = np.concatenate([scores[name], wide[:, 0]])
        return cls(scores, len(truth), float(truth.std()))

    def less(self, other: _Scores) -> _Scores:
        """The scores of this group less those of another, resample by resample."""
        draws = min(len(self.measures["ccc"]), len(other.measures["ccc"]))
        measures = {name: values[:draws] - other.measures[name][:draws] for name, values in self.measures.items()}
        return _Scores(measures, self.n + other.n, np.nan)

    def row(self, speakers: np.ndarray) -> dict:
        """Columns of the table."""
        row: dict = {"speakers": len(np.unique(speakers)), "n": self.n, "truth_std": self.truth_std, "reason": ""}
        row |= {name: float(values[0]) for name, values in self.measures.items()}
        for name in ("ccc", "bias"):
            drawn = self.measures[name][1:]
            known = len(drawn) and np.isfinite(drawn).mean() >= 0.9
            row[f"{name}_low"], row[f"{name}_high"] = np.nanquantile(drawn, [0.025, 0.975]) if known else (np.nan,) * 2
        if np.isnan(row["ccc"]):
            row["reason"] = "labels or predictions are constant"
        elif np.isnan(row["ccc_low"]):
            row["reason"] = "too few to resample: no interval"
        return row | {"interval": FIXED if np.isfinite(row["ccc_low"]) else ""}


def _bias(sums: np.ndarray) -> np.ndarray:
    """Mean prediction less mean truth; NaN of no utterances."""
    with np.errstate(invalid="ignore"):
        return (sums[..., 2] - sums[..., 1]) / sums[..., 0]


def _over_seeds(measure: Callable[[np.ndarray], np.ndarray], sums: np.ndarray) -> np.ndarray:
    """The mean over seeds of a measure, from sums of shape (..., seeds, 6); shape (..., 1)."""
    return measure(sums).mean(-1, keepdims=True)
