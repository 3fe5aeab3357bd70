"""The question of robustness: whether the main verdicts hang on a choice that could have been made otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lazy_loader as _lazy

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.extract.options import check_counts, check_seed

from .inquiry import NUMBER, SUBJECT, TEXT, WHOLE, Inquiry, Option
from .problems import Bar
from .specifications import CHOICES, FACTORS, FEATURES, FOLDS, TWIN, Choice, specifications
from .specified_claims import Job, claims_under
from .verdicts import NOT_TESTED

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.results import Results
else:
    pd = _lazy.load("pandas")


@dataclass(frozen=True)
class RobustnessSettings:
    """Under which specifications the verdicts are asked for.

    Parameters
    ----------
    dimensions : tuple of str
    features : tuple of str
        Feature sets, the default first; those that the cache does not hold are left out.
    seeds : int
        Seeds of the folds; a corpus's own split has folds for the penalty alone.
    seed : int
        The first of them.
    crossed : bool
        Every combination of the choices, and not only those that differ from the default in one.
    smallest : float
        The smallest difference in CCC that is of interest; 0 where every difference is.
    resamples : int
        Of the bootstrap, where probes are not fitted again without each speaker.
    """

    dimensions: tuple[str, ...] = DIMENSIONS
    features: tuple[str, ...] = ("mean+std", "mean")
    seeds: int = 3
    seed: int = 0
    crossed: bool = False
    smallest: float = 0.05
    resamples: int = 2000

    def __post_init__(self) -> None:
        for name in self.dimensions:
            if name not in DIMENSIONS:
                raise UserError(f"unknown dimension '{name}': there is {', '.join(DIMENSIONS)}")
        if not 0 <= self.smallest < 1:
            raise UserError(f"--smallest {self.smallest:g} is no difference of scores: give one from 0 to below 1")
        check_counts(self, "seeds", "resamples", least=1)
        check_seed(self.seed, seeds=self.seeds)


def ask_robustness(
    caches: Sequence[HiddenStateCache], settings: RobustnessSettings, *, results: Results, bar: Bar = iter
) -> pd.DataFrame:
    """The main verdicts under each specification.

    Parameters
    ----------
    caches : sequence of HiddenStateCache
        Of trained models, and of their random twins.
    settings : RobustnessSettings
    results : Results
        Not read: every specification is fitted.
    bar : callable

    Returns
    -------
    DataFrame
        :data:`COLUMNS`. Of each model the specification by default first.

    Raises
    ------
    UserError
        If no cache is of a trained model, or nothing can be fitted.

    References
    ----------
    U. Simonsohn, J. P. Simmons and L. D. Nelson, "Specification curve analysis", Nature Human Behaviour 4, 2020.
    """
    del results
    rows: list[dict[str, Any]] = []
    for job in bar(list(_jobs(caches, settings))):
        try:
            rows += [{**job.about, **row} for row in claims_under(job, settings)]
        except UserError as error:
            rows.append({**job.about, "claim": "", "reason": str(error)})
    if not any(row["claim"] for row in rows):
        raise UserError(rows[0]["reason"])
    return _with_all_claims(pd.DataFrame(rows).reindex(columns=list(COLUMNS)))


def _jobs(caches: Sequence[HiddenStateCache], settings: RobustnessSettings) -> Iterator[Job]:
    trained = [cache for cache in caches if cache.provenance["model"].get("random_init") is None]
    if not trained:
        raise UserError("every cache is of random weights, of which nothing is claimed: name one of a trained model")
    for cache in trained:
        about = cache.provenance["model"]
        twins = tuple(
            other
            for other in caches
            if other not in trained
            and other.corpus == cache.corpus
            and other.provenance["model"].get("name") == about.get("name")
        )
        for specification in specifications([*CHOICES, *_own(cache, twins, settings)], crossed=settings.crossed):
            yield Job(cache, twins, specification)


def _own(cache: HiddenStateCache, twins: Sequence[HiddenStateCache], settings: RobustnessSettings) -> Iterator[Choice]:
    """Choices that depend on the caches and settings."""
    there = [name for name in settings.features if set(name.split("+")) <= set(cache.statistics)]
    if not there:
        raise UserError(
            f"{cache.path} holds {', '.join(cache.statistics)}, of which none of --features "
            f"{' '.join(settings.features)} can be made: name others, or extract them with probe-extract --pool"
        )
    for name in there:
        yield Choice(FEATURES, name, "what of each layer's frames is read", fit={"features": (name,)})
    for seed in range(settings.seed, settings.seed + settings.seeds):
        yield Choice(FOLDS, f"seed {seed}", "how speakers are dealt to folds", fit={"seed": seed})
    for twin in twins:
        yield Choice(TWIN, twin.label, "which draw of random weights")


def _with_all_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a row for every claim under every specification of a model: not tested where there was none."""
    whole = []
    for (model, corpus), part in table.groupby(["model", "corpus"], sort=False):
        claims = part.loc[part["claim"] != "", ["claim", "dimension"]].drop_duplicates()
        for chosen, rows in part.groupby(list(FACTORS), sort=False):
            full = claims.merge(rows, how="left", on=["claim", "dimension"])
            about = {"model": str(model), "corpus": str(corpus), **dict(zip(FACTORS, map(str, chosen), strict=True))}
            full["verdict"] = full["verdict"].fillna(NOT_TESTED)
            reasons = rows["reason"].dropna()
            if len(reasons):  # of a claim that was not tested, and has no reason of its own
                full["reason"] = full["reason"].where(
                    full["reason"].notna() | (full["verdict"] != NOT_TESTED), reasons.iloc[0]
                )
            whole.append(full.assign(**about))
    return pd.concat(whole, ignore_index=True)[list(table.columns)]


def tallies(answer: pd.DataFrame) -> pd.DataFrame:
    """How often each verdict was given: one row a model, claim, dimension and verdict.

    Returns
    -------
    DataFrame
        `model, corpus, claim, dimension, verdict`; `count`, and `of` so many specifications; `default`, the verdict
        under the specification by default; `lowest, highest` estimate of all.
    """
    rows = []
    by = ["model", "corpus", "claim", "dimension"]
    for key, part in answer.groupby(by, sort=False, dropna=False):
        about = {
            **dict(zip(by, key, strict=True)),
            "of": len(part),
            "default": part["verdict"].iloc[0],
            "lowest": part["estimate"].min(),
            "highest": part["estimate"].max(),
        }
        counts = part["verdict"].value_counts()
        rows += [{**about, "verdict": name, "count": int(count)} for name, count in counts.items()]
    return pd.DataFrame(rows)


def _told(answer: pd.DataFrame) -> Iterator[str]:
    """A sentence for each model: which verdicts hold under every specification, and which do not."""
    counted = tallies(answer)
    for (model, corpus), part in counted.groupby(["model", "corpus"], sort=False):
        firm, loose = [], []
        for (claim, dimension), rows in part.groupby(["claim", "dimension"], sort=False):
            name = f"{claim} of {dimension}" if dimension else str(claim)
            if len(rows) == 1:
                firm.append(f"{name} {rows['verdict'].iloc[0]}")
            else:
                counts = zip(rows["verdict"], rows["count"], strict=True)
                loose.append(f"{name} {', '.join(f'{what} under {count}' for what, count in counts)}")
        said = f"{model} on {corpus}, of {part['of'].iloc[0]} specifications, each by itself. "
        said += f"The same verdict under all: {'; '.join(firm)}." if firm else "No verdict is the same under all."
        yield said + (f" Not the same: {'; '.join(loose)}." if loose else "")


#: Columns of the answer. `score`, `score_rival`, `layer`, `rival` and `n` are of differences in CCC alone.
COLUMNS = {
    **SUBJECT, "claim": TEXT, "dimension": TEXT, **dict.fromkeys(FACTORS, TEXT), "split": TEXT, "statement": TEXT,
    "estimate": NUMBER, "low": NUMBER, "high": NUMBER, "p": NUMBER, "p_equal": NUMBER, "verdict": TEXT,
    "layer": WHOLE, "chosen_on": TEXT, "rival": TEXT, "score": NUMBER, "score_rival": NUMBER,
    "n": WHOLE, "speakers": WHOLE, "unit": TEXT, "units": WHOLE, "interval": TEXT, "reason": TEXT,
}  # fmt: skip

ROBUSTNESS = Inquiry(
    name="robustness",
    title="Robustness",
    question="Do the main verdicts hang on a choice that could have been made otherwise?",
    settings=RobustnessSettings,
    options={
        "dimensions": Option("default: all", name="dim", choices=DIMENSIONS),
        "features": Option("vary these feature sets, the first being the default (default: mean+std and mean)"),
        "seeds": Option("vary so many seeds of the folds (default: %(default)s)"),
        "seed": Option("begin with this seed (default: %(default)s)"),
        "crossed": Option("fit every combination of the choices, not only those that differ from the default in one"),
        "smallest": Option("call a smaller difference in CCC practically equal (default: %(default)s; 0: none)"),
        "resamples": Option("resample so often, where probes are not fitted again (default: %(default)s)"),
    },
    columns=COLUMNS,
    ask=ask_robustness,
    told=lambda answer: list(_told(answer)),
    method="Probes and baselines are fitted anew under each specification, and each verdict is that of this "
    "specification alone, at 5 % and without correction: what tells is whether they agree.",
    cites=("simonsohn2020specification",),
    methods=("splits", "metrics", "bootstrap", "ridge", "deletion", "jackknife"),
    reads=("id", "speaker", "split", "status", "seconds", *DIMENSIONS),
    uses_baselines=True,
    together=True,
)
