"""``emoprobe centroid``: how deep each dimension of emotion lies."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.defaults import RESULTS
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.ownership import begins_with_columns, refuse_stranger
from emoprobe.storage import replacing

from .command import CommandParser, add_dimensions, add_output, dimensions_of, tell_end
from .running import run_command
from .screen import table_lines, wrapped

if TYPE_CHECKING:
    import pandas as pd

#: Between two names, of a row that is their difference.
_MINUS = " − "

_EPILOG = """\
examples:
  emoprobe centroid                                  the results in this folder
  emoprobe centroid results --split development
  emoprobe centroid results --out depths.csv         all columns, to keep

Depth is the relevance centroid: 0 is the input of the first block, 1 the last block.
It stands on three scales (CCC, explained variance, its odds), since what may be said must hold on all of them.
Of two dimensions, and of two models, the difference stands. Intervals are of 95 %.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe centroid``."""
    command = CommandParser(
        prog="emoprobe centroid",
        description="Tell how deep each dimension of emotion lies in the layers, whether its curve rises or falls, and "
        "what may be said of arousal and valence.",
        epilog=_EPILOG,
    )
    command.add_argument(
        "results", nargs="?", type=Path, default=Path(RESULTS), metavar="RESULTS", help="read this folder of probe-fit"
    )
    what = command.add_argument_group("what is told")
    what.add_argument(
        "--probe", choices=("ridge", "mlp"), default="ridge", help="take the scores of this probe (default: ridge)"
    )
    add_dimensions(what, help="print arousal, valence, dominance, several of them, or all (default: all)")
    what.add_argument("--split", metavar="PART", help="take this part, such as test (default: the first test part)")
    how = command.add_argument_group("how")
    how.add_argument(
        "--resamples",
        type=int,
        default=2000,
        metavar="N",
        help="draw N resamples at first; more, where their error leaves open what may be said (default: %(default)s)",
    )
    how.add_argument("--seed", type=int, default=0, metavar="N", help="draw from this seed (default: %(default)s)")
    where = command.add_argument_group("where to")
    where.add_argument("--out", type=Path, metavar="FILE", help="write the whole table there too, as CSV")
    add_output(command, quiet="print the statements alone, and no table")
    return command


def main(argv: list[str] | None = None) -> int:
    """Print the centroids of results on disk; return the exit status."""
    options = parser().parse_args(argv)
    return run_command(lambda: _tell(options), verbose=options.verbose)


def _tell(options: argparse.Namespace) -> int:
    from emoprobe.analysis import settled_depths
    from emoprobe.probe import load_results

    table, statements = settled_depths(
        load_results(options.results),
        probe=options.probe,
        split=options.split,
        resamples=options.resamples,
        seed=options.seed,
    )
    if not options.quiet:
        wanted = set(dimensions_of(options.dim) or DIMENSIONS)
        shown = [wanted.issuperset(dimension.split(_MINUS)) for dimension in table["dimension"]]
        print("\n".join(_lines(table[shown])))
    if options.out is not None:
        refuse_stranger(options.out, begins_with_columns(list(table.columns)), "table of depths", option="--out")
        with replacing(options.out) as temporary:
            table.to_csv(temporary, index=False)
        if not options.quiet:
            print(f"written: {options.out}")
    for row in statements.to_dict("records"):
        claim = f"{row['model']} on {row['corpus']}, {row['split']}: {row['statement']} ({row['verdict']}"
        print(wrapped(f"{claim}; p {_told(row['p'])}, corrected {_told(row['p_holm'])})."))
    tell_end("", "report", options.results, quiet=options.quiet)
    return 0


def _lines(table: pd.DataFrame) -> Iterator[str]:
    """A table a model, under a line of what all its rows share; and once by what layers are weighed."""
    for (model, corpus, split), part in table.groupby(["model", "corpus", "split"], sort=False):
        first = part.iloc[0]
        yield (
            f"{model} on {corpus}, {split}, {first['features']}; intervals over {first['units']} {first['unit']}s, of "
            f"a {first['interval']}"
        )
        rows = [
            [
                row["dimension"],
                row["scale"],
                _estimate(row["centroid"], row["low"], row["high"]),
                _estimate(row["slope"], row["slope_low"], row["slope_high"]),
                _number(row["p"] if math.isnan(row["slope_p"]) else row["slope_p"]),
            ]
            for row in part.to_dict("records")
        ]
        yield from table_lines(["", "scale", "depth", "slope over layers", "p"], rows)
        yield ""
    for scale, part in table[table["weighted_by"] != ""].groupby("scale", sort=False):
        yield f"{scale}: layers weighed by {' or by '.join(part['weighted_by'].dropna().unique())}"


def _told(p: float) -> str:
    return "is not known" if math.isnan(p) else _number(p) if p < 0.001 else f"= {_number(p)}"


def _estimate(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:z.3f} (no interval)" if math.isnan(low) else f"{value:z.3f} [{low:z.3f}, {high:z.3f}]"


def _number(p: float) -> str:
    return "" if math.isnan(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001"


if __name__ == "__main__":
    sys.exit(main())
