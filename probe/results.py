"""The results on disk: a tidy table of scores, the learned weights, the predictions, and the protocol beside them."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from emoprobe import locks
from emoprobe.defaults import RESULTS
from emoprobe.errors import UserError, reason
from emoprobe.fields import (
    LONGEST_NAME,
    LONGEST_TEXT,
    check_columns,
    check_list,
    read_json,
    refuse_beyond_memory,
    refuse_cut_short,
)
from emoprobe.jsontext import to_json
from emoprobe.storage import replacing

from . import pending
from .choosing import scores_with
from .schema import (
    ADDED,
    AVERAGED,
    CATEGORIES,
    KEY,
    PREDICTIONS,
    PROTOCOL,
    RANGES,
    RECALLS,
    REFITS,
    SCORES,
    STRING,
    TABLES,
    WEIGHTS,
    ordered_dimensions,
    table,
)
from .selecting import best_layer, headline_metric, is_pooled
from .strangers import read_entries, refuse_other_results, told_of_the_folder

#: Tables that stand as Parquet alone: large, and read by this program.
_PARQUET_ALONE = ("predictions", "refits")

#: Tables that results may lack: handed on without the large ones, or of dimensions alone, which have no recalls.
_OPTIONAL = ("predictions", "recalls", "refits")


@dataclass(frozen=True, repr=False)
class Results:
    """Scores, weights, predictions and protocol of any number of runs.

    Attributes
    ----------
    scores : DataFrame
        One row a fit: `model, corpus, dimension, probe, layer, depth, fold, seed, split, n, ccc, ccc_low, ccc_high,
        pearson, rmse`, then added columns. `fold` is "all" for the score pooled over folds, and only that has an
        interval. Baselines have layer -1. `reason` says why a score is missing. `null_mean`, `null_high` (95th
        percentile), `p` and `selectivity` (`tested` above `null_mean`) compare `tested` with the same for permuted
        labels: of a ridge probe its CCC, of a logistic probe the UAR of the nearest class mean in the same features
        (`category_null`); `p_holm` is corrected for the number of layers. `mdl_bits` and `compression` are
        the length of the labels' online code and its gain over a code without features (`mdl`). UAR averages `classes`
        categories. Its interval takes the recall of those that are too rare for one as it is; `uar_common` is the UAR
        of the others, with its own interval (`recalls`).
    weights : DataFrame
        Learned weights of the weighted-sum probes, averaged over folds: one row a layer and seed. `weight_normed` is
        times the length of the layer's centred states, which are what is summed; `weight_by_norm` is times the mean
        norm of its frames, their mean included, and was `weight_normed` up to version 1 of the method.
    protocol : list of dict
        One entry a run: what is needed to cite it and to run it again.
    predictions : DataFrame
        Prediction of every utterance that was scored, for statistics that the scores do not hold.
    recalls : DataFrame
        Recall and precision of every category, one row a fit, part and category: the pooled ones alone. `predicted` is
        how often the category was the answer; `reason` says why a limit is missing.
    refits : DataFrame
        Of each ridge probe, the sums of labels and predictions that remain without each speaker (or group, or block of
        them), its probes fitted again without them (`deletion`); what its intervals follow from.
    """

    scores: pd.DataFrame
    weights: pd.DataFrame
    protocol: list[dict] = field(default_factory=list)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)
    recalls: pd.DataFrame = field(default_factory=lambda: table([], RECALLS))
    refits: pd.DataFrame = field(default_factory=lambda: table([], REFITS))

    @staticmethod
    def empty() -> Results:
        """Results of no run."""
        return Results(table([], SCORES), table([], WEIGHTS), [], table([], PREDICTIONS))

    def updated(self, *new: Results) -> Results:
        """These results with the runs of `new` in place of the runs of the same key, or after them; the last counts.

        These may hold rows of runs that their protocol does not know, as a kill can leave them; `new` do not.
        """
        kept = {key: number for number, results in enumerate((self, *new)) for key in results.keys}
        runs = []
        for number, results in enumerate((self, *new)):
            replaced = {key for key, last in kept.items() if last > number}
            # A folder may hold rows of runs that its protocol does not know: of a fit that was killed.
            runs.append(results.without(replaced) if number == 0 or replaced & results.keys else results)

        def joined(name: str) -> pd.DataFrame:
            parts = [getattr(results, name) for results in runs]
            parts = [part for part in parts if len(part)] or parts[-1:]
            return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)

        tables = {name: joined(name) for name in TABLES}
        return Results(protocol=[entry for results in runs for entry in results.protocol], **tables)

    @property
    def keys(self) -> set[tuple[str, ...]]:
        """Of the runs: `model, corpus, dimension, probe, features`."""
        return {tuple(str(entry[name]) for name in KEY) for entry in self.protocol}

    def without(self, keys: Container[tuple[str, ...]]) -> Results:
        """The runs whose keys are not among `keys`."""
        return self._only(lambda key: key not in keys)

    def of(self, keys: Container[tuple[str, ...]]) -> Results:
        """The runs whose keys are among `keys`."""
        return self._only(lambda key: key in keys)

    def _only(self, wanted: Callable[[tuple[str, ...]], bool]) -> Results:
        def rows(frame: pd.DataFrame) -> pd.DataFrame:
            if not len(frame):
                return frame
            # A table has few keys and many rows.
            codes, keys = pd.MultiIndex.from_frame(frame[list(KEY)].astype(str)).factorize()
            return frame[np.array([wanted(key) for key in keys])[codes]].reset_index(drop=True)

        tables = {name: rows(getattr(self, name)) for name in TABLES}
        return Results(
            protocol=[entry for entry in self.protocol if wanted(tuple(str(entry[name]) for name in KEY))], **tables
        )

    @property
    def ratings(self) -> list[str]:
        """Dimensions that are rated on a scale, and have scores: arousal, valence, dominance, then the rest."""
        names = list(self.scores["dimension"]) if len(self.scores) else []
        return [name for name in ordered_dimensions(names) if name != CATEGORIES]

    def select(self, **values: object) -> pd.DataFrame:
        """Rows of the scores whose columns have the given values, such as ``select(probe="ridge", fold="all")``.

        Raises
        ------
        UserError
            If there is no such column, or no row of any fit has the value.
        """
        return scores_with(self.scores, values)

    def best_layers(self) -> pd.DataFrame:
        """For every run and part, the pooled score of the layer that is reported, with its interval.

        The layer is chosen on the development part (`emoprobe.probe.selecting`); where that does not have a score of
        each layer, and on the development part itself, by the score that is then reported. That is hindsight, and the
        interval does not cover it.

        Returns
        -------
        DataFrame
            Rows of `scores`, one for each model, corpus, dimension, probe, features and split. Of several seeds the
            scores are means, `seed` is empty, and the rest is that of the first. Where no layer has a score, the first
            stands with its `reason`, and nothing was chosen. Beside them `chosen_on`, the split that the layer was
            chosen on (empty where there was no choice), and `highest_layer` and `highest`: the layer of highest CCC
            (UAR for categories) on the rows of this split, with hindsight, and its score.
        """
        pooled = self.scores[is_pooled(self.scores)]
        if not len(pooled):
            return pooled.reindex(columns=[*pooled.columns, "chosen_on", "highest_layer", "highest"])
        one_fit = [*KEY, "split", "layer"]
        seeded = pooled.duplicated(one_fit, keep=False)
        several = pooled[seeded]
        averaged = [name for name in AVERAGED if name in several]
        means = several.groupby(one_fit, dropna=False)[averaged].transform("mean")
        several = several.assign(seed=pd.array([None] * len(several), "Int64"), **means).drop_duplicates(one_fit)
        fits = pd.concat([part for part in (pooled[~seeded], several) if len(part)], ignore_index=True)
        runs = fits.groupby([*KEY, "split"], sort=False, dropna=False)
        places, told = zip(*(_best_of(run, fits) for _, run in runs), strict=True)
        columns = pd.DataFrame(told).astype({"highest_layer": "Int64", "highest": float})
        return pd.concat([fits.loc[list(places)].reset_index(drop=True), columns], axis=1)

    def save(self, folder: str | Path) -> Path:
        """Write all files to `folder`, each at once or not at all; the protocol, which says what is there, last."""
        folder = Path(folder)
        with told_of_the_folder(folder):
            folder.mkdir(parents=True, exist_ok=True)
            refuse_other_results(folder)
            self._strike_out_changed(folder)
            write_tables(self, folder)
        return folder

    def _strike_out_changed(self, folder: Path) -> None:
        """Take runs whose rows are about to change out of the protocol on disk: killed here, they are fitted again."""
        path = folder / "protocol.json"
        there = read_entries(path) if path.exists() else []
        unchanged = [entry for entry in there if entry in self.protocol]
        if unchanged != there:
            _write_protocol(folder, unchanged)

    def __repr__(self) -> str:
        from .showing import in_a_line

        return in_a_line(self)

    def _repr_html_(self) -> str:
        from .showing import in_a_notebook

        return in_a_notebook(self)


def _best_of(run: pd.DataFrame, fits: pd.DataFrame) -> tuple[int, dict]:
    """Label of the row of a run whose layer is reported, and what was chosen where."""
    metric = headline_metric(run["dimension"].iloc[0])
    if len(run) == 1:
        row = run.iloc[0]
        return run.index[0], {"chosen_on": "", "highest_layer": row["layer"], "highest": row[metric]}
    choice = best_layer(fits, run, metric)
    told = {"chosen_on": choice.chosen_on, "highest_layer": choice.highest, "highest": choice.highest_score}
    return run.index[0 if choice.best is None else int((run["layer"] == choice.best).to_numpy(bool).argmax())], told


def write_tables(results: Results, folder: Path, *, csv: bool = True) -> None:
    """Write the files of a folder of results, the protocol last; `csv` leaves out what is for other programs."""
    # What is small and read first comes last.
    for name in reversed(TABLES):
        frame = getattr(results, name)
        if name in ("refits", "recalls") and not len(frame) and not (folder / f"{name}.parquet").exists():
            continue  # of nothing that these results hold
        _write(folder / f"{name}.parquet", partial(frame.to_parquet, index=False))
        if csv and name not in _PARQUET_ALONE:
            _write(folder / f"{name}.csv", partial(frame.to_csv, index=False))
    _write_protocol(folder, results.protocol)


def _write_protocol(folder: Path, protocol: list[dict]) -> None:
    text = to_json(protocol, indent=1, ensure_ascii=False) + "\n"
    _write(folder / "protocol.json", lambda path: path.write_text(text, encoding="utf-8"))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    with replacing(path) as temporary:
        write(temporary)


def update_results(
    folder: str | Path, new: Results | None = None, *, known: Mapping[Path, Results] = MappingProxyType({})
) -> Results:
    """Put new runs into the tables of a folder of results, and those that were kept beside them; one process at a time.

    Parameters
    ----------
    folder : str or Path
        Made if absent.
    new : Results, optional
    known : mapping of Path to Results
        Runs that were kept beside them, by their place; those of other commands are read.

    Returns
    -------
    Results
        All that the folder now holds.
    """
    folder = Path(folder)
    try:
        with told_of_the_folder(folder):
            refuse_other_results(folder)
            folder.mkdir(parents=True, exist_ok=True)
            with locks.hold_lock(folder / ".lock", wait=locks.PATIENCE):
                kept = pending.places(folder)
                there = _load_tables(folder) if (folder / "protocol.json").exists() else Results.empty()
                runs = [known[place] if place in known else _load_tables(place) for place in kept]
                results = there.updated(*runs, *([new] if new else []))
                results.save(folder)
                pending.remove(folder, kept)
    except locks.LockHeld as holder:
        raise UserError(
            f"{folder} has been in use for {locks.PATIENCE:.0f} seconds by {holder}: wait for it, or give another "
            "folder with --out"
        ) from None
    return results


def load_results(folder: str | Path | Sequence[str | Path] = RESULTS) -> Results:
    """Read the results that ``probe-fit`` left.

    Parameters
    ----------
    folder : str, Path or sequence of them
        Folders of results; of several, runs of the same key come from the last.

    Returns
    -------
    Results

    Raises
    ------
    UserError
        If a folder holds no results, or a file is damaged.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     written = Results.empty().save(folder)
    ...     print(load_results(written))
    Results of 0 runs, 0 fits: no score yet
    """
    if not isinstance(folder, str | Path):
        return reduce(Results.updated, map(load_results, folder), Results.empty())
    while True:
        kept = pending.places(folder)
        there = [Path(folder)] if (Path(folder) / "protocol.json").is_file() else []
        if not there and not kept:
            raise UserError(f"{folder} holds no results: make them with `probe-fit --out {folder}`")
        try:
            first, *more = map(_load_tables, [*there, *kept])
        except UserError:
            if all(place.is_dir() for place in kept):
                raise
            continue  # another command has taken it up in this instant
        return first.updated(*more) if more else first


def has_results(folder: str | Path) -> bool:
    """Whether a folder holds the results of any run."""
    return (Path(folder) / "protocol.json").is_file() or bool(pending.places(folder))


def _load_tables(folder: Path) -> Results:
    entries = folder / "protocol.json"
    protocol = check_list(read_json(entries, remedy=_REMEDY), entries, PROTOCOL, remedy=_REMEDY)
    frames = {}
    for name, columns in TABLES.items():
        path = entries.with_name(f"{name}.parquet")
        if not path.exists() and path.with_suffix(".csv").exists():
            path = path.with_suffix(".csv")
        if name in _OPTIONAL and not path.exists():
            frames[name] = table([], columns)
            continue
        texts = {column: LONGEST_NAME for column, kind in columns.items() if kind == STRING} | {"reason": LONGEST_TEXT}
        frames[name] = check_columns(_read_table(path, columns), path, RANGES, texts, remedy=_REMEDY)
    frames["refits"] = _of_known_runs(frames["refits"], protocol)
    return Results(protocol=protocol, **frames)


def _of_known_runs(refits: pd.DataFrame, protocol: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The refits of runs that the protocol holds: of another, a kill may have left those of an earlier fit."""
    known = {tuple(run.get(name) for name in KEY) for run in protocol}
    if not len(refits):
        return refits
    codes, keys = pd.MultiIndex.from_frame(refits[list(KEY)]).factorize()
    return refits[np.array([key in known for key in keys])[codes]]


_REMEDY = "bring it back, or fit again with another --out, or move the folder away and run the same `probe-fit` again"


def _read_table(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            about = pq.read_metadata(path)  # a few bytes can stand for any number of rows
            refuse_beyond_memory(8.0 * about.num_rows * about.num_columns, path, remedy=_REMEDY)
            read = pd.read_parquet(path)
        else:
            refuse_cut_short(path)
            read = pd.read_csv(path, dtype={"fold": str})
        missing = [column for column in columns if column not in ADDED and column not in read]
        if missing:
            raise ValueError(f"it lacks the columns {', '.join(missing)}")
        with np.errstate(invalid="ignore"):  # a number that is no whole one is refused, and not told of twice
            return table(read, columns)
    except UserError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        said = reason(error)[:160]
        raise UserError(f"{path} is damaged or not of this program ({said}): {_REMEDY}") from error
