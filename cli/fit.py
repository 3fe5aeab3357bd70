"""The command `probe-fit`."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.defaults import CACHE, FIGURES, RESULTS
from emoprobe.errors import UserError
from emoprobe.extract.cluster import EngineSettings
from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION
from emoprobe.parallel import ProcessSettings
from emoprobe.probe.probes.registry import ALL, PROBES
from emoprobe.probe.settings import HEADS, FitSettings

from .command import (
    CommandParser,
    add_device,
    add_dimensions,
    add_engine,
    add_output,
    add_setting,
    add_workers,
    dimensions_of,
    draw,
    settings_of,
    tell_end,
)
from .running import run_command
from .screen import told_run

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.probe.results import Results

_EPILOG = """\
examples:
  emoprobe fit                                            hidden_states.h5 in this folder, all dimensions
  emoprobe fit teacher.h5 student.h5 twin.h5              several models, in one table and one figure
  emoprobe fit teacher.h5 --dim arousal valence --probe all
  emoprobe fit teacher.h5 --target emotion --classes 'ang hap=hap+exc neu sad'

Without CACHE: hidden_states.h5 in the current folder, where probe-extract leaves it.
Without --dim: arousal, valence and dominance; without --probe: ridge.
Run again: what is there with the same protocol is not fitted again; --overwrite starts anew.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    command = CommandParser(
        prog="probe-fit",
        description="Ask each layer of a cache what it knows about emotion, and write scores, weights and figures.",
        epilog=_EPILOG,
    )
    command.add_argument("caches", metavar="CACHE", nargs="*", type=Path, help="read these caches of probe-extract")
    what = command.add_argument_group("what is fitted")
    add_dimensions(
        what, help="probe arousal, valence, dominance, several of them, or all (default: all, without --target)"
    )
    what.add_argument(
        "--target", choices=("emotion",), help="probe categories, by logistic probes (UAR, recall of each)"
    )
    about = {name: probe.about for name, probe in PROBES.items() if not probe.takes(EMOTION)}
    (default,) = FitSettings().probes
    about[default] += " (default)"
    what.add_argument(
        "--probe",
        choices=(*about, "all"),
        default=default,
        metavar="PROBE",
        help=f"fit {', '.join(f'{name} ({told})' for name, told in about.items())}, or all of them",
    )
    add = partial(add_setting, what, FitSettings)
    add(
        "features",
        metavar="SET",
        help="read these statistics of the cache, each a feature set of its own (mean, std, mean_ln), or joined by + "
        "(default: mean+std for probes of single layers, mean for the weighted sum)",
    )
    add(
        "classes",
        metavar="CLASSES",
        help="fit these categories, and say which names make one, in quotes: 'ang hap=hap+exc neu sad'; or all "
        "(default: those usual for the corpus, else all)",
    )
    add("head", choices=HEADS, help="read the weighted sum by this (default: %(default)s)")
    how = command.add_argument_group("how")
    add = partial(add_setting, how, FitSettings)
    add("seed", metavar="N", help="draw folds, bootstrap and training from this seed (default: %(default)s)")
    add("seeds", metavar="K", help="train the weighted sum with K seeds (default: %(default)s)")
    add(
        "folds",
        metavar="K",
        help="make K folds that keep speakers and groups whole, unless the corpus names folds (default: %(default)s)",
    )
    add("penalties", metavar="P", help="choose the penalty from these")
    add("resamples", metavar="N", help="draw N resamples in the bootstrap (default: %(default)s)")
    add(
        "permutations",
        metavar="N",
        help="permute the labels N times, for the null of every layer and baseline (default: %(default)s; 0 for none)",
    )
    add(
        "permute_within_speakers",
        action=argparse.BooleanOptionalAction,
        help="permute labels within speakers, so that knowing the speaker is part of the null, or among all utterances "
        "(default: within, where most utterances are of known speakers with 5 or more)",
    )
    add("mdl", help="leave out the description lengths, for a third of the time")
    add("ungrouped", help="accept folds by utterance in a corpus that names no speaker")
    add(
        "confirm",
        help="choose layers, penalties and rivals on one half of the speakers and score the other (a corpus's own test "
        "part is that other half already)",
    )
    add("rescale", help="give ridge predictions the mean and spread of the labels, fitted on training data")
    add_device(how, FitSettings, does="train mlp and weighted, and fit ridge where a cuda is named (else on the CPU),")
    add_workers(how)
    add_engine(how, gpus=False)
    where = command.add_argument_group("where to")
    where.add_argument(
        "--out", type=Path, default=Path(RESULTS), metavar="FOLDER", help="write results there (default: %(default)s)"
    )
    drawn = where.add_mutually_exclusive_group()
    drawn.add_argument(
        "--figures", type=Path, default=Path(FIGURES), metavar="FOLDER", help="draw there (default: %(default)s)"
    )
    drawn.add_argument(
        "--no-figures", action="store_true", help="draw nothing: another command will, of the same results"
    )
    where.add_argument("--overwrite", action="store_true", help="fit again what the results already hold")
    add_output(command)
    return command


def main(argv: list[str] | None = None) -> int:
    """Fit the probes, then draw the figures of their results; return the exit status."""
    given = parser().parse_args(argv)
    return run_command(lambda: _fit(given), verbose=given.verbose)


def _fit(given: argparse.Namespace) -> int:
    caches = given.caches or [Path(CACHE)]
    for cache in caches:
        if not cache.exists():
            remedy = "make it with probe-extract" if not given.caches else "give the path of a file by probe-extract"
            raise UserError(f"there is no cache {cache}: {remedy}")
    from emoprobe.probe.fit import fit_caches
    from emoprobe.probe.told import told_depths

    settings = _settings(given)
    results = fit_caches(
        caches,
        settings,
        out=given.out,
        overwrite=given.overwrite,
        progress=not given.quiet,
        say=lambda line: print(line, file=sys.stderr),
        engine=settings_of(given, EngineSettings),
        workers=settings_of(given, ProcessSettings).workers,
    )
    if not given.quiet:
        print(summary(results))
        print(f"results: {given.out}")
    if not given.no_figures:
        draw(given.out, given.figures, quiet=given.quiet)
    found = told_depths(results)
    tell_end(f"{found}." if found else "", "report", given.out, quiet=given.quiet)
    return 0


def _settings(given: argparse.Namespace) -> FitSettings:
    """Settings of the probes from the arguments."""
    dimensions = dimensions_of(given.dim)
    if given.target:
        dimensions += (EMOTION,)
    dimensions = dimensions or DIMENSIONS
    probes: tuple[str, ...] = ALL if given.probe == "all" else (given.probe,)
    if dimensions == (EMOTION,):
        probes = tuple(other for name in probes if (other := PROBES[name].for_categories))
        if not probes:
            raise UserError(f"--probe {given.probe} is for dimensions; categories take --probe ridge or all (logistic)")
    others = {field.name for field in fields(FitSettings)} - {"dimensions", "probes", "features"}
    return FitSettings.of(
        dimensions=dimensions,
        probes=probes,
        features=dict.fromkeys(given.features),
        **{name: getattr(given, name) for name in others},
    )


def summary(results: Results) -> str:
    """A short table: the best layer of every run with its interval, and the baselines."""
    import pandas as pd

    from emoprobe.probe.halves import EXPLORATION
    from emoprobe.probe.selecting import chosen_in_words, headline_metric

    best = results.best_layers()
    best = best[best["split"] != EXPLORATION]  # what was chosen there stands with its score on the other half
    lines = []
    for key, part in best.groupby(["dimension", "model", "corpus", "split"], sort=False):
        dimension, model, corpus, split = map(str, key)
        measure = headline_metric(dimension)
        lines.append(f"{dimension}, {model} on {corpus}, {split}, n = {int(part['n'].iloc[0])}, {measure.upper()}")
        for _, row in part.sort_values(measure, ascending=False, kind="stable").iterrows():
            name = told_run(row["probe"], row["features"])
            if pd.isna(row[measure]):
                subject = "no layer has a score" if pd.notna(row["layer"]) and row["layer"] >= 0 else "no score"
                lines.append(f"  {name:<20} {subject}" + (f": {row['reason']}" if row["reason"] else ""))
                continue
            if pd.notna(row["layer"]):
                where = "baseline" if row["layer"] < 0 else f"best layer {int(row['layer'])}"
            else:
                where = "mean over seeds" if row["probe"] == "end-to-end" else "all layers, mean over seeds"
            bounds = _interval(row[measure + "_low"], row[measure + "_high"])
            second, symbol = ("macro_f1", "macro F1") if dimension == "emotion" else ("pearson", "r")
            other = "" if pd.isna(row[second]) else f"{symbol} {row[second]:z.3f}"
            lines.append(f"  {name:<20} {where:<28} {row[measure]:z6.3f} {bounds:<18} {other}".rstrip())
            if row["chosen_on"] and pd.notna(row["highest_layer"]) and row["layer"] != row["highest_layer"]:
                highest = f"layer {int(row['highest_layer'])}, {row['highest']:.3f}"
                lines.append(f"    highest here, with hindsight: {highest}")
            lines += _recalls(results, row)
    chosen = best[best["chosen_on"] != ""]
    for scored_on, part in chosen.groupby("split", sort=False):
        on = chosen_in_words(zip(part["chosen_on"], part["split"], strict=True))
        lines.append(f"Best layers on {scored_on} are chosen on {on}.")
    if (chosen["chosen_on"] == chosen["split"]).any():
        lines.append("The interval of a layer that is chosen with hindsight does not cover the choice.")
    return "\n".join(lines)


def _interval(low: float, high: float) -> str:
    return "no interval" if math.isnan(low) or math.isnan(high) else f"[{low:z.3f}, {high:z.3f}]"


def _recalls(results: Results, row: pd.Series) -> list[str]:
    """Recall of each category at the layer that is reported, and which of them the interval leaves out."""
    import pandas as pd

    table = results.recalls
    if not len(table) or pd.isna(row["layer"]) or row["layer"] < 0:
        return []
    same = (table["layer"] == row["layer"]).fillna(False)
    for column in ("model", "corpus", "dimension", "probe", "features", "split"):
        same &= table[column] == row[column]
    table = table[same.to_numpy(bool)]
    recalls = ", ".join(f"{one.category} {one.recall:.2f}" for one in table.itertuples() if one.n)
    lines = [f"    recall: {recalls}"] if recalls else []
    rare = ", ".join(f"{one.category} ({one.n})" for one in table.itertuples() if one.n and one.reason)
    if rare:
        others = f"{row['uar_common']:.3f} {_interval(row['uar_common_low'], row['uar_common_high'])}"
        lines.append(f"    too rare for the interval, which takes their recall as it is: {rare}")
        lines.append(f"    UAR of the others: {others}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
