"""What several raters said of each utterance, kept as a mean, a spread and a number.

A label is the mean of a few people's ratings, and differs from what all people would say: how much is told by the
spread and the number, from which the best score that any model can reach follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from emoprobe.errors import UserError

from .cells import DIMENSIONS, RATERS, MissingWords
from .separated import csv_rows
from .table import Corpus
from .text import read_bytes
from .values import first, parse_rating

_MEASURES = {"mean": "mean", "sd": "std", "n": "count"}


def summarise(
    ids: Sequence[str], raters: Sequence[str], ratings: ArrayLike, notes: list[str] | None = None
) -> pd.DataFrame:
    """Mean, spread and number of the ratings of each utterance.

    Parameters
    ----------
    ids : sequence of str, (ratings,)
        The utterance that is rated.
    raters : sequence of str, (ratings,)
        Who rated it, ``""`` for somebody unknown. Who rated an utterance more than once counts once, with the mean.
    ratings : array-like, (ratings, 3)
        Arousal, valence and dominance, NaN for none.
    notes : list of str, optional
        Told how many ratings were taken together.

    Returns
    -------
    DataFrame
        One row an utterance, indexed by id, with the columns :data:`.cells.RATERS`. The spread is the standard
        deviation of the sample (divided by n - 1), NaN for a single rating; a dimension that nobody rated has NaN.
    """
    table = pd.DataFrame(np.asarray(ratings, dtype=np.float64).reshape(-1, len(DIMENSIONS)), columns=list(DIMENSIONS))
    table["id"], table["rater"] = pd.Series(ids, dtype=object), pd.Series(raters, dtype=object)
    # Somebody unknown is one person a row.
    again = table.duplicated(["id", "rater"], keep=False) & (table["rater"] != "")
    if again.any():
        taken = table[again].groupby(["id", "rater"], sort=False)[list(DIMENSIONS)].mean().reset_index()
        if notes is not None:
            notes.append(
                f"{int(again.sum()):,} ratings are by somebody who rated the utterance more than once: "
                f"counted as {len(taken):,}, with their means"
            )
        table = pd.concat([table[~again], taken], ignore_index=True)
    grouped = table.groupby("id", sort=False)
    columns = {
        f"{name}_{ours}": getattr(grouped[name], theirs)() for name in DIMENSIONS for ours, theirs in _MEASURES.items()
    }
    summary = pd.DataFrame(columns)[list(RATERS)].astype(np.float64)
    numbers = [name for name in RATERS if name.endswith("_n")]
    summary[numbers] = summary[numbers].where(summary[numbers] > 0)
    return summary


def rater_columns(summary: pd.DataFrame, ids: Iterable[str], notes: list[str]) -> dict[str, np.ndarray]:
    """The columns of a table of utterances, from the summary of its ratings.

    Parameters
    ----------
    summary : DataFrame
        Of :func:`summarise`.
    ids : iterable of str
        Of the table.
    notes : list of str
        Told how many utterances have ratings, and how many of the rated ones are not in the table.

    Returns
    -------
    dict of str to ndarray, (utterances,)
        NaN where an utterance has no rating.
    """
    index = pd.Index(list(ids), dtype=object)
    rated = int(index.isin(summary.index).sum())
    mean = np.nanmean(summary[[f"{name}_n" for name in DIMENSIONS]].to_numpy()) if len(summary) else 0
    notes.append(f"single ratings of {rated:,} of {len(index):,} utterances, {mean:.1f} each on average")
    beyond = ~summary.index.isin(index)
    if beyond.any():
        notes.append(f"{int(beyond.sum()):,} rated utterances are not among them: {first(summary.index[beyond], 2)}")
    aligned = summary.reindex(index)
    return {name: aligned[name].to_numpy() for name in RATERS}


@dataclass(frozen=True)
class Ratings:
    """Single ratings, one row a rating.

    Attributes
    ----------
    ids, raters : list of str
        The utterance that is rated, and who rated it (``""`` for somebody unknown).
    values : ndarray, (ratings, 3)
        Arousal, valence and dominance, NaN for none.
    unused : tuple of str
        Columns that say nothing of this.
    """

    ids: list[str]
    raters: list[str]
    values: np.ndarray
    unused: tuple[str, ...] = ()


def read_ratings(path: Path) -> Ratings:
    """Read a table ``id,rater,arousal,valence,dominance`` of single ratings.

    Parameters
    ----------
    path : Path
        CSV. ``id`` is the utterance's in the corpus; without ``rater`` each row is by somebody else; of the dimensions
        one is enough, and an empty cell is no rating.

    Raises
    ------
    UserError
        Naming file, line and remedy: no such columns, or a rating that is no number.
    """
    header, rows, lines = csv_rows(read_bytes(path), path)
    names = [name.strip().casefold() for name in header]
    dimensions = [name for name in DIMENSIONS if name in names]
    if "id" not in names or not dimensions:
        raise UserError(
            f"{path}: a table of ratings has the columns id, rater and one or more of {', '.join(DIMENSIONS)} "
            f"(its columns: {first(header, 12)})"
        )
    missing = MissingWords()
    place = {name: names.index(name) for name in ("id", "rater", *dimensions) if name in names}
    ids = [row[place["id"]].strip() for row in rows]
    raters = [missing.text("rater", row[place["rater"]]) if "rater" in place else "" for row in rows]
    ratings = np.full((len(rows), len(DIMENSIONS)), np.nan)
    for name in dimensions:
        for index, row in enumerate(rows):
            try:
                ratings[index, DIMENSIONS.index(name)] = parse_rating(row[place[name]])
            except ValueError as problem:
                raise UserError(
                    f"{path}, line {lines[index]}, column '{name}': {problem}; correct it or leave the cell empty"
                ) from None
    unused = tuple(name for name, low in zip(header, names, strict=True) if low not in place)
    return Ratings(ids, raters, ratings, unused)


def add_ratings(corpus: Corpus, path: Path) -> Corpus:
    """A corpus with the single ratings of a table, as :func:`read_ratings` reads it.

    Raises
    ------
    UserError
        Naming file, line and remedy: no such columns, a rating that is no number, no id of the corpus.
    """
    ratings = read_ratings(path)
    notes: list[str] = []
    summary = summarise(ratings.ids, ratings.raters, ratings.values, notes)
    if not len(summary):
        raise UserError(f"{path} holds no rating: give a table with a line for each rating")
    if not summary.index.isin(corpus.utterances["id"]).any():
        raise UserError(
            f"{path}: none of its ids is one of {corpus.name} (here {first(ratings.ids, 2)}; there "
            f"{first(corpus.utterances['id'], 2)}); write the ids of the corpus"
        )
    utterances = corpus.utterances.assign(**rater_columns(summary, corpus.utterances["id"], notes))
    if ratings.unused:
        notes.append(f"columns not used: {first(ratings.unused, 12)}")
    return replace(corpus, utterances=utterances, notes=(*corpus.notes, *(f"{path.name}: {note}" for note in notes)))
