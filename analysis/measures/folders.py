"""Two folders of results, system by system: what changed between two studies of the same utterances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import EMOTION

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.probe.results import Results

#: What the two sides are called, in the column `model` of the joined tables.
SIDES = ("A", "B")


def folders_compared(
    one: str | Path,
    other: str | Path,
    *,
    models: Sequence[str] = (),
    dimensions: Sequence[str] = (),
    split: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Differences of scores between two folders, B minus A, on the same speakers.

    Each run of A (corpus, dimension, probe, features, reported split) is compared with that of B, each at its best
    layer (:func:`emoprobe.probe.significance.models_compared`), on the utterances that both score. Baselines are left
    out, as there.

    Parameters
    ----------
    one, other : path
        Folders A and B, as ``probe-fit`` and ``probe-train`` write them.
    models : sequence of str
        Of A and of B, where they are not the same: two names. By default the models that both have; else the only one
        of each.
    dimensions : sequence of str
        All that both have, by default.
    split : str, optional
        By default the one that is reported.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        `model_a, model_b, metric`, then as of :func:`emoprobe.probe.significance.paired_differences`: `score_one` is
        B's, `score_other` A's, `difference` B minus A; `one` and `other` name the layers; `p_holm` over all rows of a
        corpus and split.

    Raises
    ------
    UserError
        If a folder holds no results, or the two have nothing in common.
    """
    import pandas as pd

    from emoprobe.probe.differences import corrected
    from emoprobe.probe.results import load_results
    from emoprobe.probe.significance import models_compared

    sides = [load_results(folder) for folder in (one, other)]
    rows = []
    for names in _pairs(sides, models, (one, other)):
        joined = _joined(sides, names)
        for metric, asked in (("ccc", _numbers(joined, dimensions)), ("uar", _categories(joined, dimensions))):
            for dimension in asked:
                table = models_compared(
                    joined, split=split, metric=metric, resamples=resamples, seed=seed, dimension=dimension
                )
                more = {"model_a": names[0], "model_b": names[1], "metric": metric}
                rows += [{**row, **more} for row in table.to_dict("records")]
    if not rows:
        raise UserError(
            f"{one} and {other} have no corpus, dimension, probe, features and split in common: fit both with the same "
            "settings, or name the models with --models"
        )
    table = corrected(rows, ("corpus", "split"))
    named = pd.DataFrame(rows)[["model_a", "model_b", "metric"]]
    return pd.concat([named, table.drop(columns="model")], axis=1)


def _pairs(sides: Sequence[Results], models: Sequence[str], folders: Sequence[str | Path]) -> Iterator[tuple[str, str]]:
    there = [list(dict.fromkeys(side.predictions["model"])) for side in sides]
    if models:
        for name, have, folder in zip(models, there, folders, strict=True):
            if name not in have:
                raise UserError(f"{folder} has no model {name}: it has {', '.join(have) or 'no predictions'}")
        yield models[0], models[1]
        return
    both = [name for name in there[0] if name in there[1]]
    if both:
        yield from zip(both, both, strict=True)
    elif len(there[0]) == len(there[1]) == 1:
        yield from product(*there)
    else:
        told = "; ".join(f"{folder} has {', '.join(have)}" for folder, have in zip(folders, there, strict=True))
        raise UserError(f"no model is in both folders ({told}): name one of each with --models")


def _joined(sides: Sequence[Results], names: Sequence[str]) -> Results:
    """The runs of one model of each side, called A and B."""
    import pandas as pd

    from emoprobe.probe.results import Results

    tables = {}
    for table in ("scores", "predictions", "refits"):
        parts = [getattr(side, table) for side in sides]
        own = [part[part["model"] == name] for part, name in zip(parts, names, strict=True)]
        own = [part.assign(model=side) for part, side in zip(own, SIDES, strict=True) if len(part)]
        tables[table] = pd.concat(own, ignore_index=True) if own else parts[0].iloc[:0]
    return replace(Results.empty(), **tables)


def _numbers(joined: Results, asked: Sequence[str]) -> list[str]:
    return [name for name in _in_both(joined) if name != EMOTION and (not asked or name in asked)]


def _categories(joined: Results, asked: Sequence[str]) -> list[str]:
    return [name for name in _in_both(joined) if name == EMOTION and (not asked or name in asked)]


def _in_both(joined: Results) -> list[str]:
    table = joined.predictions
    have = [set(table.loc[table["model"] == side, "dimension"]) for side in SIDES]
    return [name for name in dict.fromkeys(table["dimension"]) if name in have[0] & have[1]]


def told_differences(table: pd.DataFrame, *, level: float = 0.05) -> str:
    """What stands after correction, in one sentence."""
    stands = table[table["p_holm"] <= level]
    parts = [
        f"{row.dimension} by {row.probe} ({row.difference:+.3f} [{row.low:.3f}, {row.high:.3f}])"
        for row in stands.itertuples()
    ]
    rest = len(table) - len(stands)
    if not parts:
        return f"B differs from A in none of {rest} comparisons, after correction"
    return f"B differs from A in {', '.join(parts)}; in {rest} other comparisons nothing stands after correction"
