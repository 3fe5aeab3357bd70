"""Results as tables that figures and the report read, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.baselines.registry import BASELINES

if TYPE_CHECKING:
    from emoprobe.probe.results import Results


METRICS = {
    "ccc": "CCC",
    "pearson": "Pearson r",
    "rmse": "RMSE",
    "share": "Explained variance",
    "uar": "UAR",
    "macro_f1": "Macro F1",
}
"""The scores that can be drawn, with the names that the axes show."""

CATEGORY_METRICS = ("uar", "macro_f1")
#: Of these the mean label has a score of zero by definition: it is no news, and takes a place.
ZERO_OF_MEAN = ("ccc", "pearson", "share")
BASELINE_LAYER = -1
WEIGHTED = "weighted"
END_TO_END = "end-to-end"

BASELINE_NAMES = {"mean": "mean label"} | {name: baseline.label for name, baseline in BASELINES.items()}
"""Names of the baselines as figures show them, in the order of every figure."""

_SCORE_COLUMNS = ("model", "corpus", "dimension", "probe", "layer", "fold", "seed", "split")
_WEIGHT_COLUMNS = ("model", "corpus", "dimension", "layer", "seed", "weight", "weight_normed")


def read_tables(source: Any) -> Results:
    """Results of `source`, whatever form they have, with text as str and numbers as float in every table.

    Parameters
    ----------
    source : Results, pandas.DataFrame, path, or a sequence of results and paths
        What :func:`emoprobe.load_results` or :func:`emoprobe.fit_layers` returns; a table of scores or of weights
        alone; a folder that ``probe-fit`` wrote. Of several, runs of the same key come from the last.

    Returns
    -------
    Results
        Without protocol and predictions where a table alone was given.

    Raises
    ------
    UserError
        If a folder holds no results, a file is damaged, or a table lacks a column.
    """
    from emoprobe.probe.results import Results

    if isinstance(source, pd.DataFrame):
        weights = "weight" in source.columns
        source = Results(pd.DataFrame(), source) if weights else Results(source, pd.DataFrame())
    elif isinstance(source, (str, Path)):
        source = read_complete([source])
    elif isinstance(source, Sequence) and len(source):
        source = read_complete(source)
    if not isinstance(source, Results):
        raise UserError(
            f"cannot draw {type(source).__name__}: give the object that emoprobe.load_results returns, "
            "a table of scores, or a results folder"
        )
    _refuse_without_columns(source)
    return replace(source, scores=_plain(source.scores), weights=_plain(source.weights))


def read_complete(sources: Sequence[Results | str | Path]) -> Results:
    """Results and folders of them, put together; of runs of the same key the last counts.

    Parameters
    ----------
    sources : sequence of Results and paths
        At least one.

    Returns
    -------
    Results

    Raises
    ------
    UserError
        If a folder holds no results, a file is damaged, or a table lacks runs that the protocol lists.
    """
    parts = [_read_folder(Path(part)) if isinstance(part, (str, Path)) else part for part in sources]
    results = parts[0]
    for part in parts[1:]:
        results = results.updated(part)
    return results


def _read_folder(folder: Path) -> Results:
    from emoprobe.probe.results import KEY, load_results

    results = load_results(folder)
    # A table that was cut short can still be read; the protocol knows what it held.
    scored = set(zip(*(results.scores[name].astype(str) for name in KEY), strict=True))
    lost = [run for run in results.protocol if tuple(str(run[name]) for name in KEY) not in scored]
    if lost:
        path = folder / "scores.parquet"
        path = path if path.exists() else path.with_suffix(".csv")
        raise UserError(
            f"{path} lacks {len(lost)} of the {len(results.protocol)} runs that protocol.json lists, the first "
            f"{lost[0]['probe']} of {lost[0]['dimension']}, {lost[0]['model']} on {lost[0]['corpus']}: bring it back, "
            "or fit again with probe-fit --overwrite"
        )
    return results


def _refuse_without_columns(results: Results) -> None:
    for name, table, columns in (
        ("scores", results.scores, _SCORE_COLUMNS),
        ("weights", results.weights, _WEIGHT_COLUMNS),
    ):
        missing = [column for column in columns if column not in table.columns]
        if missing and len(table.columns):
            raise UserError(
                f"the table of {name} lacks the column(s) {', '.join(missing)}: read it with emoprobe.load_results, "
                "or write it anew with probe-fit"
            )


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """A copy whose names are strings and whose numbers are floats, whichever file form they came from."""
    table = table.copy()
    if not len(table.columns):
        return table
    for column, absent in (("features", ""), ("probe", WEIGHTED)):
        if column not in table.columns:
            table[column] = absent
    for column in ("model", "corpus", "dimension", "probe", "features", "split", "fold"):
        if column in table.columns:
            table[column] = table[column].astype(object).where(table[column].notna(), "").map(str)
    if "weight" in table.columns:
        table["probe"] = table["probe"].replace("", WEIGHTED)
    numbers = ["layer", "n", "speakers", "weight", "weight_normed"]
    for metric in METRICS:
        numbers += [metric, f"{metric}_low", f"{metric}_high"]
    for column in numbers:
        if column in table.columns:
            table[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
    for ending in ("", "_low", "_high"):
        if f"pearson{ending}" in table.columns:
            table[f"share{ending}"] = explained_share(table[f"pearson{ending}"])
    return table


def explained_share(pearson: Any) -> Any:
    """Share of the labels' variance that a line through the predictions explains, r², with the sign of r.

    It grows with r, so the limits of an interval of r give those of the share.
    """
    return pearson * abs(pearson)


def records(table: pd.DataFrame) -> Iterator[Any]:
    """The rows, with a column as an attribute; a checker cannot know what a column holds."""
    yield from table.itertuples()


def named_parts(
    table: pd.DataFrame, *columns: str, sort: bool = False
) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """The rows of each combination of names in `columns`, with these names; in the table's order, or sorted."""
    for names, part in table.groupby(list(columns), sort=sort):
        yield tuple(map(str, names)), part


@dataclass(frozen=True)
class Subject:
    """A model on a corpus: what a figure, or one of its panels or lines, is about."""

    model: str
    corpus: str


def subjects(table: pd.DataFrame) -> list[Subject]:
    """Each model and corpus of `table`, in its order."""
    if not len(table):
        return []
    pairs = table[["model", "corpus"]].drop_duplicates()
    return [Subject(model, corpus) for model, corpus in pairs.itertuples(index=False)]


def one_subject(table: pd.DataFrame, model: str | None, corpus: str | None) -> Subject:
    """The one model and corpus asked for.

    Raises
    ------
    UserError
        If none or several fit.
    """
    fitting = [
        subject for subject in subjects(table) if model in (None, subject.model) and corpus in (None, subject.corpus)
    ]
    if len(fitting) == 1:
        return fitting[0]
    have = "; ".join(f"model={subject.model!r} corpus={subject.corpus!r}" for subject in subjects(table))
    if not have:
        raise UserError("there is nothing to draw: the table is empty")
    problem = "several models and corpora fit" if fitting else f"no row for model={model!r} corpus={corpus!r}"
    raise UserError(f"{problem}: choose by model= and corpus= among {have}")


def only(rows: pd.DataFrame, column: str, wanted: str | None) -> str:
    """The value of a column that is wanted, or the only one there is.

    Raises
    ------
    UserError
        If it is not there, or there are several and none is wanted.
    """
    there = list(dict.fromkeys(rows[column]))
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is not None and wanted in there:
        return wanted
    raise UserError(f"{column}={wanted!r}: the table holds {', '.join(map(repr, there))}; name one of them")


def rows_of_subject(
    table: pd.DataFrame, model: str | None, corpus: str | None, *, what: str
) -> tuple[pd.DataFrame, str, str]:
    """Rows of one model on one corpus, and which these are: those that are wanted, or the only ones.

    Parameters
    ----------
    table : DataFrame
        With columns `model` and `corpus`.
    model, corpus : str or None
    what : str
        The rows in words, for the error.

    Raises
    ------
    UserError
        If the table is empty, they are not there, or there are several and none is named.
    """
    if not len(table):
        raise UserError(f"there is nothing to draw: the table of {what} is empty")
    model = only(table, "model", model)
    rows = table[table["model"] == model]
    corpus = only(rows, "corpus", corpus)
    return rows[rows["corpus"] == corpus], model, corpus


def ordered_baselines(names: Iterable[str]) -> list[str]:
    """Names of baselines, each once, in the order of every figure, those that it does not know last."""
    there = set(names)
    return [name for name in BASELINE_NAMES if name in there] + sorted(there.difference(BASELINE_NAMES))


def ordered_features(names: Iterable[str]) -> list[str]:
    """Names of features (what was pooled), each once, the plain ones first."""
    return sorted(set(names), key=lambda name: (name.endswith("_ln"), len(name), name))
